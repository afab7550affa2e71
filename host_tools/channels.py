"""Control of the channel emulators that a simulated board puts into its links."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware_model import channel, wire
from firmware_model.wire import ChannelFault, LineFault

from .errors import BoardError, UsageError

if TYPE_CHECKING:
    from .registers import Registers

CUT_BOTH = 0b11
TOWARDS = {"target": 0b01, "source": 0b10, "both": 0b11}     # bit: direction


class LinkControl:
    """One link's channel emulator, reached through a board's registers.

    A board without emulators (one on a desk) answers BAD_REGISTER, which becomes a
    :class:`~host_tools.errors.UsageError` that says so; so does a value out of its range.

    Parameters
    ----------
    board : Registers
    number : int
        Of the link.
    towards : str
        ``target``, ``source`` or ``both``: the directions that what is set here concerns. A
        chance or a delay has one value for a link; setting it for one direction ends it in the
        other.
    """

    def __init__(self, board: Registers, number: int, towards: str = "both") -> None:
        self._board = board
        self.number = number
        self._directions = TOWARDS[towards]
        self._base = wire.Reg.CHANNEL + wire.CHANNEL_STRIDE * number

    def _explain(self, error: BoardError) -> Exception:
        if error.code == wire.Code.BAD_REGISTER:
            return UsageError(f"{self._board.name} has no channel emulator on link "
                              f"{self.number}: links of real wire cannot be set, use the "
                              "source port of `farside board`")
        return error

    def _write(self, register: wire.Channel, value: int) -> None:
        try:
            self._board.set_reg(self._base + register, value)
        except BoardError as error:
            raise self._explain(error) from None

    def _set(self, fault: ChannelFault, register: wire.Channel, convert: Callable[[], int],
             *more: tuple[wire.Channel, Callable[[], int]]) -> None:
        """Write what ``convert`` gives, and that the fault concerns these directions."""
        try:
            values = [(register, convert()), *((other, make()) for other, make in more)]
        except channel.ChannelError as error:
            raise UsageError(str(error)) from None
        before = self.read()["directions"]
        after = before & ~channel.both(fault) | self._directions << 2 * fault
        if after != before:
            self._write(wire.Channel.DIRECTIONS, after)
        for which, value in values:
            self._write(which, value)

    def _line(self, fault: LineFault, on: bool) -> None:
        before = self.read()["control"]
        bits = self._directions << 2 * fault
        self._write(wire.Channel.CONTROL, before | bits if on else before & ~bits)

    def read(self) -> dict[str, int]:
        """The emulator's registers by name (``wire.Channel``)."""
        try:
            values = self._board.registers(self._base, len(wire.Channel))
        except BoardError as error:
            raise self._explain(error) from None
        return {register.name.lower(): values[register] for register in wire.Channel}

    def cut_register(self, cut: bool) -> tuple[int, int]:
        """Address and value that cut the link in both directions, or restore it."""
        return self._base + wire.Channel.CONTROL, CUT_BOTH if cut else 0

    @property
    def _divisor(self) -> int:
        return self._board.geometry.divisor(self._board.geometry.link_baud)

    @property
    def _clock_hz(self) -> int:
        return self._board.geometry.clock_hz

    # -- the whole line ----------------------------------------------------------------------

    def cut(self) -> None:
        """Let nothing through, from the next clock on."""
        self._line(LineFault.CUT, True)

    def stick(self, level: int) -> None:
        """Hold the line low or high, whatever is sent."""
        self._line(LineFault.STUCK_HIGH, level == 1)
        self._line(LineFault.STUCK_LOW, level == 0)

    def flap(self, period: float, down: float | None = None) -> None:
        """Cut the link for ``down`` of every ``period`` seconds (half of it if not given); with a
        period of 0 no more."""
        if period == 0:
            self._write(wire.Channel.FLAP_UP, 0)
            return
        down = period / 2 if down is None else down
        if not 0 < down < period:
            raise UsageError(f"the link cannot be cut for {down * 1e3:g} ms of every "
                             f"{period * 1e3:g} ms: give a shorter time than the period")

        def units(seconds: float) -> Callable[[], int]:
            return lambda: channel.flap_units(seconds, self._divisor, self._clock_hz)

        self._set(ChannelFault.FLAP, wire.Channel.FLAP_UP, units(period - down),
                  (wire.Channel.FLAP_DOWN, units(down)))

    def restore(self) -> None:
        """Undo :meth:`cut`, :meth:`stick` and :meth:`flap`."""
        before = self.read()
        bits = sum(self._directions << 2 * fault for fault in LineFault)
        self._write(wire.Channel.CONTROL, before["control"] & ~bits)
        if before["flap_up"]:
            self._write(wire.Channel.FLAP_UP, 0)

    def clear(self) -> None:
        """A link without delay or fault, in both directions."""
        self._write(wire.Channel.CONTROL, 0)
        for register in (wire.Channel.DELAY, wire.Channel.SKEW, wire.Channel.FLAP_UP,
                         wire.Channel.FLAP_DOWN, wire.Channel.FRAME_LOSS,
                         wire.Channel.FRAME_REPEAT, wire.Channel.BYTE_LOSS,
                         wire.Channel.BYTE_INSERT, wire.Channel.BURST, wire.Channel.BYTE_ERROR):
            self._write(register, 0)
        self._write(wire.Channel.BURST_BYTES, channel.DEFAULT_BURST_BYTES)
        self._write(wire.Channel.DIRECTIONS, channel.ALL_DIRECTIONS)

    # -- time --------------------------------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """Delay by ``seconds``, rounded to the emulator's tick."""
        longest = self.read()["max_delay"]
        self._set(ChannelFault.DELAY, wire.Channel.DELAY, lambda: channel.delay_ticks(
            seconds, self._divisor, self._clock_hz, longest))

    def skew(self, share: float) -> None:
        """Make bits longer by this share (shorter if negative), as for a receiver whose clock is
        so much off."""
        self._set(ChannelFault.SKEW, wire.Channel.SKEW,
                  lambda: channel.skew_units(share, self._divisor))

    # -- chance ------------------------------------------------------------------------------

    def seed(self, value: int) -> None:
        """Restart the generators of this link; reproducible only while the link is idle."""
        if not 0 <= value <= 0xFFFFFFFF:
            raise UsageError(f"seed {value} is outside 0..{0xFFFFFFFF}: it is a 32-bit register")
        self._write(wire.Channel.SEED, value)

    def ber(self, rate: float) -> None:
        """Flip bits at ``rate``."""
        self._set(ChannelFault.BYTE_ERROR, wire.Channel.BYTE_ERROR,
                  lambda: channel.byte_error_chance(rate))

    def burst(self, share: float, length: int = channel.DEFAULT_BURST_BYTES) -> None:
        """Begin a burst of errors, ``length`` bytes long, with ``share`` of all bytes."""
        self._set(ChannelFault.BURST, wire.Channel.BURST,
                  lambda: channel.share_chance("share of bursts", share),
                  (wire.Channel.BURST_BYTES, lambda: channel.burst_bytes(length)))

    def byte_loss(self, share: float) -> None:
        """Lose ``share`` of all bytes."""
        self._set(ChannelFault.BYTE_LOSS, wire.Channel.BYTE_LOSS,
                  lambda: channel.share_chance("share of lost bytes", share))

    def byte_insert(self, share: float) -> None:
        """Add a byte nobody sent after ``share`` of all bytes."""
        self._set(ChannelFault.BYTE_INSERT, wire.Channel.BYTE_INSERT,
                  lambda: channel.share_chance("share of inserted bytes", share,
                                               channel.MAX_INSERT, channel.INSERT_REASON))

    def loss(self, share: float) -> None:
        """Swallow ``share`` of all frames whole."""
        self._set(ChannelFault.FRAME_LOSS, wire.Channel.FRAME_LOSS,
                  lambda: channel.frame_loss_chance(share))

    def repeat(self, share: float) -> None:
        """Say ``share`` of all frames twice."""
        self._set(ChannelFault.FRAME_REPEAT, wire.Channel.FRAME_REPEAT,
                  lambda: channel.share_chance("share of repeated frames", share))
