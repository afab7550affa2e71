"""Scenarios of the host port: Fig. 4, refusals, limits, malformed frames."""

from __future__ import annotations

from firmware_model import wire
from firmware_model.wire import Code, Counter, Reg, SetWord, Type

from .world import World, scenario

TAG = 0xFF00        # of raw frames


def entries(*places: tuple[int, int]) -> bytes:
    """Payload of a CHAIN frame."""
    return b"".join(wire.entry(volume, track) for volume, track in places)


@scenario("R01", "R12")
def a_write_commits_at_once_and_travels_later(world: World) -> None:
    new = world.data("new")
    answer = world.write([(1, 1, new)])
    assert (answer.code, answer.set, answer.number) == (Code.OK, 0, 1)
    assert world.read(1, 1) == new
    world.quiesce()
    # Nobody polls, nothing collides: it stays at the source, pending.
    assert world.page(0)[SetWord.UNSENT] == 1
    assert world.read(1, 1, side="target") == bytes(world.geometry.track_bytes)
    assert world.oracle().sets[0].lag_chains == 1
    world.check_settled()
    assert world.read(1, 1, side="target") == new


@scenario("R03", "R04", "R06", "R27")
def a_collision_disconnects_and_reconnects(world: World) -> None:
    old, new = world.data("old"), world.data("new")
    world.write([(1, 1, old)])
    answer = world.write([(0, 7, new), (1, 1, new)])
    assert (answer.code, answer.set) == (Code.COLLISION, 0)
    assert answer.place == (1, 1, 1)
    assert world.read(1, 1) == old
    assert world.read(0, 7) == bytes(world.geometry.track_bytes)
    notice = world.wait_reconnect(1)
    assert (notice.volume, notice.track) == (1, 1)
    assert world.read(1, 1, side="target") == old       # sent at once, without any poll
    answer = world.write([(0, 7, new), (1, 1, new)], resume=True)
    assert (answer.code, answer.number) == (Code.OK, 2)
    assert world.counter(Counter.COLLISIONS) == 1
    assert world.counter(Counter.RECONNECTS) == 1
    world.check_settled()


@scenario("R07", "R09", "R20")
def a_collision_sends_its_whole_set_and_no_other(world: World) -> None:
    world.write(world.chain(0, [1, 2], "a"))
    world.write(world.chain(3, [1, 2], "other set"))
    world.write(world.chain(1, [4], "b"))
    world.write(world.chain(2, [9], "c"))
    answer = world.write([(1, 4, world.data("again"))])
    assert answer.code is Code.COLLISION
    world.wait_reconnect(1)
    for volume, track, label in ((0, 1, "a"), (0, 2, "a"), (1, 4, "b"), (2, 9, "c")):
        data = world.data(f"{label}/{volume}:{track}")
        if (volume, track) != (2, 9):       # chain c came after the one that collided
            assert world.read(volume, track, side="target") == data
    world.wait_until(lambda: world.page(0)[SetWord.UNSENT] == 0, "the rest of the set is cut")
    world.quiesce()
    assert world.read(2, 9, side="target") == world.data("c/2:9")
    assert world.page(1)[SetWord.UNSENT] == 2
    assert world.read(3, 1, side="target") == bytes(world.geometry.track_bytes)
    world.oracle()
    world.check_settled()


@scenario("R04", "R27")
def a_disconnected_volume_takes_no_writes(world: World) -> None:
    world.cut_all()
    world.write(world.chain(1, [1], "a"))
    assert world.write(world.chain(1, [1], "b")).code is Code.COLLISION
    answer = world.write(world.chain(2, [5], "c") + world.chain(1, [2], "c"), resume=True)
    assert answer.code is Code.DISCONNECTED
    assert answer.place == (1, 1, 2)
    assert world.register(Reg.DISCONNECTED) == 1
    # The set is fenced now; the host may lift the fence and use its other volumes.
    assert world.write(world.chain(2, [5], "d")).code is Code.FENCED
    assert world.write(world.chain(2, [5], "d"), resume=True).code is Code.OK
    assert world.write(world.chain(2, [6], "e")).code is Code.OK
    assert world.read(1, 1) == world.data("a/1:1")
    assert world.read(1, 2) == bytes(world.geometry.track_bytes)
    world.restore_all()
    world.wait_reconnect(1)
    assert world.write(world.chain(1, [1], "b"), resume=True).code is Code.OK
    assert world.register(Reg.DISCONNECTED) == 0
    world.check_settled()


