# amaranth: UnusedElaboratable=no, UnusedProperty=no
"""What a proof is made of: an environment, a component, faults put into it, and properties.

A :class:`Bench` is a module around the component under proof. Its free inputs can take any value
in any clock; assumptions narrow that down to what the component's contract allows. There is no
reset: registers begin with their initial values (bounded proofs, and the base of an induction),
or with any value that does not contradict the properties (the step of an induction).

Inner signals that an inductive invariant needs are found by name (:meth:`Part.tap`), so that
components know nothing of their proofs. A name that has gone is an error, not a weaker proof.
"""

from __future__ import annotations

import dataclasses
import re

from amaranth import *
from amaranth.hdl import Assert, Assume, Cover, Fragment
from amaranth.hdl._ast import Assign, Statement, Switch
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["Bench", "Fault", "Forced", "Part", "StuckAt"]


class Fault:
    """A deliberate fault, put into the elaborated component called ``part``."""

    part = "dut"

    def apply(self, part: Part) -> None:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class StuckAt(Fault):
    """An inner signal (``"fifo.level"`` in a submodule) keeps one value whatever drives it."""

    signal: str
    value: int = 0
    part: str = "dut"

    def apply(self, part):
        fragment, signal = part.find(self.signal)
        for domain, statements in fragment.statements.items():
            fragment.statements[domain] = _without(statements, signal)
        fragment.add_statements("comb", signal.eq(self.value))


@dataclasses.dataclass(frozen=True)
class Forced(Fault):
    """A combinational signal has one value while the state machine is in ``state``."""

    signal: str
    value: int
    state: str
    part: str = "dut"

    def apply(self, part):
        fragment, signal = part.find(self.signal)
        machine = fragment.generated["fsm"]
        if self.state not in machine.encoding:
            raise LookupError(f"no state is called {self.state!r}")
        fragment.add_statements("comb", Switch(machine.state, [
            (machine.encoding[self.state], [signal.eq(self.value)], None)]))


def _without(statements, signal):
    """``statements`` without the assignments to ``signal``."""
    kept = []
    for statement in statements:
        if isinstance(statement, Switch):
            statement = Switch(statement.test, [
                (patterns, _without(body, signal), where)
                for patterns, body, where in statement.cases], src_loc=statement.src_loc)
        elif isinstance(statement, Assign) and signal in statement.lhs._lhs_signals():
            if len(statement.lhs._lhs_signals()) > 1:
                raise ValueError(f"{signal.name} is assigned together with others")
            continue
        kept.append(statement)
    return Statement.cast(kept)


def _ports(fragment):
    """Identities of the ports of the components that became ``fragment``."""
    return {id(Value.cast(value))
            for component in fragment.origins or () if isinstance(component, wiring.Component)
            for *_, value in component.signature.flatten(component)}


class Part(Elaboratable):
    """An elaborated component within a bench."""

    def __init__(self, component):
        self.component = component
        self.fragment = Fragment.get(component, None)

    def elaborate(self, platform):
        return self.fragment

    def _fragment(self, path):
        fragment = self.fragment
        for name in path:
            fragment = fragment.find_subfragment(name)
        return fragment

    def find(self, path, *, domain=None):
        """The submodule and the signal that ``path`` (``"submodule.signal"``) names.

        ``domain`` chooses among signals of one name: where it is assigned.
        """
        *submodules, name = path.split(".")
        fragment = self._fragment(submodules)
        found = {}
        for where, statements in fragment.statements.items():
            if domain not in (None, where):
                continue
            if domain:
                found |= {id(s): s for s in statements._lhs_signals() if s.name == name}
                continue
            for signal in (*statements._lhs_signals(), *statements._rhs_signals()):
                if signal.name == name:
                    found[id(signal)] = signal
        if len(found) > 1:      # an inner signal may be called like a port, of this or a part
            ports = _ports(fragment).union(*(_ports(sub) for sub, *_ in fragment.subfragments))
            found = {key: signal for key, signal in found.items() if key not in ports}
        if len(found) != 1:
            raise LookupError(f"{type(self.component).__name__} has {len(found)} signals called "
                              f"{path!r}, not one")
        return fragment, next(iter(found.values()))

    def tap(self, path, *, domain=None):
        """An inner signal, to be read; of several of one name, that assigned in ``domain``."""
        return self.find(path, domain=domain)[1]

    def ongoing(self, *states, submodule=(), fsm="fsm"):
        """A Value: whether a state machine is in one of ``states``."""
        machine = self._fragment(submodule).generated[fsm]
        for state in states:
            if state not in machine.encoding:
                raise LookupError(f"{type(self.component).__name__} has no state {state!r}")
        return Cat(machine.state == machine.encoding[state] for state in states).any()

    def row(self, memory, address):
        """What lies in an inner memory at ``address``, now."""
        instance = self._fragment(memory.split("."))
        while not isinstance(instance, MemoryInstance):
            instance = next(sub for sub, *_ in instance.subfragments)
        shape = instance._data.shape
        address = Value.cast(address)
        word = Signal(shape, name=f"{memory.replace('.', '_')}_row")
        port = Signal(range(instance._data.depth), name="row_address")
        self.fragment.add_statements("comb", port.eq(address))
        instance.read_port(domain="comb", addr=port, data=word, en=C(1), transparent_for=())
        return word


