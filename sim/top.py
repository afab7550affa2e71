"""The simulated board: a source, a target, and a channel emulator for every link between them."""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model import channel as model
from firmware_model import wire
from hdl.interfaces import RegisterPort
from hdl.source import Source
from hdl.target import Target
from hdl.uart import MIN_DIVISOR

from .channel import DELAY_BITS, Channel, ChannelSettings

__all__ = ["Board", "BoardPorts", "ChannelRegisters"]


class ChannelRegisters(wiring.Component):
    """Leads the register window of the source to the channel of the link that is addressed.

    ``addr`` is ``wire.CHANNEL_STRIDE * link + wire.Channel``, with or without ``Reg.CHANNEL``
    added. A request reaches its channel a clock after it is made, when it is known whose the
    address is. A link that does not exist is answered with BAD_REGISTER 2 clocks after.

    Members
    -------
    port : In(RegisterPort())
        From the source.
    channels : Out(RegisterPort()) of each link
        To the channels.
    """

    def __init__(self, links):
        self.links = links
        super().__init__({
            "port": In(RegisterPort()),
            "channels": Out(RegisterPort()).array(links),
        })

    def elaborate(self, platform):
        m = Module()
        stride_bits = (wire.CHANNEL_STRIDE - 1).bit_length()
        window_bits = (wire.Reg.CHANNEL - 1).bit_length()
        link = Signal(window_bits - stride_bits)
        m.d.comb += link.eq(self.port.addr[stride_bits:window_bits])

        for channel in self.channels:
            m.d.comb += [channel.we.eq(self.port.we), channel.addr.eq(self.port.addr),
                         channel.wdata.eq(self.port.wdata)]
        asked, refused, nobody = Signal(), Signal(), Signal()
        chosen = Signal(self.links)
        m.d.sync += [
            asked.eq(self.port.req & ~self.port.ack),
            chosen.eq(Cat(link == number for number in range(self.links))),
            nobody.eq(link >= self.links),
            refused.eq(asked & nobody & ~refused),
        ]
        for number, channel in enumerate(self.channels):
            m.d.comb += channel.req.eq(asked & chosen[number])
            with m.If(chosen[number]):
                m.d.comb += [self.port.ack.eq(channel.ack), self.port.rdata.eq(channel.rdata),
                             self.port.code.eq(channel.code)]
        with m.If(nobody):
            m.d.comb += [self.port.ack.eq(refused), self.port.code.eq(wire.Code.BAD_REGISTER)]
        return m


class BoardPorts(wiring.Component):
    """What the harness drives, whatever lies behind it.

    Members
    -------
    source_rx, source_tx, target_rx, target_tx : In(1), Out(1)
        The two host lines, idle high.
    host_divisor, link_divisor : In(24)
        Clocks a bit in 1/256; taken over a clock later.
    init_delay, init_byte_error, init_frame_loss, init_seed : In
        What the channels' registers hold at the start; all links alike.
    activity : Out(64)
        Eight bits a link that change whenever a byte arrives at its emulator.
    """

    source_rx: In(1, init=1)
    source_tx: Out(1, init=1)
    target_rx: In(1, init=1)
    target_tx: Out(1, init=1)
    host_divisor: In(24)
    link_divisor: In(24)
    init_delay: In(DELAY_BITS)
    init_byte_error: In(32)
    init_frame_loss: In(32)
    init_seed: In(32)
    activity: Out(64)


class Board(BoardPorts):
    """Both storage systems and the links between them.

    Parameters
    ----------
    geometry : Geometry
        Sizes of both systems.
    mutation : str or None
        A deliberate fault, for mutation tests only.
    depth : int
        Ticks the delay line of each channel can hold.
    """

    lines = "each"      # see hdl.system.System

    def __init__(self, geometry, mutation=None, depth=model.DEFAULT_DEPTH):
        self.geometry = geometry
        self.mutation = mutation
        self.depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        source = Source(self.geometry, mutation=self.mutation, lines=self.lines)
        target = Target(self.geometry, mutation=self.mutation, lines=self.lines)
        self.place_systems(m, source, target)
        m.submodules.registers = registers = ChannelRegisters(self.geometry.links)
        self.connect_registers(m, source.channel, registers.port)
        m.d.comb += [
            source.host_rx.eq(self.source_rx), self.source_tx.eq(source.host_tx),
            target.host_rx.eq(self.target_rx), self.target_tx.eq(target.host_tx),
        ]
        # Registered, or the simulation would work out again all that depends on them whenever
        # any input moves. Until they are known a bit is short, and only idle bits are sent.
        host_divisor = Signal(24, init=MIN_DIVISOR)
        link_divisor = Signal(24, init=MIN_DIVISOR)
        initial = Signal(ChannelSettings())
        m.d.sync += [
            host_divisor.eq(self.host_divisor),
            link_divisor.eq(self.link_divisor),
            initial.delay.eq(self.init_delay),
            initial.byte_error.eq(self.init_byte_error),
            initial.frame_loss.eq(self.init_frame_loss),
            initial.seed.eq(self.init_seed),
        ]
        for system in (source, target):
            m.d.comb += [system.host_divisor.eq(host_divisor),
                         system.link_divisor.eq(link_divisor)]

        activity = []
        for number in range(self.geometry.links):
            channel = Channel(link=number, depth=self.depth)
            m.submodules[f"channel_{number}"] = channel
            wiring.connect(m, registers.channels[number], channel.registers)
            m.d.comb += [
                channel.source_rx.eq(source.links[number].tx),
                source.links[number].rx.eq(channel.source_tx),
                channel.target_rx.eq(target.links[number].tx),
                target.links[number].rx.eq(channel.target_tx),
                channel.divisor.eq(source.link_rate),
                channel.initial.eq(initial),
            ]
            activity.append(channel.activity)
        m.d.comb += self.activity.eq(Cat(activity))
        return m

    def place_systems(self, m, source, target):
        """Make both systems submodules of ``m``; a board with more inputs may do more."""
        m.submodules.source = source
        m.submodules.target = target

    def connect_registers(self, m, channel, port):
        """Lead the source's ``channel`` window to ``port``."""
        wiring.connect(m, channel, port)
