"""Which reads are marked: a volume follows the set its data came for, else any set."""

import pytest

from hdl.readmarks import ReadMarks

from .target_bench import SMALL, seeded, simulate

G = SMALL.replace(volumes=5, sets=3)


@pytest.mark.requirement("R22")
def test_a_volume_follows_the_set_that_its_data_came_for_last():
    dut = ReadMarks(G)
    rng = seeded(1)
    set_of = {}
    seen = set()

    async def bench(ctx):
        for _ in range(400):
            suspects = rng.getrandbits(G.sets)
            ctx.set(dut.suspects, suspects)
            staged = rng.random() < 0.2
            place = {"volume": rng.randrange(G.volumes), "set": rng.randrange(G.sets)}
            ctx.set(dut.staged, {"valid": staged, **place})
            for volume in range(G.volumes):
                ctx.set(dut.volume, volume)
                known = suspects if volume not in set_of else suspects & 1 << set_of[volume]
                assert ctx.get(dut.suspect) == (known != 0)
                seen.add((volume in set_of, suspects != 0, known != 0))
            await ctx.tick()
            if staged:
                set_of[place["volume"]] = place["set"]

    simulate(dut, bench)
    assert (True, True, False) in seen, "no volume was ever better than the worst set"
