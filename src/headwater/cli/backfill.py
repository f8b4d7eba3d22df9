"""Owns `headwater backfill`: a connector's requests for a stretch of the past, beside the one that runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import structlog
import uvloop

from headwater.cli.egress import egress_options, server_policy
from headwater.cli.logs import configure_logs
from headwater.cli.options import config_options, read_grace
from headwater.cli.place import Place, find_place, place_options, writable
from headwater.cli.run import say_warnings, target_of
from headwater.cli.stopping import Stopping, stopping
from headwater.cli.streams import refuse_streams
from headwater.config import ConnectorConfig, load_definition, load_files, secret_source
from headwater.config.backfill import SEPARATOR, backfilled, stamp
from headwater.core.callback import resolve
from headwater.core.checkpoint import Checkpoint, Progress, decode_checkpoint, encode_checkpoint
from headwater.core.egress import Place as Egress
from headwater.core.egress import Policy
from headwater.core.errors import ConfigError, ConnectorNotFoundError, HeadwaterError
from headwater.core.exchange import Decision
from headwater.core.instant import Instant, read_instant, read_unix
from headwater.core.units import format_duration, parse_duration
from headwater.engine import Engine
from headwater.engine.target import Target
from headwater.engine.watched import Watched
from headwater.fetch import CurlFetcher
from headwater.log import Append, LogReader, Receipt

# Seconds between two lines that say how far it is.
_TELL = 10.0

logger = structlog.get_logger("headwater.backfill")


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:  # noqa: ARG001 - click's signature
    if value is None:
        return None
    instant = read_instant(value) or read_unix(value)
    if instant is None or instant.ns <= 0:
        raise click.BadParameter(f"{value!r} is no time; write 2024-01-01 or 2024-01-01T00:00:00Z")
    return instant.ns // 1_000_000_000 * 1000


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:  # noqa: ARG001 - click's signature
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("connector", metavar="CONNECTOR|CONFIG")
@click.option("--from", "start", required=True, metavar="TIME", callback=_time, help="Where it begins.")
@click.option("--to", "end", metavar="TIME", callback=_time, help="Where it ends, itself left out.  [default: now]")
@click.option("--name", metavar="NAME", help="Which connector of the file is meant, if it has several.")
@click.option("--cursor", metavar="NAME", help="Go by this cursor of times, instead of the window.")
@click.option("--size", metavar="DURATION", callback=_span, help="How long each window is, instead of window.size.")
@click.option("--again", is_flag=True, help="Begin anew what was done, or begun, before.")
@config_options
@place_options
@click.option(
    "--checkpoints",
    type=click.Choice(["local", "cluster"]),
    default="local",
    show_default=True,
    help="Where is kept how far it is, as of 'headwater run'.",
)
@egress_options("open")
@click.option("--grace", default="10s", metavar="DURATION", show_default=True, help="Time to finish when stopped.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="How much to say."
)
@click.option(
    "--log-format", type=click.Choice(["auto", "human", "json"]), default="auto", help="auto: human on a terminal."
)
def command(
    connector: str,
    start: int,
    end: int | None,
    name: str | None,
    cursor: str | None,
    size: timedelta | None,
    again: bool,  # noqa: FBT001 - a flag of the command line
    secrets: Path | None,
    overrides: dict[str, str],
    profile: str | None,
    data_dir: Path,
    checkpoints: str,
    egress: Literal["open", "public"],
    egress_allow: tuple[Egress, ...],
    egress_deny: tuple[Egress, ...],
    grace: str,
    log_level: str,
    log_format: str,
) -> int:
    """Ask for what lies between two times, into the connector's topic, and end when that is done.

    CONNECTOR is one that the server of this machine manages, CONFIG a connect.yml. The connector itself may run
    meanwhile: how far each is stands in a checkpoint of its own. Stopped or killed, it goes on when it is started again
    with the same times. It needs a window, or a cursor of times.
    """
    configure_logs(log_format, log_level)
    config = _config(connector, name, secrets, overrides, data_dir)
    refuse_streams(
        [config],
        "a backfill asks for a stretch of time as polls do",
        "write a connector that polls; what a stream misses while it runs is asked for by gap.backfill",
    )
    place = find_place(profile, data_dir)
    now = time.time_ns() // 1_000_000_000 * 1000
    if end is not None and end > now:
        raise click.UsageError(f"--to {Instant.of_ms(end).text} is still to come.")
    if end is None:
        end = now if again else _begun(data_dir, config.name, start) or now
    if start >= end:
        raise click.UsageError("--from must be before --to.")
    work = _Work(backfilled(config, start, end, cursor=cursor, size=size), start, end, again=again)
    return uvloop.run(
        _run(
            work,
            place,
            checkpoints=checkpoints,
            grace=read_grace(grace),
            egress=server_policy(egress, egress_allow, egress_deny),
        )
    )


def _config(
    connector: str, name: str | None, secrets: Path | None, overrides: dict[str, str], directory: Path
) -> ConnectorConfig:
    """Return the connector that is meant: of a file, or one that the server of this machine manages."""
    path = Path(connector)
    if not path.exists() and path.suffix not in {".yml", ".yaml"}:
        from headwater.control.store import Store  # noqa: PLC0415 - only managed connectors pay for it

        kept = {it.definition.name: it for it in Store(directory).load()[0]}
        if connector not in kept:
            raise ConnectorNotFoundError(
                f"there is no connector {connector!r} in {directory}, and no file of that name",
                hint="name one of 'headwater connector list', or its connect.yml",
            )
        return load_definition(kept[connector].definition)
    loaded = load_files([path], secrets=secret_source(secrets), overrides=overrides)
    say_warnings(loaded.warnings)
    found = [it for it in loaded.connectors if name in {None, it.name}]
    if len(found) != 1:
        names = ", ".join(it.name for it in loaded.connectors)
        raise ConfigError(f"{path} has {len(loaded.connectors)} connectors: {names}", hint="name one with --name")
    return found[0]


def _begun(directory: Path, connector: str, start: int) -> int | None:
    """Return where the last backfill from `start` on was to end, None when none was begun."""
    try:
        with LogReader(directory) as reader:
            names = reader.checkpoints()
    except HeadwaterError:
        return None
    before = f"{connector}{SEPARATOR}{stamp(start)}-"
    ends = [name.removeprefix(before) for name in names if name.startswith(before)]
    if not ends:
        return None
    found = ends[-1]
    instant = read_instant(f"{found[:4]}-{found[4:6]}-{found[6:11]}:{found[11:13]}:{found[13:]}")
    return None if instant is None else instant.ns // 1_000_000


class _Work:
    """One backfill: what it asks for, how far it is, and what it has stored."""

    def __init__(self, config: ConnectorConfig, start: int, end: int, *, again: bool) -> None:
        self.config = config
        self.again = again
        self._start = start
        self._end = end
        self._by_window = config.http.window is not None and config.http.window.until is not None
        self.checkpoint = Checkpoint()
        self.failures = 0

    @property
    def span(self) -> str:
        """The two times, in words."""
        return f"{Instant.of_ms(self._start).text} to {Instant.of_ms(self._end).text}"

    def done(self) -> bool:
        """Return whether nothing is left to ask for."""
        return self.checkpoint.progress is not None and self.checkpoint.progress.window >= self._end

    def share(self) -> str:
        """Return how far it is, in words."""
        progress = self.checkpoint.progress or Progress()
        if not self._by_window:
            return f"page {progress.page['n'] + 1}" if progress.page.get("n") else "begun"
        at = max(progress.window, self._start)
        return f"{100 * (at - self._start) // (self._end - self._start)} %, at {Instant.of_ms(at).text}"

    def stored(self, append: Append) -> Append | None:
        """Take in what was stored; return what is to be stored besides when that was the last of it."""
        assert append.checkpoint is not None
        self.checkpoint = decode_checkpoint(append.checkpoint[1])
        progress = self.checkpoint.progress or Progress()
        failed = append.exchange is not None and append.exchange.decision is Decision.FAILED
        self.failures += failed
        if self._by_window or failed or progress.round:
            return None
        # A round by a cursor has no window of its own: that it is over is written where a window would be.
        self.checkpoint = msgspec.structs.replace(
            self.checkpoint, progress=msgspec.structs.replace(progress, window=self._end)
        )
        return Append(None, (), checkpoint=(self.config.name, encode_checkpoint(self.checkpoint)))


async def _run(work: _Work, place: Place, *, checkpoints: str, grace: float, egress: Policy) -> int:
    config, began = work.config, time.monotonic()
    with stopping(grace) as end:
        async with AsyncExitStack() as cleanup:
            keeper = await cleanup.enter_async_context(writable(place.directory))
            fetcher = await cleanup.enter_async_context(CurlFetcher(egress=egress))
            target = await target_of(cleanup, place, keeper, (config,), checkpoints)
            data = await target.checkpoint(config.name)
            work.checkpoint = Checkpoint() if data is None else decode_checkpoint(data)
            if work.again and data is not None:
                work.checkpoint = Checkpoint(work.checkpoint.exchanges, work.checkpoint.records)
                await _store(target, Append(None, (), checkpoint=(config.name, encode_checkpoint(work.checkpoint))))
            before = work.checkpoint.records
            if work.done():
                click.echo(f"{work.span} is done already: {_records(before)}; --again begins anew", err=True)
                return 0
            logger.info("backfilling", connector=config.name, span=work.span, at=work.share())
            await _work(work, target, fetcher, end, grace)
    return _summary(work, before, time.monotonic() - began, end)


async def _work(work: _Work, target: Target, fetcher: CurlFetcher, end: Stopping, grace: float) -> None:
    """Run the connector until it is done, or asked to stop."""
    told = time.monotonic()
    following: set[asyncio.Task[Any]] = set()

    def tell(append: Append) -> None:
        nonlocal told
        last = work.stored(append)
        if last is not None:
            task = asyncio.ensure_future(_store(target, last))
            following.add(task)
            task.add_done_callback(following.discard)
        if work.done():
            end.asked.set()
        elif time.monotonic() - told >= _TELL:
            told = time.monotonic()
            logger.info("backfilling", connector=work.config.name, at=work.share(), records=work.checkpoint.records)

    watched: Any = Watched(target, tell)
    await Engine(watched, fetcher, grace=grace).run((work.config,), end.asked)
    await asyncio.gather(*following)


async def _store(target: Target, append: Append) -> None:
    stored: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    target.store(append, lambda outcome: resolve(stored, outcome))
    await stored


def _summary(work: _Work, before: int, seconds: float, end: Stopping) -> int:
    """Say what was done; return the exit status."""
    records = work.checkpoint.records - before
    took = format_duration(timedelta(seconds=max(1, round(seconds))))
    if work.done():
        click.echo(f"{work.span} is done: {_records(records)} in {took} to topic {work.config.topic.name}")
        return 0
    click.echo(f"stopped at {work.share()}, after {_records(records)}; the same command goes on there", err=True)
    return end.status()


def _records(number: int) -> str:
    return f"{number} record{'' if number == 1 else 's'}"