class Bench:
    """A proof under construction.

    Parameters
    ----------
    fault : object
        What is wrong this time; a proof hands :class:`Fault` to :meth:`add` and deals with
        anything else itself. None in a proof, so never wrong there.
    anywhere : bool
        The fault is looked for from any state that the invariants allow, not from reset on.
    """

    def __init__(self, fault=None, *, anywhere=False):
        self.fault = fault
        self.anywhere = anywhere
        self.m = Module()
        self.m.domains.sync = sync = ClockDomain(reset_less=True)
        self.ports = [sync.clk]
        self.started = Signal()
        self.m.d.sync += self.started.eq(1)
        self._names = set()
        self.assumed: list[str] = []        # names, in the order in which they were said
        self.proved: list[str] = []

    # -- environment -----------------------------------------------------------------------

    def free(self, shape, name):
        """An input of the bench: any value in any clock."""
        signal = Signal(shape, name=name)
        self.ports.append(Value.cast(signal))
        return signal

    def constant(self, shape, name):
        """Any value, but the same in every clock."""
        signal = self.free(shape, name)
        value = Value.cast(signal)
        self._add(Assume(~self.started | (value == self.past(value))), f"{name}_constant")
        return signal

    def add(self, component, name="dut", *, driven=()):
        """Puts a component into the bench, with the fault if that is meant for it.

        Its inputs are free, but for those in the members that are ``driven`` (all: True).
        """
        part = Part(component)
        for (member, *_), leaf, value in component.signature.flatten(component):
            if leaf.flow is In and driven is not True and member not in driven:
                self.ports.append(Value.cast(value))
        if isinstance(self.fault, Fault) and self.fault.part == name:
            self.fault.apply(part)
        self.m.submodules[name] = part
        return part

    # -- time ------------------------------------------------------------------------------

    def past(self, value, clocks=1):
        """``value`` that many clocks ago; 0 before the first."""
        value = Value.cast(value)
        for _ in range(clocks):
            before = Signal(value.shape(), name="past")
            self.m.d.sync += before.eq(value)
            value = before
        return value

    def ever(self, value):
        """Whether ``value`` has been true in any clock before this."""
        seen = Signal(name="seen")
        self.m.d.sync += seen.eq(seen | value)
        return seen

    def waiting(self, value, limit):
        """How many clocks in a row ``value`` has been true up to the last, saturating."""
        clocks = Signal(range(limit + 1), name="waiting")
        self.m.d.sync += clocks.eq(Mux(value, Mux(clocks == limit, limit, clocks + 1), 0))
        return clocks

    # -- properties ------------------------------------------------------------------------

    def assume(self, condition, name):
        """What the environment promises."""
        self._add(Assume(condition), name)
        self.assumed.append(name)

    def calm(self, condition, name):
        """Narrows the environment where a fault is looked for, so that it is found sooner. The
        proof itself has no part in it."""
        if self.fault is not None:
            self.assume(condition, name)

    def prove(self, condition, name):
        """What is to be proved."""
        self._add(Assert(condition), name)
        self.proved.append(name)

    def invariant(self, condition, name):
        """A fact about inner state that an induction needs. Proved with the rest, but a fault must
        break more than that: where there is one, this is left out, or else assumed."""
        if self.fault is None:
            self._add(Assert(condition), name)
        elif self.anywhere:
            self.assume(condition, name)

    def cover(self, condition, name):
        """What must be possible, or the proof says nothing."""
        self._add(Cover(condition), name)

    def held_until_taken(self, stream, name):
        """Assumes the stream rule: what is offered stays until it is taken."""
        waits = self.past(stream.valid & ~stream.ready)
        payload = Value.cast(stream.payload)
        self.assume(~(self.started & waits)
                    | (stream.valid & (payload == self.past(payload))), name)

    def holds_until_taken(self, stream, name):
        """Proves the same of a stream that the component offers."""
        waits = self.past(stream.valid & ~stream.ready)
        payload = Value.cast(stream.payload)
        self.prove(~(self.started & waits)
                   | (stream.valid & (payload == self.past(payload))), name)

    def _add(self, statement, name):
        """Each property is a module of its own, so that the solver's report bears its name."""
        if len(statement.test) != 1:
            raise ValueError(f"{name} has {len(statement.test)} bits: the inverse of a condition "
                             "of more than one is always true")
        if not re.fullmatch(r"\w+", name) or name in self._names:
            raise ValueError(f"{name!r} cannot name a property (again)")
        self._names.add(name)
        holder = Module()
        holder.d.comb += statement
        self.m.submodules[name] = holder
