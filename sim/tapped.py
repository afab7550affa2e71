"""The simulated board with inputs for what goes on outside of it: faults, resets.

For campaigns. A fault must come at its clock, whatever the host's line is doing, so the channels
have a second way to their registers; a system may be reset at any clock. What is to be looked at
(tables, images) the harness reads in the model's memory, so the gateware is that of the product.
"""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arbiter import RegisterArbiter
from hdl.interfaces import RegisterPort
from hdl.mutations import Mutation, Selected

from .top import Board

__all__ = ["FaultyBoard", "Poker", "SharedTappedBoard", "TappedBoard"]

FAULT_BITS = len(Mutation).bit_length()     # 0 is none


class Poker(wiring.Component):
    """Writes a register when asked by a level that changes, which a harness can do at any clock.

    Members
    -------
    addr, data : In(16), In(32)
        What to write where; stable from the change of ``given`` until that of ``taken``.
    given, taken : In(1), Out(1)
        Invert ``given``; the register has been written when ``taken`` equals it.
    port : Out(RegisterPort())
        A refusal is not told.
    """

    addr: In(16)
    data: In(32)
    given: In(1)
    taken: Out(1)
    port: Out(RegisterPort())

    def elaborate(self, platform):
        m = Module()
        given = Signal()
        m.d.sync += given.eq(self.given)
        m.d.comb += [
            self.port.req.eq(given != self.taken),
            self.port.we.eq(1),
            self.port.addr.eq(self.addr),
            self.port.wdata.eq(self.data),
        ]
        with m.If(self.port.req & self.port.ack):
            m.d.sync += self.taken.eq(given)
        return m


class TappedBoard(Board):
    """See :class:`sim.top.Board`.

    Members
    -------
    poke_addr, poke_data, poke_given, poke_taken
        See :class:`Poker`: writes channel registers, ``wire.CHANNEL_STRIDE * link`` and the
        register's number.
    source_reset, target_reset : In(1)
        Hold a system in reset. Its memories keep what they have.
    source_generation, target_generation : In(8)
        What the systems are told of their resets.
    fault : In(5)
        Only of :class:`FaultyBoard`.
    source_links_up, target_links_up : Out(8)
        Bit n: link n has a session.
    """

    poke_addr: In(16)
    poke_data: In(32)
    poke_given: In(1)
    poke_taken: Out(1)
    source_reset: In(1)
    target_reset: In(1)
    source_generation: In(8)
    target_generation: In(8)
    fault: In(FAULT_BITS)
    source_links_up: Out(8)
    target_links_up: Out(8)

    def place_systems(self, m, source, target):
        # Registered, as all inputs of the board: see Board.elaborate.
        for name, system in (("source", source), ("target", target)):
            reset = Signal(name=f"{name}_reset_now")
            generation = Signal.like(system.generation, name=f"{name}_generation_now")
            m.d.sync += [reset.eq(getattr(self, f"{name}_reset")),
                         generation.eq(getattr(self, f"{name}_generation"))]
            m.d.comb += [system.generation.eq(generation),
                         getattr(self, f"{name}_links_up").eq(system.links_up)]
            m.submodules[name] = ResetInserter(reset)(system)

    def connect_registers(self, m, channel, port):
        m.submodules.poker = poker = Poker()
        m.submodules.bus = bus = RegisterArbiter(2)
        m.d.comb += [poker.addr.eq(self.poke_addr), poker.data.eq(self.poke_data),
                     poker.given.eq(self.poke_given), self.poke_taken.eq(poker.taken)]
        wiring.connect(m, poker.port, bus.clients[0])
        wiring.connect(m, channel, bus.clients[1])
        wiring.connect(m, bus.port, port)


class SharedTappedBoard(TappedBoard):
    """The same with one engine for all lines of each system, and a clerk in the source."""

    lines = "shared"


class FaultyBoard(TappedBoard):
    """A tapped board with a deliberate fault of the gateware, which ``fault`` numbers as
    :class:`hdl.mutations.Selected` does: one build for all of them."""

    def __init__(self, geometry, mutation=None):
        super().__init__(geometry, mutation)
        self._fault = Signal(FAULT_BITS)
        self.mutation = Selected(self._fault)

    def place_systems(self, m, source, target):
        m.d.sync += self._fault.eq(self.fault)
        super().place_systems(m, source, target)
