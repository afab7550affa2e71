"""A board in Python: the reference model behind two sockets, each with a real line session.

It answers frames exactly as the model does, without clocks: model events happen a few at a time
between reads of the sockets, so that chains, destaging and link cuts overlap as on a board. Tests
of the host tools run against it in a fraction of a second, without Verilator.
"""

from __future__ import annotations

import os
import pty
import select
import socket
import threading
import time
import tty
from dataclasses import dataclass

from firmware_model import wire
from firmware_model.channel import ALL_DIRECTIONS, DEFAULT_DEPTH
from firmware_model.geometry import Geometry
from firmware_model.system import Event, Kind, System
from host_tools.linkpeer import LinkPeer

SMALL = Geometry(volumes=4, tracks_per_volume=32, track_bytes=512, sets=4, links=2)


class Line:
    """One host port: a pty and a listening socket, whichever is used; and its session."""

    def __init__(self, role: wire.Role, geometry: Geometry, version: int) -> None:
        self.geometry = geometry
        self.role = role
        self.version = version
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.connection: socket.socket | None = None
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)      # kept open: a pty without a reader loses what is written
        os.set_blocking(self.master, False)
        self.peer = self._new_peer()
        self.session = 0
        self.unsent = b""
        self.use_socket = False

    def _new_peer(self) -> LinkPeer:
        return LinkPeer(self.role, ordered=True, fingerprint=self.geometry.fingerprint,
                        window=self.geometry.window)

    @property
    def port(self) -> str:
        return os.ttyname(self.slave)

    @property
    def url(self) -> str:
        return f"socket://127.0.0.1:{self.listener.getsockname()[1]}"

    def files(self) -> list[int]:
        found = [self.master, self.listener.fileno()]
        if self.connection is not None:
            found.append(self.connection.fileno())
        return found

    def receive(self) -> bytes:
        try:
            self.connection, _ = self.listener.accept()
            self.connection.setblocking(False)
            self.use_socket = True
        except BlockingIOError:
            pass
        data = b""
        if self.connection is not None:
            try:
                data = self.connection.recv(65536)
                if not data:
                    self.connection.close()
                    self.connection = None
            except BlockingIOError:
                pass
            except OSError:
                self.connection = None
        try:
            more = os.read(self.master, 65536)
            self.use_socket = self.use_socket and not more
            data += more
        except (BlockingIOError, OSError):
            pass
        return data

    def send(self, data: bytes) -> None:
        self.unsent += data
        if not self.unsent:
            return
        try:
            if self.use_socket:
                sent = self.connection.send(self.unsent) if self.connection else len(self.unsent)
            else:
                sent = os.write(self.master, self.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self.unsent)
        self.unsent = self.unsent[sent:]

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.listener.close()
        os.close(self.master)
        os.close(self.slave)


@dataclass(frozen=True)
class Ports:
    source: str
    target: str
    source_socket: str
    target_socket: str


