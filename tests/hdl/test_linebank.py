# amaranth: UnusedElaboratable=no
"""Lines of one bank beside each other. What one line does: :mod:`.test_link`, with banks, too."""

import dataclasses

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model.geometry import Geometry
from firmware_model.wire import LinkCounter, Role, Type
from hdl.frame import longest_frame
from hdl.interfaces import descriptor_word
from hdl.line import LineKind
from hdl.linebank import LineBank, check_shared, least_divisor, shared_lines

from .serial import Sender
from .streams import run, ticks, until

LINES = 3
WINDOW = 4
HOST = LineKind(ordered=True, discard_when_down=True)
FAULTS = (LinkCounter.RESENDS, LinkCounter.DUPLICATES, LinkCounter.BAD_FRAMES,
          LinkCounter.TIMEOUTS)


class Loaded(wiring.Component):
    """Two banks face to face, each line with as many frames as it takes, in both directions.

    ``stuck`` lines of the first bank do not take their Events; ``silent`` lines have nothing to
    send; ``noise`` is what comes in on the second line of the first bank, if it is ``noisy``.
    """

    stuck: In(LINES)
    silent: In(LINES)
    noisy: In(1)
    noise: In(1, init=1)
    taken: Out(16).array(LINES)     # Events at the first bank
    passed: Out(16).array(LINES)    # and at the second
    disordered: Out(LINES)          # an Event has come out of turn
    faults: Out(16).array(LINES)
    up: Out(1)

    def __init__(self, divisor):
        self._divisor = divisor
        kinds = [HOST, LineKind(), LineKind()]
        self.banks = [LineBank(kinds, role=role, window=WINDOW, max_payload=16)
                      for role in (Role.SOURCE, Role.TARGET)]
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        near, far = m.submodules.near, m.submodules.far = self.banks
        m.d.comb += [
            near.rx.eq(far.tx), far.rx.eq(near.tx),
            self.up.eq(Cat(port.up for bank in self.banks for port in bank.ports).all()),
            *(divisor.eq(self._divisor) for bank in self.banks for divisor in bank.divisor),
        ]
        with m.If(self.noisy):
            m.d.comb += near.rx[1].eq(self.noise)
        for bank, counts in ((near, self.taken), (far, self.passed)):
            for n, port in enumerate(bank.ports):
                number = Signal(16, name=f"number_{n}")
                m.d.comb += [
                    port.submit.valid.eq(~self.silent[n]),
                    port.submit.payload.type.eq(Type.DATA),
                    port.submit.payload.header.eq(number),
                    port.submitted.eq(descriptor_word(m, port.submit.payload, port.word)),
                    port.sink.ready.eq(1),
                    port.events.ready.eq(1 if bank is far else ~self.stuck[n]),
                ]
                with m.If(port.submit.valid & port.submit.ready & port.up):
                    m.d.sync += number.eq(number + 1)
                with m.If(port.events.valid & port.events.ready):
                    m.d.sync += counts[n].eq(counts[n] + 1)
                    with m.If(port.events.payload.header != counts[n]):
                        m.d.sync += self.disordered[n].eq(1)
                found = Cat(port.counts[fault.name.lower()] for fault in FAULTS).any()
                with m.If(found):
                    m.d.sync += self.faults[n].eq(self.faults[n] + 1)
        return m


def test_full_load_on_all_lines():
    """As fast as a bank of three lines is said to be, shortest frames back to back everywhere."""
    divisor = least_divisor(LINES, WINDOW)
    dut = Loaded(divisor)
    frame = 10 * longest_frame(0) * divisor // 256
    frames = 5

    async def bench(ctx):
        await until(ctx, dut.up)
        await ticks(ctx, frames * frame)
        for n in range(LINES):
            assert not ctx.get(dut.faults[n])
            assert not ctx.get(dut.disordered[n])
            for counts in (dut.taken, dut.passed):
                # Of two frames that go out one may be an acknowledgement.
                assert ctx.get(counts[n]) > 0.4 * frames

    run(dut, bench, limit=2 * frames * frame)


