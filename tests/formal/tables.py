"""An environment for whoever uses the metadata: tables that may hold anything.

Nothing is stored. What a read returns is free, but the same for the same address as long as the
lock is held and nothing is written; so a proof covers tables of any contents, and needs no
memories. What is written cannot be read in the next clock: then anything may come. Words that a
claim is about are remembered (:meth:`Tables.remember`).
"""

from amaranth import *

from hdl.metadata import page

__all__ = ["Tables"]

_NAMES = ("state", "link", "page", "volume")


class Tables:
    """Grants the lock when it likes, and answers reads.

    Members
    -------
    gnt : Signal
        The lock is held.
    writes : dict of str to Value
        A write to each table.
    reads : dict of str to Value
        What the table's output shows now is what was read at the address of the clock before.
    """

    def __init__(self, bench, meta, geometry):
        self.bench, self.meta, self.geometry = bench, meta, geometry
        m = bench.m
        grant = bench.free(1, "grant")
        held = bench.past(meta.gnt)
        m.d.comb += meta.gnt.eq(meta.req & (grant | held))
        self.gnt = meta.gnt
        self.held_before = held
        self.writes, self.reads = {}, {}
        for name in _NAMES:
            we, addr = getattr(meta, f"{name}_we"), getattr(meta, f"{name}_addr")
            rdata = getattr(meta, f"{name}_rdata")
            given = bench.free(rdata.shape(), f"{name}_given")
            m.d.comb += rdata.eq(given)
            value = Value.cast(given)
            written = bench.past(meta.gnt & we) & (addr == bench.past(addr))
            looked = meta.gnt & ~we & ~written
            same = bench.past(looked) & bench.past(looked, 2) & (
                bench.past(addr) == bench.past(addr, 2))
            bench.assume(~same | (value == bench.past(value)), f"{name}_read_again_is_the_same")
            self.writes[name] = meta.gnt & we
            self.reads[name] = bench.past(looked)
        # Rule of the lock: nothing reaches the memories without it.
        wes = Cat(getattr(meta, f"{name}_we") for name in _NAMES)
        self.writes_unlocked = wes.any() & ~meta.gnt

    def is_at(self, word, set_):
        """The page address now is that of ``word`` in the page of ``set_``."""
        return self.meta.page_addr == page(set_, word)

    def remember(self, word, *, name, others=0):
        """One register a set that follows what the component writes to ``word``; reads see it.

        Others may write that word as they like while ``others``, and never without the lock.
        """
        bench, meta = self.bench, self.meta
        words = []
        theirs = bench.free(self.geometry.sets, f"{name}_changed")
        value = bench.free(16, f"{name}_new")
        for n in range(self.geometry.sets):
            kept = Signal(16, name=f"{name}_{n}")
            here = self.is_at(word, C(n, self.geometry.set_bits))
            with bench.m.If(self.writes["page"] & here):
                bench.m.d.sync += kept.eq(meta.page_wdata)
            with bench.m.Elif(theirs[n] & others & ~self.gnt):
                bench.m.d.sync += kept.eq(value)
            read = self.reads["page"] & bench.past(here)
            bench.assume(~read | (meta.page_rdata == kept), f"{name}_{n}_as_written")
            words.append(kept)
        return words
