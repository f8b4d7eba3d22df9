"""Owns `headwater checkpoint`: how far connectors are, and setting them back or ahead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import yaml

from headwater.cli.options import assignments, print_table
from headwater.cli.place import Place, cluster_of, find_place, place_options, writable
from headwater.core.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint, gap_name
from headwater.core.errors import ConnectorError, ConnectorNotFoundError, LogLockedError, ManagerError, ProfileError
from headwater.core.managed import Phase
from headwater.core.memory import MemoryChange
from headwater.log import Append, LogReader
from headwater.sources.kept import changed, lines, moment, plain, reset

if TYPE_CHECKING:
    from headwater.cluster import Cluster

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
Change = Callable[[Checkpoint], Checkpoint]


@click.group()
def command() -> None:
    """Show how far connectors are, and set them back or ahead.

    A checkpoint has the cursors, the window, the page that is next, the validators and the state of transforms. That of
    a stream has the id of the last event, up to when it was connected, and the gaps that are still to be asked for.
    """


def _where_options(command: _Decorated) -> _Decorated:
    option = click.option(
        "--checkpoints",
        type=click.Choice(["local", "cluster"]),
        default="local",
        show_default=True,
        help="Where they are kept, as of 'headwater run': the data directory, or the cluster of --profile.",
    )
    return option(place_options(command))


@command.command()
@click.argument("connector", required=False)
@click.option("-O", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@_where_options
def show(connector: str | None, output: str, profile: str | None, data_dir: Path, checkpoints: str) -> None:
    """Show the checkpoint of a CONNECTOR, or of all in one table.

    It may be looked at while the connector runs. What looks like a credential in a URL is masked.
    """
    place = find_place(profile, data_dir)
    if checkpoints == "cluster":
        if connector is None:
            raise click.UsageError("Name a connector: checkpoints in a cluster are looked for by their names.")
        found = {connector: asyncio.run(_in_cluster(place, connector))}
    else:
        found = _in_directory(place.directory, connector)
    if output != "table":
        shown: Any = {name: plain(checkpoint) for name, checkpoint in found.items()}
        shown = shown[connector] if connector is not None else shown
        click.echo(json.dumps(shown, indent=2) if output == "json" else yaml.safe_dump(shown, sort_keys=False).rstrip())
    elif connector is not None:
        print_table(("CHECKPOINT", connector), lines(found[connector]))
    else:
        rows = [
            (name, moment(last) if (last := _last(it)) else "-", str(it.records), _short(it))
            for name, it in found.items()
        ]
        print_table(("CONNECTOR", "LAST", "RECORDS", "AT"), rows)


def _last(checkpoint: Checkpoint) -> int:
    """Return the time of the last poll, of a stream that up to which it was connected (ms)."""
    return checkpoint.scheduled if checkpoint.stream is None else checkpoint.stream.until


def _short(checkpoint: Checkpoint) -> str:
    shown = ("cursor.", "window", "round", "event_id", "gaps")
    told = [f"{name} {text}" for name, text in lines(checkpoint) if name.startswith(shown)]
    return ", ".join(told)


def _in_directory(directory: Path, connector: str | None) -> dict[str, Checkpoint]:
    with LogReader(directory) as reader:
        names = reader.checkpoints()
        if connector is not None and connector not in names:
            raise _unknown(connector, names, f"in {directory}")
        stored = ((name, reader.checkpoint(name)) for name in ([connector] if connector is not None else names))
        return {name: decode_checkpoint(data) for name, data in stored if data is not None}


def _unknown(connector: str, names: list[str], where: str) -> ConnectorNotFoundError:
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake pays for it

    near = get_close_matches(connector, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "'headwater checkpoint show' lists those that there are"
    return ConnectorNotFoundError(f"there is no checkpoint of a connector {connector!r} {where}", hint=hint)


@command.command("set")
@click.argument("connector")
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...", callback=assignments)
@click.option("--json", "as_json", is_flag=True, help='Values are JSON: 5 is a number, "5" a text.')
@click.option("--new", is_flag=True, help="Also for a connector that has no checkpoint yet.")
@click.option("--pause", is_flag=True, help="Pause the connector meanwhile, if the server of this machine runs it.")
@click.option("--stopped", is_flag=True, help="In a cluster: the connector is stopped, which nobody can see there.")
@_where_options
def set_values(
    connector: str,
    values: dict[str, str],
    *,
    as_json: bool,
    new: bool,
    pause: bool,
    stopped: bool,
    profile: str | None,
    data_dir: Path,
    checkpoints: str,
) -> None:
    """Set values of a checkpoint, such as cursor.updated=2024-01-01T00:00:00Z or window=2024-01-01.

    Of a stream, also event_id=ID, behind which its next connection goes on, and until=TIME, up to which there was a
    connection: what happened since is a gap, which gap.backfill asks for.

    The connector must not run: it would go on with what it knows. A round that is under way is given up.
    """

    def change(checkpoint: Checkpoint) -> Checkpoint:
        try:
            return changed(checkpoint, values, json=as_json)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from error

    place = find_place(profile, data_dir)
    with _told_of_running(connector):
        before, after = asyncio.run(
            _change(place, connector, change, new=new, pause=pause, stopped=stopped, cluster=checkpoints == "cluster")
        )
    was, now = dict(lines(before)), dict(lines(after))
    for name, text in now.items():
        if was.get(name) != text and name != "stored":
            click.echo(f"{name}: {was.get(name, 'none')} -> {text}")
    if before.progress is not None and before.progress.round:
        click.echo("the round under way was given up: the next one begins at its first page", err=True)


@command.command("reset")
@click.argument("connector")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--pause", is_flag=True, help="Pause the connector meanwhile, if the server of this machine runs it.")
@click.option("--stopped", is_flag=True, help="In a cluster: the connector is stopped, which nobody can see there.")
@_where_options
def reset_all(
    connector: str,
    *,
    yes: bool,
    pause: bool,
    stopped: bool,
    profile: str | None,
    data_dir: Path,
    checkpoints: str,
) -> None:
    """Forget how far a connector is: cursors, window, pages, validators, what it remembers of items, transforms.

    Its next round begins as its first one did, and so does the next connection of a stream. Topics and records stay.
    """
    place = find_place(profile, data_dir)
    if not yes:
        click.confirm(f"Let {connector} begin anew? Records that it asks for again are stored again.", abort=True)
    cluster = checkpoints == "cluster"
    with _told_of_running(connector):
        asyncio.run(
            _change(place, connector, reset, new=False, pause=pause, stopped=stopped, cluster=cluster, forget=True)
        )
    click.echo(f'checkpoint of connector "{connector}" reset')


@contextmanager
def _told_of_running(connector: str) -> Iterator[None]:
    """Say what to do when the connector runs."""
    try:
        yield
    except LogLockedError as error:
        raise ConnectorError(
            f"the checkpoint of {connector} cannot be changed: {error.message}",
            hint="stop the connector first; one that the server runs is paused meanwhile with --pause",
        ) from error


async def _change(
    place: Place,
    connector: str,
    change: Change,
    *,
    new: bool,
    pause: bool,
    stopped: bool,
    cluster: bool,
    forget: bool = False,
) -> tuple[Checkpoint, Checkpoint]:
    """Change a checkpoint where it is kept; return what it was and what it is."""
    if connector.startswith("@"):
        # What is kept for several connectors is no checkpoint.
        raise _unknown(connector, [], "anywhere")
    if cluster:
        if not stopped:
            raise ConnectorError(
                f"whether {connector} still runs somewhere cannot be seen in a cluster",
                hint="stop it, and say so with --stopped",
            )
        return await _change_in_cluster(place, connector, change, new=new)
    async with _paused(place.directory, connector, wanted=pause), writable(place.directory) as log:
        data = await log.checkpoint(connector)
        if data is None and not new:
            raise _unknown(connector, log.reader.checkpoints(), f"in {place.directory}")
        before = Checkpoint() if data is None else decode_checkpoint(data)
        after = change(before)
        memory = MemoryChange(connector, anew=True) if forget else None
        await log.submit(Append(None, (), checkpoint=(connector, encode_checkpoint(after)), memory=memory))
        beside = gap_name(connector)
        if _set_back(before, after) and (data := await log.checkpoint(beside)) is not None:
            anew = encode_checkpoint(reset(decode_checkpoint(data)))
            await log.submit(Append(None, (), checkpoint=(beside, anew)))
        return before, after


def _set_back(before: Checkpoint, after: Checkpoint) -> bool:
    """Return whether gaps of a stream are to be asked for that were before."""
    return before.stream is not None and after.stream is not None and after.stream.until < before.stream.until


@asynccontextmanager
async def _paused(directory: Path, connector: str, *, wanted: bool) -> AsyncIterator[None]:
    """Pause a connector of the server of this machine while the block is entered, if that is wanted and it runs."""
    if not wanted:
        yield
        return
    from headwater.control.client import Client  # noqa: PLC0415 - only what pauses pays for it

    manager = Client(directory)
    try:
        running = (await manager.get(connector)).status is not Phase.PAUSED
    except (ManagerError, ConnectorNotFoundError):
        # There is no server, or it does not manage it.
        running = False
    if running:
        await manager.pause(connector)
    try:
        yield
    finally:
        if running:
            await manager.resume(connector)


def _cluster(place: Place) -> Cluster:
    if not place.on_cluster:
        raise ProfileError(
            f"--checkpoints cluster: there is no cluster, but {place.sentence()}", hint="name one with --profile"
        )
    return cluster_of(place)


async def _in_cluster(place: Place, connector: str) -> Checkpoint:
    from headwater.engine.checkpoints import search  # noqa: PLC0415 - only clusters pay for it

    async with _cluster(place) as cluster:
        kept = (await search(cluster, [connector])).get(connector)
    data = b"null" if kept is None else bytes(kept.checkpoint)
    if data == b"null" or connector.startswith("@"):
        raise _unknown(connector, [], "in the cluster")
    return decode_checkpoint(data)


async def _change_in_cluster(
    place: Place, connector: str, change: Change, *, new: bool
) -> tuple[Checkpoint, Checkpoint]:
    from headwater.engine.checkpoints import Checkpoints  # noqa: PLC0415 - only clusters pay for it

    before = Checkpoint()
    if not new:
        before = await _in_cluster(place, connector)
    async with _cluster(place) as cluster, Checkpoints(cluster) as checkpoints:
        data = await checkpoints.load(connector)
        before = Checkpoint() if data is None else decode_checkpoint(data)
        after = change(before)
        await checkpoints.keep(connector, encode_checkpoint(after))
        beside = gap_name(connector)
        if _set_back(before, after) and (data := await checkpoints.load(beside)) is not None:
            await checkpoints.keep(beside, encode_checkpoint(reset(decode_checkpoint(data))))
    return before, after
