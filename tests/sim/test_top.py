import pytest

from firmware_model import wire
from firmware_model.wire import Code, Reg
from sim.top import ChannelRegisters
from tests.hdl.target_bench import access, simulate


@pytest.mark.parametrize("links", [1, 2, 3, 8])
def test_registers_reach_the_channel_of_their_link_and_no_other(links):
    dut = ChannelRegisters(links)
    asked = []

    async def channels(ctx):
        while True:
            await ctx.tick()
            for number, channel in enumerate(dut.channels):
                asks = ctx.get(channel.req) and not ctx.get(channel.ack)
                ctx.set(channel.ack, asks)
                ctx.set(channel.rdata, number)
                if asks:
                    asked.append((number, ctx.get(channel.addr) & (wire.CHANNEL_STRIDE - 1),
                                  ctx.get(channel.wdata)))

    async def testbench(ctx):
        last = Reg.CHANNEL // wire.CHANNEL_STRIDE - 1
        for link in sorted({*range(links + 1), last}):
            for offset in (0, 3, wire.CHANNEL_STRIDE - 1):
                address = Reg.CHANNEL + wire.CHANNEL_STRIDE * link + offset
                code, value = await access(ctx, dut.port, address, 77)
                if link < links:
                    assert (code, value) == (Code.OK, link)
                    assert asked.pop() == (link, offset, 77)
                else:
                    assert code == Code.BAD_REGISTER
                assert not asked

    simulate(dut, testbench, background=[channels])
