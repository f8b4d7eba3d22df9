"""Owns `headwater connector`: managed connectors, with Fluvio's flags, columns and words."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

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
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_COLUMNS = ("NAME", "TYPE", "VERSION", "STATUS")
_WIDE = ("TOPIC", "RECORDS", "LAST RECORD", "NEXT", "RESTARTS", "REASON")
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


def _wait(command: _Decorated) -> _Decorated:
    """Add `--wait` and `--timeout`; the command gets seconds as one argument, `wait`, None without."""

    @wraps(command)
    def waiting(*arguments: Any, wait: bool, timeout: float, **others: Any) -> Any:
        return command(*arguments, wait=timeout if wait else None, **others)

    for option in (
        click.option(
            "--timeout",
            default="60s",
            show_default=True,
            metavar="DURATION",
            callback=_duration,
            help="How long --wait waits.",
        ),
        click.option("--wait", is_flag=True, help="Wait until it runs."),
    ):
        waiting = option(waiting)
    return cast("_Decorated", waiting)


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
    _put(reach, _defined(configs, secrets), "create", dry=dry_run is not None, wait=wait)


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
    _put(reach, _defined(configs, secrets), "update", dry=dry_run is not None, wait=wait)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-c", "--continue-on-error", is_flag=True, help="Go on with the others when one cannot be deleted.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would change.")
@reach_options()
def delete(names: tuple[str, ...], continue_on_error: bool, dry_run: bool, reach: Reach) -> int:  # noqa: FBT001 - flags of the command line
    """End connectors and forget them, with their checkpoints. Topics and records stay."""

    async def one(manager: Manager, name: str) -> None:
        plan = await manager.delete(name, dry_run=dry_run)
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
    """Ask for nothing more until resumed, over restarts too; a stream ends its connection."""
    return _each(reach, names, _doing("pause", "paused"))


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_wait
@reach_options()
def resume(names: tuple[str, ...], wait: float | None, reach: Reach) -> int:
    """Poll or connect again."""
    return _each(reach, names, _doing("resume", "resumed", wait))


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_wait
@reach_options()
def restart(names: tuple[str, ...], wait: float | None, reach: Reach) -> int:
    """End connectors and start them anew at once, also one that was given up."""
    return _each(reach, names, _doing("restart", "restarted", wait))


def _put(reach: Reach, defined: Defined, verb: Literal["create", "update"], *, dry: bool, wait: float | None) -> None:
    """Create or update connectors, say so, and wait for them."""

    async def work(manager: Manager) -> None:
        put = manager.create if verb == "create" else manager.update
        for definition in defined.definitions:
            _tell(await put(definition, dry_run=dry), dry=dry)
        if wait is not None and not dry:
            await _until_running(manager, [it.name for it in defined.definitions], wait)

    _ask(reach, work)


def _doing(
    verb: Literal["pause", "resume", "restart"], done: str, wait: float | None = None
) -> Callable[[Manager, str], Awaitable[None]]:
    """Return what does something to a connector, waits for it to run when that is asked, and says so."""

    async def one(manager: Manager, name: str) -> None:
        await {"pause": manager.pause, "resume": manager.resume, "restart": manager.restart}[verb](name)
        if wait is not None:
            await _until_running(manager, [name], wait)
        click.echo(f'connector "{name}" {done}')

    return one


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
