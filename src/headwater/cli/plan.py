"""Owns `headwater plan`: what connectors would do, shown without sending anything."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from textwrap import wrap
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from headwater.cli.options import config_options, data_dir
from headwater.cli.run import say_warnings
from headwater.cli.streams import refuse_streams
from headwater.config import ConnectorConfig, load_files, secret_source
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.core.errors import LogError
from headwater.engine.forecast import Fire, Forecast, Planned, forecast
from headwater.log import LogReader

_LONGEST = 100


@click.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...", type=click.Path(path_type=Path))
@config_options
@click.option(
    "-n", "--times", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many scheduled times."
)
@click.option("--fresh", is_flag=True, help="As if the connectors had never run: without their checkpoints.")
@click.option("-O", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@data_dir
def command(
    configs: tuple[Path, ...],
    secrets: Path | None,
    overrides: dict[str, str],
    times: int,
    fresh: bool,  # noqa: FBT001 - click passes every option as an argument
    output: str,
    data_dir: Path,
) -> int:
    """Show what connectors would do: when, which requests, how many a day. Nothing is sent or stored.

    Requests are as they would be sent next, from the checkpoint in the data directory if there is one. Secrets are
    masked. Exit status 1 when a request cannot be made.
    """
    loaded = load_files(configs, secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    refuse_streams(
        loaded.connectors, "a plan is of polls at their times", "plan the others; headwater lint checks this one"
    )
    now = round(time.time() * 1000)
    told = [forecast(it, None if fresh else _checkpoint(data_dir, it.name), now, times) for it in loaded.connectors]
    if output == "json":
        click.echo(json.dumps([msgspec.to_builtins(it) for it in told], indent=2, ensure_ascii=False))
    else:
        for config, one in zip(loaded.connectors, told, strict=True):
            click.echo("\n".join(_lines(config, one)))
    return 1 if any(fire.wrong for one in told for fire in one.fires) else 0


def _checkpoint(directory: Path, name: str) -> Checkpoint | None:
    """Return how far a connector is in the embedded log, None where it has never run."""
    try:
        with LogReader(directory) as reader:
            stored = reader.checkpoint(name)
    except LogError:
        return None
    return None if stored is None else decode_checkpoint(stored)


def _lines(config: ConnectorConfig, told: Forecast) -> list[str]:
    zone = ZoneInfo(config.http.timezone)
    lines = [f"# connector {told.name} -> topic {told.topic}", f"schedule  {told.schedule}"]
    lines.append(f"state     {'from the checkpoint' if told.begun else 'it has not run yet: initial values'}")
    if told.resumes:
        lines.append("          the first one goes on with a round that was broken off")
    lines += _fires(told.fires, zone)
    lines += _counts(told)
    lines.append("options")
    width = min(28, max((len(it.option) for it in told.meanings), default=0))
    for it in told.meanings:
        value = it.value if isinstance(it.value, str) else json.dumps(it.value, ensure_ascii=False)
        lines.append(f"  {it.option.ljust(width)}  {_short(value)}")
        lines += wrap(it.text, 110, initial_indent=f"{' ' * (width + 4)}- ", subsequent_indent=" " * (width + 6))
    return [*lines, ""]


def _fires(fires: list[Fire], zone: ZoneInfo) -> list[str]:
    """Return the times, each with its request where that is another one than before."""
    lines = []
    before: Planned | None = None
    for fire in fires:
        at = datetime.fromtimestamp(fire.at / 1000, zone).isoformat(" ", "seconds")
        if fire.request is None:
            lines.append(f"{at}  nothing is sent: {fire.reason}")
        elif fire.request == before:
            lines.append(f"{at}  the same")
        else:
            lines += [f"{at}", *_request(fire.request)]
            before = fire.request
    return lines


def _request(request: Planned) -> list[str]:
    lines = [f"  > {request.method} {request.url}"]
    lines += [f"  > {name}: {value}" for name, value in request.headers]
    if request.login:
        lines.append(f"  > (with the login of auth: {request.login})")
    if request.body:
        lines += ["  >", *(f"  > {line}" for line in request.body.splitlines())]
    return lines


def _counts(told: Forecast) -> list[str]:
    each = "each of one request" if told.pages == 1 else f"each of one request for each page, {told.pages} at most"
    lines = [f"a day     {_number(told.rounds)} rounds, {each}; {told.attempts} attempts of each at most"]
    for use in told.uses:
        fits = "" if use.share <= 1 else "; IT DOES NOT FIT"
        lines.append(
            f"budget    {use.budget}: {use.allowed}; at least {_number(use.needed)} are needed ({use.share:.0%}{fits})"
        )
    return lines


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
