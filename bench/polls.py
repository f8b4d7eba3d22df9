"""Durable polls for each second of processor time, against a bare libcurl loop that does the same GETs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pycurl
import uvloop

from bench.figures import Figure, cpu_seconds, process_cpu
from bench.server import serving
from headwater.config import ConnectorConfig, load_text
from headwater.core.exchange import Decision
from headwater.core.http import Request
from headwater.fetch import CurlFetcher
from headwater.log import LogReader
from headwater.sources.poll import build_request

CONNECTORS = 1000
SECONDS = 8.0


def bare(url: str, at_once: int, seconds: float) -> float:
    """Return GETs per CPU-second of the plainest loop over libcurl's multi interface, `at_once` in flight."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, at_once)
    done = 0
    handles = []
    for number in range(at_once):
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, f"{url}/{number}")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.WRITEFUNCTION, _nothing)
        handles.append(curl)
        multi.add_handle(curl)
    began, end = cpu_seconds(), time.monotonic() + seconds
    while time.monotonic() < end:
        while multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass
        _, good, bad = multi.info_read()
        assert not bad
        for curl in good:
            multi.remove_handle(curl)
            multi.add_handle(curl)
        done += len(good)
        if not good:
            multi.select(0.01)
    used = cpu_seconds() - began
    for curl in handles:
        multi.remove_handle(curl)
        curl.close()
    multi.close()
    return done / used


def _nothing(chunk: bytes) -> int:
    return len(chunk)


def documents(url: str, count: int, interval: str) -> str:
    """Return the connect.yml of so many connectors, with ten of them to a topic."""
    return "---\n".join(
        f"name: c-{number}\ntopic: t-{number // 10}\nparameters:\n  endpoint: {url}/{number}\n  interval: {interval}\n"
        for number in range(count)
    )


def configs(url: str, count: int, interval: str) -> list[ConnectorConfig]:
    """Return so many connectors."""
    return list(load_text(documents(url, count, interval)).connectors)


async def fetching(url: str, seconds: float) -> float:
    """Return GETs per CPU-second of the fetch engine alone, as many at once as there are connectors."""
    requests = [build_request(config.http) for config in configs(url, CONNECTORS, "1s")]
    done = 0
    end = time.monotonic() + seconds

    async def repeat(fetcher: CurlFetcher, request: Request) -> None:
        nonlocal done
        while time.monotonic() < end:
            await fetcher.fetch(request)
            done += 1

    async with CurlFetcher() as fetcher:
        began = cpu_seconds()
        await asyncio.gather(*(repeat(fetcher, request) for request in requests))
        return done / (cpu_seconds() - began)


def polling(url: str, seconds: float, interval: str) -> tuple[float, float, int]:
    """Return durable polls per CPU-second, polls per second, and how many ticks were skipped, of `headwater run`."""
    with tempfile.TemporaryDirectory() as scratch:
        config, data = Path(scratch, "connect.yml"), Path(scratch, "data")
        config.write_text(documents(url, CONNECTORS, interval))
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "run", config, "--data-dir", data], stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(2)
        with LogReader(data) as reader:

            def stored() -> int:
                return sum(reader.offsets(info.name, 0)[1] for info in reader.topics())

            polls, used, began = stored(), process_cpu(process.pid), time.monotonic()
            time.sleep(seconds)
            polls, used, took = stored() - polls, process_cpu(process.pid) - used, time.monotonic() - began
            skipped = sum(entry.count for entry in reader.ledger(None, 100_000) if entry.decision is Decision.SKIPPED)
        process.send_signal(signal.SIGINT)
        process.communicate()
    return polls / used, polls / took, skipped


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure the bound, the fetch engine, and the whole."""
    with serving() as url:
        bare(url, 64, 1.0)
        bounds = {at_once: bare(url, at_once, SECONDS / 2) for at_once in (64, CONNECTORS)}
        bound = max(bounds.values())
        say(f"bare libcurl: {', '.join(f'{rate:,.0f}/CPU-s with {n}' for n, rate in bounds.items())}")
        fetched = uvloop.run(fetching(url, SECONDS / 2))
        say(f"fetch engine: {fetched:,.0f}/CPU-s")
        durable, rate, skipped = polling(url, SECONDS, "100ms")
        say(f"durable polls: {durable:,.0f}/CPU-s, {rate:,.0f}/s, {skipped} ticks skipped")
    return [
        Figure(
            "durable polls per CPU-second, 1,000 connectors, saturated",
            f"{durable:,.0f}",
            f"{bound:,.0f} (bare libcurl, best of 64 and 1,000 at once)",
            "at least 0.5 of the bound",
            durable >= 0.5 * bound,
            {
                "ratio": durable / bound,
                "fetch_engine_ratio": fetched / bound,
                "polls_per_second": rate,
                "bare": bounds,
                "fetch": fetched,
                "skipped": skipped,
            },
        )
    ]
