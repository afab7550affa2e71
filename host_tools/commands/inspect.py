"""Commands that look at a board and set it up: info, sets, stats, link."""

from __future__ import annotations

from typing import Any

import click

from firmware_model import channel, wire

from .. import channels, units
from ..client import Client
from ..errors import UsageError
from ..stats import down_seconds
from . import common


@click.command()
@common.port_argument
@common.baud_option
@common.json_option
def info(port: str, baud: int, as_json: bool) -> None:
    """Say what the board at PORT is: its role, its geometry, what is up."""
    with common.look_at_board(port, baud) as board:
        geometry = board.geometry
        up = board.reg("links_up")
        source = board.role == wire.Role.SOURCE
        values: dict[str, Any] = {
            "port": port, "role": board.role.name.lower(),
            "protocol_version": wire.PROTOCOL_VERSION,
            "generation": board.reg("generation"),
            **{name: getattr(geometry, name) for name in geometry.__dataclass_fields__},
            "fingerprint": geometry.fingerprint,
            "links_up": [n for n in range(geometry.links) if up >> n & 1],
            "free_slots": board.reg("free_slots"),
            "disconnected": board.reg("disconnected") if source else None,
            "inconsistent": None if source else [p.set for p in board.pages() if p.inconsistent],
            "resynchronising": [p.set for p in board.pages() if p.resyncing] if source else None,
            "cycles": board.cycles(),
        }
    if as_json:
        common.print_json(values)
        return
    text = common.out()
    text.print(f"[bold]{values['role']}[/] at {port}, protocol version "
               f"{wire.PROTOCOL_VERSION}, generation {values['generation']}")
    text.print(f"  {geometry.volumes} volumes of {geometry.tracks_per_volume} tracks of "
               f"{geometry.track_bytes} bytes ({units.show_bytes(geometry.image_bytes)}), "
               f"{geometry.sets} consistency sets")
    text.print(f"  chains of up to {geometry.chain_limit} commands, "
               f"{geometry.groups_in_flight} groups of a set in flight")
    text.print(f"  {geometry.links} links at {geometry.link_baud} baud, up: "
               f"{', '.join(map(str, values['links_up'])) or 'none'}")
    text.print(f"  host port at {geometry.host_baud} baud, clock "
               f"{geometry.clock_hz / 1e6:g} MHz, {values['cycles']} clocks since reset")
    if source:
        text.print(f"  {units.show_count(values['disconnected'], 'volume')} disconnected")
    for set_ in values["resynchronising"] or ():
        text.print(f"  set {set_}: the target is being resynchronised")
    for set_ in values["inconsistent"] or ():
        text.print(f"  set {set_}: [bold red]inconsistent[/] until its resynchronisation has "
                   "finished")


@click.command()
@common.port_argument
@click.option("--assign", type=common.ASSIGNMENT, multiple=True, metavar="SET=VOL,VOL...",
              help="Move volumes to a set, after draining the set they are in.")
@common.baud_option
@common.json_option
def sets(port: str, assign: tuple[tuple[int, list[int]], ...], baud: int, as_json: bool) -> None:
    """Show the consistency sets of the board at PORT, or assign volumes to them."""
    if assign:
        with common.open_board(port, baud, wire.Role.SOURCE) as holder:
            _check_assignments(holder, assign)
            for set_, volumes in assign:
                for volume in volumes:
                    holder.assign(volume, set_)
    with common.look_at_board(port, baud) as board:
        pages = board.pages()
        volume_set = board.read_volume_sets()
        source = board.role == wire.Role.SOURCE
    rows = []
    for page in pages:
        row: dict[str, Any] = {"set": page.set, "chains": page.chains}
        if source:
            row |= {"volumes": [v for v, s in enumerate(volume_set) if s == page.set],
                    "acked": page.acked, "unsent_tracks": page.unsent,
                    "groups_in_flight": page.in_flight}
        rows.append(row)
    if as_json:
        common.print_json({"port": port, "sets": rows})
        return
    text = common.out()
    for row in rows:
        line = f"set {row['set']}: {row['chains']} chains committed"
        if source:
            names = ", ".join(map(str, row["volumes"])) or "none"
            line += (f", {row['acked']} known at the target, {row['unsent_tracks']} tracks "
                     f"unsent, {row['groups_in_flight']} groups in flight; volumes: {names}")
        text.print(line)


