"""Scenarios of resets: either side, at any time, with its memory kept or lost; and of the
resynchronisation that follows when the target cannot go on from where it was."""

from __future__ import annotations

from firmware_model.wire import Code, Counter, SetWord, SourceFlag, TargetFlag, Type

from .basic import TAG, entries
from .mirroring import in_flight, watch
from .world import World, scenario


def fill(world: World, label: str) -> None:
    """A few chains in two sets, all of them committed at the target."""
    for n in range(3):
        world.insist(world.chain(n, [n, n + 1, n + 10], f"{label}{n}"))
        world.insist(world.chain(3 + n % 2, [n, 20 + n], f"{label}{n}"))
    world.settle()


def resyncs(world: World) -> int:
    return world.counter(Counter.RESYNCS)


@scenario("R14", "R21", "R23", requires=["restart"])
def a_target_that_keeps_its_memory_goes_on(world: World) -> None:
    """What was staged is gone and is sent again, verbatim; nothing is resynchronised."""
    fill(world, "before")
    epoch = world.page(0)[SetWord.EPOCH]
    world.hold(True)
    for n in range(3):
        world.write(world.chain(n, range(30, 34), f"staged{n}"))
    world.destage(0)
    world.quiesce()
    before = world.chains(0, "target")
    world.restart("target", keep=True)
    assert world.chains(0, "target") >= before
    watch(world, 5)
    world.check_settled()
    assert world.counter(Counter.RECOVERIES, "target") >= 1
    assert resyncs(world) == 0
    assert world.page(0)[SetWord.EPOCH] == epoch


@scenario("R14", "R21", requires=["restart"])
def a_target_reset_again_and_again(world: World) -> None:
    """Between the chains of a group, between groups, while it is told things: the prefix grows."""
    newest = 0
    for turn in range(5):
        for n in range(3):
            world.insist(world.chain(n, range(turn, turn + 4), f"{turn}.{n}"))
        world.destage(0)
        for _ in range(4):
            world.pass_time()
        world.restart("target", keep=True)
        world.oracle()
        assert world.chains(0, "target") >= newest
        newest = world.chains(0, "target")
        watch(world, 3)
    world.check_settled()
    assert resyncs(world) == 0


@scenario("R14", "R21", requires=["restart"])
def a_group_that_was_partly_visible_is_not_counted_twice(world: World) -> None:
    """The target is reset while some chains of a group are visible: they stay visible, are sent
    again with their group, and the count of chains stays the prefix that it shows."""
    for turn in range(6):
        for n in range(4):
            world.insist(world.chain(n % 3, [n + 4 * turn], f"{turn}.{n}"))
        world.destage(0)
        before = world.chains(0, "target")
        for _ in range(40):
            if world.chains(0, "target") > before + turn % 3:
                break
            world.pass_time()
        world.hold(True)
        world.oracle()
        world.restart("target", keep=True)
        watch(world, 4)
        world.settle()
        assert world.chains(0, "target") == world.chains(0) == 4 * (turn + 1)
    world.check_settled()


@scenario("R21", requires=["restart", "midway"])
def a_reset_in_the_middle_of_a_commit(world: World) -> None:
    """Some of a chain's tracks are swapped in when the target is reset: the rest follows before
    anything can be read."""
    interrupted = 0
    for turn in range(6):
        world.hold(True)
        for n in range(2):
            world.insist(world.chain(n, range(5 * turn, 5 * turn + 4), f"{turn}.{n}"))
            world.insist(world.chain(3, [turn + n], f"{turn}.{n}"))
        world.destage(0)
        world.destage(1)
        world.quiesce()
        interrupted += world.restart_in_commit("target")
        world.oracle()
        watch(world, 3)
        world.settle()
    assert interrupted > 0
    world.check_settled()


@scenario("R21", requires=["restart"])
def a_blank_target_begins_from_the_first_chain(world: World) -> None:
    """Nothing was ever acknowledged: the blank image is the empty prefix, and nothing needs to be
    sent twice."""
    world.cut_all()
    world.write(world.chain(0, [1, 2], "a"))
    world.restart("target", keep=False)
    world.restore_all()
    world.wait_in_step()
    assert resyncs(world) == 0
    world.oracle()
    world.check_settled()
    assert world.counter(Counter.RESYNC_TRACKS) == 0


