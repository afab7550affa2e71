"""Draws docs/farside.svg, the picture of the README (`python docs/picture.py`)."""

from __future__ import annotations

from pathlib import Path

W, H = 960, 400
INK, SOFT, LINE, ALERT = "#1b1f24", "#57606a", "#0969da", "#cf222e"
SOURCE, TARGET = "#ddf4ff", "#dafbe1"


def text(x: float, y: float, words: str, size: int = 14, anchor: str = "middle", colour: str = INK,
         weight: str = "normal") -> str:
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{words}</text>')


def box(x: float, y: float, w: float, h: float, fill: str, edge: str = INK) -> str:
    return (f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{fill}" '
            f'stroke="{edge}" stroke-width="1.5"/>')


def arrow(x1: float, y1: float, x2: float, y2: float, colour: str = INK, dash: str = "") -> str:
    return (f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="2" '
            f'marker-end="url(#{"a" if colour == INK else "b"})" stroke-dasharray="{dash}"/>')


def tracks(x: float, y: float, shades: str) -> list[str]:
    """A row of tracks: w committed on both sides, p commitment pending, k packet pending."""
    fill = {"w": "#ffffff", "p": "#fff8c5", "k": "#ffd8b5", "s": "#eaeef2"}
    return [f'<rect x="{x + 22 * i}" y="{y}" width="20" height="26" fill="{fill[s]}" '
            f'stroke="{SOFT}"/>' for i, s in enumerate(shades)]


def draw() -> str:
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" '
           'font-family="Helvetica, Arial, sans-serif">',
           '<defs>',
           *(f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
             f'markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="{colour}"/></marker>'
             for name, colour in (("a", INK), ("b", LINE))),
           '</defs>', f'<rect width="{W}" height="{H}" fill="#ffffff"/>']
    out += [box(130, 40, 280, 290, SOURCE), text(270, 66, "source board", 17, weight="bold"),
            box(570, 40, 260, 290, TARGET), text(700, 66, "target board", 17, weight="bold")]
    out += [text(60, 120, "host"), arrow(20, 140, 126, 140),
            text(72, 158, "chains", 12, colour=SOFT),
            arrow(126, 186, 20, 186), text(72, 204, "done / collision", 12, colour=SOFT)]
    out += [text(146, 100, "cache: one copy of every track", 13, "start"),
            *tracks(146, 110, "wkkpwpwkwwp")]
    out += [text(146, 160, "yellow: commitment pending", 12, "start", SOFT),
            text(146, 176, "orange: in a packet, on its way", 12, "start", SOFT)]
    out += [text(146, 212, "order list threaded through the table", 13, "start"),
            box(150, 224, 96, 30, "#ffd8b5"), text(198, 244, "group 7", 13),
            box(254, 224, 96, 30, "#fff8c5"), text(302, 244, "unsent", 13),
            text(146, 284, "collision: disconnect the volume,", 12, "start", ALERT),
            text(146, 300, "destage its set now, reconnect on commit", 12, "start", ALERT)]
    for i, y in enumerate((120, 172, 224)):
        out += [arrow(412, y, 566, y, LINE), text(489, y - 8, f"link {i}", 12, colour=LINE)]
    out += [text(489, 262, "tracks in any order", 12, colour=SOFT),
            text(489, 278, "+ an order packet each", 12, colour=SOFT),
            arrow(566, 306, 412, 306, LINE, "6 4"),
            text(489, 324, "commit status", 12, colour=LINE)]
    out += [text(586, 100, "visible tracks", 13, "start"), *tracks(586, 110, "wwwwwwwwwww"),
            text(586, 160, "staging: not visible yet", 13, "start"), *tracks(586, 170, "ssss"),
            text(586, 226, "commit engine: group after group,", 13, "start"),
            text(586, 244, "chain by chain, each at once", 13, "start"),
            text(586, 284, "at every instant the state after", 12, "start", ALERT),
            text(586, 300, "some exact prefix of the chains", 12, "start", ALERT)]
    out += [arrow(940, 186, 834, 186), text(890, 120, "host"), arrow(834, 140, 940, 140),
            text(887, 158, "reads", 12, colour=SOFT),
            text(W / 2, 372, "No queue, no second copy: a track that is still needed is not "
                 "overwritten, and the order of everything pending costs one pointer a track.", 13,
                 colour=SOFT)]
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).resolve().parent / "farside.svg").write_text(draw())
