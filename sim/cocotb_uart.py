"""Bus models for cocotb: serial lines, frames, streams, and a transport for the host library.

None of these wakes Python every clock. ``UartDriver`` and ``UartMonitor`` work on any line, at
about ten wake-ups a byte; ``Bridge`` moves up to 32 bytes a wake-up where the test's top has a
:class:`sim.bridge.HostBridge`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import cocotb
from cocotb.handle import Immediate
from cocotb.task import resume
from cocotb.triggers import Event, FallingEdge, First, RisingEdge, Timer, ValueChange
from cocotb.utils import get_sim_time

from firmware_model import channel, wire
from firmware_model.geometry import Geometry

__all__ = ["Bridge", "CocotbTransport", "FrameDecoder", "StreamMonitor", "UartDriver",
           "UartMonitor", "start_board"]

CHUNK_BYTES = 32        # of sim.bridge, which this module must not import: it needs Amaranth


def bit_picoseconds(divisor: int, clock_picoseconds: int) -> float:
    """Length of a bit for a divisor in 1/256 clock."""
    return divisor * clock_picoseconds / 256


def clock_picoseconds() -> int:
    """Period of the clock that :mod:`sim.cocotb_run` has set."""
    return int(os.environ["FARSIDE_CLOCK_PS"])


async def start_board(dut: Any, geometry: Geometry, *, seed: int = 1, delay: float = 0.0,
                      ber: float = 0.0, loss: float = 0.0) -> None:
    """Set up the inputs of a board before its first clock; await it first thing in a test."""
    link_divisor = geometry.divisor(geometry.link_baud)
    for name, value in {
        "host_divisor": geometry.divisor(geometry.host_baud),
        "link_divisor": link_divisor,
        "init_delay": channel.delay_ticks(delay, link_divisor, geometry.clock_hz),
        "init_byte_error": channel.byte_error_chance(ber),
        "init_frame_loss": channel.frame_loss_chance(loss),
        "init_seed": seed,
    }.items():
        getattr(dut, name).value = Immediate(value)
    await Timer(1, "ps")


# -- lines -----------------------------------------------------------------------------------


class UartDriver:
    """Drives bytes onto a line, waking only where its level changes."""

    def __init__(self, line: Any, divisor: int) -> None:
        self._line = line
        self._bit = bit_picoseconds(divisor, clock_picoseconds())
        line.value = Immediate(1)

    async def send(self, data: bytes) -> None:
        """Send ``data``, ten bits a byte, without gaps; returns after the last stop bit."""
        start, passed = get_sim_time("ps"), 0.0
        for byte in data:
            levels = [0, *(byte >> n & 1 for n in range(8)), 1]
            last = 1
            for level in levels:
                if level != last:
                    await self._until(start + passed)
                    self._line.value = level
                    last = level
                passed += self._bit
        await self._until(start + passed)

    @staticmethod
    async def _until(moment: float) -> None:
        left = round(moment - get_sim_time("ps"))
        if left > 0:
            await Timer(left, "ps")


class UartMonitor:
    """Reads the bytes on a line; ``callback`` gets each. Bytes without a stop bit are counted."""

    def __init__(self, line: Any, divisor: int, callback: Callable[[int], None]) -> None:
        self._line = line
        self._bit = bit_picoseconds(divisor, clock_picoseconds())
        self._callback = callback
        self.malformed = 0
        self._task = cocotb.start_soon(self._watch())

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            if int(self._line.value):
                await FallingEdge(self._line)
            await Timer(round(self._bit * 1.5), "ps")
            byte = 0
            for n in range(8):
                byte |= int(self._line.value) << n
                await Timer(round(self._bit), "ps")
            if int(self._line.value):
                self._callback(byte)
            else:
                self.malformed += 1
                await RisingEdge(self._line)


class FrameDecoder:
    """Cuts bytes into frames. ``feed`` takes what a monitor hears; good frames go to ``callback``.

    Frames that cannot be decoded are counted in ``bad``, and the last reason kept.
    """

    def __init__(self, callback: Callable[[wire.Frame], None]) -> None:
        self._callback = callback
        self._bytes = bytearray()
        self.bad = 0
        self.reason = ""

    def feed(self, byte: int) -> None:
        if byte != wire.DELIMITER:
            self._bytes.append(byte)
            return
        data, self._bytes = bytes(self._bytes), bytearray()
        if not data:
            return
        try:
            frame = wire.unpack(wire.cobs_decode(data))
        except wire.WireError as error:
            self.bad += 1
            self.reason = str(error)
        else:
            self._callback(frame)


class StreamMonitor:
    """Asserts the rules of a stream on every clock, and collects what is transferred.

    Valid, once up, stays up with the same payload until ready. Wakes once a clock: for tests of
    single components, not of the whole board.
    """

    def __init__(self, clock: Any, valid: Any, ready: Any, payload: Any,
                 name: str = "stream") -> None:
        self.transfers: list[int] = []
        self._task = cocotb.start_soon(self._watch(clock, valid, ready, payload, name))

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self, clock: Any, valid: Any, ready: Any, payload: Any, name: str) -> None:
        offered: int | None = None
        while True:
            await FallingEdge(clock)        # values are settled between the rising edges
            is_valid = int(valid.value)
            now = int(payload.value) if is_valid else None
            if offered is not None:
                assert is_valid, f"{name}: valid fell before ready"
                assert now == offered, f"{name}: payload changed from {offered} to {now}"
            offered = now
            if is_valid and int(ready.value):
                assert now is not None
                self.transfers.append(now)
                offered = None


# -- bridges ---------------------------------------------------------------------------------


class Bridge:
    """Python's end of a :class:`sim.bridge.HostBridge` whose ports start with ``name``."""

    def __init__(self, dut: Any, name: str) -> None:
        def port(suffix: str) -> Any:
            return getattr(dut, f"{name}__{suffix}")

        self._send_data, self._send_count = port("send_data"), port("send_count")
        self._send_given, self._send_taken = port("send_given"), port("send_taken")
        self._got_data, self._got_count = port("got_data"), port("got_count")
        self._got_given = port("got_given")
        self._given = int(self._send_given.value)   # an earlier test may have left it at 1
        self._arrived: deque[bytes] = deque()
        self._news = Event()
        self._task = cocotb.start_soon(self._watch())

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await ValueChange(self._got_given)
            count = int(self._got_count.value)
            chunk = int(self._got_data.value).to_bytes(CHUNK_BYTES, "little")
            self._arrived.append(chunk[CHUNK_BYTES - count:])
            self._news.set()

    async def send(self, data: bytes) -> None:
        """Hand ``data`` over; returns when the gateware has taken the last chunk of it."""
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = data[at:at + CHUNK_BYTES]
            self._send_data.value = int.from_bytes(chunk, "little")
            self._send_count.value = len(chunk)
            self._given ^= 1
            self._send_given.value = self._given
            await ValueChange(self._send_taken)

    async def receive(self, timeout: float) -> bytes:
        """All bytes that have arrived; none after ``timeout`` simulated seconds without any."""
        if not self._arrived and timeout > 0:
            self._news.clear()
            await First(self._news.wait(), Timer(max(1, round(timeout * 1e12)), "ps"))
        data = b"".join(self._arrived)
        self._arrived.clear()
        return data


