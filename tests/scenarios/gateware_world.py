"""The world of the gateware: the real host library on the two host ports of a board.

It runs on anything that offers two transports: the simulated board in a process of its own, or the
same gateware under cocotb. Time is what the board's own clock counter says, so the same waits
serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.wire import Channel, Code, Reg, Role, SetWord, Type
from host_tools.client import Client
from host_tools.linkpeer import LinkPeer
from host_tools.session import Request, values_of
from host_tools.transport import Transport

from .world import GEOMETRY, ChainAnswer, Command, Reconnect, Side, Submission, World, WorldTimeout

HOLD_LONG = 0xFFFF          # units of 65536 clocks: longer than any test
POLL_OFTEN = 4              # units of 256 clocks
TIMEOUT_SHORT = 2           # slow ticks, with the lines of GEOMETRY

# Nothing has changed anywhere for so long: there is nothing left to do. Longer than a few frames
# in both directions, shorter than most time-outs, which count as change when they come.
STILL_CLOCKS = 60_000
# Ten times what it takes to give up a link that never carried a frame: 5.7 million.
PATIENCE_CLOCKS = 60_000_000
STILL_LIMIT = 400           # looks before a world that never rests is a failure

# The counters of a link that stand still while it has nothing to do. Acknowledgements do not: they
# keep it alive.
LINK_COUNTS = wire.LinkCounter.ACKS_SENT

PAGE_WORDS = [word for word in SetWord if word < SetWord.GROUP]

FIRST_SESSION = 7           # nothing is left to chance
FIRST_TAG, LAST_TAG = 0x8000, 0xFEFF    # of submissions; the library counts from 1, raw from 0xFF00


class ScenarioClient(Client):
    """The library's client, with chains and answers left to the scenario."""

    def __init__(self, transport: Transport, *, name: str, role: Role) -> None:
        self.submissions: dict[int, Submission] = {}
        self.answered: list[tuple[Submission, ChainAnswer]] = []
        self.raw: dict[int, list[Code]] = {}
        super().__init__(transport, name=name, role=role)

    def make_peer(self) -> LinkPeer:
        return LinkPeer(Role.HOST, session=FIRST_SESSION)

    def _handle(self, frame: wire.Frame, now: float) -> None:
        fields = frame.fields
        tag = fields.get("tag", 0)
        submission = self.submissions.get(tag)
        if submission is not None and frame.type is Type.CHAIN_STATUS:
            del self.submissions[tag]
            self.answered.append((submission, ChainAnswer(Code(fields["code"]), fields["set"],
                                                          fields["detail"])))
        elif "code" in fields and tag > LAST_TAG:
            self.raw.setdefault(tag, []).append(Code(fields["code"]))
        elif submission is None or frame.type is not Type.ERROR:
            super()._handle(frame, now)