@scenario("R02", "R21", requires=["restart"])
def a_target_that_lost_its_memory_is_resynchronised(world: World) -> None:
    """It says INCONSISTENT until it has everything, and the host goes on writing meanwhile."""
    fill(world, "before")
    world.restart("target", keep=False)
    for n in range(60):
        if n % 4 == 0:
            world.write(world.chain(n % 5, [n % 51, (7 * n) % 51], f"meanwhile{n}"), resume=True)
        world.pass_time()
        world.oracle()
    world.quiesce()
    world.wait_in_step()
    for volume in range(world.geometry.volumes):
        assert not world.read_says_inconsistent(volume)
    world.check_settled()
    assert resyncs(world) >= 2
    assert world.counter(Counter.RESYNC_TRACKS) > 0
    assert world.counter(Counter.RECOVERIES, "target") == 0


def hold_torn_target(world: World, sets: list[int]) -> None:
    """The target loses its memory, and is held where all of ``sets`` are being resynchronised."""
    world.cut_all()
    world.quiesce()
    world.restart("target", keep=False)
    world.hold(True)
    world.restore_all()
    world.wait_until(lambda: all(world.flags(s, "target") & TargetFlag.INCONSISTENT
                                 for s in sets), f"sets {sets} begin")


@scenario("R02", "R21", requires=["restart"])
def a_torn_target_says_so(world: World) -> None:
    """A resynchronisation that cannot go on: the set's page and every read say INCONSISTENT."""
    fill(world, "before")
    hold_torn_target(world, [0, 1])
    world.quiesce()
    assert world.read_says_inconsistent(0)
    assert world.flags(0, "source") & SourceFlag.RESYNC
    assert world.read(1, 1) == world.data("before1/1:1")        # the source is as ever
    world.hold(False)
    world.wait_in_step()
    assert not world.read_says_inconsistent(0)
    world.check_settled()


@scenario("R21", "R22", requires=["restart"])
def a_set_that_is_whole_is_not_marked_for_another(world: World) -> None:
    """Reads are marked by the set of their volume, as far as its data have said which it is: not
    for another one's resynchronisation, and never too seldom."""
    fill(world, "before")
    assert world.assign(4, 2) is Code.OK
    places = [(0, 0), (3, 1), (4, 2)]       # a volume of each set
    hold_torn_target(world, [s for _, s in places])
    spared = False
    for _ in range(400):
        world.hold(False)
        for _ in range(5):
            world.pass_time()
        world.hold(True)
        marked = [world.read_says_inconsistent(volume) for volume, _ in places]
        torn = [bool(world.flags(s, "target") & TargetFlag.INCONSISTENT) for _, s in places]
        assert all(mark or not is_torn for mark, is_torn in zip(marked, torn, strict=True))
        spared |= any(torn) and not all(marked)
        if not any(torn):
            break
    assert spared
    world.hold(False)
    world.wait_in_step()
    assert not any(map(world.read_says_inconsistent, range(world.geometry.volumes)))
    world.check_settled()


@scenario("R02", "R21", requires=["restart"])
def a_source_that_keeps_its_memory_sends_everything_again(world: World) -> None:
    """What was pending is forgotten as such but not lost; volumes are connected again."""
    fill(world, "before")
    world.cut_all()
    world.write(world.chain(1, [1, 2, 3], "pending"), resume=True)
    assert world.write(world.chain(1, [2], "collides")).code is Code.COLLISION
    image = world.image("source")
    chains = world.chains(0)
    world.restart("source", keep=True)
    assert world.image("source") == image
    assert world.chains(0) == chains
    world.oracle()
    answer = world.write(world.chain(1, [2], "collides no more"), resume=True)
    assert (answer.code, answer.number) == (Code.OK, chains + 1)
    world.restore_all()
    watch(world, 6)
    world.wait_in_step()
    world.check_settled()
    assert resyncs(world) >= 2
    assert world.counter(Counter.RECOVERIES) >= 1


