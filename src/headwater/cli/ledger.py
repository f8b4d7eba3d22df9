"""Owns `headwater ledger`: why is this record here, why was that poll skipped."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click
import msgspec

from headwater.cli.options import data_dir
from headwater.core.exchange import Exchange
from headwater.core.units import format_size
from headwater.log import LogReader


@click.command()
@click.argument("connector", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many entries."
)
@click.option("-O", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@data_dir
def command(connector: str | None, limit: int, output: str, data_dir: Path) -> None:
    """Show what became of the last polls, of one CONNECTOR or of all, newest last.

    Each line is one scheduled poll with all its attempts: when it was due, how long it took, what was decided and why,
    and which records it left in the topic.
    """
    with LogReader(data_dir) as reader:
        entries = reader.ledger(connector, limit)
    if output == "json":
        for entry in entries:
            click.echo(json.dumps(msgspec.structs.asdict(entry)))
        return
    if not entries:
        whose = f" of connector {connector!r}" if connector else ""
        click.echo(f"No polls{whose} in {data_dir}", err=True)
        return
    rows = [_row(entry) for entry in entries]
    widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(len(_HEADER) - 1)]
    for row in (_HEADER, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join((*cells, row[-1])).rstrip())


_HEADER = ("SCHEDULED", "LATE", "CONNECTOR", "DECISION", "STATUS", "SIZE", "TOOK", "TRIES", "RECORDS", "REASON")


def _row(entry: Exchange) -> tuple[str, ...]:
    scheduled = datetime.fromtimestamp(entry.scheduled / 1000).astimezone().isoformat(" ", "milliseconds")[:23]
    records = ""
    if entry.records:
        last = (entry.offset or 0) + entry.records - 1
        span = f"{entry.offset}" if entry.records == 1 else f"{entry.offset}-{last}"
        records = f"{entry.topic}/{entry.partition}@{span}"
    return (
        scheduled,
        f"{max(0, entry.started - entry.scheduled)}ms",
        entry.connector,
        entry.decision.value,
        str(entry.status or ""),
        format_size(entry.bytes) if entry.bytes else "",
        f"{entry.duration / 1000:.1f}ms",
        str(entry.attempts),
        records,
        entry.reason,
    )
