"""1BitSquared iCEBreaker: iCE40UP5K, 12 MHz, FT2232H. The small board."""

from .board import CHIPS, Board, Pins, Programmer
from .up5k import CLOCK_HZ, GEOMETRY, LINES, MOST_LINKS

# PMOD 1A: rx on the upper row, tx on the lower one below it. PMOD 2 carries the break-off LEDs.
LINKS = tuple(Pins(rx=str(n + 1), tx=str(n + 7), connector=("pmod", 0),
                   where=f"PMOD 1A pin {n + 1} in, pin {n + 7} out") for n in range(MOST_LINKS))

BOARDS = (Board(
    name="icebreaker",
    title="iCEBreaker",
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    chip=CHIPS["iCE40UP5K"],
    oscillator_hz=12_000_000,
    clock_hz={"source": CLOCK_HZ, "target": CLOCK_HZ},
    geometries={"source": GEOMETRY, "target": GEOMETRY},
    links=LINKS,
    lines=LINES,
    extra="break_off_pmod",
    leds=(("led_g", 0, ""), ("led_r", 0, ""), ("led_g", 1, ""), ("led_r", 1, "")),
    programmer=Programmer("iceprog", "fpga-icestorm", ("-S",), ()),
    usb=((0x0403, 0x6010),),
),)
