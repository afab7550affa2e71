"""The metadata: track states, order links, set pages and volumes, behind one lock."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firmware_model.wire import FIRST_GROUP, SET_PAGE_WORDS, SetWord

from .arbiter import RoundRobin
from .interfaces import Link, MetadataPort, Volume, slot_shape

__all__ = ["Initialiser", "Metadata", "PageAccess", "group_record", "page"]

_WORD_BITS = (SET_PAGE_WORDS - 1).bit_length()


def page(set_, word):
    """Address of ``word`` (a ``wire.SetWord``) in the page of ``set_``."""
    return Cat(C(word, _WORD_BITS), set_)


def group_record(geometry, set_, gseq, word):
    """Address of ``word`` in the record of group ``gseq`` of ``set_``."""
    place_bits = geometry.groups_in_flight.bit_length() - 1     # a power of two, at most 4
    place = Cat(gseq[:place_bits], C(0, 2 - place_bits))
    return Cat(C(word, 2), place, C(SetWord.GROUP >> 4, 1), set_)


class PageAccess:
    """What a client of the metadata does with the page of one set, as statements for a clock.

    Each method returns a list for ``m.d.comb``, which holds the lock (``req``) and drives the
    page memory. What is looked at is ``found`` a clock later.

    Parameters
    ----------
    geometry : Geometry
    meta : MetadataPort
        Of the client.
    set_ : Value
    """

    def __init__(self, geometry, meta, set_):
        self._geometry = geometry
        self._meta = meta
        self._set = set_
        self.found = meta.page_rdata

    def look(self, word):
        """Read ``word`` (a ``wire.SetWord``)."""
        return [self._meta.req.eq(1), self._meta.page_addr.eq(page(self._set, word))]

    def put(self, word, value):
        """Write ``value`` into ``word``."""
        return [*self.look(word), *self._write(value)]

    def look_group(self, gseq, word):
        """Read ``word`` (``wire.GROUP_HEAD`` and the like) of the record of group ``gseq``."""
        address = group_record(self._geometry, self._set, gseq, word)
        return [self._meta.req.eq(1), self._meta.page_addr.eq(address)]

    def put_group(self, gseq, word, value):
        """Write ``value`` into ``word`` of the record of group ``gseq``."""
        return [*self.look_group(gseq, word), *self._write(value)]

    def _write(self, value):
        return [self._meta.page_we.eq(1), self._meta.page_wdata.eq(value)]


class Metadata(wiring.Component):
    """Four single-port memories and a fair lock in front of them.

    The lock goes round robin over those that ask. It passes in the clock after its holder lets go,
    and the holder can have it again at once only if nobody else wants it. A client's inputs reach
    the memories only while it is granted, so it may drive them as it likes at other times.

    After reset the first holder is the initialiser; nobody else is granted before ``ready``, which
    takes 32 clocks a set and one a track.

    Rule for clients: never wait for anything while holding the lock but the free list (which
    is always ready, but for one clock). Then the longest wait is the sum of the others' walks.

    Parameters
    ----------
    geometry : Geometry
    state : Layout
        State of one track: ``SourceState`` or ``TargetState``.
    clients : int

    Members
    -------
    clients : In(MetadataPort(geometry, state)).array(clients)
    ready : Out(1)
    """

    def __init__(self, geometry, state, clients):
        if clients < 1:
            raise ValueError(f"clients must be at least 1, not {clients!r}")
        self.geometry = geometry
        self.state = state
        super().__init__({
            "clients": In(MetadataPort(geometry, state)).array(clients),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.initialiser = initialiser = Initialiser(self.geometry, self.state)
        ports = [*self.clients, initialiser.meta]
        m.d.comb += self.ready.eq(initialiser.done)
        held = self._lock(m, ports, first=len(ports) - 1)

        def share(name):
            """The member ``name`` of who holds the lock, 0 if nobody does."""
            return reduce(or_, (Mux(held[n], Value.cast(getattr(port, name)), 0)
                                for n, port in enumerate(ports)))

        depths = {
            "state": (self.state, 1 << self.geometry.track_index_bits),
            "link": (Link(self.geometry), 1 << self.geometry.track_index_bits),
            "page": (16, self.geometry.sets * SET_PAGE_WORDS),
            "volume": (Volume(self.geometry), self.geometry.volumes),
        }
        for name, (shape, depth) in depths.items():
            m.submodules[name] = memory = Memory(shape=shape, depth=depth, init=[])
            write = memory.write_port()
            # Read and write share one address and never happen in the same clock.
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq(share(f"{name}_addr")),
                read.addr.eq(write.addr),
                write.data.eq(share(f"{name}_wdata")),
                write.en.eq(share(f"{name}_we")),
                read.en.eq(held.any() & ~write.en),
            ]
            for port in ports:
                m.d.comb += getattr(port, f"{name}_rdata").eq(read.data)
        return m

    def _lock(self, m, ports, *, first):
        """Grant the ports in turn, ``first`` after reset; returns the grants, at most one 1."""
        m.submodules.turn = turn = RoundRobin(len(ports))
        owner = Signal(range(len(ports)), init=first)
        granted = Signal(len(ports), init=1 << first)
        requests = Signal(len(ports))
        held = Signal(len(ports))
        m.d.comb += [
            requests.eq(Cat(port.req for port in ports)),
            held.eq(granted & requests),
            turn.requests.eq(requests),
            turn.last.eq(owner),
        ]
        for n, port in enumerate(ports):
            m.d.comb += port.gnt.eq(held[n])
        with m.If(~held.any()):
            m.d.sync += granted.eq(0)
            with m.If(turn.valid):
                m.d.sync += [owner.eq(turn.next), granted.eq(1 << turn.next)]
        return held


class Initialiser(wiring.Component):
    """Writes the state after reset, then is done for good.

    Every set page is 0 but for ``NEXT`` and ``VOLUMES``; volumes go to sets as
    ``Geometry.initial_set`` says and are connected; tracks own slots 0, 1, 2 .. in order of volume
    and track, and have no flag set.

    Members
    -------
    meta : Out(MetadataPort)
        Asks from reset on until ``done``.
    done : Out(1)
    """

    def __init__(self, geometry, state):
        self.geometry = geometry
        self.state = state
        super().__init__({"meta": Out(MetadataPort(geometry, state)), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta
        m.d.comb += meta.req.eq(~self.done)

        word = Signal(_WORD_BITS + g.set_bits)
        track = Signal(g.track_bits)
        volume = Signal(g.volume_bits)
        in_set = Signal(range(g.volumes_per_set))       # place of the volume within its set
        set_ = Signal(g.set_bits)
        slot = Signal(slot_shape(g))

        m.d.comb += [
            meta.page_addr.eq(word),
            meta.state_addr.eq(Cat(track, volume)),
            meta.state_wdata.slot.eq(slot),
            meta.volume_addr.eq(volume),
            meta.volume_wdata.set.eq(set_),
        ]
        with m.If(word[:_WORD_BITS] == SetWord.NEXT):
            m.d.comb += meta.page_wdata.eq(FIRST_GROUP)
        with m.If(word[:_WORD_BITS] == SetWord.VOLUMES):
            with m.Switch(word[_WORD_BITS:]):
                for s in range(g.sets):
                    members = sum(g.initial_set(v) == s for v in range(g.volumes))
                    with m.Case(s):
                        m.d.comb += meta.page_wdata.eq(members)

        with m.FSM():
            with m.State("CLEAR_PAGES"):
                m.d.comb += meta.page_we.eq(meta.gnt)
                with m.If(meta.gnt):
                    m.d.sync += word.eq(word + 1)
                with m.If(word == g.sets * SET_PAGE_WORDS - 1):
                    m.next = "PLACE_TRACKS"
            with m.State("PLACE_TRACKS"):
                m.d.comb += [meta.state_we.eq(1), meta.volume_we.eq(1)]
                m.d.sync += [slot.eq(slot + 1), track.eq(track + 1)]
                with m.If(track == g.tracks_per_volume - 1):
                    m.d.sync += [track.eq(0), volume.eq(volume + 1), in_set.eq(in_set + 1)]
                    with m.If(in_set == g.volumes_per_set - 1):
                        m.d.sync += [in_set.eq(0), set_.eq(set_ + 1)]
                    with m.If(volume == g.volumes - 1):
                        m.next = "REST"
            with m.State("REST"):
                m.d.comb += self.done.eq(1)
        return m
