"""Writes the tables of docs/hardware.md: boards and wiring from `boards/`, figures from builds.

Every `farside build` leaves a report in `build/boards/`. Those found there are put into
`docs/hardware.json`, which keeps what was measured before; then the tables are written anew.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from boards.board import Board, all_boards  # noqa: E402

FIGURES = HERE / "hardware.json"
PAGE = HERE / "hardware.md"
PARTS_OF = ("icebreaker-target", "icebreaker-source")
PARTS_SHOWN = 18


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
                      *("| " + " | ".join(row) + " |" for row in rows)])


def megahertz(hertz: int) -> str:
    return f"{hertz / 1e6:g} MHz"


def boards_table(boards: list[Board]) -> str:
    rows = []
    for board in boards:
        for role in board.roles:
            geometry = board.geometry(role)
            rows.append([
                f"`{board.name}`", board.chip.name, role, megahertz(board.clock_hz[role]),
                f"{geometry.tracks} of {geometry.track_bytes} bytes",
                str(geometry.chain_limit), f"{geometry.host_baud / 1e6:g} Mbaud",
                f"{geometry.link_baud / 1e6:g} Mbaud"])
    return table(["board", "chip", "role", "clock", "tracks", "longest chain", "host port",
                  "links"], rows)


def wiring_table(boards: list[Board]) -> str:
    return table(["board", "links", "pins"],
                 [[f"`{board.name}`", f"0 to {len(board.links) - 1}",
                   "; ".join(f"{n}: {pins.where}" for n, pins in enumerate(board.links))]
                  for board in boards])


def figures() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for path in sorted((HERE.parent / "build" / "boards").glob("*/report.json")):
        found = json.loads(path.read_text())
        known[f"{found['board']}-{found['role']}"] = found
    FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return dict(sorted(known.items()))


def figures_table(known: dict[str, Any]) -> str:
    rows = []
    for found in known.values():
        cells, rams = found["cells"], found["block_rams"]
        over = cells["used"] - cells["available"]
        verdict = (f"does not fit: {over} logic cells too many" if over > 0
                   else "met" if found["timing_met"] else "too slow")
        clock = f"{found['max_mhz']:.1f} MHz" if found["max_mhz"] else "-"
        rows.append([f"`{found['board']}`", found["role"], str(found["links"]),
                     f"{cells['used']} of {cells['available']}",
                     f"{rams['used']} of {rams['available']}", clock,
                     f"{found['required_mhz']:g} MHz", verdict])
    return table(["board", "role", "links", "logic cells", "block RAM", "possible", "required",
                  "verdict"], rows)


def paths_table(known: dict[str, Any]) -> str:
    rows = []
    for found in known.values():
        for path in found["paths"]:
            way = [path["start"], *path["through"], path["end"]]
            way = [name for n, name in enumerate(way) if n == 0 or way[n - 1] != name]
            rows.append([f"`{found['board']}` {found['role']}", f"{path['nanoseconds']:.1f} ns",
                         " → ".join(way)])
    return table(["build", "delay", "from component to component"], rows)


def parts_table(known: dict[str, Any]) -> str:
    out = []
    for name in PARTS_OF:
        if name not in known:
            continue
        parts = known[name]["parts"]
        rest = parts[PARTS_SHOWN:]
        rows = [[f"`{part['name']}`", *(str(part[key]) for key in KEYS)]
                for part in parts[:PARTS_SHOWN]]
        rows.append(["everything else", *(str(sum(p[key] for p in rest)) for key in KEYS)])
        rows.append(["**all**", *(str(sum(p[key] for p in parts)) for key in KEYS)])
        board, _, role = name.rpartition("-")
        out.append(f"`{board}` as {role}:\n\n" + table(
            ["component", "LUTs", "flip-flops", "carries", "block RAMs"], rows))
    return "\n\n".join(out)


KEYS = ("luts", "flip_flops", "carries", "block_rams")


def main() -> None:
    boards, known = all_boards(), figures()
    made = {"boards": boards_table(boards), "wiring": wiring_table(boards),
            "figures": figures_table(known), "paths": paths_table(known),
            "parts": parts_table(known)}
    text = PAGE.read_text()
    for name, content in made.items():
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)",
                              lambda found, content=content: f"{found[1]}\n{content}\n{found[2]}",
                              text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"docs/hardware.md has no place for {name}")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
