# amaranth: UnusedElaboratable=no
"""The processor: instructions, pages, and a client of its memory that meets it everywhere."""

import pytest
from amaranth import *

from hdl.microcode import Names, assemble
from hdl.processor import Processor

from .streams import run

NAMES = Names(words={"a": 0, "b": 1, "c": 2}, entry={"x": 5}, numbers={},
              inputs={"in": 9}, outputs={"say": 1, "index": 2, "line": 3})


def said(text, count, *, state=(), lines=1, hold=0, client=None, limit=4000):
    """The first ``count`` values that a program says; ``hold`` clocks before each is taken."""
    dut = Processor(assemble(text, NAMES), lines, state)
    values = []

    async def bench(ctx):
        ctx.set(dut.input, 0x1234)
        ctx.set(dut.hold, bool(hold))
        waited = 0
        while len(values) < count:
            ctx.set(dut.index_we, ctx.get(dut.out) and ctx.get(dut.port) == 2)
            if ctx.get(dut.out) and ctx.get(dut.port) == 3:
                line = ctx.get(dut.value)
            else:
                line = None
            if ctx.get(dut.out) and ctx.get(dut.port) == 1:
                values.append(ctx.get(dut.value))
                waited = 0
            waited += ctx.get(dut.wants)
            await ctx.tick()
            ctx.set(dut.hold, waited < hold)
            if line is not None:
                ctx.set(dut.line, line)

    run(dut, bench, monitors=[client(dut)] if client else [], limit=limit)
    return values


@pytest.mark.parametrize(("text", "value"), [
    ("LD #200", 200),
    ("LD #200\nADD #100", 300),
    ("LD #5\nSUB #7", 0xFFFE),
    ("LD <in", 0x1234),
    ("LD <in\nSWAP", 0x3412),
    ("LD <in\nSHR", 0x091A),
    ("LD #12\nAND #10", 8),
    ("LD #12\nOR #3", 15),
    ("LD #12\nXOR #10", 6),
    ("LD #6\nOUT index\nLD bit", 64),
    ("LD #7\nST a\nLD #2\nST b\nSUB a", 0xFFFB),
])
def test_accumulator(text, value):
    assert said(f"{text}\nOUT say", 1) == [value]


@pytest.mark.parametrize(("value", "jump", "jumps"), [
    (0, "JZ", True), (1, "JZ", False), (0, "JNZ", False), (256, "JNZ", True),
    (0x7FFF, "JN", False), (0x8000, "JN", True), (0, "JMP", True)])
def test_jumps(value, jump, jumps):
    assert said(f"LD c\n{jump} there\nLD #1\nOUT say\nthere:\nLD #2\nOUT say", 1,
                state=[0, 0, value]) == [2 if jumps else 1]


def test_a_routine_returns():
    assert said("start:\nLD #1\nCALL more\nOUT say\nCALL more\nOUT say\nJMP start\n"
                "more:\nADD #10\nRET", 3) == [11, 21, 11]


def test_entries_and_pages():
    """An entry for each index, words and entries for each line."""
    text = "\n".join(f"LD #{line}\nOUT line\nLD #{index}\nOUT index\nLD #{16 * line + index}\n"
                     "ST entry.x\nST a" for line in range(3) for index in (0, 3, 7))
    text += "\n" + "\n".join(f"LD #{line}\nOUT line\nLD #{index}\nOUT index\nLD entry.x\nOUT say"
                             for line in range(3) for index in (7, 0, 3))
    text += "\nLD #1\nOUT line\nLD a\nOUT say"
    assert said(text, 10, lines=3) == [
        16 * line + index for line in range(3) for index in (7, 0, 3)] + [16 + 7]


def test_an_output_is_held():
    assert said("again:\nLD a\nADD #1\nST a\nOUT say\nJMP again", 5, hold=7) == [1, 2, 3, 4, 5]


def test_processor_and_client_meet_at_every_word():
    """The client counts in the word that the processor looks at, and looks where it counts."""
    seen = []

    def client(dut):
        async def process(ctx):
            port, step, count = dut.state, 0, 0
            async for _, _, turn, valid, data in ctx.tick().sample(
                    port.turn, port.valid, port.data):
                if valid:
                    seen.append(data)
                    count += 1
                step = (step + turn) % 2
                ctx.set(port.addr, 0)               # a, which the processor writes
                ctx.set(port.waddr, 1)              # b, which it reads
                ctx.set(port.wdata, count)
                ctx.set(port.we, 1)
        return process

    values = said("again:\nLD a\nADD #1\nST a\nLD b\nOUT say\nJMP again", 60, client=client)
    assert values == sorted(values)
    assert values[-1] - values[0] > 100, "it reads what the client writes"
    assert seen == sorted(seen)
    assert set(range(1, 50)) <= set(seen), "the client sees every value that the processor wrote"


def test_lines_are_bounded():
    with pytest.raises(ValueError, match=r"lines 5 is outside 1\.\.4"):
        Processor(assemble("SHR", NAMES), 5, [])
