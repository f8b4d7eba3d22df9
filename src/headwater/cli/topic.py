"""Owns `headwater topic`: create, list, describe and delete, with Fluvio's names, columns and messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
import yaml

from headwater.cli.options import print_table
from headwater.cli.place import find_place, place_options
from headwater.cli.topics import Listed, topics_of
from headwater.core.errors import HeadwaterError
from headwater.core.names import check_topic_name
from headwater.core.topic import DEFAULT_RETENTION, Deduplication, TopicSpec
from headwater.core.units import format_duration, format_size, parse_duration, parse_size
from headwater.core.window import MOST_REMEMBERED

Value = TypeVar("Value")

_COLUMNS = (
    "NAME",
    "TYPE",
    "PARTITIONS",
    "REPLICAS",
    "RETENTION TIME",
    "COMPRESSION",
    "DEDUPLICATION",
    "STATUS",
    "REASON",
)
# What Fluvio's own command names for --dedup.
_DEDUP_MODULE = "dedup-filter"


@click.group()
def command() -> None:
    """Create, list, describe and delete topics."""


def _parsed(parse: Callable[[str], Value]) -> Callable[[click.Context, click.Parameter, str | None], Value | None]:
    """Return a callback of click that reads an option with `parse`, whose ValueError becomes a usage error."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Value | None:  # noqa: ARG001 - click's signature
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


@command.command("create")
@click.argument("name")
@click.option("-p", "--partitions", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "-r", "--replication", type=click.IntRange(1, 32_767), default=1, show_default=True, help="Copies, in a cluster."
)
@click.option("-i", "--ignore-rack-assignment", is_flag=True, help="In a cluster: racks do not matter.")
@click.option(
    "--retention-time",
    callback=_parsed(parse_duration),
    metavar="DURATION",
    help="Delete records older than this.  [default: 7d]",
)
@click.option("--segment-size", callback=_parsed(parse_size), metavar="SIZE", help="In a cluster: of its files.")
@click.option(
    "--max-partition-size", callback=_parsed(parse_size), metavar="SIZE", help="Delete the oldest beyond this size."
)
@click.option(
    "--compression-type",
    type=click.Choice(["any", "none", "gzip", "snappy", "lz4", "zstd"]),
    default="any",
    show_default=True,
)
@click.option("--dedup", is_flag=True, help="Drop records that were there just before: by key, or by value.")
@click.option(
    "--dedup-count", type=click.IntRange(1, MOST_REMEMBERED), default=5, show_default=True, help="How many to remember."
)
@click.option(
    "--dedup-age",
    callback=_parsed(parse_duration),
    default="5s",
    show_default=True,
    help="Remember longer what is younger.",
)
@click.option("-d", "--dry-run", is_flag=True, help="Check only.")
@place_options
def create(
    name: str,
    partitions: int,
    replication: int,
    ignore_rack_assignment: bool,  # noqa: FBT001 - a flag of the command line
    retention_time: timedelta | None,
    segment_size: int | None,
    max_partition_size: int | None,
    compression_type: str,
    dedup: bool,  # noqa: FBT001 - a flag of the command line
    dedup_count: int,
    dedup_age: timedelta,
    dry_run: bool,  # noqa: FBT001 - a flag of the command line
    profile: str | None,
    data_dir: Path,
) -> None:
    """Create a topic."""
    place = find_place(profile, data_dir).say()
    if replication != 1 and not place.on_cluster:
        raise click.UsageError("The embedded log is on one machine: --replication is 1.")
    spec = TopicSpec(
        partitions=partitions,
        retention=DEFAULT_RETENTION if retention_time is None else retention_time,
        max_partition_bytes=max_partition_size,
        compression=compression_type,
        segment_bytes=segment_size,
        replication=replication,
        ignore_rack=ignore_rack_assignment,
        deduplication=Deduplication(_DEDUP_MODULE, dedup_count, dedup_age) if dedup else None,
    )

    async def work() -> None:
        async with topics_of(place) as topics:
            await topics.create(name, spec)

    check_topic_name(name)
    if dry_run:
        click.echo(f'topic "{name}" would be created')
        return
    asyncio.run(work())
    click.echo(f'topic "{name}" created')


