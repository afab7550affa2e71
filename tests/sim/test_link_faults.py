"""Every fault of the channel emulator on a whole board: while it lasts nothing goes wrong, and
after it source and target become equal by themselves."""

import random

import pytest

from firmware_model import channel, wire
from firmware_model.wire import ChannelFault, LineFault
from host_tools.trials.oracle import Oracle
from host_tools.trials.plan import GEOMETRIES
from host_tools.trials.play import JudgedClient
from host_tools.trials.world import World
from sim.native import NativeBoard, Side

GEOMETRY = GEOMETRIES["pair"]
DIVISOR = GEOMETRY.divisor(GEOMETRY.link_baud)
MAX = channel.CHANCE_MAX
DURATION = 300_000          # clocks: hundreds of frames
C = wire.Channel
BOTH = 0b11
CLEAN = {C.CONTROL: 0, C.DIRECTIONS: channel.ALL_DIRECTIONS, C.DELAY: 0, C.SKEW: 0, C.FLAP_UP: 0,
         C.FRAME_LOSS: 0, C.FRAME_REPEAT: 0, C.BYTE_LOSS: 0, C.BYTE_INSERT: 0, C.BURST: 0,
         C.BYTE_ERROR: 0}
# What is written to the emulator of link 0. Link 1 is whole.
FAULTS = {
    "bit errors": {C.BYTE_ERROR: MAX // 100},
    "bursts of errors": {C.BURST: MAX // 200, C.BURST_BYTES: 20},
    "lost bytes": {C.BYTE_LOSS: MAX // 100},
    "inserted bytes": {C.BYTE_INSERT: MAX // 100},
    "lost frames": {C.FRAME_LOSS: MAX // 5},
    "repeated frames": {C.FRAME_REPEAT: MAX // 2},
    "stuck low": {C.CONTROL: BOTH << 2 * LineFault.STUCK_LOW},
    "stuck high": {C.CONTROL: BOTH << 2 * LineFault.STUCK_HIGH},
    "cut": {C.CONTROL: BOTH},
    "dead towards the target": {C.CONTROL: 1},
    "dead towards the source": {C.CONTROL: 2},
    "stuck low towards the source": {C.CONTROL: 2 << 2 * LineFault.STUCK_LOW},
    # Five clocks a bit stand 4.4 and 4.0 %: see hdl/uart.py.
    "receiver 3 % fast": {C.SKEW: channel.skew_units(0.03, DIVISOR)},
    "receiver 3 % slow": {C.SKEW: channel.skew_units(-0.03, DIVISOR)},
    "flapping": {C.FLAP_UP: 4, C.FLAP_DOWN: 3},
    "flapping one way": {C.FLAP_UP: 4, C.FLAP_DOWN: 3,
                         C.DIRECTIONS: 1 << 2 * ChannelFault.FLAP},
    "delays that differ a thousand times": {C.DELAY: 2000},
}
HARMLESS = ("receiver 3 % fast", "receiver 3 % slow")


@pytest.mark.requirement("R19", "R22")
@pytest.mark.parametrize("name", FAULTS)
def test_after(name):
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    rng = random.Random(seed)
    board = NativeBoard(GEOMETRY, seed=seed)
    world = World(board, (), Oracle(GEOMETRY))
    client = JudgedClient(world, 7)

    def write():
        volume = rng.randrange(GEOMETRY.volumes)
        client.write([(volume, track, rng.randbytes(GEOMETRY.track_bytes))
                      for track in rng.sample(range(GEOMETRY.tracks_per_volume), 2)])
        client.destage()

    def counter(which):
        return sum(board.link_counters(side, 0)[which] for side in Side)

    write()
    client.wait_settled()
    resends = counter(wire.LinkCounter.RESENDS) + counter(wire.LinkCounter.SESSIONS)
    bad = counter(wire.LinkCounter.BAD_FRAMES)
    if name == "delays that differ a thousand times":
        board.poke(1, C.DELAY, 2)
    for register, value in FAULTS[name].items():
        board.poke(0, register, value)
    end = board.clock + DURATION
    while board.clock < end:
        write()
    resends = counter(wire.LinkCounter.RESENDS) + counter(wire.LinkCounter.SESSIONS) - resends
    bad = counter(wire.LinkCounter.BAD_FRAMES) - bad
    if name in HARMLESS:
        assert (resends, bad) == (0, 0)
    else:
        assert resends or bad or "delay" in name or "repeated" in name, "the fault did nothing"
    for link in range(GEOMETRY.links):
        for register, value in CLEAN.items():
            board.poke(link, register, value)
    client.wait_settled()
    assert board.image(Side.SOURCE) == board.image(Side.TARGET)
    client.wait_until(lambda: board.links_up(Side.SOURCE) == board.links_up(Side.TARGET) == 3, 25.0)
    assert board.links_up(Side.SOURCE) == board.links_up(Side.TARGET) == 3, "a link stays down"


SILENCE = wire.SILENCE_BITS * DIVISOR // 256 + DIVISOR     # clocks


def pass_time(board, clocks):
    end = board.clock + clocks
    while board.clock < end:
        board.run(end - board.clock)


def come_up(board):
    end = board.clock + 100_000
    while board.links_up(Side.SOURCE) != 3 or board.links_up(Side.TARGET) != 3:
        board.run(1000)
        assert board.clock < end, "a link stays down"


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("directions", [1, 2, 3])
def test_an_idle_link_that_is_cut_goes_down_and_comes_back(directions):
    """Whichever direction is cut, both ends know it in the time that docs/protocol.md gives, also
    if neither had anything to say. The other link stays as it is."""
    board = NativeBoard(GEOMETRY)
    come_up(board)
    pass_time(board, 2 * SILENCE)
    assert [board.links_up(side) for side in Side] == [3, 3], "an idle link stays up"
    cut = board.clock
    board.poke(0, C.CONTROL, directions)
    pass_time(board, SILENCE * 14 // 16)
    assert [board.links_up(side) for side in Side] == [3, 3], "still patient"
    pass_time(board, SILENCE * 2 // 16 + 10 * 1024 * DIVISOR // 256)
    assert [board.links_up(side) for side in Side] == [2, 2]
    pass_time(board, SILENCE // 2)
    board.poke(0, C.CONTROL, 0)
    come_up(board)
    down = (board.clock - cut) // wire.SLOW_TICK
    for side in Side:
        first, second = (board.link_counters(side, link) for link in range(2))
        assert first[wire.LinkCounter.SESSIONS] == 2
        assert second[wire.LinkCounter.SESSIONS] == 1
        # It was down for the last part of this, between the silence and the mending.
        assert down // 8 <= first[wire.LinkCounter.DOWN_TIME] <= down // 2
        assert second[wire.LinkCounter.DOWN_TIME] == 0


@pytest.mark.requirement("R22")
def test_an_idle_link_that_loses_half_of_its_frames_stays_up():
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    board = NativeBoard(GEOMETRY, seed=seed)
    come_up(board)
    # What the two ends have to say to each other at first is not idleness: a frame that is tried
    # five times without an answer ends the session, and with this loss one in four is.
    pass_time(board, SILENCE // 4)
    board.poke(0, C.FRAME_LOSS, MAX // 2)
    pass_time(board, 5 * SILENCE)
    assert [board.links_up(side) for side in Side] == [3, 3]
    # One keepalive in about 2**15 begins a silence of 16: that may happen, but hardly twice.
    assert all(board.link_counters(side, 0)[wire.LinkCounter.SESSIONS] <= 2 for side in Side)


@pytest.mark.requirement("R13", "R19")
@pytest.mark.parametrize(("delay", "sooner"), [(0, "five time-outs"), (600, "silence")])
def test_packets_of_a_link_that_dies_go_over_the_other(delay, sooner):
    """How long a set stalls whose packets were under way on a link that dies: until five doubled
    time-outs have passed, or the silence, whichever is sooner (docs/architecture.md, Lines)."""
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    rng = random.Random(seed)
    board = NativeBoard(GEOMETRY, delay=delay)
    world = World(board, (), Oracle(GEOMETRY))
    client = JudgedClient(world, 7)

    def write():
        client.write([(volume, 0, rng.randbytes(GEOMETRY.track_bytes))
                      for volume in range(GEOMETRY.volumes)])
        client.destage()

    for _ in range(3):                  # both links carry something, which measures round trips
        write()
        client.wait_settled()
    board.poke(0, C.CONTROL, BOTH)      # set 0, which has all volumes, is at home on this link
    begun = board.clock
    write()
    client.wait_settled()
    stalled = board.clock - begun
    print(f"stalled for {stalled * 256 / DIVISOR:,.0f} bit times")
    assert board.links_up(Side.SOURCE) == 2
    timeouts = board.link_counters(Side.SOURCE, 0)[wire.LinkCounter.TIMEOUTS]
    if sooner == "silence":
        assert SILENCE * 15 // 16 < stalled < SILENCE + 100_000
        assert 0 < timeouts < 5
    else:
        assert stalled < SILENCE * 3 // 4
        assert timeouts >= 5
    assert board.image(Side.SOURCE) == board.image(Side.TARGET)


@pytest.mark.requirement("R15")
def test_the_fastest_links_are_kept_up_with():
    """Four clocks a bit: both systems take and give a byte in forty clocks, on all links at once,
    and nothing is lost or sent twice."""
    geometry = GEOMETRY
    board = NativeBoard(geometry, link_baud=geometry.clock_hz // 4)
    world = World(board, (), Oracle(geometry))
    client = JudgedClient(world, 7)
    for number in range(60):
        volume = number % geometry.volumes
        client.submit([(volume, track, bytes([number + 1] * geometry.track_bytes))
                       for track in range(geometry.chain_limit)])
    client.wait_settled()
    assert board.image(Side.SOURCE) == board.image(Side.TARGET)
    for side in Side:
        for link in range(geometry.links):
            counts = board.link_counters(side, link)
            assert counts[wire.LinkCounter.FRAMES_RECEIVED] > (20 if side else 0)
            for fault in ("RESENDS", "BAD_FRAMES", "TIMEOUTS", "DUPLICATES"):
                assert counts[wire.LinkCounter[fault]] == 0, (side, link, fault)
