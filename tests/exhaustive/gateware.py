"""A fraction of the small worlds on the gateware: faults at every so many clocks.

The programs are those of :mod:`tests.exhaustive.worlds`; an event is a clock here, and there are
too many. For each program and schedule the undisturbed run is the trunk, and at every ``every``-th
clock of it one fault strikes, each kind in its turn. So one in ``every * len(KINDS)`` of all that
could be played is played, and another one with another ``turn``.

What is judged is the same: the target shows, for every set that does not say that it is
inconsistent, the very state that the source had after as many chains, not older than
acknowledged; the source's states differ by whole chains of the program; in the end both sides are
one. The oracle looks at the model's memories in the clock in which a number of chains changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_model import channel
from firmware_model.mutations import Mutation
from firmware_model.wire import Channel, Code, SetWord, TargetFlag
from hdl.recovery import CHAIN_RECORD, LIFE_ADDRESS
from host_tools.errors import FarsideError
from host_tools.trials.plan import GEOMETRIES
from sim.native import Side
from tests.gateware.native import NativeWorld
from tests.scenarios.world import RETRIED, ChainAnswer, Command, Submission

from .worlds import Program, Violation

GEOMETRY = GEOMETRIES["pair"]       # compiled for the campaigns as well
SETS = (0, 1)                       # a volume each
LIMIT = 6_000_000                   # clocks of one world: twenty times the longest
OVERTAKEN = 40                      # ticks by which the first link is slower in one schedule

ALWAYS = channel.CHANCE_MAX
SHORT = 2_500                       # clocks: a frame and some

# What strikes: a link, a register of its channel, and for how long (None: to the end); or a reset,
# and whether the memory is lost.
KINDS: dict[str, tuple[int, Channel, int, int | None] | tuple[Side, bool]] = {
    **{f"{what}, link {link}": (link, register, value, clocks)
       for link in range(GEOMETRY.links) for what, register, value, clocks in (
           ("a frame lost", Channel.FRAME_LOSS, ALWAYS, SHORT),
           ("a frame damaged", Channel.BYTE_ERROR, ALWAYS, SHORT),
           ("a frame repeated", Channel.FRAME_REPEAT, ALWAYS, SHORT),
           ("cut", Channel.CONTROL, 3, None))},
    "the source is reset": (Side.SOURCE, False),
    "the source loses its memory": (Side.SOURCE, True),
    "the target is reset": (Side.TARGET, False),
    "the target loses its memory": (Side.TARGET, True),
}
SCHEDULES = ("one_by_one", "all_at_once", "many_in_flight", "overtaken")


@dataclass(frozen=True)
class Strike:
    kind: str
    clock: int

    def __str__(self) -> str:
        return f"{self.kind} at clock {self.clock}"


@dataclass
class Tally:
    """What was done."""

    trunks: int = 0
    worlds: int = 0
    clocks: int = 0
    trunk_clocks: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.trunks += other.trunks
        self.worlds += other.worlds
        self.clocks += other.clocks
        self.trunk_clocks += other.trunk_clocks
        self.kinds.update(other.kinds)

    def said(self) -> str:
        return (f"{self.worlds} faults in trunks of {self.trunk_clocks} clocks, "
                f"{self.clocks / 1e6:.0f} million clocks in all")

    def as_json(self) -> dict[str, object]:
        return {"faults": self.worlds, "clocks": self.clocks, "trunk_clocks": self.trunk_clocks,
                "kinds": self.kinds}


def writes(program: Program, number: int) -> list[Command]:
    """Chain ``number`` of a program; its volume is its set."""
    volume, tracks = program[number]
    return [(volume, t, f"{number}.{t}".encode().ljust(GEOMETRY.track_bytes, b"."))
            for t in tracks]


class Oracle:
    """Knows every state that the source has had, by the number of its chains, and holds the
    target against it."""

    def __init__(self, world: SmallWorld, program: Program) -> None:
        self._world = world
        self._chains = [[writes(program, n) for n, (set_, _) in enumerate(program) if set_ == s]
                        for s in SETS]
        self._states: list[dict[int, bytes]] = []
        self.forget()

    def forget(self) -> None:
        """The source has lost its memory."""
        blank = bytes(GEOMETRY.tracks_per_volume * GEOMETRY.track_bytes)
        self._states = [{0: blank} for _ in SETS]

    def _part(self, image: bytes, set_: int) -> bytes:
        size = GEOMETRY.tracks_per_volume * GEOMETRY.track_bytes
        return image[set_ * size:(set_ + 1) * size]

    def look(self) -> None:
        board = self._world.board
        source, target = board.pages(Side.SOURCE), board.pages(Side.TARGET)
        images = board.image(Side.SOURCE), board.image(Side.TARGET)
        follows = target.word(0, LIFE_ADDRESS) == self._world.life
        for set_ in SETS:
            states, mine = self._states[set_], self._part(images[0], set_)
            chains = source.chains(set_)
            if chains not in states:
                self._learn(set_, chains, mine)
            elif states[chains] != mine and not source.word(set_, CHAIN_RECORD):
                raise AssertionError(f"the source's set {set_} has changed without a chain")
            flags = target.word(set_, SetWord.FLAGS)
            if (not follows or not flags & TargetFlag.FOLLOWING
                    or flags & TargetFlag.INCONSISTENT or target.word(set_, SetWord.TAIL)):
                continue        # in the middle of a commit nothing is served
            count = target.chains(set_)
            if not source.acked(set_) <= count <= chains:
                raise AssertionError(
                    f"the target has {count} chains of set {set_}; {source.acked(set_)} are "
                    f"acknowledged, {chains} committed")
            if self._part(images[1], set_) != states[count]:
                raise AssertionError(f"the target's set {set_} is not what the source had after "
                                     f"{count} chains")

    def _learn(self, set_: int, chains: int, state: bytes) -> None:
        """One chain more: of the program, or one of a resynchronisation, which changes nothing."""
        before = self._states[set_].get(chains - 1)
        assert before is not None, f"the source's chains of set {set_} went up to {chains} at once"
        size = GEOMETRY.track_bytes
        expected = [before]
        for chain in self._chains[set_]:
            after = bytearray(before)
            for _, track, data in chain:
                after[track * size:(track + 1) * size] = data
            expected.append(bytes(after))
        assert state in expected, f"chain {chains} of set {set_} is not whole at the source"
        self._states[set_][chains] = state


class SmallWorld(NativeWorld):
    """A board on which a program is played, and one fault strikes."""

    def __init__(self, program: Program, mutation: Mutation | None = None) -> None:
        super().__init__(geometry=GEOMETRY, mutation=mutation, limit=LIMIT)
        self.program = program
        self.resets = dict.fromkeys(Side, 0)
        self.truth = Oracle(self, program)
        for volume, set_ in enumerate(SETS[1:], 1):
            assert self.set_volume(volume, set_) is Code.OK
        for side in Side:
            for set_ in SETS:
                self.board.watch(side, set_, SetWord.CHAINS_LOW)
        self._clockwork.look = self.truth.look

    @property
    def life(self) -> int:
        return self.resets[Side.SOURCE] + 1

    # -- faults ------------------------------------------------------------------------------

    def plan(self, strike: Strike) -> None:
        self._clockwork.alarm_at = strike.clock
        self._clockwork.alarm = lambda: self._strike(strike)

    def _strike(self, strike: Strike) -> None:
        what = KINDS[strike.kind]
        if len(what) == 2:
            side, lost = what
            self.board.reset(side, lose_memory=lost)
            self.resets[side] += 1
            if lost and side is Side.SOURCE:
                self.truth.forget()
        else:
            link, register, value, clocks = what
            self.board.poke(link, register, value)
            if clocks is not None:
                self._clockwork.alarm_at = strike.clock + clocks
                self._clockwork.alarm = lambda: self.board.poke(link, register, 0)
        self.truth.look()

    # -- the host ----------------------------------------------------------------------------

    def wait(self, reached: Callable[[], bool]) -> None:
        self._host.wait_until(reached)

    def commit(self, chain: list[Command]) -> None:
        """Write a chain, and write it again until it has committed. Whether one has that was
        under way when the source was reset, nobody knows: it is written again."""
        while not self._committed(chain, *self._begin(chain)):
            pass

    def _begin(self, chain: list[Command]) -> tuple[Submission, int, int]:
        now = len(self.reconnects), self._host.peer.session_count
        return self.submit(chain, resume=True), *now

    def _committed(self, chain: list[Command], submission: Submission, notices: int,
                   session: int) -> bool:
        """Wait for the answer; if it was no, also for the time to try again."""
        volume = chain[0][0]

        def started_over() -> bool:
            return self._host.peer.up and self._host.peer.session_count != session

        self.wait(lambda: self._answered(submission) or started_over())
        answer = submission.answer
        if answer is None:
            return False
        assert answer.code is Code.OK or answer.code in RETRIED, answer.code.name
        if answer.code in (Code.COLLISION, Code.DISCONNECTED):
            self.wait(lambda: started_over() or any(
                notice.volume == volume for notice in self.reconnects[notices:]))
        return answer.code is Code.OK

    def record(self, submission: Submission, answer: ChainAnswer) -> None:
        """The oracle looks for itself."""
        submission.answer = answer

    def play(self, schedule: str) -> None:
        """The host's part."""
        chains = [writes(self.program, n) for n in range(len(self.program))]
        if schedule == "overtaken":
            self.board.poke(0, Channel.DELAY, OVERTAKEN)
        if schedule == "all_at_once":
            begun = [self._begin(chain) for chain in chains]
            for chain, given in zip(chains, begun, strict=True):
                if not self._committed(chain, *given):
                    self.commit(chain)
                self.destage(chain[0][0])
        else:
            for chain in chains:
                self.commit(chain)
                self.destage(chain[0][0])
                if schedule == "one_by_one":
                    self.wait(self._settled)

    def finish(self) -> None:
        """Everything is mended, and both sides become one."""
        for link in range(GEOMETRY.links):
            for register in (Channel.CONTROL, Channel.FRAME_LOSS, Channel.BYTE_ERROR,
                             Channel.FRAME_REPEAT, Channel.DELAY):
                self.board.poke(link, register, 0)
        for set_ in SETS:
            self.destage(set_)
        self.wait(self._settled)
        self.truth.look()
        assert self.board.image(Side.SOURCE) == self.board.image(Side.TARGET), (
            "the two sides differ in the end")

    def _settled(self) -> bool:
        source, target = self.board.pages(Side.SOURCE), self.board.pages(Side.TARGET)
        return target.word(0, LIFE_ADDRESS) == self.life and all(
            source.settled(s) and source.chains(s) == target.chains(s)
            and target.word(s, SetWord.FLAGS) & IN_STEP == TargetFlag.FOLLOWING for s in SETS)