@command.command("list")
@click.option("-O", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
@click.option("-s", "--system", is_flag=True, help="List only the topics of the system.")
@place_options
def list_topics(output: str, system: bool, profile: str | None, data_dir: Path) -> None:  # noqa: FBT001 - a flag of the command line
    """List the topics."""
    place = find_place(profile, data_dir).say()

    async def work() -> list[Listed]:
        async with topics_of(place) as topics:
            return await topics.listed(system=system)

    found = asyncio.run(work())
    if output != "table":
        click.echo(_dump([_described(topic) for topic in found], output))
        return
    if not found:
        click.echo("No topics found")
        return
    print_table(_COLUMNS, [_row(topic) for topic in found])


@command.command("describe")
@click.argument("name")
@click.option("-O", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
@place_options
def describe(name: str, output: str, profile: str | None, data_dir: Path) -> None:
    """Describe a topic: its settings, and the offsets of each partition."""
    place = find_place(profile, data_dir).say()

    async def work() -> tuple[Listed, list[tuple[int, int]]]:
        async with topics_of(place) as topics:
            return await topics.described(name)

    topic, ranges = asyncio.run(work())
    described = _described(topic)
    described["partitions"] = [
        {"partition": partition, "start_offset": start, "end_offset": end}
        for partition, (start, end) in enumerate(ranges)
    ]
    if output != "table":
        click.echo(_dump(described, output))
        return
    for key, value in described.items():
        if key != "partitions":
            click.echo(f"{key.replace('_', ' ').capitalize():<19}: {'none' if value is None else value}")
    click.echo(f"{'Partitions':<19}:")
    for partition, (start, end) in enumerate(ranges):
        click.echo(f"  {partition}: {end - start} records, offsets {start} to {end}")


@command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-c", "--continue-on-error", is_flag=True, help="Go on with the others when one fails.")
@click.option("-f", "--force", is_flag=True, help="Also a topic of the system.")
@place_options
def delete(
    names: tuple[str, ...],
    continue_on_error: bool,  # noqa: FBT001 - a flag of the command line
    force: bool,  # noqa: FBT001 - a flag of the command line
    profile: str | None,
    data_dir: Path,
) -> int:
    """Delete topics and all their records."""
    place = find_place(profile, data_dir).say()

    async def work() -> int:
        status = 0
        async with topics_of(place) as topics:
            for name in names:
                try:
                    await topics.delete(name, force=force)
                except HeadwaterError as error:
                    if not continue_on_error:
                        raise
                    click.echo(f"headwater: {error}", err=True)
                    status = HeadwaterError.exit_code
                else:
                    click.echo(f'topic "{name}" deleted')
        return status

    return asyncio.run(work())


def _described(topic: Listed) -> dict[str, object]:
    spec = topic.spec
    drops = spec.deduplication
    return {
        "name": topic.name,
        "type": "computed",
        "partition_count": spec.partitions,
        "replication": spec.replication,
        "retention_time": format_duration(spec.retention) if spec.retention else None,
        "max_partition_size": format_size(spec.max_partition_bytes) if spec.max_partition_bytes else None,
        "compression": spec.compression,
        "deduplication": None if drops is None else _drops(drops),
        "status": f"resolution::{topic.resolution}",
        "reason": topic.reason or None,
    }


def _drops(drops: Deduplication) -> str:
    age = "" if drops.age is None else f", {format_duration(drops.age)}"
    return f"{drops.uses}: {drops.count}{age}"


def _row(topic: Listed) -> tuple[str, ...]:
    spec = topic.spec
    return (
        topic.name,
        "computed",
        str(spec.partitions),
        str(spec.replication),
        format_duration(spec.retention) if spec.retention else "none",
        spec.compression,
        "none" if spec.deduplication is None else _drops(spec.deduplication),
        f"resolution::{topic.resolution}",
        topic.reason,
    )


def _dump(value: object, output: str) -> str:
    if output == "json":
        return json.dumps(value, indent=2)
    return str(yaml.safe_dump(value, sort_keys=False)).rstrip()
