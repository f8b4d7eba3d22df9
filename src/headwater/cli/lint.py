"""Owns `headwater lint`: the checks of `run`, without running."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.options import config_options
from headwater.cli.run import say_warnings
from headwater.config import load_files, secret_source


@click.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...", type=click.Path(path_type=Path))
@config_options
def command(configs: tuple[Path, ...], secrets: Path | None, overrides: dict[str, str]) -> None:
    """Check connect.yml files without running them.

    Every problem is shown at once, with its file, line and column. Exit status 3 when there is one.
    """
    loaded = load_files(configs, secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    count = len(loaded.connectors)
    click.echo(f"{count} connector{'s' if count != 1 else ''} ok", err=True)