@scenario("R02", "R21", requires=["restart"])
def a_source_that_lost_its_memory_is_followed_all_the_same(world: World) -> None:
    """Both sides become what the source now has: blank, and then what is written."""
    fill(world, "before")
    world.assign(4, 2)
    world.restart("source", keep=False)
    world.write(world.chain(0, [1], "after"), resume=True)
    watch(world, 6)
    world.wait_in_step()
    world.check_settled()
    g = world.geometry
    assert world.image("source").count(0) >= g.image_bytes - g.track_bytes
    assert world.counter(Counter.RECOVERIES) == 0


@scenario("R21", requires=["restart", "midway"])
def a_source_reset_in_the_middle_of_a_commit(world: World) -> None:
    """The chain was complete, so it is there, whole, after the reset."""
    fill(world, "before")
    for turn in range(3):
        chain = world.chain(turn, [40, 41, 42, 43], f"{turn}") + world.chain(turn, [41], "again")
        assert world.restart_in_commit("source", chain)
        assert world.read(turn, 41) == world.data(f"again/{turn}:41")
        assert world.read(turn, 43) == world.data(f"{turn}/{turn}:43")
        watch(world, 4)
    world.wait_in_step()
    world.check_settled()


@scenario("R21", "R11", requires=["restart"])
def a_source_reset_in_the_middle_of_a_chain(world: World) -> None:
    """Not all of its data had come: nothing of it is there."""
    fill(world, "before")
    before = world.image("source")
    world.raw_frame(Type.CHAIN, entries((0, 1), (0, 2)), tag=TAG, count=2, expect=False)
    world.raw_frame(Type.WRITE, world.data("half"), tag=TAG, index=0, expect=False)
    world.restart("source", keep=True)
    assert world.image("source") == before
    world.wait_in_step()
    assert world.write(world.chain(0, [1], "whole"), resume=True).code in (Code.OK, Code.COLLISION)
    world.check_settled()


@scenario("R02", "R21", requires=["restart"])
def both_sides_lose_their_memory(world: World) -> None:
    fill(world, "before")
    world.restart("source", keep=False)
    world.restart("target", keep=False)
    world.wait_in_step()
    world.write(world.chain(0, [1, 2], "after"), resume=True)
    world.oracle()
    world.check_settled()


@scenario("R02", "R21", requires=["restart"])
def a_resynchronisation_that_is_interrupted_begins_again(world: World) -> None:
    """By cut links, by further resets of either side: it ends when they do."""
    fill(world, "before")
    for turn in range(4):
        world.restart("target", keep=turn % 2 == 1)
        for _ in range(10 + 20 * turn):
            world.pass_time()
        world.cut_all()
        world.write(world.chain(turn, [40 + turn], f"{turn}"), resume=True)
        world.oracle()
        world.quiesce()
        world.restore_all()
        watch(world, 2)
    world.restart("source", keep=True)
    watch(world, 10)
    world.restart("target", keep=False)
    watch(world, 10)
    world.wait_in_step()
    world.check_settled()


@scenario("R03", "R27", requires=["restart"])
def writes_collide_with_a_resynchronisation_as_with_any_group(world: World) -> None:
    fill(world, "before")
    world.restart("target", keep=False)
    for n in range(40):
        world.insist(world.chain(n % 3, [n % 7], f"{n}"), attempts=60)
        world.oracle()
    world.wait_in_step()
    world.check_settled()


@scenario("R17", requires=["restart"])
def no_volume_moves_during_a_resynchronisation(world: World) -> None:
    fill(world, "before")
    world.cut_all()
    world.quiesce()
    world.restart("source", keep=True)
    assert world.assign(4, 2) is Code.SET_BUSY      # the target has not been heard of
    world.restore_all()
    world.wait_in_step()
    world.settle()
    assert world.assign(4, 2) is Code.OK
    world.write(world.chain(4, [5], "moved"))
    world.oracle()
    world.restart("target", keep=False)
    world.wait_in_step()
    world.check_settled()
    assert world.read(4, 5, side="target") == world.data("moved/4:5")


