"""Scenarios of the links, the packet sequencer and the target: Fig. 5 and the worked examples."""

from __future__ import annotations

from firmware_model.wire import Code, Counter, LinkCounter, SetWord

from .world import World, scenario


def in_flight(world: World, set_: int) -> int:
    """Groups of the set that are cut and not yet known to be committed."""
    page = world.page(set_)
    return (page[SetWord.NEXT] - 1 - page[SetWord.DONE]) & 0xFFFF


def watch(world: World, steps: int = 12) -> None:
    """Let time pass, with the oracle looking at every turn."""
    for _ in range(steps):
        world.pass_time()
        world.oracle()


@scenario("R10", "R18")
def background_polling_destages_everything(world: World) -> None:
    world.set_poll(True)
    for n in range(6):
        world.insist(world.chain(n % 3, [n, n + 1], f"a{n}"))
        world.insist(world.chain(3 + n % 2, [n], f"b{n}"))
    world.wait_until(lambda: world.acked(0) and world.acked(1), "polling destages all")
    assert world.counter(Counter.POLLS) > 0
    assert world.image("source") == world.image("target")
    world.check_settled()


@scenario("R29", "R07", "R27", "R14")
def the_seeds_three_chains_in_one_set(world: World) -> None:
    """LV1/T2 and LV1/T3; A to LV2/T1; B to LV2/T1 and LV2/T5. All one set."""
    a, b = world.data("A"), world.data("B")
    world.write(world.chain(1, [2, 3], "first"))
    world.write([(2, 1, a)])
    third = [(2, 1, b), *world.chain(2, [5], "third")]
    answer = world.write(third)
    assert answer.code is Code.COLLISION
    assert answer.place == (0, 2, 1)
    world.wait_reconnect(2)
    # With A came what the chain before it wrote.
    assert world.read(2, 1, side="target") == a
    assert world.read(1, 2, 2, side="target") == world.data("first/1:2") + world.data("first/1:3")
    world.oracle()
    assert world.write(third, resume=True).number == 3
    assert world.read(2, 1) == b
    world.quiesce()
    assert world.read(2, 1, side="target") == a
    world.check_settled()


@scenario("R29", "R09", "R17", "R20")
def the_seeds_three_chains_in_two_sets(world: World) -> None:
    """DB1 holds LV2, DB2 holds LV1: a collision in DB1 does not send DB2."""
    assert world.assign(2, 2) is Code.OK
    world.write(world.chain(1, [2, 3], "first"))
    world.write([(2, 1, world.data("A"))])
    third = [(2, 1, world.data("B")), *world.chain(2, [5], "third")]
    assert world.write(third).code is Code.COLLISION
    world.wait_reconnect(2)
    assert world.read(2, 1, side="target") == world.data("A")
    world.quiesce()
    assert world.page(0)[SetWord.UNSENT] == 2
    assert world.read(1, 2, side="target") == bytes(world.geometry.track_bytes)
    assert world.write(third, resume=True).code is Code.OK
    world.oracle()
    world.check_settled()


@scenario("R29", "R01", "R03")
def the_seeds_example_against_simple_delay(world: World) -> None:
    """A to LV1/T1, something to LV4/T2, B to LV1/T1: what a simple delay gets wrong."""
    assert world.assign(0, 2) is Code.OK        # make room in set 0 for LV4
    assert world.assign(4, 0) is Code.OK
    world.write([(1, 1, world.data("A"))])
    world.write([(4, 2, world.data("x"))])
    assert world.write([(1, 1, world.data("B"))]).code is Code.COLLISION
    world.wait_reconnect(1)
    assert world.read(1, 1, side="target") == world.data("A")
    world.oracle()
    assert world.write([(1, 1, world.data("B"))], resume=True).code is Code.OK
    watch(world)
    world.check_settled()


