"""Records a second and delays over Fluvio's protocol: through a stock client, and through our own."""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.figures import Figure, process_cpu
from bench.nothing import forgetting
from headwater.cluster import Cluster, Producer, Target
from headwater.core.record import Record
from headwater.core.topic import TopicSpec

# The stock client is that of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from stock.client import StockClient, lacks

CLIENT = "0.21.0"
SIZE = 100
RECORDS = 500_000
ROUNDS = 3
MANY = 10_000_000
ALONE = 20_000
AT_ONCE = 64
FOLLOWED = 3000


@contextmanager
def serving(directory: Path) -> Iterator[tuple[str, int]]:
    """Run `headwater up`; give its endpoint and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", "up", "--data-dir", directory, "--sc-port", "0", "--spu-port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        yield line.partition('"endpoint": "')[2].partition('"')[0], process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def _sent(client: StockClient, topic: str, count: int) -> float:
    """Return the records a second that a stock client sends with send_all, from the first to the flush."""
    client.call("create_topic", name=topic, partitions=1)
    rate: float = client.call("bulk_produce", topic=topic, count=count, size=SIZE, timeout=600)["records_per_second"]
    return rate


def _followed(endpoint: str) -> tuple[float, float]:
    """Return the median and the 99th percentile of the delay from send to a stock follower, in ms."""
    with StockClient(CLIENT, endpoint) as follower, StockClient(CLIENT, endpoint) as sender:
        follower.call("create_topic", name="followed", partitions=1)
        told = {}
        sending = threading.Thread(
            target=sender.call, args=("tick",), kwargs={"topic": "followed", "count": FOLLOWED, "interval": 0.001}
        )
        for item in follower.stream("latency", topic="followed", count=FOLLOWED, timeout=120):
            if item == "ready":
                sending.start()
            elif isinstance(item, dict):
                told = item
        sending.join()
    return told["p50"], told["p99"]


async def _ours(endpoint: str) -> tuple[float, float]:
    """Return the records a second of our client: in batches, and each acknowledged by itself, 64 at once."""
    host, _, port = endpoint.rpartition(":")
    async with Cluster(Target(host, int(port))) as cluster:
        await cluster.create_topic("ours", TopicSpec())
        records = [Record(b"x" * SIZE)] * 1000
        async with Producer(cluster, "ours", batch_size=500_000) as producer:
            began = time.perf_counter()
            await asyncio.gather(*(producer.send(records) for _ in range(RECORDS // 1000)))
            batched = RECORDS / (time.perf_counter() - began)
        left = ALONE
        async with Producer(cluster, "ours") as producer:

            async def one_by_one() -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    await producer.send(records[:1])

            began = time.perf_counter()
            await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))
            alone = ALONE / (time.perf_counter() - began)
    return batched, alone


@contextmanager
def _counted(spent: list[float], processes: tuple[int, int]) -> Iterator[None]:
    """Add the processor seconds that processes use meanwhile."""
    before = [process_cpu(process) for process in processes]
    yield
    for place, process in enumerate(processes):
        spent[place] += process_cpu(process) - before[place]


def _shares(spent: list[float]) -> str:
    """Return what a million records cost on both sides."""
    client, server = (seconds / (ROUNDS * RECORDS) * 1e6 for seconds in spent)
    return f"processor seconds for a million records: the client {client:.2f}, the server {server:.2f}"


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure the protocol, or say that the stock client is not here."""
    missing = lacks(CLIENT)
    if missing:
        say(f"protocol: left out: {missing}")
        return []
    sent, bound, consumed, batched, alone = [], [], [], [], []
    # Processor seconds of the stock client and of the server while it sends, and while it reads.
    spent = {"send": [0.0, 0.0], "read": [0.0, 0.0]}
    with tempfile.TemporaryDirectory() as scratch:
        with serving(Path(scratch)) as (endpoint, server), forgetting() as nowhere:
            with StockClient(CLIENT, endpoint) as client, StockClient(CLIENT, nowhere) as other:
                sides = (client.pid, server)
                for number in range(ROUNDS):
                    with _counted(spent["send"], sides):
                        sent.append(_sent(client, f"sent-{number}", RECORDS))
                    bound.append(_sent(other, f"sent-{number}", RECORDS))
                    with _counted(spent["read"], sides):
                        told = client.call(
                            "bulk_consume",
                            topic=f"sent-{number}",
                            count=RECORDS,
                            partitions=[0],
                            api="old",
                            timeout=600,
                        )
                    consumed.append(told["records_per_second"])
                    say(f"protocol: sent {sent[-1]:,.0f}/s of {bound[-1]:,.0f}, consumed {consumed[-1]:,.0f}/s")
            middle, late = _followed(endpoint)
            say(f"protocol: follow p50 {middle:.2f} ms, p99 {late:.2f} ms")
            for number in range(ROUNDS):
                both = uvloop.run(_ours_in(endpoint, number))
                batched.append(both[0])
                alone.append(both[1])
                say(f"protocol: ours {both[0]:,.0f}/s batched, {both[1]:,.0f}/s one by one")
        with tempfile.TemporaryDirectory() as fresh, serving(Path(fresh)) as (endpoint, process):
            with StockClient(CLIENT, endpoint) as client:
                _sent(client, "many", MANY)
            resident = _resident(process)
    say(f"protocol: {resident / 1e6:.0f} MB after {MANY:,} records")
    send, most, read = map(statistics.median, (sent, bound, consumed))
    together, single = map(statistics.median, (batched, alone))
    return [
        Figure(
            "stock client: send_all of 100-byte records",
            f"{send:,.0f}/s ({send / most:.2f} of the bound)",
            f"{most:,.0f}/s (the same client into a server that keeps nothing)",
            "at least 300,000/s",
            send >= 300_000,
            note=_shares(spent["send"]),
        ),
        Figure(
            "stock client: consume, by partition_consumer().stream()",
            f"{read:,.0f}/s",
            "-",
            "at least 350,000/s",
            read >= 350_000,
            note=_shares(spent["read"]),
        ),
        Figure(
            "stock client: behind a send, 1,000 a second, p50 and p99",
            f"{middle:.2f} ms, {late:.2f} ms",
            "-",
            "at most 1.5 ms and 5 ms",
            middle <= 1.5 and late <= 5,
        ),
        Figure("our client: in batches", f"{together:,.0f}/s", "-", "at least 200,000/s", together >= 200_000),
        Figure(
            f"our client: each acknowledged by itself, {AT_ONCE} at once",
            f"{single:,.0f}/s",
            "-",
            "at least 8,000/s",
            single >= 8000,
        ),
        Figure(
            f"server's memory after {MANY:,} records",
            f"{resident / 1e6:.0f} MB",
            "-",
            "under 80 MB",
            resident < 80e6,
        ),
    ]


async def _ours_in(endpoint: str, number: int) -> tuple[float, float]:
    host, _, port = endpoint.rpartition(":")
    if number:
        async with Cluster(Target(host, int(port))) as cluster:
            await cluster.delete_topic("ours")
    return await _ours(endpoint)