@scenario("R04", "R27")
def later_writes_of_a_pipelining_host_do_not_overtake(world: World) -> None:
    world.cut_all()
    chains = [world.chain(1, [1], "A"), world.chain(1, [1], "B"), world.chain(1, [2], "C"),
              world.chain(0, [1], "D"), world.chain(3, [1], "E")]
    sent = [world.submit(chain) for chain in chains]
    codes = [world.result(submission).code for submission in sent]
    assert codes == [Code.OK, Code.COLLISION, Code.FENCED, Code.FENCED, Code.OK]
    for volume, track in ((1, 2), (0, 1)):
        assert world.read(volume, track) == bytes(world.geometry.track_bytes)
    world.restore_all()
    world.wait_reconnect(1)
    again = [world.submit(chain, resume=first) for first, chain in
             zip((True, False, False), chains[1:4], strict=True)]
    answers = [world.result(submission) for submission in again]
    assert [(a.code, a.number) for a in answers] == [(Code.OK, n) for n in (2, 3, 4)]
    world.check_settled()


@scenario("R24", "R27")
def chains_up_to_the_limit_and_one_more(world: World) -> None:
    limit = world.geometry.chain_limit
    assert world.write(world.chain(0, range(limit), "a")).code is Code.OK
    before = world.image("source")
    answer = world.write(world.chain(1, range(limit + 1), "b"))
    assert answer.code is Code.CHAIN_TOO_LONG
    assert world.image("source") == before
    assert world.write(world.chain(1, range(limit), "c")).number == 2
    world.check_settled()


@scenario("R27")
def an_empty_chain_is_refused(world: World) -> None:
    assert world.write([]).code is Code.CHAIN_EMPTY
    assert world.chains(0) == 0
    assert world.write(world.chain(0, [0], "a")).number == 1
    world.check_settled()


@scenario("R17", "R27")
def a_chain_that_spans_sets_is_refused(world: World) -> None:
    free = world.register(Reg.FREE_SLOTS)
    answer = world.write(world.chain(0, [1], "a") + world.chain(3, [1], "a"))
    assert answer.code is Code.SPANS_SETS
    assert answer.place == (1, 3, 1)
    assert world.image("source") == bytes(world.geometry.image_bytes)
    assert world.register(Reg.FREE_SLOTS) == free
    # It is no refusal that fences the set.
    assert world.write(world.chain(0, [1], "b")).code is Code.OK
    world.check_settled()


@scenario("R12", "R21", "R27")
def a_chain_that_writes_a_track_twice(world: World) -> None:
    first, last, other = world.data("first"), world.data("last"), world.data("other")
    answer = world.write([(1, 1, first), (1, 2, other), (1, 1, last)])
    assert answer.code is Code.OK
    assert world.read(1, 1) == last
    assert world.page(0)[SetWord.UNSENT] == 2       # tracks, not commands
    world.write([(2, 2, first), (2, 2, last)])
    assert world.page(0)[SetWord.UNSENT] == 3
    world.check_settled()
    assert world.read(1, 1, side="target") == last


@scenario("R03", "R27")
def a_chain_hits_a_track_of_the_one_before(world: World) -> None:
    world.cut_all()
    world.write(world.chain(1, [1, 2, 3], "a"))
    answer = world.write(world.chain(1, [5, 3, 2], "b"))
    assert answer.code is Code.COLLISION
    assert answer.place == (1, 1, 3)                # the first in the write set, not the oldest
    assert world.read(1, 5) == bytes(world.geometry.track_bytes)
    world.restore_all()
    world.insist(world.chain(1, [5, 3, 2], "b"))
    world.insist(world.chain(1, [2, 3, 5], "c"))
    assert world.read(1, 2) == world.data("c/1:2")
    world.check_settled()


