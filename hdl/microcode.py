"""A small instruction set and its assembler, for gateware whose state lies in block RAM."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["ENTRY_WORDS", "Fn", "Kind", "MicrocodeError", "Names", "Program", "Source", "assemble",
           "longest"]

# A direct word is addressed by 6 bits, an entry's by 3 with the index register in front.
DIRECT_WORDS = 64
ENTRY_WORDS = 8
ADDRESS_BITS = 10       # of instructions


class MicrocodeError(ValueError):
    """A program that cannot be assembled; the message names the line."""


class Kind(IntEnum):
    """What an instruction does, bits 15..13."""

    ALU = 0             # fn in 12..10, source in 9..8, argument in 7..0
    STORE = 1           # word in 6..0
    OUT = 2             # port in 12..8, argument in 7..0
    JUMP = 3            # address in 9..0, as in all that follow
    JUMP_ZERO = 4
    JUMP_NOT_ZERO = 5
    JUMP_NEGATIVE = 6   # bit 15 of the accumulator
    CALL = 7            # with bit 12: return


class Fn(IntEnum):
    """What becomes of the accumulator and an operand."""

    LOAD = 0
    AND = 1
    OR = 2
    XOR = 3
    ADD = 4
    SUB = 5
    SHR = 6             # the accumulator alone, by one bit
    SWAP = 7            # the bytes of the accumulator


class Source(IntEnum):
    """Where an operand comes from."""

    WORD = 0            # of the line's state
    NUMBER = 1          # in the instruction
    BIT = 2             # 1 << index register
    PORT = 3            # an input


RETURN = Kind.CALL << 13 | 1 << 12

_FNS = {"LD": Fn.LOAD, "ADD": Fn.ADD, "SUB": Fn.SUB, "AND": Fn.AND, "OR": Fn.OR, "XOR": Fn.XOR}
_ALONE = {"SHR": Fn.SHR, "SWAP": Fn.SWAP}
_JUMPS = {"JMP": Kind.JUMP, "JZ": Kind.JUMP_ZERO, "JNZ": Kind.JUMP_NOT_ZERO,
          "JN": Kind.JUMP_NEGATIVE, "CALL": Kind.CALL}


@dataclass(frozen=True)
class Names:
    """What a program may name.

    words : words of the state, by offset; those of the indexed entry as ``entry.NAME``.
    numbers : constants, 0..255.
    inputs, outputs : ports.
    """

    words: dict[str, int]
    entry: dict[str, int]
    numbers: dict[str, int]
    inputs: dict[str, int]
    outputs: dict[str, int]

    def __post_init__(self) -> None:
        for table, most in ((self.words, DIRECT_WORDS), (self.entry, ENTRY_WORDS),
                            (self.numbers, 256), (self.inputs, 256), (self.outputs, 32)):
            for name, value in table.items():
                if not 0 <= value < most:
                    raise MicrocodeError(f"{name} is {value}, outside 0..{most - 1}")


@dataclass(frozen=True)
class Program:
    """Instructions, and the text they came from."""

    code: tuple[int, ...]
    labels: dict[str, int]
    text: tuple[tuple[int, str], ...]       # address and source line, in order

    def listing(self) -> str:
        """Addresses and instructions beside the source."""
        lines = []
        for address, line in self.text:
            is_code = bool(_strip(line)) and not _strip(line).endswith(":")
            left = f"{address:3x} {self.code[address]:04x}" if is_code else ""
            lines.append(f"{left:8}  {line}".rstrip())
        return "\n".join(lines) + "\n"


def _strip(line: str) -> str:
    return line.partition(";")[0].strip()


def assemble(source: str, names: Names) -> Program:
    """Make a program of its text.

    One instruction a line, ``label:`` on a line of its own, ``;`` before a comment. Operands: a
    word's name, ``#`` a number or its name, ``<`` an input port, ``bit``: 1 << index register.
    """
    text = []
    labels: dict[str, int] = {}
    address = 0
    for line in source.strip("\n").splitlines():
        text.append((address, line))
        body = _strip(line)
        if body.endswith(":"):
            label = body[:-1]
            if label in labels:
                raise MicrocodeError(f"label {label} stands twice")
            labels[label] = address
        elif body:
            address += 1
    if address > 1 << ADDRESS_BITS:
        raise MicrocodeError(f"{address} instructions are more than {1 << ADDRESS_BITS}: "
                             f"addresses have {ADDRESS_BITS} bits")
    code = []
    for _, line in text:
        body = _strip(line)
        if body and not body.endswith(":"):
            try:
                # Of a flag's own type, a memory would keep no more bits than the flags have.
                code.append(int(_encode(body, names, labels)))
            except (KeyError, ValueError) as error:
                raise MicrocodeError(f"cannot assemble {body!r}: {error}") from error
    return Program(tuple(code), labels, tuple(text))


def _encode(body: str, names: Names, labels: dict[str, int]) -> int:
    operation, *arguments = body.split()
    if operation == "RET":
        return RETURN
    if operation in _ALONE:
        return Kind.ALU << 13 | _ALONE[operation] << 10
    if operation in _JUMPS:
        return _JUMPS[operation] << 13 | labels[arguments[0]]
    if operation == "ST":
        return Kind.STORE << 13 | _word(arguments[0], names)
    if operation == "OUT":
        argument = _number(arguments[1], names) if len(arguments) > 1 else 0
        return Kind.OUT << 13 | names.outputs[arguments[0]] << 8 | argument
    if operation not in _FNS:
        raise ValueError(f"no operation is called {operation}")
    source, argument = _operand(arguments[0], names)
    return Kind.ALU << 13 | _FNS[operation] << 10 | source << 8 | argument


def _operand(text: str, names: Names) -> tuple[Source, int]:
    if text == "bit":
        return Source.BIT, 0
    if text.startswith("#"):
        return Source.NUMBER, _number(text, names)
    if text.startswith("<"):
        return Source.PORT, names.inputs[text[1:]]
    return Source.WORD, _word(text, names)


def _word(text: str, names: Names) -> int:
    if text.startswith("entry."):
        return DIRECT_WORDS | names.entry[text.removeprefix("entry.")]
    return names.words[text]


def _number(text: str, names: Names) -> int:
    """``#`` and numbers or names joined by ``|``."""
    if not text.startswith("#"):
        raise ValueError(f"{text} is no number: it has no #")
    value = 0
    for part in text[1:].split("|"):
        value |= int(part, 0) if re.match(r"\d", part) else names.numbers[part]
    if value > 255:
        raise ValueError(f"{text} is {value}, more than 255")
    return value


