"""Garbled memories: only reads that meet a write, and each of them."""

import pytest
from amaranth import Module
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sim.garble import garble


class Ram(wiring.Component):
    a: In(4)
    b: In(4)
    d: In(8)
    we: In(1)
    q: Out(8)

    def __init__(self, domain="sync"):
        self.domain = domain
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=16, init=[])
        write, read = memory.write_port(), memory.read_port(domain=self.domain)
        m.d.comb += [write.addr.eq(self.a), write.data.eq(self.d), write.en.eq(self.we),
                     read.addr.eq(self.b), self.q.eq(read.data)]
        return m


@pytest.mark.parametrize(("domain", "reads"), [("sync", 1), ("comb", 0)])
def test_clocked_reads_are_garbled(domain, reads):
    text = verilog.convert(Ram(domain))
    changed, count = garble(text)
    assert count == reads
    differing = [new for old, new in zip(text.splitlines(), changed.splitlines(), strict=True)
                 if old != new]
    assert len(differing) == reads
    for line in differing:
        assert "^ {8{(" in line
        assert "==" in line
