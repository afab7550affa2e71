"""What Amaranth's back end says of memories, and what is said instead of cleared ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from amaranth.back import rtlil

__all__ = ["cleared_memories", "short_memories"]


@contextlib.contextmanager
def cleared_memories(say: Callable[[Any, int, Any], None] | None = None) -> Iterator[None]:
    """``say(emitter, index, cell)`` is called for memories of nothing but zeros, or nothing is.

    Amaranth says of every bit that it is 0, which takes two thirds of its time on a board. Where
    its insides look different, it does that here, too: everything works as well, and slower.
    """
    emitter: Any = getattr(rtlil, "ModuleEmitter", None)
    said = getattr(emitter, "emit_memory", None)
    if said is None:
        yield
        return

    def emit_memory(self: Any, index: int, cell: Any) -> None:
        if any(cell.init):
            said(self, index, cell)
        elif say is not None:
            say(self, index, cell)

    emitter.emit_memory = emit_memory
    try:
        yield
    finally:
        emitter.emit_memory = said


def short_memories() -> contextlib.AbstractContextManager[None]:
    """While this lasts, one cell clears a whole memory."""
    return cleared_memories(_clear)


def _clear(emitter: Any, index: int, cell: Any) -> None:
    emitter.builder.cell("$meminit_v2", ports={
        "ADDR": emitter.sigspec(), "DATA": f"{cell.width * cell.depth}'0",
        "EN": f"{cell.width}'{'1' * cell.width}",
    }, parameters={
        "MEMID": emitter.memories[index].memid, "ABITS": 0, "WIDTH": cell.width,
        "WORDS": cell.depth, "PRIORITY": 0,
    }, src_loc=cell.src_loc)
