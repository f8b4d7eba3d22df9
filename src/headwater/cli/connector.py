"""Owns `headwater connector`: managed connectors, with Fluvio's flags, columns and words."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec
import yaml

from headwater.cli.managers import Reach, manager_of, reach_options
from headwater.cli.options import print_table
from headwater.cli.run import say_warnings
from headwater.config import Defined, define_files, define_text, secret_source
from headwater.core.errors import ConnectorError
from headwater.core.managed import ManagedConnector, Manager, Phase, Plan
from headwater.core.units import format_duration, parse_duration

_Value = TypeVar("_Value")
_COLUMNS = ("NAME", "TYPE", "VERSION", "STATUS")
_WIDE = ("TOPIC", "RECORDS", "LAST RECORD", "NEXT POLL", "RESTARTS", "REASON")
_STANDARD_INPUT = Path("-")
# Seconds between two looks at a connector that is waited for.
_LOOK = 0.2
_LONGEST_REASON = 100


@click.group()
def command() -> None:
    """Create, update, delete and watch managed connectors.

    They run in the server of this machine ('headwater up'), or in Kubernetes with --target kubernetes, and go on
    running after every restart.
    """


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:  # noqa: ARG001 - click's signature
    try:
        return None if value is None else parse_duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_config = click.option(
    "-c",
    "--config",
    "configs",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A connect.yml, or a directory of them; - is standard input. Repeatable.",
)
_secrets = click.option(
    "--secrets",
    type=click.Path(path_type=Path, exists=True),
    help="A file of NAME=VALUE lines for ${{ secrets.NAME }}; kept with the connector.  [default: the environment]",
)
_dry_run = click.option(
    "--dry-run",
    is_flag=False,
    flag_value="server",
    default=None,
    metavar="",
    type=click.Choice(["server"]),
    help="Change nothing; show what would change.",
)
_wait = click.option(
    "--wait",
    is_flag=False,
    flag_value="60s",
    default=None,
    metavar="[DURATION]",
    callback=_duration,
    help="Wait until it runs.  [without a DURATION: 60s]",
)
_output = click.option(
    "-O", "--output", type=click.Choice(["table", "wide", "json", "yaml"]), default="table", show_default=True
)


def _ask(reach: Reach, work: Callable[[Manager], Awaitable[_Value]]) -> _Value:
    async def asking() -> _Value:
        async with manager_of(reach) as manager:
            return await work(manager)

    return asyncio.run(asking())


def _defined(configs: Sequence[Path], secrets: Path | None) -> Defined:
    source = secret_source(secrets)
    if configs == (_STANDARD_INPUT,):
        defined = define_text(sys.stdin.read(), "standard input", secrets=source)
    elif _STANDARD_INPUT in configs:
        raise click.UsageError("-c - is standard input, and is not combined with files.")
    else:
        defined = define_files(configs, secrets=source)
    say_warnings(defined.warnings)
    return defined


@command.command()
@_config
@_secrets
@_dry_run
@_wait
@reach_options(settings=True)
def create(
    configs: tuple[Path, ...], secrets: Path | None, dry_run: str | None, wait: float | None, reach: Reach
) -> None:
    """Create connectors and their topics, and start them."""
    defined = _defined(configs, secrets)

    async def work(manager: Manager) -> None:
        for definition in defined.definitions:
            _tell(await manager.create(definition, dry_run=dry_run is not None), dry=dry_run is not None)
        if wait is not None and dry_run is None:
            await _until_running(manager, [it.name for it in defined.definitions], wait)

    _ask(reach, work)


@command.command()
@_config
@_secrets
@_dry_run
@_wait
@reach_options(settings=True)
def update(
    configs: tuple[Path, ...], secrets: Path | None, dry_run: str | None, wait: float | None, reach: Reach
) -> None:
    """Run connectors by another configuration from now on.

    Their checkpoints stay. A configuration that cannot run is refused, and the last good one goes on.
    """
    defined = _defined(configs, secrets)

    async def work(manager: Manager) -> None:
        for definition in defined.definitions:
            _tell(await manager.update(definition, dry_run=dry_run is not None), dry=dry_run is not None)
        if wait is not None and dry_run is None:
            await _until_running(manager, [it.name for it in defined.definitions], wait)

    _ask(reach, work)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-c", "--continue-on-error", is_flag=True, help="Go on with the others when one cannot be deleted.")
@_dry_run
@reach_options()
def delete(names: tuple[str, ...], continue_on_error: bool, dry_run: str | None, reach: Reach) -> int:  # noqa: FBT001 - a flag of the command line
    """End connectors and forget them, with their checkpoints. Topics and records stay."""

    async def one(manager: Manager, name: str) -> None:
        plan = await manager.delete(name, dry_run=dry_run is not None)
        click.echo(f'connector "{plan.name}" {"would be " if dry_run else ""}deleted')

    return _each(reach, names, one, continue_on_error=continue_on_error)


@command.command("list")
@_output
@reach_options()
def list_connectors(output: str, reach: Reach) -> None:
    """List the connectors."""
    found = _ask(reach, lambda manager: manager.list())
    if output in {"json", "yaml"}:
        click.echo(_dump(found, output))
        return
    if not found:
        click.echo("no managed connectors")
        return
    now = time.time_ns() // 1_000_000
    if output == "wide":
        print_table((*_COLUMNS, *_WIDE), [(*_row(it), *_wide_row(it, now)) for it in found])
    else:
        print_table(_COLUMNS, [_row(it) for it in found])


@command.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(0, 100_000), metavar="N", help="The last lines only.  [default: all]")
@reach_options()
def logs(name: str, follow: bool, tail: int | None, reach: Reach) -> None:  # noqa: FBT001 - a flag of the command line
    """Print the log of a connector."""

    async def work(manager: Manager) -> None:
        async with aclosing(cast("Any", manager.logs(name, follow=follow, tail=tail))) as lines:
            async for line in lines:
                click.echo(line)

    _ask(reach, work)


@command.command()
@click.argument("name")
@click.option(
    "-o", "--out-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there instead."
)
@reach_options()
def config(name: str, out_file: Path | None, reach: Reach) -> None:
    """Print the connect.yml of a connector, without the values of secrets."""
    text = _ask(reach, lambda manager: manager.config(name))
    if out_file is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        out_file.write_text(text)
    except OSError as error:
        raise ConnectorError(f"{out_file} cannot be written: {error.strerror}") from error


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@reach_options()
def pause(names: tuple[str, ...], reach: Reach) -> int:
    """Poll no more until resumed, over restarts too."""

    async def one(manager: Manager, name: str) -> None:
        await manager.pause(name)
        click.echo(f'connector "{name}" paused')

    return _each(reach, names, one)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_wait
@reach_options()
def resume(names: tuple[str, ...], wait: float | None, reach: Reach) -> int:
    """Poll again."""

    async def one(manager: Manager, name: str) -> None:
        await manager.resume(name)
        if wait is not None:
            await _until_running(manager, [name], wait)
        click.echo(f'connector "{name}" resumed')

    return _each(reach, names, one)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_wait
@reach_options()
def restart(names: tuple[str, ...], wait: float | None, reach: Reach) -> int:
    """End connectors and start them anew at once, also one that was given up."""

    async def one(manager: Manager, name: str) -> None:
        await manager.restart(name)
        if wait is not None:
            await _until_running(manager, [name], wait)
        click.echo(f'connector "{name}" restarted')

    return _each(reach, names, one)


def _each(
    reach: Reach,
    names: Sequence[str],
    one: Callable[[Manager, str], Awaitable[None]],
    *,
    continue_on_error: bool = False,
) -> int:
    """Do something with every connector of these names; return the exit status."""

    async def work(manager: Manager) -> int:
        status = 0
        for name in names:
            try:
                await one(manager, name)
            except ConnectorError as error:
                if not continue_on_error:
                    raise
                click.echo(error.report(), err=True)
                status = error.exit_code
        return status

    return _ask(reach, work)


async def _until_running(manager: Manager, names: Sequence[str], patience: float) -> None:
    """Wait until connectors run. Raises ConnectorError when one cannot, or does not in time."""
    deadline = time.monotonic() + patience
    for name in names:
        while (found := await manager.get(name)).status is not Phase.RUNNING:
            if found.status in {Phase.INVALID, Phase.PAUSED} or time.monotonic() > deadline:
                late = "" if found.status in {Phase.INVALID, Phase.PAUSED} else f" after {patience:g} s"
                raise ConnectorError(
                    f"Connector {name} is {found.status}{late}" + (f": {found.reason}" if found.reason else ""),
                    hint=f"headwater connector logs {name}",
                )
            await asyncio.sleep(_LOOK)


def _tell(plan: Plan, *, dry: bool) -> None:
    if dry:
        for line in plan.difference:
            click.echo(line)
    done = f"would be {plan.action}" if dry and plan.action != "unchanged" else plan.action
    click.echo(f'connector "{plan.name}" {done}')


def _dump(found: Sequence[ManagedConnector], output: str) -> str:
    plain = msgspec.to_builtins(list(found))
    if output == "json":
        return json.dumps(plain, indent=2)
    text: str = yaml.safe_dump(plain, sort_keys=False)
    return text.rstrip("\n")


def _row(connector: ManagedConnector) -> tuple[str, ...]:
    return connector.name, connector.type, connector.version, connector.status


def _wide_row(connector: ManagedConnector, now: int) -> tuple[str, ...]:
    reason = (
        connector.reason if len(connector.reason) <= _LONGEST_REASON else f"{connector.reason[:_LONGEST_REASON]}..."
    )
    return (
        connector.topic,
        str(connector.records),
        "-" if connector.last_record is None else f"{_span(now - connector.last_record)} ago",
        "-" if connector.next_poll is None else f"in {_span(connector.next_poll - now)}",
        str(connector.restarts),
        f"{reason} (since {_stamp(connector.since)})" if reason and connector.since else reason,
    )


def _span(milliseconds: int) -> str:
    return format_duration(timedelta(seconds=max(0, round(milliseconds / 1000))))


def _stamp(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%H:%M:%S")
