"""What is said of cleared memories."""

import re

from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.memory import Memory

from sim.memories import short_memories


def test_yosys_reads_cleared_memories_that_are_said_once():
    """The short form means the same as Amaranth's long one."""
    def made():
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=16, init=[])
        write, read = memory.write_port(), memory.read_port()
        return rtlil.convert(m, emit_src=False, ports=[
            write.addr, write.data, write.en, read.addr, read.data, read.en])

    def contents(text):
        zeros = re.search(r"connect \\DATA (\d+)'([0-9]+)\n", text[text.index("$meminit_v2"):])
        assert set(zeros[2]) == {"0"}
        return int(zeros[1])

    long = made()
    with short_memories():
        short = made()
    assert contents(long) == contents(short) == 8 * 16
    assert made() == long
