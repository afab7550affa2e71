"""The world of the reference model: time is a seeded choice among the events that can happen."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from firmware_model.geometry import Geometry
from firmware_model.hostport import HostPort
from firmware_model.mutations import Mutation
from firmware_model.system import Event, Kind, System
from firmware_model.wire import Code, LinkCounter, ReadFlag, Reg, SetWord, Type

from .world import GEOMETRY, ChainAnswer, Command, Reconnect, Side, Submission, World

LAZY, RANDOM, EAGER = "lazy", "random", "eager"
MOODS = (LAZY, RANDOM, EAGER)

BOUND = 20_000      # events in one wait: far above any scenario, so a loop shows as a failure


class ModelWorld(World):
    """A :class:`World` on :class:`firmware_model.system.System`.

    Parameters
    ----------
    geometry : Geometry
    seed : int
        Of everything that chance decides.
    mood : str
        What happens between two calls: nothing (LAZY), a few events (RANDOM), or everything that
        can (EAGER). Scenarios must hold in every mood.
    mutations : collection of Mutation
    checked : bool
        Check the invariants after every event.
    """

    supports = frozenset({"occupy", "session", "restart", "midway", "late"})

    def __init__(self, geometry: Geometry = GEOMETRY, *, seed: int = 0, mood: str = RANDOM,
                 mutations: Collection[Mutation] = (), checked: bool = True) -> None:
        super().__init__(geometry)
        self.system = System(geometry, mutations=mutations, checked=checked)
        self.random = random.Random(seed)
        self.mood = mood
        self._tag = 0
        self._submissions: dict[int, Submission] = {}
        self._raw: dict[tuple[Side, int], Code] = {}
        self._poll = self._timeout = False
        self._disturbed = [(0.0, 0.0)] * geometry.links
        self._late = [False] * geometry.links

    # -- events ------------------------------------------------------------------------------

    def _side(self, side: Side) -> HostPort:
        return self.system.source if side == "source" else self.system.target

    def _choose(self) -> bool:
        """Let one progress event happen; False if there is none."""
        events = [e for e in self.system.enabled_events() if not self._silenced(e)]
        if not events:
            return False
        self.system.step(self._fate(self.random.choice(events)))
        self._collect()
        return True

    def _silenced(self, event: Event) -> bool:
        if event.link >= 0 and self._late[event.link]:
            return event.kind in (Kind.ARRIVE, Kind.ARRIVE_BACK, Kind.SESSION_LOST,
                                  Kind.SESSION_UP)
        return (event.kind in (Kind.ARRIVE, Kind.ARRIVE_BACK)
                and self._disturbed[event.link][0] >= 1.0)

    def _fate(self, event: Event) -> Event:
        """On a disturbed link an arrival may become something else."""
        if event.kind not in (Kind.ARRIVE, Kind.ARRIVE_BACK):
            return event
        loss, errors = self._disturbed[event.link]
        damage = 1 - (1 - errors) ** (self.geometry.track_bytes + 16)
        if self.random.random() < loss:
            lost = Kind.LOSE if event.kind is Kind.ARRIVE else Kind.LOSE_BACK
            return event._replace(kind=lost)
        if self.random.random() < damage:
            hurt = Kind.CORRUPT if event.kind is Kind.ARRIVE else Kind.LOSE_BACK
            return event._replace(kind=hurt)
        return event

    def _collect(self) -> None:
        for side in ("source", "target"):
            for answer in self._side(side).take_answers():
                fields = answer.fields
                if answer.type is Type.RECONNECT:
                    self.reconnects.append(
                        Reconnect(fields["volume"], fields["track"], fields["clocks"]))
                    continue
                tag = fields["tag"]
                submission = self._submissions.pop(tag, None) if side == "source" else None
                if submission is not None and answer.type is Type.CHAIN_STATUS:
                    self.record(submission, ChainAnswer(answer.code, fields["set"],
                                                        fields["detail"]))
                else:
                    self._raw.setdefault((side, tag), answer.code)

    def _between(self) -> None:
        """What happens by itself after a call."""
        self._collect()
        if self.mood == EAGER:
            self._exhaust()
        elif self.mood == RANDOM:
            self._polls()
            for _ in range(self.random.randrange(6)):
                self._choose()

    def _polls(self) -> None:
        if self._poll:
            for event in self.system.enabled_events({Kind.POLL}):
                self.system.step(event)

    def _exhaust(self) -> None:
        self._polls()
        for _ in range(BOUND):
            if not self._choose():
                return
        raise AssertionError(f"no end after {BOUND} events")

    def pass_time(self) -> None:
        self._polls()
        if not self._choose():
            self._time_out()

    def _time_out(self) -> None:
        if self._timeout:
            for event in self.system.enabled_events({Kind.TIMEOUT}):
                self.system.step(event)

    def quiesce(self) -> None:
        self._exhaust()
        self._time_out()
        self._exhaust()

    def watch_commits(self) -> None:
        """Judge the target after every chain that commits there, by what really happened."""
        system = self.system

        def judge_now(set_: int, number: int) -> None:
            verdict = system.target_verdict()
            assert verdict.consistent, f"after chain {number} of set {set_}:\n{verdict}"
            for found in verdict.sets:
                assert found.agrees(system.target.pages[found.set].chains)

        system.commit_listeners.append(judge_now)

    # -- host --------------------------------------------------------------------------------

    def submit(self, commands: Sequence[Command], *, resume: bool = False) -> Submission:
        self._tag = self._tag % 0xFE00 + 1
        submission = Submission(tuple(commands))
        self._submissions[self._tag] = submission
        self.system.submit(commands, resume=resume, tag=self._tag)
        self._between()
        return submission

    def result(self, submission: Submission) -> ChainAnswer:
        assert submission.answer is not None, "a chain was not answered at all"
        return submission.answer

    def read(self, volume: int, track: int, count: int = 1, side: Side = "source") -> bytes:
        self._between()
        port = self._side(side)
        return b"".join(port.read_track(volume, t) for t in range(track, track + count))

    def set_volume(self, volume: int, set_: int) -> Code:
        self._between()
        return self.system.assign(volume, set_)

    def register(self, address: int, side: Side = "source") -> int:
        self._between()
        value = self._side(side).read_register(address)
        assert value is not None, f"no register {address:#06x}"
        return value

    def page(self, set_: int, side: Side = "source") -> dict[SetWord, int]:
        words = self._side(side).page_words(set_)
        return {word: words.get(word, 0) for word in SetWord if word < SetWord.GROUP}

    def link_counter(self, link: int, counter: LinkCounter, side: Side = "source") -> int:
        return self._side(side).link_counters[link][counter]

    def raw_frame(self, type_: int, payload: bytes = b"", *, header: bytes | None = None,
                  side: Side = "source", expect: bool = True, **fields: int) -> Code | None:
        tag = fields.get("tag", 0) if header is None else header[0] | header[1] << 8
        self._raw.pop((side, tag), None)
        self._side(side).host(type_, payload, header, **fields)
        self._between()
        return self.raw_answer(tag, side) if expect else None

    def raw_answer(self, tag: int, side: Side = "source") -> Code:
        self._collect()
        assert (side, tag) in self._raw, f"no answer to the frame with tag {tag:#06x}"
        return self._raw.pop((side, tag))

    # -- control -----------------------------------------------------------------------------

    def set_poll(self, enabled: bool) -> None:
        self._poll = enabled
        self._between()

    def set_timeout(self, enabled: bool) -> None:
        self._timeout = enabled

    def destage(self, set_: int) -> None:
        assert self.system.source.write_register(Reg.DESTAGE, 1 << set_) is Code.OK
        self._between()

    def set_hold(self, held: bool) -> None:
        self.system.hold(held)

    # -- links -------------------------------------------------------------------------------

    def cut(self, link: int, *, to_target: bool = True, to_source: bool = True) -> None:
        self.system.cut_link(link, to_target=to_target, to_source=to_source)
        self._between()

    def restore(self, link: int) -> None:
        self.system.restore_link(link)
        self._between()

    def disturb(self, link: int, *, loss: float = 0.0, errors: float = 0.0) -> None:
        self._disturbed[link] = (loss, errors)

    def image(self, side: Side) -> bytes:
        return self._side(side).image()

    def occupy_slots(self, count: int) -> None:
        free = self.system.source.free
        self.system.checked = False         # slots are missing from now on, on purpose
        while len(free) > count:
            free.pop()

    def host_session(self) -> None:
        self.system.source.host_session()

    # -- restarts ----------------------------------------------------------------------------

    def reset(self, side: Side, *, keep: bool) -> None:
        self._collect()
        kinds = {("source", True): Kind.SOURCE_WARM, ("source", False): Kind.SOURCE_COLD,
                 ("target", True): Kind.TARGET_WARM, ("target", False): Kind.TARGET_COLD}
        self.system.step(Event(kinds[side, keep]))
        if side == "source":
            self._submissions.clear()
        self._between()

    def restart_in_commit(self, side: Side, commands: Sequence[Command] = ()) -> bool:
        self.restarted = True
        self._collect()
        if side == "source":
            before = self.system.source.pages[self.history.assignment[commands[0][0]]].chains
            self.system.write_and_reset(commands, self.random.randrange(len(commands) + 1))
            set_ = self.history.assignment[commands[0][0]]
            self.history.advance(set_, before)
            self.history.commit(set_, commands, number=before + 1)
        else:
            self.held = False
            self.set_hold(False)
            events = [e for e in self.system.enabled_events({Kind.TARGET_WARM}) if e.set >= 0]
            if not events:
                return False
            self.system.step(self.random.choice(events))
        self._between()
        return True

    def delay(self, link: int, *, late: bool = True) -> None:
        self._late[link] = late
        self._between()

    def read_says_inconsistent(self, volume: int) -> bool:
        self._between()
        return bool(self.system.target.read_flags(volume) & ReadFlag.INCONSISTENT)


