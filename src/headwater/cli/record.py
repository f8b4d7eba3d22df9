"""Owns `headwater record`: real exchanges of a connector, kept in a file for tests without the network."""

from __future__ import annotations

import random
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import click
import uvloop

from headwater.cli.options import config_options, data_dir
from headwater.cli.place import writable
from headwater.cli.run import say_warnings
from headwater.cli.streams import refuse_streams
from headwater.config import ConnectorConfig, load_files, secret_source
from headwater.core.clock import SystemClock
from headwater.core.errors import HeadwaterError
from headwater.core.units import format_duration, parse_size
from headwater.engine.credentials import Credentials, keeps_tokens
from headwater.engine.rehearsal import Outcome, record
from headwater.fetch import CurlFetcher
from headwater.log import Log
from headwater.recording.tape import Tape
from headwater.recording.tapefile import write_tape


@click.command()
@click.argument("config", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The file, or a directory for several connectors.",
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many scheduled times to wait for."
)
@click.option("--most", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Keep so many exchanges.")
@click.option("--max-size", default="16 MiB", show_default=True, metavar="SIZE", help="Keep bodies of so much in all.")
@config_options
@data_dir
def command(
    config: Path,
    output: Path,
    force: bool,  # noqa: FBT001 - click passes every option as an argument
    rounds: int,
    most: int,
    max_size: str,
    secrets: Path | None,
    overrides: dict[str, str],
    data_dir: Path,
) -> int:
    """Record what the connectors of CONFIG send and get, for `headwater test --replay`.

    They begin anew, and work as always, but their records go nowhere. What is written is masked: secrets, tokens that
    were fetched, cookies. Look through it before you share it: an answer may hold what only you know to be private.
    """
    try:
        bytes_ = parse_size(max_size)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--max-size") from error
    loaded = load_files([config], secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    refuse_streams(loaded.connectors, "a recording is of polls, which have an end", "record the others")
    several = len(loaded.connectors) > 1 or output.is_dir()
    paths = {it.name: output / f"{it.name}.yml" if several else output for it in loaded.connectors}
    for path in paths.values():
        if path.exists() and not force:
            raise click.UsageError(f"{path} is there already; --force writes over it")
    good = True
    for one in loaded.connectors:
        if rounds > 1:
            click.echo(f"{rounds} rounds, {format_duration(one.interval)} apart; --set interval=5s is sooner", err=True)
        tape, outcome, whole = uvloop.run(_record(one, data_dir, rounds, most, bytes_))
        _write(paths[one.name], write_tape(tape))
        good &= _tell(one, tape, outcome, paths[one.name], whole=whole)
    return 0 if good else 1


async def _record(
    config: ConnectorConfig, data: Path, rounds: int, most: int, most_bytes: int
) -> tuple[Tape, Outcome, bool]:
    with tempfile.TemporaryDirectory(prefix="headwater-record-") as directory:
        async with AsyncExitStack() as cleanup:
            log = await cleanup.enter_async_context(Log.open(directory))
            fetcher = await cleanup.enter_async_context(CurlFetcher())
            # A refresh token that is used up leaves another one, which counts from then on: it is kept as in a run.
            keeper = await cleanup.enter_async_context(writable(data)) if keeps_tokens(config) else None
            return await record(
                config,
                log,
                fetcher,
                directory=data,
                rounds=rounds,
                most=most,
                most_bytes=most_bytes,
                credentials=Credentials(keeper, fetcher, SystemClock(), random.random),
            )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HeadwaterError(f"{path} cannot be written: {error.strerror}", hint="name another one with -o") from error


def _tell(config: ConnectorConfig, tape: Tape, outcome: Outcome, path: Path, *, whole: bool) -> bool:
    """Say on standard error what was recorded; return whether that is something."""
    for entry in outcome.entries:
        click.echo(f"{entry.decision.value}: {entry.reason}", err=True)
    if outcome.crash:
        click.echo(f"the connector crashed: {config.masker.mask(outcome.crash)}", err=True)
    if not whole:
        click.echo("not all of it was kept; see --most and --max-size", err=True)
    takes = sum(len(it.takes) for it in tape.rounds)
    click.echo(f"{path}: {takes} exchanges, {len(outcome.records)} records", err=True)
    return bool(takes) and not outcome.crash
