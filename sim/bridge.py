"""Host lines for cocotb, thirty-two bytes at a time, and the board with them.

Python in a simulation costs some ten microseconds a wake-up, as much as hundreds of clocks. So the
bits of a host line are made and read by the same UART gateware as everywhere, and Python is only
woken for chunks: usually once a frame.
"""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.uart import UartRx, UartTx

from .channel import DELAY_BITS
from .top import Board

__all__ = ["CHUNK_BYTES", "BridgedBoard", "HostBridge"]

CHUNK_BYTES = 32
IDLE_BITS = 24          # a chunk is handed over after so many bit times without another byte


_CHUNKS = {
    "send_data": In(8 * CHUNK_BYTES), "send_count": In(range(CHUNK_BYTES + 1)),
    "send_given": In(1), "send_taken": Out(1),
    "got_data": Out(8 * CHUNK_BYTES), "got_count": Out(range(CHUNK_BYTES + 1)),
    "got_given": Out(1),
}


class HostBridge(wiring.Component):
    """A UART whose other side is chunks of bytes.

    Members
    -------
    rx, tx : In(1), Out(1)
        The line.
    divisor : In(24)
        Clocks a bit in 1/256.
    send_data, send_count : In
        A chunk, first byte lowest, and how many bytes of it count (1..32).
    send_given, send_taken : In(1), Out(1)
        Invert ``send_given`` to hand a chunk over; it has been taken, and the next may be given,
        when ``send_taken`` equals it.
    got_data, got_count : Out
        What has arrived, the last byte highest (in the top eight bits).
    got_given : Out(1)
        Changes when ``got_data`` holds a new chunk: after a zero byte, 32 bytes, or a pause. It
        stays valid for at least a byte time.
    """

    def __init__(self):
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "divisor": In(24), **_CHUNKS})

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart_tx = uart_tx = UartTx()
        m.submodules.uart_rx = uart_rx = UartRx()
        m.d.comb += [
            uart_tx.divisor.eq(self.divisor), uart_rx.divisor.eq(self.divisor),
            uart_rx.rx.eq(self.rx), self.tx.eq(uart_tx.tx),
        ]

        sending = Signal(8 * CHUNK_BYTES)
        left = Signal(range(CHUNK_BYTES + 1))
        m.d.comb += [uart_tx.i.valid.eq(left != 0), uart_tx.i.payload.eq(sending[:8])]
        with m.If(uart_tx.i.valid & uart_tx.i.ready):
            m.d.sync += [sending.eq(sending >> 8), left.eq(left - 1)]
        with m.Elif((left == 0) & (self.send_given != self.send_taken)):
            m.d.sync += [sending.eq(self.send_data), left.eq(self.send_count),
                         self.send_taken.eq(self.send_given)]

        arrived = Signal(8 * CHUNK_BYTES)
        count = Signal(range(CHUNK_BYTES + 1))
        idle = Signal(range(IDLE_BITS + 1))
        ended = Signal()
        with m.If(uart_tx.tick & (count != 0)):
            m.d.sync += idle.eq(idle + 1)
        with m.If(uart_rx.o.valid):
            m.d.sync += [arrived.eq(Cat(arrived[8:], uart_rx.o.payload)), count.eq(count + 1),
                         idle.eq(0), ended.eq(uart_rx.o.payload == 0)]
        with m.Elif((count != 0) & (ended | (count == CHUNK_BYTES) | (idle == IDLE_BITS))):
            m.d.sync += [self.got_data.eq(arrived), self.got_count.eq(count), count.eq(0),
                         self.got_given.eq(~self.got_given), ended.eq(0), idle.eq(0)]
        return m


class BridgedBoard(wiring.Component):
    """The simulated board with a :class:`HostBridge` on each host line; made for cocotb.

    Members
    -------
    source, target : HostBridge without its line
        See there.
    source_line, target_line : Out(1)
        What the systems say on their host lines.
    others
        See :class:`sim.top.Board`.
    """

    TOP = Board

    def __init__(self, geometry, mutation=None):
        self.geometry = geometry
        self.mutation = mutation
        super().__init__({
            "source": Out(wiring.Signature(_CHUNKS)),
            "target": Out(wiring.Signature(_CHUNKS)),
            "source_line": Out(1), "target_line": Out(1),
            "host_divisor": In(24), "link_divisor": In(24),
            "init_delay": In(DELAY_BITS), "init_byte_error": In(32), "init_frame_loss": In(32),
            "init_seed": In(32), "activity": Out(64),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = self.TOP(self.geometry, self.mutation)
        for name in ("host_divisor", "link_divisor", "init_delay", "init_byte_error",
                     "init_frame_loss", "init_seed"):
            m.d.comb += getattr(board, name).eq(getattr(self, name))
        m.d.comb += self.activity.eq(board.activity)
        for name in ("source", "target"):
            bridge = HostBridge()
            m.submodules[f"{name}_bridge"] = bridge
            rx, tx = getattr(board, f"{name}_rx"), getattr(board, f"{name}_tx")
            chunks = getattr(self, name)
            m.d.comb += [
                bridge.divisor.eq(self.host_divisor), rx.eq(bridge.tx), bridge.rx.eq(tx),
                getattr(self, f"{name}_line").eq(tx),
                bridge.send_data.eq(chunks.send_data), bridge.send_count.eq(chunks.send_count),
                bridge.send_given.eq(chunks.send_given),
                chunks.send_taken.eq(bridge.send_taken), chunks.got_data.eq(bridge.got_data),
                chunks.got_count.eq(bridge.got_count), chunks.got_given.eq(bridge.got_given),
            ]
        return m