@scenario("R29", "R16", "R18", "R28")
def overlapping_groups_t1_to_t5_then_t50(world: World) -> None:
    """T1 to T5 of LV1 are in flight as one group when T50 collides: a second group of the same
    set overlaps the first, and holds only what was written since."""
    world.cut_all()
    for track in range(1, 6):
        world.write(world.chain(1, [track], "early"))
    world.destage(0)
    world.quiesce()
    assert in_flight(world, 0) == 1
    assert world.page(0)[SetWord.UNSENT] == 0
    world.write(world.chain(2, [50], "late"))
    world.write(world.chain(1, [50], "late"))
    assert world.write(world.chain(1, [50], "again")).code is Code.COLLISION
    world.quiesce()
    assert in_flight(world, 0) == 2
    world.restore_all()
    world.wait_reconnect(1)
    assert world.read(1, 50, side="target") == world.data("late/1:50")
    assert world.chains(0, "target") == 7
    assert world.counter(Counter.GROUPS) == 2
    assert world.counter(Counter.GROUP_TRACKS) == 7
    assert world.write(world.chain(1, [50], "again"), resume=True).code is Code.OK
    world.check_settled()


@scenario("R27", "R28")
def a_collision_in_flight_sends_nothing_twice(world: World) -> None:
    """The colliding track is in a packet already: the volume waits for that packet, and the rest
    of the set is left alone."""
    world.cut_all()
    world.write(world.chain(1, [1], "a"))
    world.destage(0)
    world.quiesce()
    world.write(world.chain(0, [2], "b"))
    assert world.write(world.chain(1, [1], "c")).code is Code.COLLISION
    world.quiesce()
    assert in_flight(world, 0) == 1
    assert world.page(0)[SetWord.UNSENT] == 1
    world.restore_all()
    world.wait_reconnect(1)
    world.quiesce()
    assert world.page(0)[SetWord.UNSENT] == 1
    assert world.read(0, 2, side="target") == bytes(world.geometry.track_bytes)
    assert world.write(world.chain(1, [1], "c"), resume=True).code is Code.OK
    world.check_settled()


@scenario("R27", "R28")
def a_volume_waits_for_the_group_that_holds_its_track(world: World) -> None:
    """The track is still unsent, for want of staging; an older group of the same volume commits
    first. That is no reason to reconnect."""
    world.cut_all()
    world.write(world.chain(1, range(5), "early"))
    world.destage(0)
    for n in range(3):
        world.write(world.chain(3, range(5 * n, 5 * n + 5), "other set"))
    world.destage(1)
    world.quiesce()
    world.write(world.chain(1, range(45, 50), "late"))
    assert world.write(world.chain(1, [47], "again")).code is Code.COLLISION
    world.quiesce()
    assert world.page(0)[SetWord.UNSENT] == 5       # the target has no room for it yet
    world.restore_all()
    world.wait_reconnect(1)
    assert world.write(world.chain(1, [47], "again"), resume=True).code is Code.OK
    assert world.chains(0, "target") == 2
    world.check_settled()


@scenario("R18", "R19", "R28")
def groups_in_flight_are_limited(world: World) -> None:
    most = world.geometry.groups_in_flight
    world.cut_all()
    for n in range(most + 1):
        world.write(world.chain(n % 3, [n], "a"))
        world.destage(0)
        world.quiesce()
    assert in_flight(world, 0) == most
    assert world.page(0)[SetWord.UNSENT] == 1
    world.write(world.chain(3, [1], "other set"))       # which has its own count
    world.destage(1)
    world.quiesce()
    assert in_flight(world, 1) == 1
    world.restore_all()
    watch(world)
    world.check_settled()
    assert world.counter(Counter.GROUPS, "target") == most + 2


@scenario("R02", "R13", "R14", "R15", "R19")
def links_share_the_load_and_reorder(world: World) -> None:
    """Tracks of one volume travel on all links at once; with losses they arrive in any order,
    and still commit in that of the order packets."""
    for link in range(world.geometry.links):
        world.disturb(link, loss=0.3)
    for turn in range(4):
        for n in range(3):
            world.insist(world.chain(1, range(4 * n, 4 * n + 4), f"{turn}.{n}"))
            world.insist(world.chain(3, [n], f"{turn}.{n}"))
        world.destage(0)
        world.destage(1)
        watch(world, 4)
    for link in range(world.geometry.links):
        world.disturb(link)
    world.check_settled()
    for link in range(world.geometry.links):
        assert world.link_counter(link, LinkCounter.FRAMES_SENT) > 0, f"link {link} was not used"


