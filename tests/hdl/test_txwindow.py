# amaranth: UnusedElaboratable=no
"""The transmit window alone: what it sends, when again, and when it gives up."""

import random

import pytest

from hdl.txwindow import KIND_PLACE, TransmitWindow

from .lines import descriptor
from .streams import StreamMonitor, run, stream_put, ticks

PATIENCE = 10


class Bench:
    """A window whose line takes no time: the bench picks frames when it wants them."""

    def __init__(self, **parameters):
        parameters = {"window": 8, "patience": PATIENCE, "initial_trip": 5} | parameters
        self.dut = TransmitWindow(**parameters)
        self.window = parameters["window"]
        self.submitted = 0
        self.timeouts = 0

    def run(self, bench, limit=100000):
        async def opened(ctx):
            ctx.set(self.dut.open, 1)
            await bench(ctx)

        async def count(ctx):
            async for _, _, pulse in ctx.tick().sample(self.dut.timeout):
                self.timeouts += pulse

        run(self.dut, opened, limit=limit,
            monitors=[count, StreamMonitor(self.dut.submit, "submit")])

    async def submit(self, ctx):
        """Submit the next descriptor; it is numbered like its entry."""
        await stream_put(ctx, self.dut.submit, descriptor(self.submitted % 256, 3))
        self.submitted += 1

    async def pick(self, ctx):
        """(lseq, again) of the entry granted, or None if there is nothing to send."""
        ctx.set(self.dut.pick, 1)
        got = None
        for _ in range(100):
            await ctx.tick()
            if ctx.get(self.dut.granted):
                got = ctx.get(self.dut.lseq), bool(ctx.get(self.dut.again))
                break
            if not ctx.get(self.dut.offer):
                break
        ctx.set(self.dut.pick, 0)
        await ctx.tick()
        return got

    async def send(self, ctx, count):
        """Submit and send ``count`` new frames."""
        for _ in range(count):
            expected = self.submitted % 256
            await self.submit(ctx)
            assert await self.pick(ctx) == (expected, False)

    async def ack(self, ctx, base, map=0):
        await stream_put(ctx, self.dut.ack, {"base": base % 256, "map": map})
        await ctx.tick()

    async def units(self, ctx, count):
        """Let ``count`` units of time pass."""
        for _ in range(count):
            ctx.set(self.dut.unit, 1)
            await ctx.tick()
            ctx.set(self.dut.unit, 0)
            await ctx.tick()

    async def takes(self, ctx, clocks=40):
        """Whether another descriptor would be taken."""
        ctx.set(self.dut.submit.payload, descriptor(self.submitted % 256, 3))
        ctx.set(self.dut.submit.valid, 1)
        for _ in range(clocks):
            await ctx.tick()
            if ctx.get(self.dut.submit.ready):
                await ctx.tick()
                ctx.set(self.dut.submit.valid, 0)
                self.submitted += 1
                return True
        return False


def test_descriptor_is_read_back_byte_by_byte():
    bench = Bench()

    async def body(ctx):
        await ticks(ctx, 3)
        bench.submitted = 0xA5
        await bench.submit(ctx)
        d = descriptor(0xA5, 3)
        head = bytes([d["type"]]) + d["header"].to_bytes(8, "little")
        stored = {0: head[0], **{place + 1: head[place] for place in range(1, 9)},
                  KIND_PLACE: d["kind"].value,
                  **{KIND_PLACE + 1 + i: b for i, b in enumerate(d["arg"].to_bytes(3, "little"))}}
        assert await bench.pick(ctx) == (0, False)
        for place, byte in stored.items():
            ctx.set(bench.dut.read_place, place)
            await ctx.tick()
            assert ctx.get(bench.dut.read_data) == byte, place

    bench.run(body)


def test_takes_one_ahead_and_no_more_than_the_window():
    bench = Bench()

    async def body(ctx):
        assert await bench.takes(ctx)
        assert not await bench.takes(ctx), "the first has not been sent"
        assert await bench.pick(ctx) == (0, False)
        for number in range(1, 8):
            assert await bench.takes(ctx)
            assert await bench.pick(ctx) == (number, False)
        assert not await bench.takes(ctx), "the window is full"
        await bench.ack(ctx, 1)
        assert ctx.get(bench.dut.submit.valid)
        assert await bench.takes(ctx)

    bench.run(body)


