from amaranth import *

from boards.clock import Start
from tests.hdl.target_bench import simulate


def test_reset_changes_only_while_the_clock_stands_still():
    """Also when the clock is lost for a moment later on: then all of it happens again."""
    dut = Start()

    async def testbench(ctx):
        async def until_it_runs():
            seen, still = [], 0
            for _ in range(60):
                await ctx.tick()
                now = ctx.get(dut.runs), ctx.get(dut.reset)
                if not seen or now != seen[-1][0]:
                    seen.append((now, still))
                    still = 0
                still += 1
            return seen

        await ctx.tick().repeat(5)
        assert (ctx.get(dut.runs), ctx.get(dut.reset)) == (0, 1)
        for _ in range(2):
            ctx.set(dut.sound, 1)
            seen = await until_it_runs()
            assert [state for state, _ in seen] == [(0, 1), (1, 1), (0, 1), (0, 0), (1, 0)]
            assert all(clocks >= 4 for _, clocks in seen[1:])
            assert seen[2][1] == 12, "clocks with the reset on"
            ctx.set(dut.sound, 0)
            await ctx.tick().repeat(4)
            assert (ctx.get(dut.runs), ctx.get(dut.reset)) == (0, 1)

    simulate(dut, testbench)