class GatewareWorld(World):
    """A :class:`World` on a board.

    Parameters
    ----------
    source, target : Transport
        The host lines, with nothing written yet. Closed by :meth:`close`.
    geometry : Geometry
        What the board must have.
    thorough : bool
        Whether images are of all tracks, or of those that some command has named, the others
        taken as never written. Reading every track takes longer than most scenarios.
    """

    supports = frozenset({"session"})

    def __init__(self, source: Transport, target: Transport,
                 geometry: Geometry = GEOMETRY, *, thorough: bool = True) -> None:
        super().__init__(geometry)
        self._clients: dict[Side, ScenarioClient] = {
            "source": ScenarioClient(source, name="source", role=Role.SOURCE),
            "target": ScenarioClient(target, name="target", role=Role.TARGET),
        }
        host, far = self._clients["source"], self._clients["target"]
        host.beside.append(far)
        far.beside.append(host)
        host.on_reconnect = lambda d: self.reconnects.append(Reconnect(d.volume, d.track, d.clocks))
        self._thorough = thorough
        self._tag = FIRST_TAG
        self._named: set[tuple[int, int]] = set()
        for client in self._clients.values():
            assert client.geometry.replace(host_baud=geometry.host_baud,
                                           link_baud=geometry.link_baud) == geometry
        self.set_poll(False)
        self.set_timeout(False)
        self.wait_until(lambda: self._all_up(), "links come up")

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _all_up(self) -> bool:
        everything = (1 << self.geometry.links) - 1
        return all(c.reg("links_up") == everything for c in self._clients.values())

    @property
    def _host(self) -> ScenarioClient:
        return self._clients["source"]

    def _collect(self) -> None:
        answered, self._host.answered = self._host.answered, []
        for submission, answer in answered:
            self.record(submission, answer)

    # -- host --------------------------------------------------------------------------------

    def _name(self, places: Iterable[tuple[int, int]]) -> None:
        g = self.geometry
        self._named |= {(v, t) for v, t in places if v < g.volumes and t < g.tracks_per_volume}

    def submit(self, commands: Sequence[Command], *, resume: bool = False) -> Submission:
        tag, self._tag = self._tag, self._tag + 1
        assert tag <= LAST_TAG, "more chains than tags"
        submission = Submission(tuple(commands))
        self._name((v, t) for v, t, _ in commands)
        peer = self._host.peer
        self._host.submissions[tag] = submission
        peer.send(Type.CHAIN, b"".join(wire.entry(v, t) for v, t, _ in commands), tag=tag,
                  flags=int(wire.Flag.RESUME) if resume else 0, count=len(commands))
        for index, (_, _, data) in enumerate(commands):
            peer.send(Type.WRITE, data, tag=tag, index=index)
        self._host.pump()
        return submission

    def _answered(self, submission: Submission) -> bool:
        self._collect()
        return submission.answer is not None

    def result(self, submission: Submission) -> ChainAnswer:
        assert self._host.wait_until(lambda: self._answered(submission), 20.0), (
            "a chain was not answered at all")
        assert submission.answer is not None
        return submission.answer

    def read(self, volume: int, track: int, count: int = 1, side: Side = "source") -> bytes:
        return self._clients[side].read(volume, track, count)

    def read_says_inconsistent(self, volume: int) -> bool:
        self.read(volume, 0, side="target")
        return self._clients["target"].read_inconsistent

    def set_volume(self, volume: int, set_: int) -> Code:
        tag, self._raw_tag = self._raw_tag, (self._raw_tag - 1)
        code = self.raw_frame(Type.REG_WRITE, tag=tag, address=Reg.VOLUME_SET + volume, value=set_)
        assert code is not None
        return code

    _raw_tag = 0xFFFF       # counting down; scenarios count their own up from 0xFF00

    def register(self, address: int, side: Side = "source") -> int:
        value = self._clients[side].registers(address, 1)[0]
        self._collect()
        return value

    def page(self, set_: int, side: Side = "source") -> dict[SetWord, int]:
        words = self._clients[side].registers(
            Reg.SET_PAGES + wire.SET_PAGE_WORDS * set_, len(PAGE_WORDS))
        self._collect()
        return {word: words[word] for word in PAGE_WORDS}

    def raw_frame(self, type_: int, payload: bytes = b"", *, header: bytes | None = None,
                  side: Side = "source", expect: bool = True, **fields: int) -> Code | None:
        client = self._clients[side]
        tag = fields.get("tag", 0) if header is None else header[0] | header[1] << 8
        client.raw.pop(tag, None)
        if type_ == Type.CHAIN:
            whole = len(payload) // wire.ENTRY_BYTES * wire.ENTRY_BYTES
            self._name((v, t) for v, t, _ in wire.entries(payload[:whole]))
        if header is None:
            client.peer.send(Type(type_), payload, **fields)
        else:
            client.peer.send_raw(type_, header, payload)
        client.pump()
        return self.raw_answer(tag, side) if expect else None

    def raw_answer(self, tag: int, side: Side = "source") -> Code:
        client = self._clients[side]
        assert client.wait_until(lambda: bool(client.raw.get(tag)), 20.0), (
            f"no answer to the frame with tag {tag:#06x}")
        self._collect()
        return client.raw[tag].pop(0)

    def host_session(self) -> None:
        client = self._host
        client.peer.restart()
        assert client.wait_until(lambda: client.peer.up, 20.0), "no new session"

    # -- control -----------------------------------------------------------------------------

    def _set(self, address: int, value: int, side: Side = "source") -> None:
        self._clients[side].set_reg(address, value)
        self._collect()

    def set_poll(self, enabled: bool) -> None:
        self._set(Reg.POLL_INTERVAL, POLL_OFTEN if enabled else 0)

    def set_timeout(self, enabled: bool) -> None:
        # Looks take longer on slower lines, and must find the board at rest between two time-outs.
        slower = -(-GEOMETRY.host_baud * self.geometry.clock_hz
                   // (self.geometry.host_baud * GEOMETRY.clock_hz))
        self._set(Reg.GROUP_TIMEOUT, slower * TIMEOUT_SHORT if enabled else 0)

    def destage(self, set_: int) -> None:
        self._set(Reg.DESTAGE, 1 << set_)

    def set_hold(self, held: bool) -> None:
        self._set(Reg.HOLD, HOLD_LONG if held else 0, "target")

    # -- links -------------------------------------------------------------------------------

    def _channel(self, link: int, register: Channel, value: int) -> None:
        self._set(Reg.CHANNEL + wire.CHANNEL_STRIDE * link + register, value)

    def cut(self, link: int, *, to_target: bool = True, to_source: bool = True) -> None:
        self._channel(link, Channel.CONTROL, to_target | to_source << 1)

    def restore(self, link: int) -> None:
        self._channel(link, Channel.CONTROL, 0)

    def disturb(self, link: int, *, loss: float = 0.0, errors: float = 0.0) -> None:
        self._channel(link, Channel.FRAME_LOSS, round(loss * 0xFFFFFFFF))
        self._channel(link, Channel.BYTE_ERROR, round(errors * 0xFFFFFFFF))

    # -- time --------------------------------------------------------------------------------

    def clocks(self) -> int:
        """Clocks of the source since reset."""
        return self._host.cycles()

    def wait_until(self, reached: Callable[[], bool], what: str, *, patience: int = 1000) -> None:
        """As in the base class, but patience is a matter of clocks: an end that has lost its link
        repeats the oldest frame four times, each time after twice as long, and then gives up."""
        end = self.clocks() + PATIENCE_CLOCKS * patience // 1000
        while not reached():
            if self.clocks() > end:
                raise WorldTimeout(f"{what}: did not happen")
            self.pass_time()

    def pass_time(self) -> None:
        self._host.cycles()
        self._collect()

    def _pages(self, side: Side, count: int = SetWord.AGE) -> list[Request]:
        """Ask for the first words of all pages of a side."""
        return [self._clients[side].ask(
            Type.REG_READ, address=Reg.SET_PAGES + wire.SET_PAGE_WORDS * set_, count=count)
            for set_ in range(self.geometry.sets)]

    def _look(self) -> tuple[tuple[object, ...], int]:
        """All that can change while the systems have something to do; and the source's clock.

        Everything is asked for at once, on both lines: this is most of what a scenario does.
        """
        clock = self._host.ask(Type.REG_READ, address=Reg.CYCLES, count=2)
        asked: list[tuple[Side, Request]] = []
        for side, client in self._clients.items():
            asked.append((side, client.ask(Type.REG_READ, address=Reg.LINKS_UP, count=1)))
            asked += [(side, client.ask(
                Type.REG_READ, address=Reg.LINK_COUNTERS + wire.LINK_COUNTER_STRIDE * link,
                count=LINK_COUNTS)) for link in range(self.geometry.links)]
            asked += [(side, request) for request in self._pages(side)]
        look = tuple(values_of(self._clients[side].complete(request, "a look")[0])
                     for side, request in asked)
        low, high = values_of(self._host.complete(clock, "the clock")[0])
        return look, low | high << 32

    def quiesce(self) -> None:
        last, since = self._look()
        for _ in range(STILL_LIMIT):
            look, now = self._look()
            if look != last:
                last, since = look, now
            elif now - since > STILL_CLOCKS:
                self._collect()
                return
        raise WorldTimeout(f"the board never rests: {last}")

    # -- images ------------------------------------------------------------------------------

    def _read_pieces(self, pieces: Sequence[tuple[Side, int, int, int]]) -> list[bytes]:
        """Data of (side, volume, track, count), asked for on both lines at once."""
        asked = [(side, self._clients[side].ask(Type.READ, count, volume=volume, track=track,
                                                count=count))
                 for side, volume, track, count in pieces]
        return [b"".join(frame.payload
                         for frame in self._clients[side].complete(request, "an image"))
                for side, request in asked]

    def _volumes(self, side: Side) -> list[tuple[Side, int, int, int]]:
        return [(side, volume, 0, self.geometry.tracks_per_volume)
                for volume in range(self.geometry.volumes)]

    def image(self, side: Side) -> bytes:
        if not self._thorough:
            return self._named_image(side)
        return b"".join(self._read_pieces(self._volumes(side)))

    def images(self) -> tuple[bytes, bytes]:
        if not self._thorough:
            return self._named_image("source"), self._named_image("target")
        pieces = self._read_pieces(self._volumes("source") + self._volumes("target"))
        volumes = self.geometry.volumes
        return b"".join(pieces[:volumes]), b"".join(pieces[volumes:])

    def target_image(self) -> bytes:
        return self._named_image("target")

    def _named_image(self, side: Side) -> bytes:
        """The tracks that some command has named; the others as if never written."""
        g = self.geometry
        image = bytearray(g.image_bytes)
        places = sorted(self._named)
        for (volume, track), data in zip(places, self._read_pieces(
                [(side, v, t, 1) for v, t in places]), strict=True):
            at = g.linear(volume, track) * g.track_bytes
            image[at:at + g.track_bytes] = data
        return bytes(image)