class FakeBoard:
    """Context manager with the ports of a board; ``system`` is the model behind them.

    ``pace`` is how many model events happen at most between two looks at the sockets.
    ``drop_session()`` makes the source forget its host session, as a disturbed line would.
    """

    def __init__(self, geometry: Geometry = SMALL, *, version: int = wire.PROTOCOL_VERSION,
                 pace: int = 40, poll_every: float = 0.01, emulator: bool = True) -> None:
        self.geometry = geometry
        self.system = System(geometry, checked=False)
        self.system.source.registers[wire.Reg.POLL_INTERVAL] = 1
        self.pace = pace
        self.poll_every = poll_every
        self.emulator = emulator
        self.lines = [Line(wire.Role.SOURCE, geometry, version),
                      Line(wire.Role.TARGET, geometry, version)]
        self.channels = [dict.fromkeys(wire.Channel, 0) for _ in range(geometry.links)]
        for channel in self.channels:
            channel[wire.Channel.MAX_DELAY] = DEFAULT_DEPTH - 1
            channel[wire.Channel.DIRECTIONS] = ALL_DIRECTIONS
        self.answer_chains = True       # False: swallow CHAIN_STATUS, to test a lost session
        self.lock = threading.Lock()
        self.failure: BaseException | None = None
        self._started = time.monotonic()
        self._stop = False
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="fake board", daemon=True)

    @property
    def ports(self) -> Ports:
        source, target = self.lines
        return Ports(source.port, target.port, source.url, target.url)

    def __enter__(self) -> FakeBoard:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop = True
        os.write(self._wake_write, b"x")
        self._thread.join(5)
        for line in self.lines:
            line.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self.failure is not None:
            raise self.failure

    def drop_session(self) -> None:
        with self.lock:
            self.forget_session()

    def forget_session(self) -> None:
        """:meth:`drop_session` for a caller that holds ``lock``."""
        line = self.lines[0]
        line.peer = line._new_peer()
        line.session = 0
        self.system.source.host_session()
        self.system.source.take_answers()

    def take_over(self) -> None:
        """Another program begins a session with the source and goes away."""
        with self.lock:
            self.forget_session()
            line, stranger = self.lines[0], LinkPeer()
            while not (line.peer.up and stranger.up):
                now = time.monotonic()
                line.peer.feed(stranger.poll(now), now)
                stranger.feed(line.peer.poll(now), now)
            self._new_session(line, self.system.source)

    # -- the board's thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            polled = time.monotonic()
            while not self._stop:
                busy = self._move()
                with self.lock:
                    now = time.monotonic()
                    interval = self.system.source.registers.get(wire.Reg.POLL_INTERVAL, 1)
                    if interval and now - polled > self.poll_every:
                        polled = now
                        for event in self.system.enabled_events({Kind.POLL}):
                            self.system.step(event)
                    for line, side in zip(self.lines, (self.system.source, self.system.target),
                                          strict=True):
                        self._serve(line, side)
                files = [self._wake_read, *(f for line in self.lines for f in line.files())]
                select.select(files, [], [], 0 if busy else 0.002)
        except BaseException as error:
            self.failure = error

    def _move(self) -> bool:
        """A few events of the model; whether there may be more."""
        with self.lock:
            for _ in range(self.pace):
                events = self.system.enabled_events()
                if not events:
                    return False
                self.system._happen(events[0])
                self.system._after()
        return True

    def _serve(self, line: Line, side: object) -> None:
        now = time.monotonic()
        cycles = int((now - self._started) * self.geometry.clock_hz)
        self.system.source.clock = cycles & 0xFFFFFFFF
        side.registers |= {
            wire.Reg.CYCLES: cycles & 0xFFFFFFFF, wire.Reg.CYCLES_HIGH: cycles >> 32,
            wire.Reg.LINKS_UP: sum(link.up << n for n, link in enumerate(self.system.links))}
        data = line.receive()
        if line.version != wire.PROTOCOL_VERSION:
            self._other_version(line, now)
            return
        for frame in line.peer.feed(data, now):
            self._new_session(line, side)
            if not self._channel(line, side, frame):
                side.host(int(frame.type), frame.payload, **frame.fields)
        self._new_session(line, side)
        for answer in side.take_answers():
            if line.peer.up and (self.answer_chains or answer.type != wire.Type.CHAIN_STATUS):
                line.peer.send(answer.type, answer.payload, **answer.fields)
        line.send(line.peer.poll(now))

    def _new_session(self, line: Line, side: object) -> None:
        if line.peer.up and line.peer.session_count != line.session:
            line.session = line.peer.session_count
            side.host_session()

    def _other_version(self, line: Line, now: float) -> None:
        if int(now * 50) != line.session:
            line.session = int(now * 50)
            line.send(wire.to_line(wire.pack(wire.Type.HELLO, 0, version=line.version,
                                             role=int(line.role), session=1)))

    def _channel(self, line: Line, side: object, frame: wire.Frame) -> bool:
        """Registers that the model does not have: the channel emulators', cycles, links up."""
        if frame.type not in (wire.Type.REG_READ, wire.Type.REG_WRITE):
            return False
        address, tag = frame.fields["address"], frame.fields["tag"]
        link, which = divmod(address - wire.Reg.CHANNEL, wire.CHANNEL_STRIDE)
        if not (self.emulator and 0 <= link < self.geometry.links):
            return False
        if frame.type == wire.Type.REG_READ:
            values = list(self.channels[link].values())[which:which + frame.fields["count"]]
            side.answer(wire.Type.REG_DATA, b"".join(v.to_bytes(4, "little") for v in values),
                        tag=tag, code=0, count=len(values), address=address)
            return True
        self.channels[link][wire.Channel(which)] = frame.fields["value"]
        if which == wire.Channel.CONTROL:
            if frame.fields["value"]:
                self.system.cut_link(link)
            else:
                self.system.restore_link(link)
        side.answer(wire.Type.REG_STATUS, tag=tag, code=0, address=address)
        return True


__all__ = ["SMALL", "Event", "FakeBoard", "Ports"]
