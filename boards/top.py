"""A storage system, or two, on a board: clock, host port, links, LEDs."""
# mypy: ignore-errors

from amaranth import *
from amaranth.build import Attrs, Resource, Subsignal
from amaranth.build import Pins as PinsOf
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import connect, flipped

from hdl.datamem import PipelinedDataMemory
from hdl.source import Source
from hdl.spram import SpramDataMemory
from hdl.target import Target
from sim.channel import Channel
from sim.top import ChannelRegisters

from .hub import HostHub

__all__ = ["DELAY_TICKS", "QUICK_WORDS", "BoardTop", "data_memory", "pll_dividers"]

# Words up to which a memory had better be made of LUTs: of a clock of 80 MHz half has gone when an
# ECP5's block RAM answers. Beyond, the choice among so many LUTs takes as long.
QUICK_WORDS = {"ecp5": 256, "ice40": 0}

# What a delay line inside the chip holds: 9 ms at 1 Mbaud, in one block RAM each way.
DELAY_TICKS = 1024

# nextpnr's database for the ECP5's PLL: what its phase detector and its oscillator can do.
_PFD_HZ = (3_125_000, 400_000_000)
_VCO_HZ = (400_000_000, 800_000_000)


def pll_dividers(from_hz, to_hz):
    """``(input, feedback, output)`` dividers of an ECP5 PLL, the oscillator as slow as it may be
    in the middle of its range; ``ValueError`` if there are none."""
    middle = sum(_VCO_HZ) // 2
    found = []
    for divide in range(1, 129):
        if from_hz % divide or not _PFD_HZ[0] <= from_hz // divide <= _PFD_HZ[1]:
            continue
        feedback, rest = divmod(to_hz, from_hz // divide)
        for output in range(1, 129):
            if rest == 0 and 1 <= feedback <= 80 and _VCO_HZ[0] <= to_hz * output <= _VCO_HZ[1]:
                found.append((divide, abs(to_hz * output - middle), (divide, feedback, output)))
    if not found:
        raise ValueError(f"no PLL setting makes {to_hz} Hz out of {from_hz} Hz")
    return min(found)[2]


def data_memory(memory, *, spram):
    """What :class:`hdl.datamem.DataMemory` asks the platform for."""
    m = Module()
    kind = SpramDataMemory if spram else PipelinedDataMemory
    m.submodules.cells = cells = kind(memory.geometry, memory.slots)
    connect(m, flipped(memory.port), cells.port)
    return m


class _Clock(Elaboratable):
    """The ``sync`` domain at ``to_hz``, from the platform's default clock by PLL (ECP5)."""

    def __init__(self, from_hz, to_hz):
        self._dividers = pll_dividers(from_hz, to_hz)
        self._to_hz = to_hz

    def elaborate(self, platform):
        m = Module()
        divide, feedback, output = self._dividers
        clock, locked = Signal(), Signal()
        m.submodules.pin = pin = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=divide, p_CLKFB_DIV=feedback, p_CLKOP_DIV=output,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=output // 2, p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP", p_PLLRST_ENA="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            i_CLKI=pin.i, i_CLKFB=clock, i_RST=C(0, 1), i_STDBY=C(0, 1),
            i_PHASESEL0=C(0, 1), i_PHASESEL1=C(0, 1), i_PHASEDIR=C(1, 1),
            i_PHASESTEP=C(1, 1), i_PHASELOADREG=C(1, 1), i_PLLWAKESYNC=C(0, 1), i_ENCLKOP=C(0, 1),
            o_CLKOP=clock, o_LOCK=locked,
        )
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)
        platform.add_clock_constraint(clock, self._to_hz)
        reset = ~locked
        if platform.default_rst is not None:
            m.submodules.reset = button = io.Buffer(
                "i", platform.request(platform.default_rst, dir="-"))
            reset = ~locked | button.i
        m.submodules.synchronizer = ResetSynchronizer(reset)
        return m