def _check_assignments(board: Client, assign: tuple[tuple[int, list[int]], ...]) -> None:
    """Refuse the whole command before its first effect."""
    geometry = board.geometry
    seen: set[int] = set()
    after = list(board.volume_set)
    for set_, volumes in assign:
        if set_ >= geometry.sets:
            raise UsageError(f"set {set_} is outside 0..{geometry.sets - 1} of this board")
        for volume in volumes:
            board.check_place(volume, 0)
            if volume in seen:
                raise UsageError(f"volume {volume} is assigned twice: name it once")
            seen.add(volume)
            after[volume] = set_
            if after.count(set_) > geometry.volumes_per_set:
                raise UsageError(f"set {set_} cannot have more than {geometry.volumes_per_set} "
                                 "volumes: move one away first")


@click.command()
@common.port_argument
@common.baud_option
@common.json_option
def stats(port: str, baud: int, as_json: bool) -> None:
    """Show everything the board at PORT counts: the side, its links, its sets."""
    with common.look_at_board(port, baud) as board:
        values, geometry = board.stats(), board.geometry
    if as_json:
        common.print_json({"port": port, **values.as_dict()})
        return
    from rich.table import Table

    text = common.out()
    text.print(f"[bold]{values.role}[/] at {port}: {values.cycles} clocks since reset, "
               f"{values.free_slots} slots free")
    side = Table(title="counters", title_justify="left")
    side.add_column("counter")
    side.add_column("value", justify="right")
    for name, value in values.counters.items():
        side.add_row(name, str(value))
    text.print(side)

    def shown(name: str, value: int) -> str:
        return units.show_seconds(down_seconds(value, geometry)) if name == "down_time" \
            else str(value)

    links = Table(title="links", title_justify="left")
    links.add_column("counter")
    for number in range(len(values.links)):
        mark = "" if number in values.links_up else " (down)"
        links.add_column(f"link {number}{mark}", justify="right")
    for name in values.links[0]:
        links.add_row(name, *(shown(name, link_values[name]) for link_values in values.links))
    text.print(links)
    pages = Table(title="sets", title_justify="left")
    for name in ("set", "chains", "acked", "unsent", "next", "sent", "done", "epoch", "age"):
        pages.add_column(name, justify="right")
    for page in values.sets:
        fields = page.as_dict()
        pages.add_row(*(str(fields[str(column.header)]) for column in pages.columns))
    text.print(pages)


@click.command()
@common.port_argument
@click.argument("number", metavar="N", type=click.IntRange(min=0))
@click.option("--towards", type=click.Choice(list(channels.TOWARDS)), default="both",
              show_default=True, help="Direction that the other options concern.")
@click.option("--cut", is_flag=True, help="Let nothing through any more.")
@click.option("--stuck", type=click.Choice(["low", "high"]), metavar="low|high",
              help="Hold the line at one level.")
@click.option("--flap", type=common.TIME, metavar="T",
              help="Cut and restore the link with this period; 0 for no more.")
@click.option("--flap-down", type=common.TIME, metavar="T",
              help="How long it is cut in each period of --flap.  [default: half of it]")
@click.option("--restore", is_flag=True, help="Undo --cut, --stuck and --flap.")
@click.option("--clear", is_flag=True,
              help="First end every fault and delay, in both directions.")
@click.option("--delay", type=common.TIME, metavar="T",
              help="Delay, e.g. 20ms, up to what `max_delay` ticks of nine bits are.")
@click.option("--skew", type=common.SHARE, metavar="P",
              help="Bits too long (or short: -2%) for the receiver, up to 3%.")
@click.option("--ber", type=common.CHANCE, metavar="P", help="Bit error rate, e.g. 1e-6.")
@click.option("--burst", type=common.CHANCE, metavar="P",
              help="Share of bytes with which a burst of errors begins.")
@click.option("--burst-bytes", type=int, metavar="N",
              help=f"Length of bursts, 1..{channel.MAX_BURST_BYTES}.  "
                   f"[default: {channel.DEFAULT_BURST_BYTES}]")
@click.option("--byte-loss", type=common.CHANCE, metavar="P", help="Share of bytes lost.")
@click.option("--byte-insert", type=common.CHANCE, metavar="P",
              help="Share of bytes followed by one that nobody sent, up to 10%.")
