"""``farside selftest``: is a board, and all between it and the far disc, sound?"""

from __future__ import annotations

import time

import click

from firmware_model import wire

from ..errors import Exit
from . import common


@click.command()
@common.port_argument
@click.option("--target", metavar="PORT", help="The target's own port, to compare what arrived.")
@common.baud_option
@click.option("--seed", type=int, default=1, help="Seed of all data.")
@common.json_option
def selftest(port: str, target: str | None, baud: int, seed: int, as_json: bool) -> int:
    """Check the source at PORT, its links and its target. Overwrites everything on them.

    Each step is one line; the whole can be pasted into a bug report.
    """
    import contextlib

    from ..selftest import Finding, selftest

    out = common.out()

    def say(found: Finding) -> None:
        if not as_json:
            out.print(str(found), markup=False, soft_wrap=True)

    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(common.open_board(port, baud, wire.Role.SOURCE))
        far = None
        if target is not None:
            far = stack.enter_context(common.open_board(target, baud, wire.Role.TARGET))
        findings = selftest(source, far, seed=seed, say=say)
    ok = all(found.ok is not False for found in findings)
    seconds = time.monotonic() - begun
    if as_json:
        common.print_json({"ok": ok, "seed": seed, "seconds": round(seconds, 1), "steps": [
            {"step": f.step, "ok": f.ok, "text": f.text, **f.values} for f in findings]})
    else:
        out.print(f"{'sound' if ok else 'NOT sound'}: protocol version {wire.PROTOCOL_VERSION}, "
                  f"seed {seed}, {seconds:.0f} s")
    return Exit.OK if ok else Exit.FAILED
