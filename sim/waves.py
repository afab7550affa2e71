"""What makes waveforms readable: names for states, and a save file that groups signals by role.

Verilog has lost the names of Amaranth's states and enumerations; :mod:`sim.elaborate` keeps them
in ``signals.json``. Here they become GTKWave translation files and a ``.gtkw`` save file beside
the waveform, and mapping translators for Surfer (format: "Mapping Translators" of its manual).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["GROUPS", "Group", "write_companions"]

SURFER = ".surfer/mappings"     # where Surfer looks, below the directory it is started in
TRACE_ROOT = "TOP"          # what Verilator puts above the top module


@dataclass(frozen=True)
class Group:
    """Signals of one role: those in a scope, or below one, that ``scopes`` matches."""

    title: str
    scopes: str


# Order of the save file: the way a chain takes from the source's host to the target's.
GROUPS: tuple[Group, ...] = (
    Group("source: host port", r"board\.source\.(host_line|core\.(host_port|reader))"),
    Group("source: chain processor", r"board\.source\.core\.(chain|volumes)"),
    Group("source: sequencer and dispatcher",
          r"board\.source\.core\.(sequencer|dispatcher|walker_\d+|poller|reconnects)"),
    Group("source: links", r"board\.source\.link_\d+"),
    Group("channels", r"board\.channel_\d+"),
    Group("target: links", r"board\.target\.link_\d+"),
    Group("target: receiver", r"board\.target\.core\.receiver"),
    Group("target: commit engine", r"board\.target\.core\.(commit|status)"),
    Group("target: host port", r"board\.target\.(host_line|core\.(host_port|reader))"),
    Group("locks and memories",
          r"board\.(source|target)\.core\.(metadata|arbiter|data_memory|free_list)"),
)

# Worth showing at once in any scope: states, and the handshakes of what flows.
_FIRST = re.compile(r"(_state|__valid|__ready|\.(rx|tx|up|req|gnt|ack|tick|commit))$")
_MAX_SIGNALS = 60           # a group; the rest is found in the viewer's tree


def write_companions(signals: Path, waves: Path) -> Path:
    """Write ``<waves>.gtkw`` and ``<waves>.names/`` beside a waveform file; returns the former.

    ``<waves>.names`` holds a translation file for every signal that has names, in GTKWave's
    format. Surfer, started in that directory, finds its mapping translators there, one a signal.
    """
    described: dict[str, Any] = json.loads(signals.read_text())
    names = waves.with_name(waves.name + ".names")
    save = waves.with_name(waves.name + ".gtkw")
    names.mkdir(exist_ok=True)
    (names / SURFER).mkdir(parents=True, exist_ok=True)

    files: dict[str, Path] = {}
    for full, signal in described.items():
        if "names" in signal:
            files[full] = _translation(names, full, signal)

    lines = ["[*] Farside: signals by role", f'[dumpfile] "{waves.resolve()}"',
             "[timestart] 0", "[sst_expanded] 1"]
    lines += _group("lines", [f"board.{name}" for name in
                              ("clk", "source_rx", "source_tx", "target_rx", "target_tx")],
                    described, files, closed=False)
    shown: set[str] = set()
    for group in GROUPS:
        scope = re.compile(group.scopes + r"\..*")
        members = [full for full in described
                   if full not in shown and scope.fullmatch(full) and _FIRST.search(full)
                   and "$" not in full]
        members.sort(key=lambda full: not full.endswith("_state"))
        shown.update(members)
        lines += _group(group.title, members[:_MAX_SIGNALS], described, files, closed=True)
    save.write_text("\n".join(lines) + "\n")
    return save


# Flags of the save file format.
_PLAIN = "@22"              # hexadecimal, right justified
_BIT = "@28"                # binary, right justified
_TRANSLATED = "@2022"       # through a translation file
_OPEN, _CLOSED, _END = "@800200", "@c00200", "@1000200"


def _group(title: str, members: list[str], described: dict[str, Any], files: dict[str, Path],
           closed: bool) -> list[str]:
    members = [full for full in members if full in described]
    if not members:
        return []
    lines = [_CLOSED if closed else _OPEN, f"-{title}"]
    for full in members:
        width = described[full]["width"]
        shown = f"{TRACE_ROOT}.{full}" + (f"[{width - 1}:0]" if width > 1 else "")
        if full in files:
            lines += [_TRANSLATED, f"^1 {files[full].resolve()}", shown]
        else:
            lines += [_BIT if width == 1 else _PLAIN, shown]
    return [*lines, _END, f"-{title}"]


def _translation(directory: Path, full: str, signal: dict[str, Any]) -> Path:
    """Write the names of one signal: GTKWave looks up the value as it is shown, in hex."""
    width = signal["width"]
    digits = (width + 3) // 4
    path = directory / f"{full}.txt"
    values = sorted((int(number), text.replace(" ", "_"))
                    for number, text in signal["names"].items())
    path.write_text("".join(f"{number:0{digits}x} {text}\n" for number, text in values))
    surfer = directory / SURFER / f"{full}.txt"
    surfer.write_text(f"Name = {full}\nBits = {width}\n"
                      + "".join(f"0b{number:0{width}b} {text}\n" for number, text in values))
    return path
