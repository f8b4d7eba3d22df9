"""`make bench`: measures everything, prints a table, writes bench/results.json and BENCHMARKS.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec
import pycurl

from bench import changes, fleet, judging, log, managed, polls, protocol, split, start, streams, transforms
from bench.figures import Figure
from headwater.version import __version__

ROOT = Path(__file__).parents[1]
PARTS = {
    "start": start.measure,
    "log": log.measure,
    "transforms": transforms.measure,
    "protocol": protocol.measure,
    "split": split.measure,
    "judging": judging.measure,
    "changes": changes.measure,
    "streams": streams.measure,
    "polls": polls.measure,
    "fleet": fleet.measure,
    "managed": managed.measure,
}

_HEAD = """\
# Benchmarks

Made by `make bench`, which measures each figure beside its bound in one run and writes this page and
`bench/results.json`. Nothing here is a test: figures move with the machine, so compare the ratios.
"""
_TAIL = """\

What the figures are:

- **start**: medians of seven runs of the real command; `consume` behind a commit is measured from the moment the append
  returned to the moment its line was read from the pipe of another process.
- **log**: the bare loop writes the same blobs into a table with the same index through apsw, in WAL mode with
  synchronous=FULL: one transaction for each round. The medians of seven alternating runs of both.
- **transforms**: medians of seven rounds in one thread, coding and decoding included; the bound of a filter is the same
  input given to the same guest with nothing decoded. Modules are those of the tests, made from their WebAssembly text.
- **protocol**: `headwater up` in a process of its own and the client of PyPI, fluvio 0.21.0, in another; medians of
  three rounds. The bound of sending is the same client with a server that acknowledges everything and keeps nothing.
  Delays are from just before a send to the moment that a follower in another process has the record, one each ms.
- **split**: one poll in a process of its own, from the start of the engine to the last receipt, of a body that a server
  in another process has ready: fetched, cut, each item with its key, encoded, appended in fsynced steps. Medians of
  three runs; memory is the most that was resident (VmHWM), of which what is there before is Python and libraries.
- **streams**: one stream in a process of its own, bound to one core, of which a server on the other core has millions
  ready: received, cut, encoded, appended in fsynced steps; the medians of three runs by the clock, from the start of
  the engine to the last receipt. The other figures are of `Engine` with so many streams in one process; how late an
  event is, is the time from just before the server's write to the receipt, by the clock that both have in common.
- **judging**: medians of seven rounds in one thread; each request is another page of one round, so that its token is
  new and its cursor and window are not. The bound is a connector without expressions and rules.
- **polls**: the bare loop keeps 1,000 GETs under way with `CurlMulti.perform` and hands headers and bodies to Python;
  it parses, judges, encodes, stores and remembers nothing. `headwater run` stores every answer with its checkpoint and
  its ledger entry in an fsynced transaction. The server runs in a process of its own on the other core.
- **changes**: the whole way of a poll, from the request to the receipt; no two bodies are the same. The first poll
  tells of every item; its memory and that of the others are the peaks of two processes. What items were is not kept.
- **fleet**: `headwater run` of a directory of 10,000 files; lateness and gaps are read from its own ledger.
- **managed**: `headwater up` with 10,000 connectors from the start of the process to the line that says they run, each
  with a topic of its own; edits from before the file is written to the moment the control API shows them.
"""


def machine() -> str:
    """Return what this was measured on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    libcurl = pycurl.version_info()[1]
    return (
        f"{os.cpu_count()} cores of {cpu}, {memory / 1024**2:.0f} GiB, Linux {platform.release()}; "
        f"CPython {platform.python_version()}, libcurl {libcurl}, SQLite {apsw.sqlite_lib_version()}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def table(figures: list[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    rows = ["| what | measured | bound | promise | kept |", "|---|---|---|---|---|"]
    rows += [
        f"| {one.name} | {one.value} | {one.bound} | {one.promise} | {'yes' if one.good else '**no**'} |"
        for one in figures
    ]
    return "\n".join(rows)


def main() -> int:
    """Measure the parts named as arguments, or all. Only a whole run is written down."""
    names = sys.argv[1:] or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"bench: there is no part {unknown[0]!r}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in names:
        figures += PARTS[name](lambda line: print(line, file=sys.stderr))
    print(table(figures))
    if names == list(PARTS):
        when = datetime.now(UTC).date().isoformat()
        results = {"version": __version__, "date": when, "machine": machine(), "figures": figures}
        (ROOT / "bench" / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2))
        notes = [f"- {one.name}: {one.note}" for one in figures if one.note]
        more = "\nWhere it goes:\n\n" + "\n".join(notes) + "\n" if notes else ""
        text = f"{_HEAD}\nVersion {__version__}, {when}, on {machine()}.\n\n{table(figures)}\n{more}{_TAIL}"
        (ROOT / "BENCHMARKS.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
