"""A processor of a few instructions, with all its state in one block RAM."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .microcode import ADDRESS_BITS, DIRECT_WORDS, ENTRY_WORDS, Fn, Kind, Source

__all__ = ["Processor", "StatePort"]

WORD_BITS = 16
_OFFSET_BITS = (2 * DIRECT_WORDS - 1).bit_length()


class StatePort(wiring.Signature):
    """Client side of the state memory, for somebody beside the processor.

    ``addr`` (line above, offset below) is read while ``turn``, and ``data`` is what it says in
    the next clock, if ``valid``; in that clock ``we`` writes ``wdata`` to ``waddr``. Without
    ``valid`` (the word was just being written) the same has to be tried again.
    """

    def __init__(self, addr_width):
        self.addr_width = addr_width
        super().__init__({
            "turn": In(1), "addr": Out(addr_width), "valid": In(1), "data": In(WORD_BITS),
            "we": Out(1), "waddr": Out(addr_width), "wdata": Out(WORD_BITS),
        })

    def __eq__(self, other):
        return type(self) is type(other) and self.addr_width == other.addr_width


class Processor(wiring.Component):
    """Runs a :class:`.microcode.Program`: one accumulator, one index, one return address.

    Two clocks an instruction: in the first the operand is read, in the second it is used and the
    next instruction fetched. The state memory has ``lines`` pages of 128 words; ``line`` says
    which one is meant: words 0..63, and 8 entries of 8 words chosen by the index register. Reading
    by the processor is done in the first clock, writing in the second; a client has the memory
    the other way round. Where one reads what the other writes, the reading is done again.
    While ``pause`` the client reads in every clock, and the processor stays in its first.

    Parameters
    ----------
    program : Program
    lines : int
        Pages of state.
    state : list of int
        First contents of the state memory. Only what is never written is there after a reset.

    Members
    -------
    line : In(2)
        Page; may change with an ``out``.
    select : Out(8)
        Input port that is wanted.
    input : In(16)
        What it says; combinational.
    out : Out(1)
        One clock: an OUT instruction is done.
    port : Out(5), argument : Out(8), value : Out(16)
        Its port and argument, and the accumulator. They stand in the clocks before ``out``, too.
    wants : Out(1)
        The instruction is an OUT: ``hold`` may be wanted for it.
    hold : In(1)
        Not now: the OUT is tried again.
    index_we : In(1)
        Load the index register from the accumulator.
    stored : Out(1)
        One clock: a word was stored.
    pause : In(1)
        The client of the state memory needs it now.
    state : In(StatePort)
    """

    def __init__(self, program, lines, state):
        if not 1 <= lines <= 4:
            raise ValueError(f"lines {lines} is outside 1..4: a page is named by 2 bits")
        self.program = program
        self.lines = lines
        self._init = list(state)
        super().__init__({
            "line": In(2),
            "select": Out(8),
            "input": In(WORD_BITS),
            "out": Out(1),
            "port": Out(5),
            "argument": Out(8),
            "value": Out(WORD_BITS),
            "wants": Out(1),
            "hold": In(1),
            "index_we": In(1),
            "stored": Out(1),
            "pause": In(1),
            "state": In(StatePort(_OFFSET_BITS + 2)),
        })

    def elaborate(self, platform):
        m = Module()
        code = self.program.code
        m.submodules.rom = rom = Memory(shape=WORD_BITS, depth=max(2, len(code)), init=code)
        m.submodules.ram = ram = Memory(shape=WORD_BITS, depth=self.lines << _OFFSET_BITS,
                                        init=self._init)
        fetch = rom.read_port()
        read = ram.read_port()          # ``clash`` keeps away from what is being written
        write = ram.write_port()

        instruction = fetch.data
        kind, fn, source = instruction[13:16], instruction[10:13], instruction[8:10]
        awake = Signal()                # the first instruction has been fetched
        acting = Signal()               # the second clock of an instruction
        pc = Signal(ADDRESS_BITS)
        following = Signal(ADDRESS_BITS)
        return_to = Signal(ADDRESS_BITS)
        index = Signal(range(ENTRY_WORDS))
        value = self.value

        # -- state memory --------------------------------------------------------------------

        address = Signal(_OFFSET_BITS + 2)
        clash = Signal()
        store = Signal()
        offset = Mux(instruction[6], Cat(instruction[:3], index, C(1, 1)), instruction[:7])
        m.d.comb += [
            address.eq(Cat(offset, self.line)),
            read.addr.eq(Mux(self.state.turn, self.state.addr, address)),
            write.addr.eq(Mux(acting, address, self.state.waddr)),
            write.data.eq(Mux(acting, value, self.state.wdata)),
            store.eq(kind == Kind.STORE),
            write.en.eq(Mux(acting, store, self.state.valid & self.state.we)),
            clash.eq(write.en & (read.addr == write.addr)),
            self.state.turn.eq(acting | self.pause),
            self.state.data.eq(read.data),
            self.stored.eq(acting & store),
        ]
        m.d.sync += self.state.valid.eq(self.state.turn & ~clash)

        # -- accumulator ---------------------------------------------------------------------

        # What is not chosen is 0, so that one level of logic joins the sources and, for a
        # subtraction, inverts.
        minus = Signal()
        given = Signal(WORD_BITS)       # by the instruction or from outside
        operand = Signal(WORD_BITS)
        with m.Switch(source):
            with m.Case(Source.NUMBER):
                m.d.comb += given.eq(instruction[:8])
            with m.Case(Source.BIT):
                m.d.comb += given.eq(1 << index)
            with m.Case(Source.PORT):
                m.d.comb += given.eq(self.input)
        m.d.comb += [
            minus.eq(fn == Fn.SUB),
            operand.eq(Mux(source == Source.WORD, read.data, given)
                       ^ minus.replicate(WORD_BITS)),
        ]
        total = Signal(WORD_BITS + 1)
        joined = Signal(WORD_BITS)
        result = Signal(WORD_BITS)
        m.d.comb += total.eq(Cat(minus, value) + Cat(minus, operand))   # bit 0 makes the carry
        with m.Switch(fn[:2]):
            with m.Case(Fn.LOAD & 3):
                m.d.comb += joined.eq(operand)
            with m.Case(Fn.AND & 3):
                m.d.comb += joined.eq(value & operand)
            with m.Case(Fn.OR & 3):
                m.d.comb += joined.eq(value | operand)
            with m.Case(Fn.XOR & 3):
                m.d.comb += joined.eq(value ^ operand)
        with m.Switch(fn):
            with m.Case(Fn.ADD, Fn.SUB):
                m.d.comb += result.eq(total[1:])
            with m.Case(Fn.SHR):
                m.d.comb += result.eq(value >> 1)
            with m.Case(Fn.SWAP):
                m.d.comb += result.eq(Cat(value[8:], value[:8]))
            with m.Default():
                m.d.comb += result.eq(joined)

        # -- instructions --------------------------------------------------------------------

        goes_on = Signal()
        taken = Signal()
        returns = Signal()
        m.d.comb += [
            self.select.eq(instruction[:8]),
            self.port.eq(instruction[8:13]),
            self.argument.eq(instruction[:8]),
            self.wants.eq(acting & (kind == Kind.OUT)),
            goes_on.eq(acting & ~(self.wants & self.hold)),
            self.out.eq(self.wants & ~self.hold),
            returns.eq(instruction[12]),
        ]
        with m.Switch(kind):
            with m.Case(Kind.JUMP, Kind.CALL):
                m.d.comb += taken.eq(1)
            with m.Case(Kind.JUMP_ZERO):
                m.d.comb += taken.eq(value == 0)
            with m.Case(Kind.JUMP_NOT_ZERO):
                m.d.comb += taken.eq(value != 0)
            with m.Case(Kind.JUMP_NEGATIVE):
                m.d.comb += taken.eq(value[-1])
        after = (pc + 1)[:ADDRESS_BITS]
        with m.If(~awake):
            m.d.comb += following.eq(0)
        with m.Elif((kind == Kind.CALL) & returns):
            m.d.comb += following.eq(return_to)
        with m.Elif(taken):
            m.d.comb += following.eq(instruction[:ADDRESS_BITS])
        with m.Else():
            m.d.comb += following.eq(after)
        m.d.comb += [fetch.addr.eq(following), fetch.en.eq(goes_on | ~awake)]

        m.d.sync += [awake.eq(1), acting.eq(awake & ~acting & ~clash & ~self.pause)]
        with m.If(fetch.en):
            m.d.sync += pc.eq(following)
        with m.If(acting & (kind == Kind.ALU)):
            m.d.sync += value.eq(result)
        with m.If(acting & (kind == Kind.CALL) & ~returns):
            m.d.sync += return_to.eq(after)
        with m.If(self.index_we):
            m.d.sync += index.eq(value)
        return m
