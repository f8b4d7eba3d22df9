"""Owns `headwater health`: whether somebody works on a data directory, for health checks of containers and monitors."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.options import data_dir
from headwater.core.errors import HeadwaterError, LogServerGoneError


@click.command()
@click.option(
    "--patience",
    type=click.FloatRange(0.1, 60),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the server may take to answer.",
)
@data_dir
def command(patience: float, data_dir: Path) -> None:
    """Say whether a server or connectors are at work on the data directory; exit status 1 when not.

    A server is asked over its socket there. `run` and `http` have none: they are at work while they hold the lock.
    """
    from headwater.server.probe import answers  # noqa: PLC0415 - the help need not pay for it

    try:
        served = answers(data_dir, patience)
    except LogServerGoneError as gone:
        # Not the status of a directory that cannot be used: health checks know 0 and 1.
        raise HeadwaterError(gone.message, hint=gone.hint) from gone
    if served:
        click.echo(f"the server of {data_dir} answers")
        return
    from headwater.log.lock import holder  # noqa: PLC0415 - only where there is no server

    said = holder(data_dir)
    if said is None:
        raise HeadwaterError(f"nothing is at work on {data_dir}", hint="start 'headwater up' or 'headwater run'")
    click.echo(f"{data_dir} is being written by {said}")
