"""Owns the options that several commands share, and the one form of their tables, so that all look the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from headwater.core.home import home
from headwater.core.units import parse_duration

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def default_data_dir() -> Path:
    """Return `$HEADWATER_DATA`, else `~/.headwater`."""
    given = os.environ.get("HEADWATER_DATA")
    return Path(given) if given else home() / ".headwater"


def _data_dir(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path:  # noqa: ARG001 - click's signature
    return value or default_data_dir()


data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_data_dir,
    help="Where the topics are kept.  [default: $HEADWATER_DATA or ~/.headwater]",
)


# Gives the text as it was typed, None without the option: `headwater.profile.file.chosen` says what it means.
profile_option = click.option(
    "--profile",
    metavar="NAME",
    help="Which log or cluster to talk to: local is the embedded log, any other one of Fluvio's profiles.  "
    "[default: $HEADWATER_PROFILE, the current profile of Fluvio, or local]",
)


def assignments(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:  # noqa: ARG001 - click's signature
    """Read the values of a repeatable option as KEY=VALUE."""
    pairs = {}
    for pair in value:
        name, separator, setting = pair.partition("=")
        if not separator or not name.strip():
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE")
        pairs[name.strip()] = setting
    return pairs


def read_grace(grace: str) -> float:
    """Read `--grace` as seconds."""
    try:
        return parse_duration(grace).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--grace") from error


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their columns, as Fluvio's commands do."""
    widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    for row in (columns, *rows):
        click.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def config_options(command: Decorated) -> Decorated:
    """Add what every command that reads connect.yml files takes: `--secrets` and `--set`."""
    for option in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            callback=assignments,
            help="Override an option of the files, such as interval=1s. Repeatable.",
        ),
        click.option(
            "--secrets",
            type=click.Path(path_type=Path, exists=True),
            help="A file of NAME=VALUE lines for ${{ secrets.NAME }}, or a directory with a file for each.  "
            "[default: the environment]",
        ),
    ):
        command = option(command)
    return command


def run_options(command: Decorated) -> Decorated:
    """Add what every command that runs connectors of files takes: metrics, health, checkpoints, logs, grace."""
    option = click.option(
        "--checkpoints",
        type=click.Choice(["local", "cluster"]),
        default="local",
        show_default=True,
        help="Where connectors on a cluster keep how far they are: the data directory, or the cluster itself.",
    )
    return work_options(option(command))


def work_options(command: Decorated) -> Decorated:
    """Add what every command that runs connectors takes: metrics, health, logs, grace."""
    for option in (
        click.option(
            "--grace",
            default="10s",
            metavar="DURATION",
            show_default=True,
            help="Time to finish what is under way.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            default="info",
            show_default=True,
            help="How much to say.",
        ),
        click.option(
            "--log-format",
            type=click.Choice(["auto", "human", "json"]),
            default="auto",
            show_default=True,
            help="auto: human on a terminal, JSON otherwise.",
        ),
        click.option(
            "--health", metavar="[HOST:]PORT", help="Answer /startupz, /livez, /readyz and /metrics there (loopback)."
        ),
        click.option("--metrics", metavar="[HOST:]PORT", help="Serve Prometheus metrics there (loopback by default)."),
    ):
        command = option(command)
    return command
