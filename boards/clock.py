"""The clock of an ECP5 board, and how everything begins."""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["PllClock", "Start", "pll_dividers"]

# nextpnr's database for the ECP5's PLL: what its phase detector and its oscillator can do.
_PFD_HZ = (3_125_000, 400_000_000)
_VCO_HZ = (400_000_000, 800_000_000)


def pll_dividers(from_hz, to_hz):
    """``(input, feedback, output)`` dividers of an ECP5 PLL, the oscillator as slow as it may be
    in the middle of its range; ``ValueError`` if there are none."""
    middle = sum(_VCO_HZ) // 2
    found = []
    for divide in range(1, 129):
        if from_hz % divide or not _PFD_HZ[0] <= from_hz // divide <= _PFD_HZ[1]:
            continue
        feedback, rest = divmod(to_hz, from_hz // divide)
        for output in range(1, 129):
            if rest == 0 and 1 <= feedback <= 80 and _VCO_HZ[0] <= to_hz * output <= _VCO_HZ[1]:
                found.append((divide, abs(to_hz * output - middle), (divide, feedback, output)))
    if not found:
        raise ValueError(f"no PLL setting makes {to_hz} Hz out of {from_hz} Hz")
    return min(found)[2]


class Start(wiring.Component):
    """Resets another domain while that one's clock stands still.

    A reset that begins or ends with the clock it belongs to has to reach ten thousand flip-flops
    and what decides beside them within one clock, and is in the way of everything else that has to.
    Here the clock runs for a while with the reset on, stops, and goes on without it; each step
    leaves at least four clocks of this component to the one before. So no way from this component
    into the other domain has to be timed.

    Members
    -------
    sound : In(1)
        The other clock can be relied on. When it cannot, everything begins anew; asynchronous.
    runs : Out(1)
        The other clock is let through, by something that cuts no pulse short.
    reset : Out(1)
        Of the other domain.
    """

    sound: In(1)
    runs: Out(1)
    reset: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        sound = Signal()
        m.submodules.synchronizer = FFSynchronizer(self.sound, sound)
        step = Signal(5)
        with m.If(~sound):
            m.d.sync += step.eq(0)
        with m.Elif(~step.all()):
            m.d.sync += step.eq(step + 1)
        m.d.sync += [
            self.runs.eq(((step >= 4) & (step < 16)) | (step >= 24)),
            self.reset.eq(step < 20),
        ]
        return m


# Of the frequency that is needed, what place and route is asked for: it mends what it believes to
# be late, and sometimes a wire is a little slower than it believed.
_MARGIN = 1.05


class PllClock(Elaboratable):
    """The ``sync`` domain at ``to_hz``, from the platform's default clock by PLL (ECP5)."""

    def __init__(self, from_hz, to_hz):
        self._dividers = pll_dividers(from_hz, to_hz)
        self._to_hz = to_hz

    def elaborate(self, platform):
        m = Module()
        divide, feedback, output = self._dividers
        made = Signal()
        gated = Signal()
        locked = Signal()
        m.submodules.pin = pin = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=divide, p_CLKFB_DIV=feedback, p_CLKOP_DIV=output,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=output // 2, p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP", p_PLLRST_ENA="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            i_CLKI=pin.i, i_CLKFB=made, i_RST=C(0, 1), i_STDBY=C(0, 1),
            i_PHASESEL0=C(0, 1), i_PHASESEL1=C(0, 1), i_PHASEDIR=C(1, 1),
            i_PHASESTEP=C(1, 1), i_PHASELOADREG=C(1, 1), i_PLLWAKESYNC=C(0, 1), i_ENCLKOP=C(0, 1),
            o_CLKOP=made, o_LOCK=locked,
        )
        m.domains.oscillator = ClockDomain(reset_less=True)
        m.submodules.start = start = DomainRenamer("oscillator")(Start())
        m.submodules.gate = Instance("DCCA", i_CLKI=made, i_CE=start.runs, o_CLKO=gated)
        m.domains.sync = ClockDomain()
        m.d.comb += [
            ClockSignal("oscillator").eq(pin.i),
            start.sound.eq(locked),
            ClockSignal().eq(gated),
            ResetSignal().eq(start.reset),
        ]
        platform.add_clock_constraint(made, _MARGIN * self._to_hz)
        if platform.default_rst is not None:
            m.submodules.reset = button = io.Buffer(
                "i", platform.request(platform.default_rst, dir="-"))
            m.d.comb += start.sound.eq(locked & ~button.i)
        return m
