"""Makes block RAM say nothing true where it is read and written in the same clock.

Amaranth promises that such a read gives what was there before. Real block RAM of two ports does
not, unless it is surrounded by a comparator and a second set of registers, so synthesis is told
that nobody looks at such a read (``boards.flow``). Here every bit of it is wrong, so that a
simulation shows whether that is so.
"""

from __future__ import annotations

import re

_MODULE = re.compile(r"^module .*?^endmodule$", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(r"^  reg \[(\d+):0\] (\\?\S+) ?\[\d+:0\];$", re.MULTILINE)


def garble(verilog: str) -> tuple[str, int]:
    """The Verilog with every clocked read of a memory garbled so, and how many there are."""
    count = 0

    def module(found: re.Match[str]) -> str:
        nonlocal count
        text = found[0]
        for width, name in _MEMORY.findall(text):
            text, more = _garble_memory(text, int(width) + 1, name)
            count += more
        return text

    return _MODULE.sub(module, verilog), count


def _garble_memory(text: str, width: int, name: str) -> tuple[str, int]:
    place = re.escape(name) + r" ?\[([^;]*)\]"
    writes = re.findall(rf"if \(([^\n]*)\)\n\s+{place} <= ", text)
    if len(writes) != 1:
        return text, 0          # a table that is only read, or a shape this is not about
    enable, at = writes[0]
    return re.subn(
        rf"( <= {place});",
        lambda read: f"{read[1]} ^ {{{width}{{({enable}) && (({at}) == ({read[2]}))}}}};", text)