@scenario("R24", "R27", requires=["occupy"])
def a_full_cache_refuses_before_any_effect(world: World) -> None:
    world.write(world.chain(0, [0], "a"))
    world.occupy_slots(2)
    before = world.image("source")
    assert world.write(world.chain(1, [0, 1, 2], "b")).code is Code.NO_SLOTS
    assert world.image("source") == before
    assert world.register(Reg.FREE_SLOTS) == 2
    assert world.write(world.chain(1, [0, 1], "c")).code is Code.OK
    world.check_settled()


@scenario("R27")
def malformed_chains_each_have_their_code(world: World) -> None:
    g = world.geometry
    world.write(world.chain(0, [0], "a"))
    before, free = world.image("source"), world.register(Reg.FREE_SLOTS)
    cases = [
        (Code.BAD_LENGTH, 2, entries((0, 1))),
        (Code.BAD_LENGTH, 1, entries((0, 1)) + b"\0"),
        (Code.BAD_LENGTH, 1, b""),
        (Code.CHAIN_EMPTY, 0, b""),
        (Code.CHAIN_TOO_LONG, g.chain_limit + 1, entries(*[(0, 1)] * (g.chain_limit + 1))),
        (Code.BAD_VOLUME, 2, entries((0, 1), (g.volumes, 1))),
        (Code.BAD_VOLUME, 2, entries((0, g.tracks_per_volume), (g.volumes, 0))),
        (Code.BAD_TRACK, 2, entries((0, 1), (0, g.tracks_per_volume))),
        (Code.BAD_TRACK, 2, entries((0, 0xFFFF), (3, 0))),
        (Code.SPANS_SETS, 2, entries((0, 0), (3, 1))),
    ]
    for n, (code, count, payload) in enumerate(cases):
        got = world.raw_frame(Type.CHAIN, payload, tag=TAG + n, count=count)
        assert got is code, f"case {n}: {got}, not {code}"
        # WRITE frames that were already on their way are swallowed.
        world.raw_frame(Type.WRITE, world.data("x"), tag=TAG + n, index=0, expect=False)
    assert world.image("source") == before
    assert world.register(Reg.FREE_SLOTS) == free
    assert world.chains(0) == 1
    assert world.write(world.chain(0, [1], "b")).number == 2
    world.check_settled()


@scenario("R11", "R27")
def malformed_writes_abort_the_chain_whole(world: World) -> None:
    data = world.data("never")
    world.write(world.chain(1, [0], "a"))
    before, free = world.image("source"), world.register(Reg.FREE_SLOTS)

    def open_chain(tag: int) -> None:
        world.raw_frame(Type.CHAIN, entries((0, 1), (0, 2)), tag=tag, count=2, expect=False)
        world.raw_frame(Type.WRITE, data, tag=tag, index=0, expect=False)

    assert world.raw_frame(Type.WRITE, data, tag=TAG, index=0) is Code.UNEXPECTED_WRITE
    open_chain(TAG + 1)     # an index out of turn
    assert world.raw_frame(Type.WRITE, data, tag=TAG + 1, index=0) is Code.UNEXPECTED_WRITE
    open_chain(TAG + 2)     # data too short
    assert world.raw_frame(Type.WRITE, data[:-1], tag=TAG + 2, index=1) is Code.BAD_LENGTH
    open_chain(TAG + 3)     # data of some other chain
    assert world.raw_frame(Type.WRITE, data, tag=TAG + 4, index=1) is Code.UNEXPECTED_WRITE
    assert world.raw_answer(TAG + 3) is Code.CHAIN_ABORTED
    open_chain(TAG + 5)     # another chain
    assert world.write(world.chain(1, [1], "b")).number == 2
    assert world.raw_answer(TAG + 5) is Code.CHAIN_ABORTED
    world.quiesce()
    at = world.geometry.track_bytes
    assert world.image("source")[:at * 52] == before[:at * 52]      # volume 0, and 1:0
    assert world.register(Reg.FREE_SLOTS) == free
    world.check_settled()


