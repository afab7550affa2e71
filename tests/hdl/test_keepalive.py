# amaranth: UnusedElaboratable=no
"""Keepalives: when to speak, and when to give up."""

import pytest

from firmware_model import wire
from hdl.keepalive import BEAT_BITS, MIN_SILENCE, Keepalive

from .streams import run

KEEPALIVE = 4           # beats
SILENCE = KEEPALIVE * wire.KEEPALIVES_IN_SILENCE


def play(clocks, up=lambda clock: True, said=lambda clock: False, heard=lambda clock: False):
    """A beat every second clock; returns the clocks of ``speak`` and ``lost``."""
    dut = Keepalive(SILENCE * BEAT_BITS)
    spoken, lost = [], []

    async def bench(ctx):
        for clock in range(clocks):
            ctx.set(dut.beat, clock % 2)
            for port, happens in ((dut.up, up), (dut.said, said), (dut.heard, heard)):
                ctx.set(port, happens(clock))
            if ctx.get(dut.speak):
                spoken.append(clock)
            if ctx.get(dut.lost):
                lost.append(clock)
            await ctx.tick()

    run(dut, bench)
    return spoken, lost


def test_speaks_and_gives_up_on_time():
    spoken, lost = play(2 * SILENCE + 2)
    assert spoken[:3] == [2 * KEEPALIVE * n - 1 for n in (1, 2, 3)]
    assert len(spoken) == wire.KEEPALIVES_IN_SILENCE
    assert lost == [2 * SILENCE - 1]


def test_whoever_speaks_is_not_asked_to():
    spoken, lost = play(4 * SILENCE, said=lambda clock: clock % 6 == 0,
                        heard=lambda clock: clock % (2 * SILENCE - 2) == 0)
    assert spoken == lost == []


def test_what_was_said_long_ago_does_not_count():
    at = 2 * KEEPALIVE - 2
    spoken, lost = play(2 * SILENCE + 20, said=lambda clock: clock == at,
                        heard=lambda clock: clock == at)
    assert spoken[0] == at + 2 * KEEPALIVE - 1
    assert lost == [at + 2 * SILENCE - 1]


def test_nothing_is_counted_without_a_session():
    down = 2 * SILENCE - 2
    spoken, lost = play(4 * SILENCE, up=lambda clock: clock > down)
    assert spoken[0] == down + 2 * KEEPALIVE - 1
    assert lost == [down + 2 * SILENCE - 1]


@pytest.mark.parametrize("bits", [0, MIN_SILENCE // 2, MIN_SILENCE - 1])
def test_parameters_are_checked(bits):
    with pytest.raises(ValueError, match=f"silence_bits {bits} is not a power of two from "
                                         f"{MIN_SILENCE} up"):
        Keepalive(bits)


def test_a_silence_has_room_for_lost_keepalives():
    assert Keepalive()._silence * BEAT_BITS == wire.SILENCE_BITS
    assert wire.SILENCE_BITS == wire.KEEPALIVES_IN_SILENCE * wire.KEEPALIVE_BITS