@scenario("R14", "R18", "R19")
def groups_commit_in_sequence_whatever_arrives_first(world: World) -> None:
    """A large group and then small ones of the same set, over links that lose every other frame:
    the small ones are whole first, and wait."""
    for turn in range(3):
        world.cut_all()
        world.quiesce()
        world.write(world.chain(0, range(10 * turn, 10 * turn + 5), "large"), resume=True)
        world.write(world.chain(1, range(10 * turn, 10 * turn + 5), "large"))
        world.destage(0)
        world.quiesce()
        for n in range(3):
            world.write(world.chain(2, [10 * turn + n], "small"))
            world.destage(0)
            world.quiesce()
        assert in_flight(world, 0) == 4
        for link in range(world.geometry.links):
            world.disturb(link, loss=0.5)
        world.restore_all()
        watch(world, 15)
        for link in range(world.geometry.links):
            world.disturb(link)
        world.check_settled()


@scenario("R21")
def a_chain_becomes_visible_whole(world: World) -> None:
    world.set_poll(True)
    for n in range(6):
        world.insist(world.chain(n % 3, range(5), f"{n}"))
        watch(world, 3)
    world.check_settled()
    assert world.counter(Counter.CHAINS, "target") == 6


@scenario("R21", "R28")
def held_commits_wait_and_then_go_on(world: World) -> None:
    world.hold(True)
    world.write(world.chain(0, [1, 2], "a"))
    world.write(world.chain(1, [1], "b"))
    world.destage(0)
    world.quiesce()
    assert world.chains(0, "target") == 0
    assert world.image("target") == bytes(world.geometry.image_bytes)
    assert in_flight(world, 0) == 1
    assert world.oracle().sets[0].prefix == 0
    world.hold(False)
    world.wait_until(lambda: world.acked(0), "the group commits")
    assert world.chains(0, "target") == 2           # two chains, not one large one
    world.check_settled()


@scenario("R23", "R28")
def a_time_out_sends_the_same_group_again(world: World) -> None:
    world.hold(True)
    world.set_timeout(True)
    epoch = world.page(0)[SetWord.EPOCH]
    world.write(world.chain(0, range(5), "a"))
    world.write(world.chain(1, [1], "b"))
    world.destage(0)
    world.wait_until(lambda: world.counter(Counter.GROUP_RESENDS) >= 1, "a time-out")
    epoch = world.page(0)[SetWord.EPOCH]
    world.wait_until(lambda: world.counter(Counter.GROUP_RESENDS) >= 2, "two time-outs")
    world.wait_until(lambda: world.counter(Counter.DUPLICATES, "target") >= 6, "all again")
    page = world.page(0)
    assert page[SetWord.EPOCH] == epoch
    assert page[SetWord.NEXT] == 2                  # no new number for the same group
    world.hold(False)
    world.wait_until(lambda: world.acked(0), "the group commits")
    world.set_timeout(False)
    world.check_settled()
    assert world.counter(Counter.CHAINS, "target") == 2


@scenario("R23", "R22")
def a_group_sent_again_while_it_commits(world: World) -> None:
    """Commits are held now and then inside a group, while time-outs send it again: no track of it
    is staged a second time, and none is left over for the next group."""
    world.set_timeout(True)
    for turn in range(6):
        for track in range(4):
            world.insist(world.chain(1, [track], f"{turn}"))
        world.destage(0)
        for _ in range(6):
            world.pass_time()
            world.hold(True)
            world.quiesce()
            world.hold(False)
    world.set_timeout(False)
    world.check_settled()
    assert world.counter(Counter.CHAINS, "target") == 24


@scenario("R23", "R28")
def lost_commit_status_costs_nothing_but_time(world: World) -> None:
    """The target has committed, but its status cannot come back: the source keeps the group, sends
    it again, and the target answers again without committing twice."""
    world.hold(True)
    world.write(world.chain(1, [1, 2], "a"))
    world.destage(0)
    world.quiesce()
    for link in range(world.geometry.links):
        world.cut(link, to_target=False)
    world.hold(False)
    world.wait_until(lambda: world.chains(0, "target") == 1, "the group commits")
    world.quiesce()
    assert in_flight(world, 0) == 1
    assert world.write(world.chain(1, [1], "b")).code is Code.COLLISION
    world.oracle()
    world.restore_all()
    world.wait_reconnect(1)
    assert world.chains(0, "target") == 1
    assert world.write(world.chain(1, [1], "b"), resume=True).code is Code.OK
    world.check_settled()
    assert world.counter(Counter.CHAINS, "target") == 2