@scenario("R17", "R21", requires=["restart"])
def a_moved_volume_is_resynchronised_with_its_new_set(world: World) -> None:
    """A set that never sent anything gets a volume that others wrote: a target that lost its
    memory must not take the set for blank."""
    fill(world, "before")
    assert world.assign(4, 2) is Code.OK
    world.restart("target", keep=False)
    world.wait_in_step()
    world.oracle()
    world.check_settled()
    assert world.read(4, 21, side="target") == world.data("before1/4:21")


@scenario("R28", "R09")
def an_orderly_run_sends_nothing_twice(world: World) -> None:
    """No storm: without faults every track is handed to a link once, and no group again."""
    for n in range(12):
        world.insist(world.chain(n % 3, range(n % 4, n % 4 + 3), f"{n}"))
        world.insist(world.chain(3, [n % 5], f"{n}"))
        world.destage(0)
    world.settle()
    world.hold(True)                # several groups, acknowledged one after the other
    for n in range(3):
        world.write(world.chain(0, range(5 * n, 5 * n + 5), f"held{n}"))
        world.destage(0)
    world.quiesce()
    assert in_flight(world, 0) > 1
    world.hold(False)
    world.check_settled()
    assert world.counter(Counter.GROUP_RESENDS) == 0
    assert world.counter(Counter.DISPATCHES) == world.counter(Counter.GROUP_TRACKS)
    assert in_flight(world, 0) == 0


@scenario("R23", "R28")
def a_group_sent_again_grows_by_nothing(world: World) -> None:
    """What was written since stays out of a group that a time-out sends again: its number stands
    for one content."""
    world.hold(True)
    world.write(world.chain(0, range(3), "early"))
    world.destage(0)
    world.quiesce()
    world.write(world.chain(1, [7], "late"))
    world.set_timeout(True)
    world.wait_until(lambda: world.counter(Counter.GROUP_RESENDS) >= 1, "a time-out")
    assert world.page(0)[SetWord.UNSENT] == 1
    world.hold(False)
    world.wait_until(lambda: in_flight(world, 0) == 0, "the group commits")
    world.set_timeout(False)
    world.quiesce()
    assert world.page(0)[SetWord.UNSENT] == 1
    assert world.oracle().sets[0].lag_chains == 1
    world.check_settled()


@scenario("R22", "R14")
def duplicates_do_not_make_a_group_whole(world: World) -> None:
    """Time-outs send large groups again while parts of them are still lost on the way."""
    world.set_timeout(True)
    for turn in range(2):
        for link in range(world.geometry.links):
            world.disturb(link, loss=0.3)
        for n in range(2):
            world.insist(world.chain(n, range(5 * turn, 5 * turn + 5), f"{turn}.{n}"))
        world.destage(0)
        for _ in range(8):
            world.pass_time()
            world.cut(0)
            world.quiesce()
            world.restore(0)
            world.oracle()
        for link in range(world.geometry.links):
            world.disturb(link)
        world.settle()
    world.set_timeout(False)
    world.check_settled()


@scenario("R21", "R22", requires=["restart", "late"])
def late_frames_of_a_former_life_are_not_heard(world: World) -> None:
    """The source loses its memory while its frames are under way on a slow link. Those must not
    count once its new life has begun on a fast one, under the same epoch and numbers."""
    slow = world.geometry.links - 1
    for n in range(2):              # what the new life's first groups will blank
        world.write(world.chain(0, [n, n + 3, n + 5], f"{n}"))
        world.settle()
    for link in range(slow):
        world.cut(link)
    world.write(world.chain(0, [2], "2"))
    world.destage(0)
    world.wait_until(lambda: world.acked(0), "the slow link carries everything")
    world.write(world.chain(0, range(45, 50), "former life"))
    world.delay(slow)
    world.destage(0)
    for _ in range(20):
        world.pass_time()           # until all of it is on the line
    world.restart("source", keep=False)
    world.hold(True)                # so that the new life's first groups stay in flight
    for link in range(slow):
        world.restore(link)
    world.wait_until(lambda: bool(world.flags(0, "source") & SourceFlag.RUNNING),
                     "the new life begins")
    for link in range(slow):
        world.cut(link)
    world.delay(slow, late=False)
    world.quiesce()
    world.hold(False)
    for link in range(slow):
        world.restore(link)
    for _ in range(10):
        world.oracle()
        world.pass_time()
    world.check_settled()