def test_older_transmissions_are_lost():
    bench = Bench()

    async def body(ctx):
        await bench.send(ctx, 6)
        await bench.ack(ctx, 1, map=0b0100)      # 0 and 3 have arrived
        assert await bench.pick(ctx) == (1, True)
        assert await bench.pick(ctx) == (2, True)
        assert await bench.pick(ctx) is None, "4 and 5 may be on their way"
        await bench.ack(ctx, 1, map=0b1100)      # now 4 as well: 1 and 2 were sent after it
        assert await bench.pick(ctx) is None
        await bench.ack(ctx, 2, map=0b0110)      # 1, the second time: so 5 is lost
        assert await bench.pick(ctx) == (5, True)
        assert await bench.pick(ctx) is None
        await bench.ack(ctx, 6)
        assert await bench.pick(ctx) is None
        await bench.units(ctx, 200)
        assert bench.timeouts == 0, "nothing is outstanding"

    bench.run(body)


def test_acknowledgement_that_does_not_fit_is_ignored():
    bench = Bench()

    async def body(ctx):
        await bench.send(ctx, 4)
        await bench.ack(ctx, 2)
        for base in (1, 5, 6, 130, 255):
            await bench.ack(ctx, base, map=0xFFFFFFFE)
            assert await bench.pick(ctx) is None
        await bench.send(ctx, 6)                    # 2 and 3 are still held: 6 places
        assert not await bench.takes(ctx)

    bench.run(body)


def test_numbers_wrap():
    """Frames lost at random for 700 frames; the receiver is a set."""
    rng = random.Random(3)
    bench = Bench()

    async def body(ctx):
        base, told, got, sent_again = 0, 0, set(), 0
        while base < 700:
            if bench.submitted < told + 8:
                await bench.submit(ctx)
            while (picked := await bench.pick(ctx)) is not None:
                lseq, again = picked
                number = told + (lseq - told) % 256
                assert told <= number < bench.submitted
                assert again or number == bench.submitted - 1
                sent_again += again
                if rng.random() < 0.8:
                    got.add(number)
            while base in got:
                base += 1
            if rng.random() < 0.7:
                await bench.ack(ctx, base, sum(1 << n - base for n in got if n > base))
                told = base
            if rng.random() < 0.3:
                await bench.units(ctx, 20)
        assert sent_again > 50
        assert not ctx.get(bench.dut.dead)

    bench.run(body, limit=400000)


def test_timeouts_double_and_end():
    bench = Bench(tries=4)
    waited = []

    async def body(ctx):
        await bench.send(ctx, 3)
        for tries in range(4):
            before = bench.timeouts
            units = 0
            while bench.timeouts == before:
                await bench.units(ctx, 1)
                units += 1
            waited.append(units)
            if tries < 3:
                assert await bench.pick(ctx) == (0, True), "the oldest alone"
                assert await bench.pick(ctx) is None
        await ctx.tick()
        assert ctx.get(bench.dut.dead)

    bench.run(body)
    period = 2 * 5 + PATIENCE
    for tries, units in enumerate(waited):
        assert abs(units - (period << tries)) <= 4 + (1 << tries), waited


def test_round_trip_is_measured_on_frames_sent_once():
    bench = Bench()

    async def wait(ctx):
        before, units = bench.timeouts, 0
        while bench.timeouts == before:
            await bench.units(ctx, 1)
            units += 1
        return units

    async def body(ctx):
        await bench.send(ctx, 1)
        await bench.units(ctx, 18)
        await bench.ack(ctx, 1)             # 18 units
        await bench.send(ctx, 1)
        assert abs(await wait(ctx) - (2 * 18 + PATIENCE)) <= 3
        assert await bench.pick(ctx) == (1, True)
        await bench.ack(ctx, 2)             # says nothing about the time
        await bench.send(ctx, 1)
        assert abs(await wait(ctx) - 2 * (2 * 18 + PATIENCE)) <= 5, "still doubled"
        assert await bench.pick(ctx) == (2, True)
        await bench.ack(ctx, 3)
        await bench.send(ctx, 1)
        await bench.units(ctx, 3)
        await bench.ack(ctx, 4)             # sent once: 3 units, and no longer doubled
        await bench.send(ctx, 1)
        assert abs(await wait(ctx) - (2 * 3 + PATIENCE)) <= 3

    bench.run(body)


def test_entry_being_read_is_not_overwritten():
    bench = Bench(window=4)

    async def body(ctx):
        await bench.send(ctx, 4)
        ctx.set(bench.dut.reading, 1)
        ctx.set(bench.dut.read_lseq, 0)
        await bench.ack(ctx, 4)
        assert not await bench.takes(ctx)
        ctx.set(bench.dut.read_lseq, 1)
        assert await bench.takes(ctx)

    bench.run(body)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"window": 5}, "window 5 is not 4, 8, 16 or 32"),
    ({"patience": 0}, r"patience 0 is outside 1\.\.131071"),
    ({"initial_trip": 1 << 17}, r"initial_trip 131072 is outside 0\.\.131071"),
    ({"tries": 0}, r"tries 0 is outside 1\.\.8"),
])
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        TransmitWindow(**{"window": 8, "patience": 10} | parameters)
