"""``farside compare``: the method against the two simpler ones of the seed."""

from __future__ import annotations

import click

from . import common


@click.command()
@click.option("--chains", type=click.IntRange(0, 100_000), default=0,
              help="Random chains to write after the three-chain example.")
@click.option("--seed", type=int, default=0, help="Seed of the random chains.")
@common.json_option
def compare(chains: int, seed: int, as_json: bool) -> None:
    """Set the method against simple delay and a queue of chains, on the reference model.

    Simple delay overwrites a track while its old version is still wanted at the target, so the
    target holds states that the source never had. A queue of chains is right and keeps a second
    copy of everything that is under way. The method is right and keeps none.
    """
    from firmware_model import compare as model

    outcomes = model.compare(chains, seed)
    if as_json:
        common.print_json(model.to_json(outcomes))
    else:
        model.render(outcomes, common.out())
