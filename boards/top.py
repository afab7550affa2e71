"""A storage system, or two, on a board: clock, host port, links, LEDs."""
# mypy: ignore-errors

from amaranth import *
from amaranth.build import Attrs, Resource, Subsignal
from amaranth.build import Pins as PinsOf
from amaranth.lib.wiring import connect, flipped

from hdl.datamem import PipelinedDataMemory
from hdl.source import Source
from hdl.spram import SpramDataMemory
from hdl.target import Target
from sim.channel import Channel
from sim.top import ChannelRegisters

from .clock import PllClock
from .hub import HostHub

__all__ = ["DELAY_TICKS", "QUICK_WORDS", "BoardTop", "data_memory"]

# Words up to which a memory had better be made of LUTs: of a clock of 80 MHz half has gone when an
# ECP5's block RAM answers. Beyond, the choice among so many LUTs takes as long.
QUICK_WORDS = {"ecp5": 256, "ice40": 0}

# What a delay line inside the chip holds: 9 ms at 1 Mbaud, in one block RAM each way.
DELAY_TICKS = 1024


def data_memory(memory, *, spram):
    """What :class:`hdl.datamem.DataMemory` asks the platform for."""
    m = Module()
    kind = SpramDataMemory if spram else PipelinedDataMemory
    m.submodules.cells = cells = kind(memory.geometry, memory.slots)
    connect(m, flipped(memory.port), cells.port)
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
            m.submodules.clock = PllClock(board.oscillator_hz, wanted)

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