IN_STEP = TargetFlag.FOLLOWING | TargetFlag.INCONSISTENT


def play(program: Program, schedule: str, strike: Strike | None = None,
         mutation: Mutation | None = None) -> tuple[int, int]:
    """One world; the clocks at which its host began and at which all was settled. Raises
    :class:`Violation`."""
    try:
        world = SmallWorld(program, mutation)
        begin = world.clocks()
        if strike is not None:
            world.plan(strike)
        world.play(schedule)
        world.finish()
        end = world.clocks()
    except (AssertionError, FarsideError) as error:
        raise Violation(f"program {program}, schedule {schedule}, {strike}: {error}") from error
    return begin, end


def explore(program: Program, schedule: str, *, every: int, turn: int = 0,
            mutation: Mutation | None = None) -> Tally:
    """The trunk, and at every ``every``-th clock of it a fault: kinds and links in turn, from the
    ``turn``-th. Raises :class:`Violation`."""
    begin, end = play(program, schedule, mutation=mutation)
    tally = Tally(trunks=1, clocks=end, trunk_clocks=end - begin)
    kinds = list(KINDS)
    for number, clock in enumerate(range(begin + turn % every, end, every), turn):
        kind = kinds[number % len(kinds)]
        tally.clocks += play(program, schedule, Strike(kind, clock), mutation)[1]
        tally.worlds += 1
        tally.kinds[kind] += 1
    return tally
