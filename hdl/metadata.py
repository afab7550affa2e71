"""The metadata: track states, order links, set pages and volumes, behind one lock."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firmware_model.wire import SET_PAGE_WORDS, SetWord

from .interfaces import Link, MetadataPort, Volume, late_domain, quick_if_small, slot_shape
from .recovery import Recovery

__all__ = ["Metadata", "PageAccess", "group_record", "page"]

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

    Each method returns a list for ``m.d.comb``, which (but for ``rest``) holds the lock (``req``)
    and drives the page memory. What is looked at is ``found`` a clock later.

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

    def rest(self):
        """Show the page while nothing is done, so that only the word depends on what is."""
        return [self._meta.page_addr.eq(page(self._set, 0))]

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

    The lock goes round robin over those that ask, past a client in two clocks: who asks waits at
    most once for every other client. The holder can have it again at once only if nobody else wants
    it. A client's inputs reach the memories only while it is granted, so it may drive them as it
    likes at other times.

    After reset the first holder is the :class:`.recovery.Recovery`; nobody else is granted before
    ``ready``, but the first client while ``finish``.

    Rule for clients: never wait for anything while holding the lock but the free list (which
    is ready within two clocks). Then the longest wait is the sum of the others' walks.

    Parameters
    ----------
    geometry : Geometry
    state : Layout
        State of one track: ``SourceState`` or ``TargetState``.
    clients : int
    slots : int
        Slots of the cache; only a warm start needs the right number.
    kept : set of SetWord
        Words of a page that survive a reset.

    Members
    -------
    clients : In(MetadataPort(geometry, state)).array(clients)
    ready : Out(1)
    cold, warm, finish : Out(1), finished : In(1), free : Out(stream.Signature(slot))
        See :class:`.recovery.Recovery`.
    """

    def __init__(self, geometry, state, clients, *, slots=1, kept=frozenset()):
        if clients < 1:
            raise ValueError(f"clients must be at least 1, not {clients!r}")
        self.geometry = geometry
        self.state = state
        self._recovery = Recovery(geometry, state, slots=slots, kept=kept)
        super().__init__({
            "clients": In(MetadataPort(geometry, state)).array(clients),
            "ready": Out(1),
            "cold": Out(1),
            "warm": Out(1),
            "finish": Out(1),
            "finished": In(1),
            "free": Out(stream.Signature(slot_shape(geometry))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.recovery = recovery = self._recovery
        ports = [*self.clients, recovery.meta]
        wiring.connect(m, recovery.free, wiring.flipped(self.free))
        m.d.comb += [
            self.ready.eq(recovery.done),
            self.cold.eq(recovery.cold),
            self.warm.eq(recovery.warm),
            self.finish.eq(recovery.finish),
            recovery.finished.eq(self.finished),
        ]
        granted, held = self._lock(m, ports, first=len(ports) - 1)

        def share(name, whose):
            """The member ``name`` of the one port of ``whose``, 0 if there is none."""
            return reduce(or_, (Mux(whose[n], Value.cast(getattr(port, name)), 0)
                                for n, port in enumerate(ports)))

        depths = {
            "state": (self.state, 1 << self.geometry.track_index_bits),
            "link": (Link(self.geometry), 1 << self.geometry.track_index_bits),
            "page": (16, self.geometry.sets * SET_PAGE_WORDS),
            "volume": (Volume(self.geometry), self.geometry.volumes),
        }
        for name, (shape, depth) in depths.items():
            # What is read is mostly decided on at once.
            quick = quick_if_small(depth, platform)
            m.submodules[name] = memory = Memory(shape=shape, depth=depth, init=[], attrs=quick)
            write = memory.write_port()
            # A register chooses; only what has an effect waits for the client's ``req``.
            address = Signal(range(depth), name=f"{name}_addr")
            m.d.comb += address.eq(share(f"{name}_addr", granted))
            if quick and depth >= 4:
                found = self._read_halves(m, memory, address)
            else:
                found = self._read(m, memory, address, write)
            # A clock later: whether something is written is decided on what has just been read.
            m.d[late_domain(platform)] += [
                write.addr.eq(address),
                write.data.eq(share(f"{name}_wdata", granted)),
                write.en.eq(share(f"{name}_we", held)),
            ]
            for port in ports:
                m.d.comb += Value.cast(getattr(port, f"{name}_rdata")).eq(found)
        return m

    def _read(self, m, memory, address, write):
        """What ``memory`` holds at ``address``, a clock later. A word that is being written shows
        what it did: block RAM would show anything, and who has just written a word may look on."""
        read = memory.read_port()
        m.d.comb += [read.addr.eq(address),
                     read.en.eq(~(write.en & (write.addr == address)))]
        return Value.cast(read.data)

    def _read_halves(self, m, memory, address):
        """The same out of LUTs: the last choice among so many of them comes after the register.

        An address is late in a clock, and what has been read is not.
        """
        halves = []
        for upper in (0, 1):
            read = memory.read_port(domain="comb")
            half = Signal(len(Value.cast(read.data)), name="half")
            m.d.comb += read.addr.eq(Cat(address[:-1], C(upper, 1)))
            m.d.sync += half.eq(Mux(address[-1] == upper, read.data, 0))
            halves.append(half)
        return reduce(or_, halves)

    def _lock(self, m, ports, *, first):
        """Grant the ports in turn, ``first`` after reset.

        Returns whose turn it is, and who holds the lock: the same as long as that one asks. A turn
        that moves on step by step takes far less logic than one that finds the next who asks, and
        the few clocks are nothing to the bytes of a line.
        """
        granted = Signal(len(ports), init=1 << first)
        passes = Signal()               # in this clock nobody may begin
        requests = Signal(len(ports))
        held = Signal(len(ports))
        m.d.comb += [
            requests.eq(Cat(port.req for port in ports) & Cat(
                self.ready | (self.finish if n == 0 else 0) | (n == first)
                for n in range(len(ports)))),
            held.eq(granted & requests & ~passes.replicate(len(ports))),
        ]
        for n, port in enumerate(ports):
            m.d.comb += port.gnt.eq(held[n])
        m.d.sync += passes.eq(requests.any() & ~passes & ~(granted & requests).any())
        with m.If(passes):
            m.d.sync += granted.eq(granted.rotate_left(1))
        return granted, held
