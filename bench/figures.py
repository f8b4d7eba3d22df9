"""What a benchmark tells: a figure beside its bound, both measured in one run."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One line of the table. `good` is whether `value` keeps the promise; `note` says where the rest goes."""

    name: str
    value: str
    bound: str
    promise: str
    good: bool
    details: dict[str, Any] = {}
    note: str = ""


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Return the processor time of this process, all threads, in seconds."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def process_cpu(process: int) -> float:
    """Return the processor time of another process, all threads, in seconds (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