@scenario("R27")
def other_malformed_frames_each_have_their_code(world: World) -> None:
    g = world.geometry
    world.write(world.chain(0, [0], "a"))
    before = world.image("source")
    unknown = bytes([0x01, 0xFF]) + bytes(6)
    assert world.raw_frame(0x7E, b"", header=unknown) is Code.UNKNOWN_TYPE
    assert world.raw_frame(Type.DATA, world.data("x"), header=unknown) is Code.UNKNOWN_TYPE
    read = [
        (Code.BAD_VOLUME, {"volume": g.volumes, "track": 0, "count": 1}, b""),
        (Code.BAD_TRACK, {"volume": 0, "track": g.tracks_per_volume, "count": 1}, b""),
        (Code.BAD_VALUE, {"volume": 0, "track": 0, "count": 0}, b""),
        (Code.BAD_VALUE, {"volume": 0, "track": 1, "count": g.tracks_per_volume}, b""),
        (Code.BAD_LENGTH, {"volume": 0, "track": 0, "count": 1}, b"\0"),
    ]
    for n, (code, fields, payload) in enumerate(read):
        for side in ("source", "target"):
            assert world.raw_frame(Type.READ, payload, side=side, tag=TAG + n, **fields) is code
    reg_read = [
        (Code.BAD_REGISTER, {"address": 0x7000, "count": 1}, b""),
        (Code.BAD_VALUE, {"address": Reg.MAGIC, "count": 0}, b""),
        (Code.BAD_VALUE, {"address": Reg.MAGIC, "count": wire.MAX_REGISTERS + 1}, b""),
        (Code.BAD_LENGTH, {"address": Reg.MAGIC, "count": 1}, b"\0\0"),
    ]
    for n, (code, fields, payload) in enumerate(reg_read):
        assert world.raw_frame(Type.REG_READ, payload, tag=TAG + n, **fields) is code
    reg_write = [
        (Code.BAD_REGISTER, {"address": 0x7000, "value": 1}, b""),
        (Code.READ_ONLY, {"address": Reg.MAGIC, "value": 1}, b""),
        (Code.BAD_VALUE, {"address": Reg.VOLUME_SET, "value": g.sets}, b""),
        (Code.BAD_LENGTH, {"address": Reg.DESTAGE, "value": 1}, b"\0"),
    ]
    for n, (code, fields, payload) in enumerate(reg_write):
        assert world.raw_frame(Type.REG_WRITE, payload, tag=TAG + n, **fields) is code
    # Chains belong to a source.
    got = world.raw_frame(Type.CHAIN, entries((0, 1)), side="target", tag=TAG, count=1)
    assert got is Code.WRONG_ROLE
    world.raw_frame(Type.WRITE, world.data("x"), side="target", tag=TAG, index=0, expect=False)
    assert world.image("source") == before
    assert world.image("target") == bytes(g.image_bytes)
    assert world.register(Reg.MAGIC) == wire.MAGIC
    assert world.page(0)[SetWord.UNSENT] == 1       # the malformed DESTAGE did nothing
    world.check_settled()


@scenario("R01", "R11")
def reads_see_the_last_committed_version(world: World) -> None:
    world.cut_all()
    old = world.data("old/1:1")
    world.write(world.chain(1, [1, 2], "old"))
    # pending, and disconnected
    assert world.write(world.chain(1, [1], "new")).code is Code.COLLISION
    assert world.read(1, 1, 2) == old + world.data("old/1:2")
    # a chain that is half here
    world.raw_frame(Type.CHAIN, entries((0, 1), (0, 2)), tag=TAG, count=2, flags=1, expect=False)
    world.raw_frame(Type.WRITE, world.data("half"), tag=TAG, index=0, expect=False)
    assert world.read(0, 1) == bytes(world.geometry.track_bytes)
    world.destage(0)
    world.restore_all()
    world.wait_reconnect(1)
    assert world.read(0, 1, 2, side="target") == bytes(2 * world.geometry.track_bytes)
    assert world.read(1, 1, side="target") == old
    assert world.write(world.chain(1, [1], "new"), resume=True).code is Code.OK
    assert world.raw_answer(TAG) is Code.CHAIN_ABORTED
    assert world.read(1, 1) == world.data("new/1:1")
    assert world.read(0, 1) == bytes(world.geometry.track_bytes)
    world.check_settled()