@click.option("--loss", type=common.CHANCE, metavar="P", help="Share of frames lost, e.g. 2%.")
@click.option("--repeat", type=common.CHANCE, metavar="P", help="Share of frames said twice.")
@click.option("--seed", type=int, help="Restart the link's generators, 0..4294967295.")
@common.baud_option
@common.json_option
def link(port: str, number: int, towards: str, cut: bool, stuck: str | None, flap: float | None,
         flap_down: float | None, restore: bool, clear: bool, delay: float | None,
         skew: float | None, ber: float | None, burst: float | None, burst_bytes: int | None,
         byte_loss: float | None, byte_insert: float | None, loss: float | None,
         repeat: float | None, seed: int | None, baud: int, as_json: bool) -> None:
    """Cut, restore, delay or disturb link N through the port of a simulated board.

    Every setting stays until it is set again; without an option the link is only shown. A delay or
    a chance has one value for a link: with --towards it ends in the other direction.
    """
    if (cut or stuck is not None or flap) and restore:
        fault = "--cut" if cut else "--stuck" if stuck is not None else "--flap"
        raise UsageError(f"{fault} and --restore contradict each other: give one")
    if flap_down is not None and not flap:
        raise UsageError("--flap-down says how much of a period the link is cut: give --flap too")
    if burst_bytes is not None and burst is None:
        raise UsageError("--burst-bytes says how long the bursts of --burst are: give it too")
    with common.look_at_board(port, baud) as board:
        control = board.link(number, towards)
        control.read()      # says at once whether there is an emulator
        if clear:
            control.clear()
        if seed is not None:
            control.seed(seed)
        for value, change in ((delay, control.delay), (skew, control.skew), (ber, control.ber),
                              (byte_loss, control.byte_loss), (byte_insert, control.byte_insert),
                              (loss, control.loss), (repeat, control.repeat)):
            if value is not None:
                change(value)
        if burst is not None:
            control.burst(burst, channel.DEFAULT_BURST_BYTES if burst_bytes is None
                          else burst_bytes)
        if flap is not None:
            control.flap(flap, flap_down)
        if stuck is not None:
            control.stick(int(stuck == "high"))
        if cut:
            control.cut()
        if restore:
            control.restore()
        values = control.read()
        wait = channel.delay_seconds(values["delay"], board.geometry.divisor(
            board.geometry.link_baud), board.geometry.clock_hz)
        up = bool(board.reg("links_up") >> number & 1)
        geometry = board.geometry
    if as_json:
        common.print_json({"link": number, "up": up, "delay_seconds": wait, **values})
        return
    _show_link(number, up, values, geometry.divisor(geometry.link_baud), geometry.clock_hz)


def _show_link(number: int, up: bool, values: dict[str, int], divisor: int,
               clock_hz: int) -> None:
    """What is set, with its direction unless it concerns both, and what has happened."""
    def time_of(register: str) -> str:
        return units.show_seconds(channel.flap_seconds(values[register], divisor, clock_hz))

    text = common.out()
    ways = {1: " towards the target", 2: " towards the source", 3: ""}
    line = []
    for line_fault in wire.LineFault:
        if way := values["control"] >> 2 * line_fault & 3:
            line.append(line_fault.name.lower().replace("_", " ") + ways[way])
    session = "up" if up else "down"
    if up and values["control"]:
        session = "still up: an end notices when frames it sends are not acknowledged"
    elif not up and not values["control"]:
        session = "still down: the ends say hello until both have heard it"
    text.print(f"link {number}: {', '.join(line) or 'whole'}; session {session}")
    shown = {
        wire.ChannelFault.DELAY: ("delay", units.show_seconds(
            channel.delay_seconds(values["delay"], divisor, clock_hz))),
        wire.ChannelFault.SKEW: ("skew", f"{channel.skew_share(values['skew'], divisor):.2%}"),
        wire.ChannelFault.FLAP: ("flap_up", f"{time_of('flap_up')} whole, "
                                            f"{time_of('flap_down')} cut"),
        wire.ChannelFault.BYTE_ERROR: (
            "byte_error", f"{channel.bit_error_rate(values['byte_error']):.3g} of bits"),
        wire.ChannelFault.BURST: (
            "burst", f"{channel.frame_loss(values['burst']):.3g} of bytes, "
                     f"{values['burst_bytes']} bytes long"),
        wire.ChannelFault.BYTE_LOSS: (
            "byte_loss", f"{channel.frame_loss(values['byte_loss']):.3g} of bytes"),
        wire.ChannelFault.BYTE_INSERT: (
            "byte_insert", f"{channel.frame_loss(values['byte_insert']):.3g} of bytes"),
        wire.ChannelFault.FRAME_LOSS: (
            "frame_loss", f"{channel.frame_loss(values['frame_loss']):.3g} of frames"),
        wire.ChannelFault.FRAME_REPEAT: (
            "frame_repeat", f"{channel.frame_loss(values['frame_repeat']):.3g} of frames"),
    }
    for fault, (register, amount) in shown.items():
        way = values["directions"] >> 2 * fault & 3
        if values[register] and way:
            name = fault.name.lower().replace("_", " ")
            text.print(f"  {name}: {amount}{ways[way]}")
    counts = ", ".join(f"{values[register.name.lower()]} {register.name.lower().replace('_', ' ')}"
                       for register in wire.Channel if register >= wire.Channel.FRAMES_LOST)
    text.print(f"  so far: {counts}")
