"""Owns `headwater ledger`: why is this record here, why was that poll skipped, when was that stream away."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import click
import msgspec

from headwater.cli.options import data_dir
from headwater.core.exchange import Decision, Exchange
from headwater.core.units import format_duration, format_size
from headwater.log import LogReader


@click.command()
@click.argument("connector", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many entries."
)
@click.option("-O", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@data_dir
def command(connector: str | None, limit: int, output: str, data_dir: Path) -> None:
    """Show what became of the last polls and connections, of one CONNECTOR or of all, newest last.

    Each line is one scheduled poll with all its attempts: when it was due, how long it took, what was decided and why,
    and which records it left in the topic. A stream has a line for each connection that begins, with the gap before it,
    and for each that ends, and one at most every ten seconds for what it has brought meanwhile.
    """
    with LogReader(data_dir) as reader:
        entries = reader.ledger(connector, limit)
    if output == "json":
        for entry in entries:
            click.echo(json.dumps(msgspec.structs.asdict(entry)))
        return
    if not entries:
        whose = f" of connector {connector!r}" if connector else ""
        click.echo(f"No entries{whose} in {data_dir}", err=True)
        return
    rows = [_HEADER, *map(_row, entries)]
    if not any(entry.gap for entry in entries):
        # Nobody who has polls alone needs to know what it is.
        rows = [(*row[:_GAP], *row[_GAP + 1 :]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join((*cells, row[-1])).rstrip())


_HEADER = ("SCHEDULED", "LATE", "CONNECTOR", "DECISION", "STATUS", "SIZE", "TOOK", "TRIES", "GAP", "RECORDS", "REASON")
_GAP = _HEADER.index("GAP")
# From here on nobody reads milliseconds (us).
_LONG = 10_000_000


def _took(entry: Exchange) -> str:
    if entry.duration >= _LONG:
        return format_duration(timedelta(seconds=round(entry.duration / 1_000_000)))
    return f"{entry.duration / 1000:.1f}ms"


def _row(entry: Exchange) -> tuple[str, ...]:
    scheduled = datetime.fromtimestamp(entry.scheduled / 1000).astimezone().isoformat(" ", "milliseconds")[:23]
    # A connection has no time at which it was due, and nothing is tried again within it.
    stays = entry.decision in {Decision.CONNECTED, Decision.ENDED}
    records = ""
    if entry.records:
        last = (entry.offset or 0) + entry.records - 1
        span = f"{entry.offset}" if entry.records == 1 else f"{entry.offset}-{last}"
        records = f"{entry.topic}/{entry.partition}@{span}"
    return (
        scheduled,
        "" if stays else f"{max(0, entry.started - entry.scheduled)}ms",
        entry.connector,
        entry.decision.value,
        str(entry.status or ""),
        format_size(entry.bytes) if entry.bytes else "",
        "" if entry.decision is Decision.CONNECTED else _took(entry),
        "" if stays else str(entry.attempts),
        format_duration(timedelta(milliseconds=entry.gap)) if entry.gap else "",
        records,
        entry.reason,
    )