@scenario("R11")
def an_unfinished_chain_is_not_sent(world: World) -> None:
    world.set_poll(True)
    world.raw_frame(Type.CHAIN, entries((0, 1), (0, 2)), tag=TAG, count=2, expect=False)
    world.raw_frame(Type.WRITE, world.data("half"), tag=TAG, index=0, expect=False)
    world.destage(0)
    world.quiesce()
    assert world.page(0)[SetWord.UNSENT] == 0
    assert world.counter(Counter.DISPATCHES) == 0
    assert world.image("target") == bytes(world.geometry.image_bytes)
    assert world.set_volume(4, 2) is Code.SET_BUSY      # nor is anything moved meanwhile
    world.write(world.chain(0, [3], "b"))
    assert world.raw_answer(TAG) is Code.CHAIN_ABORTED
    world.check_settled()


@scenario("R11", requires=["session"])
def a_new_session_aborts_an_open_chain(world: World) -> None:
    free = world.register(Reg.FREE_SLOTS)
    world.raw_frame(Type.CHAIN, entries((0, 1), (0, 2)), tag=TAG, count=2, expect=False)
    world.raw_frame(Type.WRITE, world.data("half"), tag=TAG, index=0, expect=False)
    world.host_session()
    assert world.register(Reg.FREE_SLOTS) == free
    assert world.read(0, 1) == bytes(world.geometry.track_bytes)
    assert world.raw_frame(
        Type.WRITE, world.data("x"), tag=TAG, index=1) is Code.UNEXPECTED_WRITE
    assert world.write(world.chain(0, [1], "a")).number == 1
    world.check_settled()


@scenario("R17", "R24")
def a_volume_moves_between_sets(world: World) -> None:
    g = world.geometry
    world.cut_all()
    world.write(world.chain(4, [1], "a"))
    assert world.assign(4, 2) is Code.SET_BUSY          # pending
    assert world.assign(3, 2) is Code.SET_BUSY          # its set has something pending
    assert world.assign(4, g.sets) is Code.BAD_VALUE
    world.destage(1)
    world.quiesce()
    assert world.assign(4, 2) is Code.SET_BUSY          # in flight
    world.restore_all()
    world.settle()
    assert world.assign(4, 0) is Code.SET_FULL
    assert world.assign(4, 2) is Code.OK
    assert world.register(Reg.VOLUME_SET + 4) == 2
    assert world.page(2)[SetWord.VOLUMES] == 1
    assert world.write(world.chain(3, [1], "b") + world.chain(4, [1], "b")).code is Code.SPANS_SETS
    answer = world.write(world.chain(4, [1, 2], "c"))
    assert (answer.code, answer.set, answer.number) == (Code.OK, 2, 1)
    world.check_settled()
    assert world.assign(4, 1) is Code.OK
    answer = world.write(world.chain(3, [1], "d") + world.chain(4, [1], "d"))
    assert (answer.set, answer.number) == (1, 2)
    world.oracle()
    world.check_settled()


@scenario("R14", "R17")
def a_former_set_does_not_touch_a_moved_track(world: World) -> None:
    """The newest track of a set moves away with its volume; when the old set grows again, the
    order of the new set must not change."""
    world.write(world.chain(2, [1], "a"))               # set 0: its newest track is 2:1
    world.settle()
    assert world.assign(2, 1) is Code.OK
    world.cut_all()
    world.write(world.chain(2, [1], "b"))               # set 1: 2:1, then 3:1, then 3:2
    world.write(world.chain(3, [1], "c"))
    world.write(world.chain(0, [5], "d"))               # set 0 grows
    world.write(world.chain(3, [2], "e"))
    world.hold(True)
    world.destage(1)
    world.restore_all()
    world.quiesce()
    world.hold(False)
    for _ in range(20):
        world.oracle()
        world.pass_time()
    world.check_settled()
