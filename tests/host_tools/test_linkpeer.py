"""The host's end of a line against itself, over lines with faults; no gateware, no clock."""

import random

import pytest

from firmware_model import wire
from firmware_model.wire import Role, Type
from host_tools import linkpeer
from host_tools.linkpeer import LinkPeer


class Line:
    """Two peers and the lines between them; time advances in steps.

    ``fault(data)`` changes what is on the way; ``delay`` is in steps of ``step`` seconds.
    """

    def __init__(self, *, ordered=True, delay=3, step=0.001, fault=lambda data: data, **options):
        self.host = LinkPeer(Role.HOST, ordered=ordered, **options)
        self.board = LinkPeer(Role.SOURCE, ordered=ordered, **options)
        self.now = 0.0
        self.step_time = step
        self.fault = fault
        self.to_board = [b""] * delay
        self.to_host = [b""] * delay
        self.at_board = []
        self.at_host = []
        self.cut = False

    def step(self):
        self.now += self.step_time
        for sender, way, receiver, got in (
                (self.host, self.to_board, self.board, self.at_board),
                (self.board, self.to_host, self.host, self.at_host)):
            data = self.fault(sender.poll(self.now))
            way.append(b"" if self.cut else data)
            got += receiver.feed(way.pop(0), self.now)

    def run(self, until, steps=20000):
        for _ in range(steps):
            if until():
                return
            self.step()
        raise AssertionError(f"still waiting after {steps} steps")

    def settle(self):
        self.run(lambda: self.host.up and self.board.up
                 and not self.host.unsettled and not self.board.unsettled)


def tags(frames):
    return [f.fields["tag"] for f in frames]


@pytest.mark.parametrize("ordered", [True, False])
def test_delivers_both_ways_and_wraps(ordered):
    line = Line(ordered=ordered)
    for tag in range(700):
        line.host.send(Type.WRITE, bytes([tag & 0xFF] * (tag % 7)), tag=tag)
    for tag in range(50):
        line.board.send(Type.READ_DATA, b"data", tag=tag)
    line.settle()
    assert tags(line.at_board) == list(range(700))
    assert [f.payload for f in line.at_board] == [bytes([t & 0xFF] * (t % 7)) for t in range(700)]
    assert tags(line.at_host) == list(range(50))
    for peer in (line.host, line.board):
        assert peer.counters.resends == peer.counters.bad_frames == peer.counters.timeouts == 0
        assert peer.session_count == 1
    assert line.host.counters.frames_sent == line.board.counters.frames_received == 700


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_exactly_once_over_a_bad_line(ordered, seed):
    rng = random.Random(seed)

    def fault(data):
        data = bytearray(data)
        for at in range(len(data)):
            if rng.random() < 0.002:
                data[at] ^= 1 << rng.randrange(8)
        if data and rng.random() < 0.02:
            del data[rng.randrange(len(data)):][:rng.randrange(40)]
        return bytes(data)

    line = Line(ordered=ordered, fault=fault, patience=0.02)
    for tag in range(400):
        line.host.send(Type.WRITE, rng.randbytes(30), tag=tag)
        if tag % 3 == 0:
            line.board.send(Type.READ_DATA, rng.randbytes(20), tag=tag)
    line.settle()
    got = tags(line.at_board)
    assert (got if ordered else sorted(got)) == list(range(400))
    assert ordered or got != sorted(got)
    assert sorted(tags(line.at_host)) == list(range(0, 400, 3))
    assert line.host.session_count == line.board.session_count == 1
    assert line.host.counters.resends > 5
    assert line.board.counters.bad_frames > 5


def test_lost_frame_is_resent_without_waiting():
    line = Line()
    line.settle()
    for tag in range(4):
        line.host.send(Type.WRITE, b"data", tag=tag)
    frames = line.host.poll(line.now).split(b"\0")
    line.to_board[-1] += b"\0".join([frames[0], *frames[2:]])   # the second is missing
    line.settle()
    assert tags(line.at_board) == [0, 1, 2, 3]
    assert line.host.counters.resends == 1
    assert line.host.counters.timeouts == 0


