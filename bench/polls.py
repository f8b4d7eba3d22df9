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
from typing import NamedTuple

import pycurl
import uvloop

from bench.figures import Figure, cpu_seconds, process_cpu
from bench.server import BODY, serving
from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import Checkpoint, encode_checkpoint
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Request
from headwater.core.record import Record
from headwater.fetch import CurlFetcher
from headwater.fluvio.batch import encode_batches
from headwater.log import Append, Log, LogReader
from headwater.sources.request import build_request

CONNECTORS = 1000
SECONDS = 4.0
ROUNDS = 7
# Asks for 20,000 polls a second, which is more than one process can do.
INTERVAL = "50ms"


def bare(url: str, at_once: int, seconds: float) -> float:
    """Return GETs per CPU-second of a plain loop over libcurl's multi interface, `at_once` in flight.

    It sends the same requests and takes headers and bodies in, as whoever wants them must.
    """
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, at_once)
    done = 0
    received: dict[pycurl.Curl, tuple[list[bytes], list[bytes]]] = {}
    for config in configs(url, at_once, "1s"):
        request = build_request(config.http)
        curl = pycurl.Curl()
        headers: list[bytes] = []
        body: list[bytes] = []
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in request.headers])
        curl.setopt(pycurl.ACCEPT_ENCODING, "")
        curl.setopt(pycurl.TIMEOUT, 30)
        curl.setopt(pycurl.HEADERFUNCTION, headers.append)
        curl.setopt(pycurl.WRITEFUNCTION, body.append)
        received[curl] = (headers, body)
        multi.add_handle(curl)
    began, end = cpu_seconds(), time.monotonic() + seconds
    while time.monotonic() < end:
        multi.perform()
        _, good, bad = multi.info_read()
        assert not bad
        for curl in good:
            multi.remove_handle(curl)
            headers, body = received[curl]
            assert b"".join(body) == BODY
            headers.clear()
            body.clear()
            multi.add_handle(curl)
        done += len(good)
        if not good:
            multi.select(0.01)
    used = cpu_seconds() - began
    for curl in received:
        multi.remove_handle(curl)
        curl.close()
    multi.close()
    return done / used


def documents(url: str, count: int, interval: str) -> str:
    """Return the connect.yml of so many connectors, with ten of them to a topic."""
    return "---\n".join(
        f"name: c-{number}\ntopic: t-{number // 10}\nparameters:\n  endpoint: {url}/{number}\n  interval: {interval}\n"
        for number in range(count)
    )


class Round(NamedTuple):
    """What one round measured: rates per CPU-second, polls per second, ticks that were skipped."""

    ratio: float
    bound: float
    durable: float
    fetched: float
    logged: float
    rate: float
    skipped: int


def configs(url: str, count: int, interval: str) -> list[ConnectorConfig]:
    """Return so many connectors."""
    return list(load_text(documents(url, count, interval)).connectors)


async def fetching(url: str, seconds: float) -> float:
    """Return GETs per CPU-second of the fetch engine alone, as many at once as there are connectors."""
    done = 0
    end = time.monotonic() + seconds

    async def repeat(fetcher: CurlFetcher, request: Request) -> None:
        nonlocal done
        while time.monotonic() < end:
            await fetcher.fetch(request)
            done += 1

    async with CurlFetcher() as fetcher:
        requests = [build_request(config.http) for config in configs(url, CONNECTORS, "1s")]
        began = cpu_seconds()
        await asyncio.gather(*(repeat(fetcher, request) for request in requests))
        return done / (cpu_seconds() - began)


async def storing(seconds: float) -> float:
    """Return appends per CPU-second of the log alone, each with its checkpoint and its ledger entry."""
    done = 0
    end = time.monotonic() + seconds
    batches = encode_batches([Record(BODY)], 0)

    async def repeat(log: Log, number: int) -> None:
        nonlocal done
        name, topic = f"c-{number}", f"t-{number // 10}"
        entry = Exchange(name, 0, 0, 0, Decision.ACCEPTED, "200 OK, 73 B", 200, 73, 1, 1, topic)
        checkpoint = (name, encode_checkpoint(Checkpoint(1, 1, 1, "0123456789abcdef", None, None, "application/json")))
        while time.monotonic() < end:
            await log.submit(Append(topic, batches, None, checkpoint, entry, 0.005))
            done += 1

    with tempfile.TemporaryDirectory() as directory:
        async with Log.open(directory) as log:
            await asyncio.gather(*(log.create_topic(f"t-{number}") for number in range(CONNECTORS // 10)))
            began = cpu_seconds()
            await asyncio.gather(*(repeat(log, number) for number in range(CONNECTORS)))
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
            skipped = sum(entry.skipped for entry in reader.ledger(None, 100_000))
        process.send_signal(signal.SIGINT)
        process.communicate()
    return polls / used, polls / took, skipped


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure the bound, the whole, and the parts: rounds in turn, and the median of the ratios of each round.

    The speed of a shared machine drifts from minute to minute, so the whole is held against the bound just before it.
    """
    rounds = []
    with serving() as url:
        for _ in range(ROUNDS):
            bound = bare(url, CONNECTORS, SECONDS)
            durable, rate, skipped = polling(url, SECONDS, INTERVAL)
            fetched, logged = uvloop.run(fetching(url, SECONDS)), uvloop.run(storing(SECONDS))
            rounds.append(Round(durable / bound, bound, durable, fetched, logged, rate, skipped))
            say(
                f"polls: bare {bound:,.0f}/CPU-s, all {durable:,.0f} ({durable / bound:.2f}), fetch {fetched:,.0f}, "
                f"log {logged:,.0f}; {rate:,.0f}/s"
            )
    middle = sorted(rounds)[ROUNDS // 2]
    spent = {
        "bare libcurl": 1e6 / middle.bound,
        "fetch engine beyond it": 1e6 / middle.fetched - 1e6 / middle.bound,
        "log": 1e6 / middle.logged,
        "scheduling, judging, encoding, and all of them sharing one interpreter": 1e6 / middle.durable
        - 1e6 / middle.fetched
        - 1e6 / middle.logged,
    }
    ratios = [round(one.ratio, 2) for one in sorted(rounds)]
    return [
        Figure(
            "durable polls per CPU-second, 1,000 connectors, saturated",
            f"{middle.durable:,.0f} ({middle.ratio:.2f} of the bound)",
            f"{middle.bound:,.0f} (bare libcurl)",
            "at least 0.5 of the bound",
            middle.ratio >= 0.5,
            {
                "ratio": middle.ratio,
                "ratios": ratios,
                "fetch_ratio": middle.fetched / middle.bound,
                "polls_per_second": middle.rate,
                "skipped": middle.skipped,
            },
            f"ratios of {ROUNDS} rounds {ratios}; microseconds of processor time per poll in the middle one: "
            + ", ".join(f"{name} {microseconds:.0f}" for name, microseconds in spent.items()),
        )
    ]
