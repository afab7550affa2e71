"""Two host ports on one USB port: frames with the address of their node in front.

Between PC and board every frame is ``node | COBS frame | 0``, where ``node`` is the number of
the role (1 source, 2 target): never zero, so a zero still ends every frame. ``farside hub`` is
the other end and makes two ports of it again.
"""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import DELIMITER, Role
from hdl.streams import ByteFifo, StreamRegister
from hdl.uart import DIVISOR_BITS, UartRx, UartTx

__all__ = ["NODES", "HostHub"]

NODES = (Role.SOURCE, Role.TARGET)

# Lines inside the chip are this much faster, so that what comes in always gets out, whatever the
# PC's clock: its frames lose their first byte here, but that may be one of several hundred.
_FASTER = (7, 8)

# What a node may say while the other one has the line. Frames beyond are cut off, fail their
# check, and are sent again.
_QUEUE_BYTES = 2048


class HostHub(wiring.Component):
    """Shares one host line between the systems of one chip.

    A frame to a node passes byte by byte, with a byte's delay. Frames of the nodes are queued
    and take turns; one once begun is finished. Frames for a node that does not exist, and bytes
    between frames, are dropped.

    Members
    -------
    rx : In(1), tx : Out(1)
        The line to the PC.
    divisor : In(24)
        Its clocks a bit in 1/256, at least 6 * 256: the nodes' lines are faster by an eighth.
    node_divisor : Out(24)
        For the nodes' lines.
    nodes : array(2) of rx : In(1), tx : Out(1)
        Lines of source and target; ``tx`` is what the node hears.
    """

    def __init__(self, queue_bytes=_QUEUE_BYTES):
        self._queue_bytes = queue_bytes
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "divisor": In(DIVISOR_BITS),
            "node_divisor": Out(DIVISOR_BITS),
            "nodes": Out(wiring.Signature({
                "rx": In(1, init=1), "tx": Out(1, init=1)})).array(len(NODES)),
        })

    def elaborate(self, platform):
        m = Module()
        numerator, denominator = _FASTER
        m.d.sync += self.node_divisor.eq(self.divisor * numerator // denominator)
        self._distribute(m)
        self._collect(m)
        return m

    def _distribute(self, m):
        m.submodules.line_in = line_in = UartRx()
        m.d.comb += [line_in.rx.eq(self.rx), line_in.divisor.eq(self.divisor)]
        byte = line_in.o
        chosen = Signal(8)          # 0: the next byte is an address
        with m.If(byte.valid & (chosen == 0)):
            m.d.sync += chosen.eq(byte.payload)
        with m.If(byte.valid & (byte.payload == DELIMITER)):
            m.d.sync += chosen.eq(0)
        for number, (node, role) in enumerate(zip(self.nodes, NODES, strict=True)):
            m.submodules[f"out_{number}"] = out = UartTx()
            waiting = Signal(name=f"waiting_{number}")
            held = Signal(8, name=f"held_{number}")
            m.d.comb += [
                out.divisor.eq(self.node_divisor),
                node.tx.eq(out.tx),
                out.i.valid.eq(waiting),
                out.i.payload.eq(held),
            ]
            with m.If(out.i.ready):
                m.d.sync += waiting.eq(0)
            with m.If(byte.valid & (chosen == role)):
                m.d.sync += [waiting.eq(1), held.eq(byte.payload)]

    def _collect(self, m):
        m.submodules.line_out = line_out = UartTx()
        m.d.comb += [line_out.divisor.eq(self.divisor), self.tx.eq(line_out.tx)]
        queues = []
        for number, node in enumerate(self.nodes):
            m.submodules[f"in_{number}"] = heard = UartRx()
            m.submodules[f"queue_{number}"] = queue = ByteFifo(self._queue_bytes)
            m.submodules[f"offered_{number}"] = offered = StreamRegister(8)
            wiring.connect(m, heard.o, queue.i)
            wiring.connect(m, queue.o, offered.i)
            m.d.comb += [heard.rx.eq(node.rx), heard.divisor.eq(self.node_divisor)]
            queues.append(offered.o)

        turn = Signal(range(len(queues)))
        addressed = Signal()        # this frame's address has been said
        valid = Signal()
        byte = Signal(8)
        taken = Signal()
        with m.Switch(turn):
            for number, queue in enumerate(queues):
                with m.Case(number):
                    m.d.comb += [valid.eq(queue.valid), byte.eq(queue.payload),
                                 queue.ready.eq(taken)]
        with m.If(~addressed & ~valid):
            m.d.sync += turn.eq(turn + 1)
        with m.Elif(~addressed):
            m.d.comb += [line_out.i.valid.eq(1),
                         line_out.i.payload.eq(Array(NODES)[turn])]
            with m.If(line_out.i.ready):
                m.d.sync += addressed.eq(1)
        with m.Else():
            m.d.comb += [line_out.i.valid.eq(valid), line_out.i.payload.eq(byte),
                         taken.eq(line_out.i.ready)]
            with m.If(valid & taken & (byte == DELIMITER)):
                m.d.sync += [addressed.eq(0), turn.eq(turn + 1)]