def test_receiver_that_drops_what_is_early_gets_the_oldest_without_waiting():
    """An ordered gateware end acknowledges without a map."""
    peer = LinkPeer(Role.HOST, session=3)
    bring_up(peer)
    for tag in range(4):
        peer.send(Type.WRITE, tag=tag)
    peer.poll(1.0)
    peer.feed(ack(1), 1.01)
    assert peer.poll(1.01) == b""
    peer.feed(ack(1), 1.02)     # the third arrived and was dropped: the second is lost
    assert [f.lseq for f in frames(peer.poll(1.02))] == [1]
    peer.feed(ack(1), 1.021)    # the fourth, likewise: the second is on its way already
    assert peer.poll(1.021) == b""
    peer.feed(ack(2), 1.03)     # now everything sent before it is known to be lost
    assert [f.lseq for f in frames(peer.poll(1.03))] == [2, 3]
    assert peer.counters.timeouts == 0


def frames(data):
    return [wire.unpack(wire.cobs_decode(part)) for part in data.split(b"\0") if part]


def ack(base, bits=0, session=3):
    return wire.to_line(wire.pack(Type.ACK, base, map=bits, session=session))


def hello(**fields):
    fields = {"version": wire.PROTOCOL_VERSION, "role": Role.SOURCE, "session": 7} | fields
    return wire.to_line(wire.pack(Type.HELLO, 0, **fields))


def bring_up(peer, now=0.0):
    peer.feed(hello(echo=3, flags=1), now)
    assert peer.up
    peer.poll(now)


def test_what_one_refusal_sets_going_comes_to_rest():
    """Every copy is answered, in order, after a long trip. One is refused, and with it the frame
    behind it; from there on each is sent once, although acknowledgements of copies too many come
    while another frame waits for its own."""
    peer = LinkPeer(Role.HOST, session=3)
    bring_up(peer)
    peer.send(Type.WRITE, tag=0)
    peer.poll(1.0)
    peer.feed(ack(1), 1.005)        # this one was quick
    base, refused, now, trip = 1, False, 1.1, 0.03
    given = {1.1: 1, 1.108: 2}      # when which frame is given to the peer
    answers = []
    while base < 60:
        assert now < 30
        if now in given:
            peer.send(Type.WRITE, tag=given.pop(now))
        answers += [(now + trip, frame.lseq) for frame in frames(peer.poll(now))]
        now = max(now, min([peer.deadline(now) or now + 1, *given, *(at for at, _ in answers)]))
        while answers and answers[0][0] <= now:
            _, lseq = answers.pop(0)
            if lseq == base and refused:
                base += 1
                if base > 2:
                    peer.send(Type.WRITE, tag=base)
            refused = True
            peer.feed(ack(base), now)
    assert peer.counters.timeouts == 0
    assert peer.counters.resends <= 4


def test_session_follows_the_other_sides_restart():
    line = Line()
    line.settle()
    line.host.send(Type.WRITE, b"a", tag=1)
    line.settle()
    line.board = LinkPeer(Role.SOURCE)
    line.run(lambda: line.host.session_count == 2 and line.host.up and line.board.up)
    line.host.send(Type.WRITE, b"b", tag=2)
    line.settle()
    assert [f.payload for f in line.at_board] == [b"a", b"b"]


def test_probe_is_answered_and_changes_nothing():
    line = Line()
    line.settle()
    line.host.probe()
    assert line.host.deadline(line.now) == line.now
    said = []
    line.fault = lambda data: said.append(data) or data
    for _ in range(20):
        line.step()
    hellos = [data for data in said if data]
    assert len(hellos) == 2             # the question and the answer
    assert line.host.up
    assert line.board.up
    assert line.host.session_count == line.board.session_count == 1


def test_probe_finds_a_session_of_somebody_else():
    """The other end is up with a stranger: nobody is told, until somebody asks."""
    line = Line()
    line.settle()
    stranger, line.host = line.host, LinkPeer(Role.HOST)
    line.settle()
    for _ in range(20):
        line.step()                     # until nothing is on the way
    line.host = stranger
    for _ in range(3000):
        line.step()
    assert line.host.session_count == 1
    line.host.probe()
    line.run(lambda: line.host.session_count == 2)
    line.settle()


def test_falling_drops_what_was_queued():
    peer = LinkPeer(Role.HOST, session=3)
    bring_up(peer)
    for tag in range(40):
        peer.send(Type.WRITE, tag=tag)
    peer.poll(0.0)
    assert peer.unsettled == 40
    peer.feed(hello(session=8), 0.1)
    assert not peer.up
    assert peer.unsettled == 0
    assert frames(peer.poll(0.1))[0].fields["session"] == 4