def longest(program: Program, start: str, stops: set[str], turns: dict[str, int],
            clocks: Callable[[int], int], avoid: Collection[str] = ()) -> int:
    """Most clocks from ``start`` until one of ``stops`` is reached.

    ``turns`` says for the label at the head of each loop how often at most its body is run, the
    last, partial time not counted; every jump back to a label must be to one of them. ``clocks``
    of an instruction; a called routine counts in addition. Ways over labels to ``avoid`` do not
    count. Loops must not be nested.
    """
    at = {address: label for label, address in program.labels.items() if label in turns}
    ends = {program.labels[label] for label in stops}
    closed = {program.labels[label] for label in avoid}
    known: dict[tuple[int, int], int] = {}
    depth = 10 * len(program.code)

    def following(address: int) -> list[int]:
        code = program.code[address]
        kind, target = code >> 13, code & (1 << ADDRESS_BITS) - 1
        if code & RETURN == RETURN:
            return []
        if kind == Kind.JUMP:
            return [target]
        if Kind.JUMP_ZERO <= kind <= Kind.JUMP_NEGATIVE:
            return [address + 1, target]
        return [address + 1]

    def walk(address: int, goal: int) -> int:
        """Clocks from here to the end, or, with a ``goal``, to it; -1 if there is no way."""
        if (address, goal) in known:
            return known[address, goal]
        code = program.code[address]
        here = clocks(code)
        if code >> 13 == Kind.CALL and code & RETURN != RETURN:
            here += walk(code & (1 << ADDRESS_BITS) - 1, -1)
        after = following(address)
        best = 0 if not after and goal < 0 else -1
        for target in after:
            if target in closed:
                continue
            if target == goal or (target in ends and goal < 0):
                best = max(best, 0)
            elif target in ends or (target <= address and target in at):
                continue            # another way than the one that is asked for, or a turn more
            else:
                best = max(best, walk(target, goal))
        if best >= 0:
            best += here
            if goal < 0 and address in at:
                best += turns[at[address]] * max(0, walk(address, address))
        known[address, goal] = best
        return best

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, depth))
    try:
        return walk(program.labels[start], -1)
    finally:
        sys.setrecursionlimit(limit)