def test_an_event_that_waits_on_the_host_line_holds_up_nobody():
    dut = Loaded(12 << 8)

    async def bench(ctx):
        ctx.set(dut.stuck, 0b001)
        await until(ctx, dut.up)
        await ticks(ctx, 11_000)
        assert ctx.get(dut.taken[0]) == 0
        assert ctx.get(dut.passed[0]) > 0, "its own line goes on in the other direction"
        for n in (1, 2):
            assert min(ctx.get(dut.taken[n]), ctx.get(dut.passed[n])) > 2
        ctx.set(dut.stuck, 0)
        await ticks(ctx, 6_000)
        assert ctx.get(dut.taken[0]) > 0
        assert not ctx.get(dut.disordered)

    run(dut, bench, limit=60_000)


def test_malformed_input_on_one_line_disturbs_no_other():
    dut = Loaded(12 << 8)
    sender = Sender(12)
    junk = bytes([200, 1, 2, 0, 255, 0, 5, 16, 0, 1, 1, 0])
    sender.send(junk * 8 + bytes(40) + junk * 30)

    async def babble(ctx):
        async for _ in ctx.tick():
            ctx.set(dut.noise, sender.step())

    async def bench(ctx):
        await until(ctx, dut.up)
        before = ctx.get(dut.taken[0]), ctx.get(dut.taken[2])
        ctx.set(dut.noisy, 1)
        await ticks(ctx, 15_000)
        for n, count in zip((0, 2), before, strict=True):
            assert ctx.get(dut.taken[n]) > count + 2
            assert not ctx.get(dut.faults[n])
            assert not ctx.get(dut.disordered[n])
        assert ctx.get(dut.faults[1]) > 10

    run(dut, bench, monitors=[babble], limit=60_000)


def test_parameters_are_checked():
    good = {"lines": [LineKind()], "role": Role.SOURCE, "window": 8, "max_payload": 512}
    LineBank(**good)
    for bad, message in [
            ({"lines": [LineKind()] * 5}, r"5 lines are outside 1\.\.4"),
            ({"window": 32}, "window 32 is not 4 or 8"),
            ({"max_payload": 1024}, "payloads of 1024 bytes make frames of 1044, more than 768"),
            ({"max_payload": 5000}, r"max_payload 5000 is outside 0\.\.4096"),
            ({"fingerprint": 1 << 16}, "fingerprint 65536 does not fit 16 bits"),
            ({"lines": [LineKind(silence_bits=1000)]}, "silence_bits 1000 is not a power of two"),
            ({"tries": 9}, r"tries 9 is outside 1\.\.8")]:
        with pytest.raises(ValueError, match=message):
            LineBank(**good | bad)


def test_a_geometry_may_ask_too_much():
    most = 12_000_000 * 256 // least_divisor(3, 8)
    good = Geometry(window=8, host_baud=250_000, link_baud=250_000)
    check_shared(good)
    for bad, message in [
            ({"links": 4}, "links 4 is more than 3"),
            ({"window": 16}, "window 16 is not 4 or 8"),
            ({"track_bytes": 1024}, "payloads of 1024 bytes"),
            ({"link_baud": 2_000_000}, f"link_baud 2000000 is more than {most}: with fewer than "),
            ({"host_baud": 2_000_000}, f"host_baud 2000000 is more than {most}")]:
        with pytest.raises(ValueError, match=message):
            check_shared(dataclasses.replace(good, **bad))


def test_lines_of_a_system():
    geometry = Geometry(window=8, host_baud=250_000, link_baud=125_000)
    bank = shared_lines(geometry, Role.TARGET)
    Fragment.get(bank, None)
    assert [kind.ordered for kind in bank.lines] == [True, False, False]
    assert all(kind.discard_when_down for kind in bank.lines)
    assert len(bank.divisor[0]) == 15       # 96 clocks a bit, in 1/256
