"""The ferry: bytes of all lines through their rings."""

import random

from hdl.rings import RING_BITS, Ferry, RingWord

from .streams import run, ticks

RING = 1 << RING_BITS


class State:
    """The state memory, with a processor that is always busy; some reads have to be repeated."""

    def __init__(self, dut, rng):
        self.words = {(line, word): 0 for line in range(dut.lines) for word in range(5)}
        self.port = dut.state
        self.rng = rng

    async def serve(self, ctx):
        port = self.port
        turn, answer = 0, None
        async for _, _, addr, we, waddr, wdata in ctx.tick().sample(
                port.addr, port.we, port.waddr, port.wdata):
            if answer is not None and we:
                self.words[waddr >> 7, waddr & 127] = wdata
            answer = None
            if turn and self.rng.random() < 0.9:
                answer = self.words[addr >> 7, addr & 127]
            turn = not turn
            ctx.set(port.turn, turn)
            ctx.set(port.valid, answer is not None)
            ctx.set(port.data, answer if answer is not None else self.rng.randrange(1 << 16))


class Bench:
    def __init__(self, lines=3):
        self.dut = Ferry(lines)
        self.state = State(self.dut, random.Random(5))

    def word(self, line, word):
        return self.state.words[line, word]

    async def receive(self, ctx, sent):
        """One byte a line at a time, as far apart as a bank's fastest line has them."""
        for bytes_ in zip(*sent, strict=True):
            for line, byte in enumerate(bytes_):
                ctx.set(self.dut.rx[line].payload, byte)
                ctx.set(self.dut.rx[line].valid, 1)
            await ctx.tick()
            for rx in self.dut.rx:
                ctx.set(rx.valid, 0)
            await ctx.tick().repeat(8 * 2 * len(sent))

    async def ring(self, ctx, line, count):
        got = []
        for place in range(count):
            ctx.set(self.dut.take_addr, line << RING_BITS | place % RING)
            ctx.set(self.dut.take_en, 1)
            await ctx.tick()
            ctx.set(self.dut.take_en, 0)
            got.append(ctx.get(self.dut.take_data))
        return got

    def run(self, bench, limit=200_000):
        run(self.dut, bench, monitors=[self.state.serve], limit=limit)


def test_a_byte_without_stop_bit_is_stored_twice():
    bench = Bench()
    ferry = bench.dut

    async def play(ctx):
        ctx.set(ferry.ready, 1)
        for turn in range(3):
            ctx.set(ferry.cuts, 0b010 if turn == 1 else 0)
            for rx in ferry.rx:
                ctx.set(rx.payload, 0 if turn == 1 else turn)
                ctx.set(rx.valid, 1)
            await ctx.tick()
            ctx.set(ferry.cuts, 0)
            for rx in ferry.rx:
                ctx.set(rx.valid, 0)
            await ctx.tick().repeat(8 * 2 * 3 * (1 + (turn == 1)))
        assert await bench.ring(ctx, 0, 3) == await bench.ring(ctx, 2, 3) == [0, 0, 2]
        assert await bench.ring(ctx, 1, 4) == [0, 0, 0, 2]
        assert [bench.word(line, RingWord.RX_WHOLE) for line in range(3)] == [2, 3, 2]

    bench.run(play)


def test_received_bytes_go_to_their_rings():
    bench = Bench()
    sent = [[1, 2, 0, 3, 4], [5, 6, 7, 8, 0], [9, 9, 9, 9, 9]]

    async def play(ctx):
        await bench.receive(ctx, [[7]] * 3)         # nothing is carried before ``ready``
        ctx.set(bench.dut.ready, 1)
        await bench.receive(ctx, sent)
        for line, bytes_ in enumerate(sent):
            assert await bench.ring(ctx, line, 5) == bytes_
            assert bench.word(line, RingWord.RX_END) == 5
        assert [bench.word(line, RingWord.RX_WHOLE) for line in range(3)] == [3, 5, 0]

    bench.run(play)


def test_a_full_ring_drops_bytes_and_says_so():
    bench = Bench(lines=1)
    overflows = []

    async def watch(ctx):
        async for _, _, overflow in ctx.tick().sample(bench.dut.overflow):
            overflows.append(overflow)

    async def play(ctx):
        ctx.set(bench.dut.ready, 1)
        bench.state.words[0, RingWord.RX_BEGIN] = 10
        await bench.receive(ctx, [[1 + n % 200 for n in range(12)]])
        assert bench.word(0, RingWord.RX_END) == 9
        assert sum(overflows) == 3

    run(bench.dut, play, monitors=[bench.state.serve, watch], limit=20_000)


def test_rings_go_to_their_lines():
    bench = Bench()
    got = [[], [], []]

    def take(line):
        async def process(ctx):
            tx = bench.dut.tx[line]
            wait = 5 + 7 * line
            while True:
                await ticks(ctx, wait)
                if ctx.get(tx.valid):
                    got[line].append(ctx.get(tx.payload))
                    ctx.set(tx.ready, 1)
                    await ctx.tick()
                    ctx.set(tx.ready, 0)
        return process

    async def play(ctx):
        for line in range(3):
            bench.state.words[line, RingWord.TX_BEGIN] = RING - 2       # over the end
            for n in range(5):
                ctx.set(bench.dut.give_addr, line << RING_BITS | (RING - 2 + n) % RING)
                ctx.set(bench.dut.give_data, 10 * line + n)
                ctx.set(bench.dut.give_en, 1)
                await ctx.tick()
        ctx.set(bench.dut.give_en, 0)
        await ctx.tick().repeat(50)
        assert got == [[], [], []], "nothing is sent before it is whole"
        for line in range(3):
            bench.state.words[line, RingWord.TX_END] = 3
        ctx.set(bench.dut.wake, 0b111)
        await ctx.tick()
        ctx.set(bench.dut.wake, 0)
        await ctx.tick().repeat(600)
        assert got == [[10 * line + n for n in range(5)] for line in range(3)]

    run(bench.dut, play, monitors=[bench.state.serve, *map(take, range(3))], limit=20_000)