def test_cut_line_goes_down_and_comes_up_again():
    line = Line(step=0.05, patience=0.005)
    line.settle()
    line.cut = True
    line.host.send(Type.WRITE, b"lost", tag=1)
    line.run(lambda: not line.host.up)
    assert line.host.counters.timeouts == linkpeer.TRIES
    line.cut = False
    line.run(lambda: line.host.up and line.board.session_count == 2 and line.board.up)
    line.host.send(Type.WRITE, b"found", tag=2)
    line.settle()
    assert [f.payload for f in line.at_board] == [b"found"]


def test_frames_sent_while_down_wait():
    line = Line()
    line.host.send(Type.WRITE, b"early", tag=1)
    line.settle()
    assert [f.payload for f in line.at_board] == [b"early"]


def test_long_round_trip_settles_without_repeating():
    """Two seconds there and back: the first frame is repeated, until its trip is known."""
    line = Line(delay=1000)
    line.settle()
    line.host.send(Type.WRITE, b"", tag=0)
    line.settle()
    line.host.send(Type.WRITE, b"", tag=1)
    line.settle()
    before = line.host.counters.resends
    for tag in range(2, 6):
        line.host.send(Type.WRITE, b"", tag=tag)
        line.settle()
    assert line.host.counters.resends == before
    assert line.host.session_count == 1


@pytest.mark.parametrize(("fields", "words", "version"), [
    ({"version": 9}, ["version 9", f"version {wire.PROTOCOL_VERSION}"], 9),
    ({"role": Role.HOST}, ["is a host too"], None),
    ({"fingerprint": 0x4321}, ["0x4321", "0x1234"], None),
])
def test_hello_that_does_not_fit_is_refused_in_words(fields, words, version):
    peer = LinkPeer(Role.HOST, fingerprint=0x1234, session=3)
    assert peer.feed(hello(echo=3, **fields), 0.0) == []
    assert not peer.up
    assert all(word in peer.refusal for word in words)
    assert peer.mismatch == version
    bring_up(peer)
    assert peer.refusal is None
    assert peer.mismatch is None


def test_garbage_does_no_harm():
    rng = random.Random(5)
    peer = LinkPeer(Role.HOST, session=3)
    bring_up(peer)
    assert peer.feed(rng.randbytes(20000) + b"\0", 0.0) == []
    assert peer.feed(b"\x07" * 100000, 0.0) == []       # never a delimiter
    assert len(peer._partial) <= linkpeer.LONGEST_LINE
    data = wire.to_line(wire.pack(Type.REG_DATA, 0, b"abcd", tag=5))
    assert peer.feed(data, 0.0) == []                   # ends the garbage
    for byte in data:
        got = peer.feed(bytes([byte]), 0.0)
    assert tags(got) == [5]
    peer.feed(ack(9, 0xFFFFFFFE), 0.0)                  # of frames never sent
    peer.feed(ack(0, session=9), 0.0)
    assert peer.up


def test_deadline_says_when_to_poll():
    peer = LinkPeer(Role.HOST, session=3, patience=0.1)
    assert peer.deadline(5.0) == 5.0
    assert peer.poll(5.0)
    assert 5.0 < peer.deadline(5.0) <= 5.0 + linkpeer.HELLO_LAST
    assert peer.poll(5.0) == b""
    bring_up(peer, 6.0)
    assert peer.deadline(6.0) is None
    peer.send(Type.WRITE, tag=1)
    assert peer.deadline(6.0) == 6.0
    peer.poll(6.0)
    assert peer.deadline(6.0) == 6.0 + 2 * linkpeer.INITIAL_TRIP + 0.1
    peer.feed(ack(1), 6.5)
    assert peer.deadline(6.5) is None


def test_send_checks_at_once():
    peer = LinkPeer(Role.HOST)
    with pytest.raises(wire.WireError, match="no field 'colour'"):
        peer.send(Type.WRITE, colour=1)
    with pytest.raises(ValueError, match="HELLO frames are sent by the line itself"):
        peer.send(Type.HELLO)


@pytest.mark.parametrize(("options", "message"), [
    ({"window": 33}, r"window 33 is outside 4\.\.32"),
    ({"session": 0}, r"session 0 is outside 1\.\.255"),
])
def test_parameters_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        LinkPeer(Role.HOST, **options)
