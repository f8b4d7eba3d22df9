"""Owns `headwater produce`: lines of the standard input or of a file become records."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click

from headwater.cli.place import Place, find_place, place_options
from headwater.cli.topics import appending
from headwater.core.record import Record

# Lines that are appended together (count): one fsync for all of them.
_GROUP = 10_000


@click.command()
@click.argument("topic")
@click.option(
    "-f", "--file", "path", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Read this file."
)
@click.option("--raw", is_flag=True, help="The whole input is one record.")
@click.option("--key", metavar="KEY", help="The key of every record.")
@click.option("-k", "--key-separator", metavar="TEXT", help="What parts key and value in a line.")
@click.option("-p", "--partition", type=click.IntRange(0), help="Only to this one.  [default: by key, else in turn]")
@place_options
def command(
    topic: str,
    path: Path | None,
    raw: bool,  # noqa: FBT001 - a flag of the command line
    key: str | None,
    key_separator: str | None,
    partition: int | None,
    profile: str | None,
    data_dir: Path,
) -> None:
    """Append records from the standard input or a file: each line is one.

    The records of one line group are in the topic when the command goes on to the next; an error names the first line
    that is not.
    """
    if key is not None and key_separator is not None:
        raise click.UsageError("Name either --key or --key-separator.")
    if key_separator == "":
        raise click.UsageError("--key-separator must not be empty.")
    place = find_place(profile, data_dir).say()
    with ExitStack() as stack:
        source = stack.enter_context(path.open("rb")) if path else sys.stdin.buffer
        records = read_records(source, raw=raw, key=key, separator=key_separator)
        count = asyncio.run(_append_all(place, topic, records, partition))
    if sys.stdin.isatty() or path:
        click.echo(f"{count} record{'s' if count != 1 else ''} appended to {topic}", err=True)


def read_records(source: BinaryIO, *, raw: bool, key: str | None, separator: str | None) -> Iterator[Record]:
    """Yield the records of an input. Raises UsageError for a line that lacks the separator."""
    fixed = None if key is None else key.encode()
    if raw:
        yield Record(source.read(), fixed)
        return
    for number, line in enumerate(source, start=1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if separator is None:
            yield Record(value, fixed)
            continue
        left, found, right = value.partition(separator.encode())
        if not found:
            raise click.UsageError(f"line {number} has no {separator!r} to part key and value")
        yield Record(right, left)


async def _append_all(place: Place, topic: str, records: Iterator[Record], partition: int | None) -> int:
    count = 0
    async with appending(place, topic) as append:
        while group := list(islice(records, _GROUP)):
            await append(group, partition)
            count += len(group)
    return count
