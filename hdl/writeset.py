"""A chain's write set, as it arrives in the CHAIN frame."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .interfaces import Entry, PayloadSink, index_shape, quick_if_small, slot_shape

__all__ = ["PlaceFault", "SinkRouter", "WriteSet", "write_set_fault"]


class PlaceFault(enum.Enum, shape=2):
    """Worst thing wrong with the places of a write set."""

    NONE = 0
    TRACK = 1           # no such track in its volume
    VOLUME = 2          # no such volume


# The fault and the first entry that has it, as the host sent it.
write_set_fault = data.StructLayout({"kind": PlaceFault, "position": 8, "volume": 8, "track": 16})


class SinkRouter(wiring.Component):
    """Sends payload bytes where their frame's type says; bytes of other types are swallowed.

    Combinational.

    Parameters
    ----------
    types : iterable of int
        Frame types that somebody wants, one output each.

    Members
    -------
    sink : In(PayloadSink())
    outputs : Out(PayloadSink()).array(len(types))
        In the order of ``types``.
    """

    def __init__(self, types):
        self.types = tuple(types)
        if not self.types:
            raise ValueError("a router needs at least one frame type")
        super().__init__({
            "sink": In(PayloadSink()),
            "outputs": Out(PayloadSink()).array(len(self.types)),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.sink.ready.eq(1)
        for type_, output in zip(self.types, self.outputs, strict=True):
            for name in ("data", "index", "type", "header"):
                m.d.comb += getattr(output, name).eq(getattr(self.sink, name))
            with m.If(self.sink.type == type_):
                m.d.comb += [output.valid.eq(self.sink.valid), self.sink.ready.eq(output.ready)]
        return m


class WriteSet(wiring.Component):
    """Two banks of write set entries: one fills while the other's chain is being carried out.

    Three payload bytes make an entry: volume, then track. What arrives goes to the spare bank and
    has no effect until ``swap``, so a frame that turns out to be broken, or comes while a chain
    is open, harms nothing. Entries beyond ``chain_limit`` are dropped; the consumer must
    refuse such a chain by its count.

    The first entry of the worst kind of fault is remembered from the frame's first byte on. What
    follows from a byte is there two clocks after it.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    sink : In(PayloadSink())
        CHAIN payload. Takes a byte a clock, but none while ``hold``.
    hold : In(1)
        The arrived write set is being judged and must not change: from the clock before ``swap``
        on at least.
    fault : Out(write_set_fault)
        Of the write set that arrived last.
    swap : In(1)
        What has arrived becomes the open chain's write set.
    position : In(range(chain_limit))
        Entry of the open chain's write set to look at.
    entry : Out(Entry)
        That entry, in the clock after.
    bank : Out(1)
        Which of the two has the open chain's write set.
    slot, slot_we : In
        Note the private slot of the command at ``position``.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "sink": In(PayloadSink()),
            "hold": In(1),
            "fault": Out(write_set_fault),
            "swap": In(1),
            "position": In(range(geometry.chain_limit)),
            "entry": Out(Entry(geometry)),
            "bank": Out(1),
            "slot": In(slot_shape(geometry)),
            "slot_we": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        spare = Signal()                # bank that fills
        m.d.sync += spare.eq(spare ^ self.swap)

        position_bits = len(self.position)
        # What is read is the address of the next read.
        m.submodules.indices = indices = Memory(
            shape=index_shape(g), depth=2 << position_bits, init=[],
            attrs=quick_if_small(2 << position_bits, platform))
        m.submodules.slots = slots = Memory(shape=slot_shape(g), depth=g.chain_limit, init=[])
        index_in, index_out = indices.write_port(), indices.read_port()
        slot_in, slot_out = slots.write_port(), slots.read_port()
        m.d.comb += [
            self.bank.eq(~spare),
            index_out.addr.eq(Cat(self.position, self.bank)),
            slot_out.addr.eq(self.position),
            slot_in.addr.eq(self.position),
            slot_in.data.eq(self.slot),
            slot_in.en.eq(self.slot_we),
            self.entry.index.eq(index_out.data),
            self.entry.slot.eq(slot_out.data),
        ]

        part = Signal(2)                # byte within the entry
        number = Signal(8)              # entries before this one; stays at the first beyond
        volume = Signal(8)
        track_low = Signal(8)
        # A line is late in a clock to say that it has a byte.
        byte = Signal()
        first = Signal()
        value = Signal(8)
        track = Cat(track_low, value)
        m.d.sync += [
            byte.eq(self.sink.valid & self.sink.ready),
            first.eq(self.sink.index == 0),
            value.eq(self.sink.data),
        ]
        m.d.comb += [
            self.sink.ready.eq(~self.hold),
            index_in.addr.eq(Cat(number[:position_bits], spare)),
            index_in.data.eq(Cat(track[:g.track_bits], volume[:g.volume_bits])),
        ]

        def note(kind):
            return [self.fault.kind.eq(kind), self.fault.position.eq(number),
                    self.fault.volume.eq(volume), self.fault.track.eq(track)]

        with m.If(byte & first):
            m.d.sync += [volume.eq(value), part.eq(1), number.eq(0),
                         self.fault.eq(0)]
        with m.Elif(byte & (number != g.chain_limit)):
            with m.Switch(part):
                with m.Case(0):
                    m.d.sync += [volume.eq(value), part.eq(1)]
                with m.Case(1):
                    m.d.sync += [track_low.eq(value), part.eq(2)]
                with m.Case(2):
                    m.d.comb += index_in.en.eq(1)
                    m.d.sync += [part.eq(0), number.eq(number + 1)]
                    with m.If(volume >= g.volumes):
                        with m.If(self.fault.kind != PlaceFault.VOLUME):
                            m.d.sync += note(PlaceFault.VOLUME)
                    with m.Elif(track >= g.tracks_per_volume):
                        with m.If(self.fault.kind == PlaceFault.NONE):
                            m.d.sync += note(PlaceFault.TRACK)
        return m