class BoardTop(Elaboratable):
    """Everything between the pins of ``board`` and its system in ``role``.

    With ``both``, source and target face each other through channel emulators inside the chip,
    so that every fault of a link can be tried without a wire.

    Parameters
    ----------
    board : boards.board.Board
    role : str
    geometry : Geometry
        As ``board.geometry`` gives it.
    """

    def __init__(self, board, role, geometry):
        self.board = board
        self.role = role
        self.geometry = geometry

    def elaborate(self, platform):
        m = Module()
        board, g = self.board, self.geometry
        self._attach_clock(m)
        platform.get_data_memory = self._data_memory
        platform.quick_words = QUICK_WORDS[board.chip.family]
        m.d.comb += [platform.request(*name).o.eq(1) for name in board.hold_high]

        both = self.role == "both"
        systems = []
        if self.role != "target":
            m.submodules.source = source = Source(g, channel=both, lines=board.lines)
            systems.append(source)
        if self.role != "source":
            m.submodules.target = target = Target(g, lines=board.lines)
            systems.append(target)
        m.d.comb += [system.link_divisor.eq(g.divisor(g.link_baud)) for system in systems]
        if both:
            self._join(m, source, target)
        else:
            self._wire(m, platform, systems[0])

        self._attach_host(m, platform.request("uart", 0), systems)
        shown = [systems[0].links_up.any()]
        if self.role != "target":
            shown += [source.disconnected, source.destaging.any(), source.fault]
        for (name, number, colour), state in zip(board.leds, shown, strict=False):
            led = platform.request(name, number)
            m.d.comb += (getattr(led, colour) if colour else led).o.eq(state)
        return m

    def _attach_clock(self, m):
        board, wanted = self.board, self.geometry.clock_hz
        # Amaranth resets an ECP5 without a signal that synthesis knows.
        if wanted != board.oscillator_hz or board.chip.family == "ecp5":
            m.submodules.clock = _Clock(board.oscillator_hz, wanted)

    def _data_memory(self, memory):
        return data_memory(memory, spram=bool(self.board.chip.spram_bytes))

    def _attach_host(self, m, uart, systems):
        """The USB port: one system's own line, or both by way of a hub."""
        divisor = self.geometry.divisor(self.geometry.host_baud)
        if len(systems) == 1:
            m.d.comb += [systems[0].host_rx.eq(uart.rx.i), uart.tx.o.eq(systems[0].host_tx),
                         systems[0].host_divisor.eq(divisor)]
            return
        m.submodules.hub = hub = HostHub()
        m.d.comb += [hub.rx.eq(uart.rx.i), uart.tx.o.eq(hub.tx), hub.divisor.eq(divisor)]
        for system, node in zip(systems, hub.nodes, strict=True):
            m.d.comb += [system.host_rx.eq(node.tx), node.rx.eq(system.host_tx),
                         system.host_divisor.eq(hub.node_divisor)]

    def _join(self, m, source, target):
        """A channel emulator for every link, set through the source."""
        m.submodules.registers = registers = ChannelRegisters(len(source.links))
        connect(m, source.channel, registers.port)
        for number, (near, far) in enumerate(zip(source.links, target.links, strict=True)):
            m.submodules[f"channel_{number}"] = channel = Channel(link=number, depth=DELAY_TICKS)
            connect(m, registers.channels[number], channel.registers)
            m.d.comb += [
                channel.source_rx.eq(near.tx), near.rx.eq(channel.source_tx),
                channel.target_rx.eq(far.tx), far.rx.eq(channel.target_tx),
                channel.divisor.eq(source.link_rate),
                channel.initial.seed.eq(1),
            ]

    def _wire(self, m, platform, system):
        for number, line in enumerate(system.links):
            pins = self.board.links[number]
            if self.board.chip.family == "ecp5":
                level, idle = {"IO_TYPE": "LVCMOS33"}, {"PULLMODE": "UP"}
            else:
                level, idle = {"IO_STANDARD": "SB_LVCMOS"}, {"PULLUP": 1}
            platform.add_resources([Resource(
                "link", number,
                # Pulled up: a link that nobody has plugged in is an idle line.
                Subsignal("rx", PinsOf(pins.rx, dir="i", conn=pins.connector), Attrs(**idle)),
                Subsignal("tx", PinsOf(pins.tx, dir="o", conn=pins.connector)),
                Attrs(**level))])
            port = platform.request("link", number)
            m.d.comb += [line.rx.eq(port.rx.i), port.tx.o.eq(line.tx)]