class CocotbTransport:
    """The host library's transport over a bridge; its time is simulated time.

    For use in a thread started by ``cocotb.task.bridge``::

        transport = CocotbTransport(Bridge(dut, "source"))
        await bridge(scenario)(transport)
    """

    def __init__(self, line: Bridge) -> None:
        self._receive: Callable[[float], bytes] = resume(_coroutine(line.receive))
        self._send: Callable[[bytes], None] = resume(_coroutine(line.send))
        self._sleep: Callable[[float], None] = resume(_sleep)

    def read(self, timeout: float) -> bytes:
        """Bytes that have arrived: at least one, or none once ``timeout`` seconds have passed."""
        return self._receive(timeout)

    def write(self, data: bytes) -> None:
        """Send all of ``data``; takes as long as the line does."""
        self._send(data)

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._sleep(seconds)

    def now(self) -> float:
        """Simulated seconds."""
        return float(get_sim_time("ps")) * 1e-12

    def close(self) -> None:
        """Nothing to let go: the bridge belongs to the test."""


async def _sleep(seconds: float) -> None:
    await Timer(max(1, round(seconds * 1e12)), "ps")


def _coroutine(function: Callable[..., Awaitable[Any]]) -> Any:
    async def call(*arguments: Any) -> Any:
        return await function(*arguments)
    return call
