"""Control of the channel emulators that a simulated board puts into its links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_model import channel, wire

from .errors import BoardError, UsageError

if TYPE_CHECKING:
    from .registers import Registers

CUT_BOTH = 0b11


class LinkControl:
    """One link's channel emulator, reached through a board's registers.

    Both directions are set alike. A board without emulators (one on a desk) answers
    BAD_REGISTER, which becomes a :class:`~host_tools.errors.UsageError` that says so.
    """

    def __init__(self, board: Registers, number: int) -> None:
        self._board = board
        self.number = number
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

    def cut(self) -> None:
        """Let nothing through, in either direction, from the next clock on."""
        self._write(wire.Channel.CONTROL, CUT_BOTH)

    def restore(self) -> None:
        """Undo :meth:`cut`."""
        self._write(wire.Channel.CONTROL, 0)

    def delay(self, seconds: float) -> None:
        """Delay each direction by ``seconds``, rounded to the emulator's tick."""
        geometry = self._board.geometry
        longest = self.read()["max_delay"]
        try:
            ticks = channel.delay_ticks(seconds, geometry.divisor(geometry.link_baud),
                                        geometry.clock_hz, longest)
        except channel.ChannelError as error:
            raise UsageError(str(error)) from None
        self._write(wire.Channel.DELAY, ticks)

    def ber(self, rate: float) -> None:
        """Flip bits at ``rate``."""
        try:
            value = channel.byte_error_chance(rate)
        except channel.ChannelError as error:
            raise UsageError(str(error)) from None
        self._write(wire.Channel.BYTE_ERROR, value)

    def loss(self, share: float) -> None:
        """Swallow ``share`` of all frames whole."""
        try:
            value = channel.frame_loss_chance(share)
        except channel.ChannelError as error:
            raise UsageError(str(error)) from None
        self._write(wire.Channel.FRAME_LOSS, value)
