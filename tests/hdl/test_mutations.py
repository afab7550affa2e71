"""Deliberate faults: fixed when elaborated, or selected while a test build runs."""

import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator

from hdl.mutations import Mutation, Selected, checked, has, lacks


@pytest.mark.parametrize("mutation", [None, *Mutation])
def test_fixed_faults_are_constants(mutation):
    for fault in Mutation:
        for value, expected in ((has(mutation, fault), mutation is fault),
                                (lacks(mutation, fault), mutation is not fault)):
            assert isinstance(value, Const)
            assert (value.value, len(value)) == (expected, 1)


def test_selected_faults_follow_their_number():
    number = Signal(range(len(Mutation) + 1))
    selected = Selected(number)
    assert checked(selected) is selected
    m = Module()
    seen = {fault: (Signal(), Signal()) for fault in Mutation}
    for fault, (is_in, is_out) in seen.items():
        m.d.comb += [is_in.eq(has(selected, fault)), is_out.eq(lacks(selected, fault))]

    async def testbench(ctx):
        for mutation in (None, *Mutation):
            ctx.set(number, Selected.number_of(mutation))
            await ctx.delay(1e-6)
            for fault, (is_in, is_out) in seen.items():
                assert (ctx.get(is_in), ctx.get(is_out)) == (mutation is fault,
                                                             mutation is not fault)

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()


def test_unknown_faults_are_refused():
    assert checked("crc_not_checked") is Mutation.CRC_NOT_CHECKED
    with pytest.raises(ValueError, match="no_such_fault"):
        checked("no_such_fault")
