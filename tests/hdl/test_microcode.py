"""The assembler, and what it says of a program's running time."""

import pytest
from amaranth.lib.memory import MemoryData

from firmware_model import wire
from hdl.lineprogram import line_program
from hdl.microcode import (
    Fn,
    Kind,
    MicrocodeError,
    Names,
    Source,
    assemble,
    longest,
)

NAMES = Names(words={"up": 3}, entry={"order": 7}, numbers={"LIMIT": 9, "FLAG": 16},
              inputs={"byte": 5}, outputs={"send": 2})


def clocks(code):
    return 2


@pytest.mark.parametrize(("text", "code"), [
    ("LD up", Source.WORD << 8 | 3),
    ("ADD #LIMIT", Fn.ADD << 10 | Source.NUMBER << 8 | 9),
    ("OR #FLAG|0x20|1", Fn.OR << 10 | Source.NUMBER << 8 | 0x31),
    ("AND bit", Fn.AND << 10 | Source.BIT << 8),
    ("XOR <byte", Fn.XOR << 10 | Source.PORT << 8 | 5),
    ("SUB entry.order  ; why", Fn.SUB << 10 | Source.WORD << 8 | 64 | 7),
    ("SHR", Fn.SHR << 10),
    ("ST entry.order", Kind.STORE << 13 | 64 | 7),
    ("OUT send #LIMIT", Kind.OUT << 13 | 2 << 8 | 9),
    ("here:\nJN here", Kind.JUMP_NEGATIVE << 13),
    ("CALL next\nnext:\nRET", Kind.CALL << 13 | 1),
])
def test_instructions(text, code):
    assert assemble(text, NAMES).code[0] == code


def test_a_memory_keeps_an_instruction_whole():
    """A flag is cast to as many bits as its type has, whatever was added to it."""
    names = Names(words={}, entry={}, numbers={"UP": wire.HelloFlag.UP}, inputs={}, outputs={})
    programs = [assemble("AND #UP", names), *(line_program(role=role, window=8, tries=8)
                                              for role in (wire.Role.SOURCE, wire.Role.TARGET))]
    for program in programs:
        memory = MemoryData(shape=16, depth=len(program.code), init=program.code)
        assert memory.init._raw == list(program.code)


@pytest.mark.parametrize(("text", "message"), [
    ("MUL up", "no operation is called MUL"),
    ("LD down", "cannot assemble 'LD down': 'down'"),
    ("OUT send LIMIT", "LIMIT is no number"),
    ("LD #300", "#300 is 300, more than 255"),
    ("JMP away", "cannot assemble 'JMP away'"),
    ("a:\na:", "label a stands twice"),
    ("SHR\n" * 1025, "1025 instructions are more than 1024"),
])
def test_faults_are_named(text, message):
    with pytest.raises(MicrocodeError, match=message):
        assemble(text, NAMES)


def test_names_have_bounds():
    with pytest.raises(MicrocodeError, match=r"far is 64, outside 0\.\.63"):
        Names(words={"far": 64}, entry={}, numbers={}, inputs={}, outputs={})


def test_listing_has_every_line():
    program = assemble("start:      ; here\n    LD up\n    JMP start", NAMES)
    assert program.listing() == (
        "          start:      ; here\n  0 0003      LD up\n  1 6000      JMP start\n")


LOOPS = """
start:
    CALL twice
    JZ short
    LD up
again:
    LD up
    JZ end
    SUB #1
    JNZ odd
    JMP again
odd:
    LD up
    LD up
    JMP again
short:
    JMP end
twice:
    LD up
    RET
end:
    JMP start
"""


@pytest.mark.parametrize(("turns", "avoid", "instructions"), [
    # call and routine 3, two to the loop, two to leave it; a turn takes 7 by way of odd, else 5
    (0, (), 3 + 2 + 2),
    (3, (), 3 + 2 + 2 + 3 * 7),
    (3, ("odd",), 3 + 2 + 2 + 3 * 5),
])
def test_longest_way(turns, avoid, instructions):
    program = assemble(LOOPS, NAMES)
    assert longest(program, "start", {"end"}, {"again": turns}, clocks,
                   avoid=avoid) == 2 * instructions
