"""What an owner runs first on a board: is everything between this PC and the far disc sound?

Every step is one function that writes, reads or looks, and says in a line what it found. With
the source's port alone the links are judged by what has to be sent again; with the target's port
too, what arrived there is read back and compared.

All data is pseudo-random, from a seed that the report names.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from firmware_model import wire
from firmware_model.geometry import MIN_CLOCKS_A_BIT

from .client import Client
from .errors import BoardError, FarsideError, NotSettling, UsageError

UP_SECONDS = 10.0           # hellos go out every thousand bits; a cable that is in is found by then
CLOCK_SECONDS = 0.5
CLOCK_TOLERANCE = 0.01      # 8N1 leaves 2 % for both ends together
LINE_BYTES = 400_000        # on all links together: 1e-5 shows as about forty bad frames
CHAIN_TRACKS = 16
EXAMPLE_TRACKS = 6          # of a volume: the worked examples write up to track 5
FRAME_OVERHEAD = 17         # type, lseq, header, CRC, COBS and delimiter
SECONDS_A_STEP = 60.0
RATE_STEP = 4 / 3
RATE_BITS = 500_000         # at every rate: 1e-5 shows as about five bad frames
RATE_TRACKS = 32            # sent between two looks
RATE_SECONDS = 5.0          # without progress: a link that is too fast may carry nothing at all


@dataclass(frozen=True)
class Finding:
    """Outcome of one step. ``ok`` is None where a step could not be done."""

    step: str
    ok: bool | None
    text: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILED", None: "skipped"}[self.ok]
        return f"{self.step:<12} {mark:<8} {self.text}"


@dataclass
class _Bench:
    source: Client
    target: Client | None
    rng: random.Random
    emulator: bool = False
    clean: bool = False         # no frame was damaged at the links' own rate

    def data(self) -> bytes:
        return self.rng.randbytes(self.source.geometry.track_bytes)

    def places(self) -> Iterator[tuple[int, int]]:
        geometry = self.source.geometry
        for track in range(geometry.tracks_per_volume):
            for volume in range(geometry.volumes):
                yield volume, track

    def write_all(self, contents: dict[tuple[int, int], bytes],
                  stalled: float = SECONDS_A_STEP) -> None:
        """Write these tracks in chains of their sets, and wait until the target has them."""
        limit = min(CHAIN_TRACKS, self.source.geometry.chain_limit)
        by_set: dict[int, list[tuple[int, int, bytes]]] = {}
        for (volume, track), data in contents.items():
            by_set.setdefault(self.source.volume_set[volume], []).append((volume, track, data))
        for writes in by_set.values():
            for at in range(0, len(writes), limit):
                self.source.submit(writes[at:at + limit], depth=8)
        self.source.wait_settled(stalled=stalled)


def _identity(bench: _Bench) -> Finding:
    """Who is there, and is its clock what it says (a wrong oscillator shows here)."""
    geometry = bench.source.geometry
    begun, clocks = time.monotonic(), bench.source.cycles()
    bench.source.idle(CLOCK_SECONDS)
    measured = (bench.source.cycles() - clocks) / (time.monotonic() - begun)
    text = (f"{geometry.volumes} volumes of {geometry.tracks_per_volume} tracks of "
            f"{geometry.track_bytes} bytes, {geometry.links} links, "
            f"{geometry.clock_hz / 1e6:g} MHz (measured {measured / 1e6:.2f})")
    return Finding("board", True, text, {"clock_hz": geometry.clock_hz,
                                         "measured_hz": round(measured)})


def _links(bench: _Bench) -> Finding:
    """Do all links have a session?"""
    wanted = (1 << bench.source.geometry.links) - 1
    deadline = time.monotonic() + UP_SECONDS
    up = bench.source.reg("links_up")
    while up != wanted and time.monotonic() < deadline:
        bench.source.idle(0.05)
        up = bench.source.reg("links_up")
    down = [n for n in range(bench.source.geometry.links) if not up >> n & 1]
    text = "all up" if not down else f"down: {', '.join(map(str, down))} (rx and tx crossed?)"
    return Finding("links", not down, text, {"down": down})


class _LinkWatch:
    """What has passed over the links since this was made."""

    def __init__(self, bench: _Bench) -> None:
        self._sides = [bench.source] + ([bench.target] if bench.target else [])
        self._geometry = bench.source.geometry
        self._before = self._look()

    def _look(self) -> list[list[dict[str, int]]]:
        return [[side.link_counters(n) for n in range(self._geometry.links)]
                for side in self._sides]

    def read(self) -> tuple[int, list[int]]:
        """Bits from the source, and damaged frames of every link."""
        after = self._look()

        def grown(side: int, link: int, name: str) -> int:
            return (after[side][link][name] - self._before[side][link][name]) & 0xFFFFFFFF

        links = range(self._geometry.links)
        bits = sum(grown(0, n, "frames_sent") for n in links) \
            * 10 * (self._geometry.track_bytes + FRAME_OVERHEAD)
        bad = [max(grown(0, n, "resends"),
                   sum(grown(s, n, "bad_frames") for s in range(len(self._sides))))
               for n in links]
        return bits, bad


def _by_link(bad: Sequence[int]) -> str:
    return ", ".join(f"link {n}: {count}" for n, count in enumerate(bad) if count)


def _line(bench: _Bench) -> Finding:
    """Pseudo-random data over every link; what is damaged has to be sent again."""
    watch = _LinkWatch(bench)
    written = 0
    while written < LINE_BYTES:
        contents = {place: bench.data() for place in bench.places()}
        bench.write_all(contents)
        written += len(contents) * bench.source.geometry.track_bytes
    bits, bad = watch.read()
    rate = sum(bad) / bits if bits else 0.0
    values = {"bits": bits, "bad_frames": bad, "bit_error_rate": rate}
    bench.clean = not any(bad)
    if bench.clean:
        return Finding("line", True, f"{bits / 1e6:.1f} million bits, none damaged", values)
    return Finding("line", False, f"{bits / 1e6:.1f} million bits, damaged frames {_by_link(bad)}: "
                                  f"bit error rate about {rate:.0e}", values)


def _rates(bench: _Bench) -> Finding:
    """As the line, but faster and faster, until something is damaged; then back."""
    target, source = bench.target, bench.source
    if target is None:
        return Finding("rates", None, "give the target's port with --target: both ends change")
    if not bench.clean:
        return Finding("rates", None, "the links are not clean at their own rate")
    ends = (target, source)
    usual = [end.reg("link_divisor") for end in ends]
    try:
        _set_divisors(ends, usual)
    except BoardError as error:
        if error.code != wire.Code.READ_ONLY:
            raise
        return Finding("rates", None, "the rate of this board's links cannot be set")
    clean, tried = source.geometry.link_baud, []
    damaged = ""
    try:
        for baud in _faster_rates(bench):
            _set_divisors(ends, [end.geometry.divisor(baud) for end in ends])
            damaged = _try_rate(bench)
            tried.append({"baud": baud, "damaged": damaged})
            if damaged:
                break
            clean = baud
    finally:
        _set_divisors(ends, usual)
        source.wait_settled(stalled=SECONDS_A_STEP)
    beyond = f"; at {baud / 1e6:.3g}: {damaged}" if damaged else ", the most the clocks allow"
    return Finding("rates", True, f"clean up to {clean / 1e6:.3g} Mbaud{beyond}",
                   {"clean_baud": clean, "rates": tried})


def _set_divisors(ends: Sequence[Client], divisors: Sequence[int]) -> None:
    for end, divisor in zip(ends, divisors, strict=True):
        end.set_reg("link_divisor", divisor)


def _faster_rates(bench: _Bench) -> Iterator[int]:
    """Beyond the links' own rate, up to the fastest that both ends' clocks allow."""
    assert bench.target is not None
    most = min(end.geometry.clock_hz for end in (bench.source, bench.target)) // MIN_CLOCKS_A_BIT
    baud = bench.source.geometry.link_baud
    while baud < most:
        baud = min(round(baud * RATE_STEP), most)
        yield baud


def _try_rate(bench: _Bench) -> str:
    """What goes wrong at the rate that the links have now; nothing if they are clean."""
    if not _links(bench).ok:
        return "no session"
    places = itertools.cycle(bench.places())

    def send() -> None:
        piece = {place: bench.data() for place in itertools.islice(places, RATE_TRACKS)}
        bench.write_all(piece, RATE_SECONDS)

    try:
        send()              # what was on its way when the rate changed is damaged, and out now
        watch = _LinkWatch(bench)
        bits = 0
        while bits < RATE_BITS:
            send()
            bits, bad = watch.read()
            if any(bad):
                return f"damaged frames {_by_link(bad)}"
    except NotSettling:
        return "nothing comes through"
    return ""


def _march(bench: _Bench) -> Finding:
    """Every track up with a pattern, read, down with its complement, read."""
    track_bytes = bench.source.geometry.track_bytes
    wrong = 0
    places = list(bench.places())
    for flip, order in ((0x00, places), (0xFF, places[::-1])):
        # Each byte says where it is, so that a stuck address line shows as well as a stuck bit.
        contents = {place: bytes(((n * 7 + at * 13 + (at >> 8)) & 0xFF) ^ flip
                                 for at in range(track_bytes))
                    for n, place in enumerate(order)}
        bench.write_all(contents)
        for (volume, track), data in contents.items():
            wrong += bench.source.read(volume, track) != data
    text = f"{2 * len(places)} tracks written and read back"
    return Finding("memory", not wrong, text + (f", {wrong} of them wrong" if wrong else ""),
                   {"tracks": 2 * len(places), "wrong": wrong})


def _examples(bench: _Bench) -> Finding:
    """The worked examples of the patent: three chains over two volumes, the last of which collides
    with the second; first both volumes in one consistency set, then each in its own."""
    source = bench.source
    volumes = range(source.geometry.volumes)
    pairs = [(v, w) for v in volumes for w in volumes
             if v < w and source.volume_set[v] == source.volume_set[w]]
    if not pairs or source.geometry.tracks_per_volume < EXAMPLE_TRACKS:
        return Finding("examples", None, "the board lacks two volumes of one set, or tracks")
    one, two = pairs[0]
    polling, home = source.reg("poll_interval"), source.volume_set[two]
    alone = [s for s in range(source.geometry.sets) if s not in source.volume_set]
    source.set_reg("poll_interval", 0)      # only a collision sends anything
    try:
        wrong = _three_chains(bench, one, two, together=True)
        if alone and not wrong:
            source.assign(two, alone[0], SECONDS_A_STEP)
            wrong = _three_chains(bench, one, two, together=False)
            source.assign(two, home, SECONDS_A_STEP)
    finally:
        source.set_reg("poll_interval", polling)
    played = "one set and two" if alone else "one set"
    return Finding("examples", not wrong, wrong or f"three chains in {played}: each went with the "
                                                   "collision it should")


def _three_chains(bench: _Bench, one: int, two: int, *, together: bool) -> str:
    """What came out otherwise than the patent says; nothing if all is well."""
    source, target = bench.source, bench.target
    source.wait_settled(stalled=SECONDS_A_STEP)
    before, first, second, third = source.read(one, 2), bench.data(), bench.data(), bench.data()
    source.write([(one, 2, first), (one, 3, first)], SECONDS_A_STEP)
    source.write([(two, 1, second)], SECONDS_A_STEP)
    last = source.submit([(two, 1, third), (two, 5, third)])
    source.wait(last, SECONDS_A_STEP)
    if not last.refusals:
        return "a track that was pending was written again"
    if source.read(two, 1) != third:
        return "the chain that had collided is not there"
    if target is None:
        return ""
    if target.read(two, 1) != second:
        return "the collision did not send the track that it met"
    if together and target.read(one, 2) != first:
        return "the collision did not send what its set had committed before"
    if not together and target.read(one, 2) != before:
        return "the collision sent another set"
    return ""


def _collision(bench: _Bench) -> Finding:
    """A track that the target still lacks is written again: refused, then reconnected."""
    source = bench.source
    ended, refused = len(source.disconnects), source.counters()["collisions"]
    first, last = bench.data(), bench.data()
    if bench.emulator:
        source.cut_links()
    source.write([(0, 0, first)], SECONDS_A_STEP)
    ticket = source.submit([(0, 0, last)])
    source.run_dry(1.0)
    kept = source.read(0, 0)
    collided = source.counters()["collisions"] > refused
    if bench.emulator:
        source.cut_links(False)
    source.wait(ticket, SECONDS_A_STEP)
    waited = source.disconnects[ended:]
    if not collided:
        return Finding("collision", None, "the target was too fast for one to happen")
    ok = bool(waited) and (kept == first or not bench.emulator) and source.read(0, 0) == last
    text = f"refused, then committed {waited[0].clocks / source.geometry.clock_hz * 1e3:.1f} ms " \
           "later" if waited else "refused, and no reconnect came"
    return Finding("collision", ok, text)


def _recovery(bench: _Bench) -> Finding:
    """All links cut in the middle of writing: the target keeps a state that was."""
    if not bench.emulator:
        return Finding("recovery", None, "links of real wire: pull the cables and run it again")
    source, target = bench.source, bench.target
    before, after = bench.data(), bench.data()
    bench.write_all({(0, 0): before})
    source.cut_links()
    source.write([(0, 0, after)], SECONDS_A_STEP)
    seen = target.read(0, 0) if target else before
    source.cut_links(False)
    source.wait_settled(stalled=SECONDS_A_STEP)
    final = target.read(0, 0) if target else after
    ok = seen == before and final == after
    return Finding("recovery", ok, "the target kept the former state, then caught up" if ok
                   else "the target held what the source never had")


def _copies(bench: _Bench) -> Finding:
    """Both images, byte by byte."""
    if bench.target is None:
        return Finding("copies", None, "give the target's port with --target")
    same = bench.source.read_image() == bench.target.read_image()
    return Finding("copies", same, "source and target are identical" if same
                   else "source and target differ")


def _throughput(bench: _Bench) -> Finding:
    """How fast chains become safe on the far side."""
    geometry = bench.source.geometry
    contents = {place: bench.data() for place in bench.places()}
    clocks = bench.source.cycles()
    bench.write_all(contents)
    seconds = (bench.source.cycles() - clocks) / geometry.clock_hz
    rate = len(contents) * geometry.track_bytes / seconds
    return Finding("throughput", True, f"{rate / 1e3:.0f} kB/s from PC to target",
                   {"bytes_per_second": round(rate)})


STEPS: tuple[Callable[[_Bench], Finding], ...] = (
    _identity, _links, _line, _rates, _march, _examples, _collision, _recovery, _copies,
    _throughput)


def selftest(source: Client, target: Client | None, *, seed: int = 1,
             say: Callable[[Finding], None] = lambda _: None) -> list[Finding]:
    """Run every step; a step that ends in an error has failed, and the others go on.

    Everything on the board is overwritten.
    """
    if source.role != wire.Role.SOURCE:
        raise UsageError(f"{source.name} is a target: give the source's port first")
    bench = _Bench(source, target, random.Random(f"selftest {seed}"))
    source.beside = [target] if target else []
    try:
        source.link(0).read()
        bench.emulator = True
    except UsageError:
        pass
    findings = []
    for step in STEPS:
        try:
            found = step(bench)
        except FarsideError as error:
            found = Finding(step.__name__.strip("_"), False, str(error))
        findings.append(found)
        say(found)
        if found.step == "links" and found.ok is False:
            break       # nothing beyond would ever settle
    return findings