@scenario("R22", "R14")
def damaged_frames_are_sent_again(world: World) -> None:
    for link in range(world.geometry.links):
        world.disturb(link, errors=0.01)
    world.set_poll(True)
    for n in range(12):
        world.insist(world.chain(n % 3, range(n % 4, n % 4 + 3), f"{n}"))
        world.insist(world.chain(3, [n % 5], f"{n}"))
        world.oracle()
    world.settle()
    bad = sum(world.link_counter(link, LinkCounter.BAD_FRAMES, side)
              for link in range(world.geometry.links) for side in ("source", "target"))
    assert bad > 0, "no frame was damaged: the scenario shows nothing"
    for link in range(world.geometry.links):
        world.disturb(link)
    world.check_settled()


@scenario("R12")
def pending_data_outlives_the_turnover_of_the_cache(world: World) -> None:
    """More writes than there are spare slots, while a group is in flight: its slots are the only
    copy, and nothing may be written over them."""
    world.cut_all()
    world.write(world.chain(1, range(5), "in flight"))
    world.destage(0)
    world.quiesce()
    for n in range(4):
        world.write(world.chain(0, range(5 * n, 5 * n + 5), "later"))
        world.write(world.chain(3, range(5 * n, 5 * n + 5), "later"))
    for track in range(5):
        assert world.read(1, track) == world.data(f"in flight/1:{track}")
    world.restore_all()
    watch(world)
    world.check_settled()
    for track in range(5):
        assert world.read(1, track, side="target") == world.data(f"in flight/1:{track}")


@scenario("R02", "R21")
def links_cut_in_the_middle(world: World) -> None:
    """All links go down while groups are under way; the target is some prefix, then and after."""
    world.set_poll(True)
    for turn in range(3):
        for n in range(4):
            world.insist(world.chain(n % 3, [n, n + 10 * turn + 5], f"{turn}.{n}"))
        world.cut_all()
        world.oracle()
        for n in range(3):
            world.write(world.chain(3 + n % 2, [20 + n + 5 * turn], f"{turn}.{n}"), resume=True)
        world.quiesce()
        world.oracle()
        world.restore_all()
        watch(world, 5)
    world.check_settled()


@scenario("R15", "R28")
def one_link_is_enough(world: World) -> None:
    """With all links but one cut, everything goes over that one: each set's packets too, wherever
    their own link is, and a disconnected volume reconnects (I9)."""
    # Both links carry something first: a round trip that was measured is a better measure of when
    # to give a link up than what is assumed before.
    for n in range(2 * world.geometry.links):
        world.write(world.chain(n % 3, [40 + n], "measure"))
    world.settle()
    for survivor in range(world.geometry.links):
        world.restore(survivor)
        for link in range(world.geometry.links):
            if link != survivor:
                world.cut(link)
        world.quiesce()
        for set_, volume in ((0, 1), (1, 3)):
            for n in range(3):
                world.insist(world.chain(volume, [1, 2], f"{survivor}.{set_}.{n}"))
        world.oracle()
    world.restore_all()
    world.check_settled()
    assert world.counter(Counter.RECONNECTS) >= 4


@scenario("R19", "R20")
def sets_do_not_wait_for_each_other(world: World) -> None:
    """Set 0 is fenced, disconnected, and has all its groups in flight; set 1 goes on."""
    world.cut_all()
    for n in range(world.geometry.groups_in_flight):
        world.write(world.chain(1, [n], "a"))
        world.destage(0)
        world.quiesce()
    assert world.write(world.chain(1, [0], "b")).code is Code.COLLISION
    assert world.write(world.chain(0, [0], "b")).code is Code.FENCED
    for n in range(3):
        answer = world.write(world.chain(3, [n], "c"))
        assert (answer.code, answer.set, answer.number) == (Code.OK, 1, n + 1)
    world.destage(1)
    world.quiesce()
    assert in_flight(world, 1) == 1
    world.hold(True)
    world.restore_all()
    world.quiesce()
    world.hold(False)
    watch(world)
    world.wait_reconnect(1)
    world.insist(world.chain(1, [0], "b"))
    world.check_settled()
