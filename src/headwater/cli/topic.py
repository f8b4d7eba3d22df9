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

from headwater.cli.options import data_dir, print_table
from headwater.core.errors import HeadwaterError, TopicError
from headwater.core.units import format_duration, format_size, parse_duration, parse_size
from headwater.log import FILE_NAME, Log, LogReader, TopicInfo, TopicSpec

Value = TypeVar("Value")

_COLUMNS = ("NAME", "TYPE", "PARTITIONS", "REPLICAS", "RETENTION TIME", "COMPRESSION", "STATUS")


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
@click.option("-r", "--replication", type=click.IntRange(1, 1), default=1, help="Always 1: there is one machine.")
@click.option(
    "--retention-time",
    callback=_parsed(parse_duration),
    metavar="DURATION",
    help="Delete records older than this.  [default: 7d]",
)
@click.option(
    "--max-partition-size", callback=_parsed(parse_size), metavar="SIZE", help="Delete the oldest beyond this size."
)
@click.option(
    "--compression-type",
    type=click.Choice(["any", "none", "gzip", "snappy", "lz4", "zstd"]),
    default="any",
    show_default=True,
)
@click.option("-d", "--dry-run", is_flag=True, help="Check only.")
@data_dir
def create(
    name: str,
    partitions: int,
    replication: int,  # noqa: ARG001 - accepted because people's scripts give it
    retention_time: timedelta | None,
    max_partition_size: int | None,
    compression_type: str,
    dry_run: bool,  # noqa: FBT001 - a flag of the command line
    data_dir: Path,
) -> None:
    """Create a topic."""
    spec = TopicSpec(partitions=partitions, max_partition_bytes=max_partition_size, compression=compression_type)
    if retention_time is not None:
        spec = TopicSpec(
            partitions=partitions,
            retention=retention_time,
            max_partition_bytes=max_partition_size,
            compression=compression_type,
        )

    async def work() -> None:
        async with Log.open(data_dir) as log:
            await log.create_topic(name, spec)

    if dry_run:
        click.echo(f'topic "{name}" would be created')
        return
    asyncio.run(work())
    click.echo(f'topic "{name}" created')


@command.command("list")
@click.option("-O", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
@data_dir
def list_topics(output: str, data_dir: Path) -> None:
    """List the topics."""
    topics: list[TopicInfo] = []
    # Before anything has run there is no log, and no topic: that is no error.
    if (data_dir / FILE_NAME).exists():
        with LogReader(data_dir) as reader:
            topics = reader.topics()
    if output != "table":
        click.echo(_dump([_described(topic) for topic in topics], output))
        return
    if not topics:
        click.echo("No topics found")
        return
    print_table(_COLUMNS, [_row(topic) for topic in topics])


@command.command("describe")
@click.argument("name")
@click.option("-O", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
@data_dir
def describe(name: str, output: str, data_dir: Path) -> None:
    """Describe a topic: its settings, and the offsets of each partition."""
    with LogReader(data_dir) as reader:
        topic = reader.topic(name)
        described = _described(topic)
        ranges = [reader.offsets(name, partition) for partition in range(topic.spec.partitions)]
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
@data_dir
def delete(names: tuple[str, ...], continue_on_error: bool, data_dir: Path) -> int:  # noqa: FBT001 - a flag of the command line
    """Delete topics and all their records."""

    async def work() -> int:
        status = 0
        async with Log.open(data_dir) as log:
            for name in names:
                try:
                    await log.delete_topic(name)
                except TopicError as error:
                    if not continue_on_error:
                        raise
                    click.echo(f"headwater: {error}", err=True)
                    status = HeadwaterError.exit_code
                else:
                    click.echo(f'topic "{name}" deleted')
        return status

    return asyncio.run(work())


def _described(topic: TopicInfo) -> dict[str, object]:
    spec = topic.spec
    return {
        "name": topic.name,
        "type": "computed",
        "partition_count": spec.partitions,
        "replication": 1,
        "retention_time": format_duration(spec.retention) if spec.retention else None,
        "max_partition_size": format_size(spec.max_partition_bytes) if spec.max_partition_bytes else None,
        "compression": spec.compression,
        "status": "resolution::provisioned",
    }


def _row(topic: TopicInfo) -> tuple[str, ...]:
    spec = topic.spec
    retention = format_duration(spec.retention) if spec.retention else "none"
    return (topic.name, "computed", str(spec.partitions), "1", retention, spec.compression, "resolution::provisioned")


def _dump(value: object, output: str) -> str:
    if output == "json":
        return json.dumps(value, indent=2)
    return str(yaml.safe_dump(value, sort_keys=False)).rstrip()
