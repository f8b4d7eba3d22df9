"""kill -9 of a server under load: nothing that a stock producer was told is stored is lost, and nobody sees a gap."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count

import pytest

from commandline import CommandLine
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from server.running import started
from stock.client import StockClient, StockError, StockRecord, StockTimeoutError, lacks

VERSION = "0.21.0"
PRODUCERS = 3
_PATIENCE = 60.0


class Producers:
    """Stock producers that send one group of records after the other, each when its last was acknowledged."""

    def __init__(self, endpoint: str, numbers: Iterator[int], chance: random.Random) -> None:
        self.acknowledged: dict[int, int] = {}
        self._numbers = numbers
        self._more = threading.Condition()
        self._ended: list[str] = []
        self._clients = [StockClient(VERSION, endpoint) for _ in range(PRODUCERS)]
        self._threads = [
            threading.Thread(target=self._run, args=(client, random.Random(chance.random())))
            for client in self._clients
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, client: StockClient, chance: random.Random) -> None:
        try:
            while True:
                numbers = [next(self._numbers) for _ in range(chance.randint(1, 20))]
                size = chance.choice((10, 100, 5000))
                records = [("k", f"{number} ".ljust(size, "x")) for number in numbers]
                told = client.call("produce", topic="cats", records=records, method="send_all")
                with self._more:
                    for number, one in zip(numbers, told, strict=True):
                        self.acknowledged[one["offset"]] = number
                    self._more.notify_all()
        except (StockError, StockTimeoutError) as error:
            with self._more:
                self._ended.append(str(error))
                self._more.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many records are acknowledged."""
        with self._more:
            assert self._more.wait_for(lambda: self._ended or len(self.acknowledged) >= count, _PATIENCE)
            assert not self._ended

    def close(self) -> None:
        """End all at once, and with them whatever they wait for."""
        for client in self._clients:
            client.kill()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()


class Follower:
    """A stock consumer that follows the topic from its beginning, over all restarts."""

    def __init__(self, endpoint: str) -> None:
        self.client = StockClient(VERSION, endpoint)
        self.records: list[StockRecord] = []
        self._items = self.client.follow("cats", timeout=_PATIENCE)

    def read_up_to(self, end: int) -> None:
        """Read until the record before that offset is there."""
        while not self.records or self.records[-1].offset < end - 1:
            self.records.append(next(self._items))


def free_ports() -> tuple[int, int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as one, closing(socket.create_server(("127.0.0.1", 0))) as two:
        return one.getsockname()[1], two.getsockname()[1]


def start(headwater: CommandLine, ports: tuple[int, int]) -> subprocess.Popen[str]:
    process = headwater.start("up", "--sc-port", ports[0], "--spu-port", ports[1])
    started(process)
    return process


def stored(headwater: CommandLine) -> dict[int, int]:
    """Return the numbers in the topic, by their offsets."""
    found: dict[int, int] = {}
    with LogReader(headwater.data) as reader:
        _, end = reader.offsets("cats", 0)
        while len(found) < end:
            for batch in reader.read("cats", 0, len(found), 1 << 20):
                found |= {record.offset: int(record.value.split()[0]) for record in decode_records(batch.data)}
    assert list(found) == list(range(end)), "offsets have a gap"
    return found


def campaign(headwater: CommandLine, kills: int) -> None:
    """Kill the server so many times at random moments, and look at what everybody has seen."""
    lack = lacks(VERSION)
    if lack is not None:
        pytest.skip(lack)
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    ports = free_ports()
    endpoint = f"127.0.0.1:{ports[0]}"
    acknowledged: dict[int, int] = {}
    numbers = count()
    with ExitStack() as cleanup:
        process = start(headwater, ports)
        with StockClient(VERSION, endpoint) as client:
            client.call("create_topic", name="cats")
        follower = Follower(endpoint)
        cleanup.callback(follower.client.close)
        for kill in range(kills + 1):
            producers = Producers(endpoint, numbers, chance)
            try:
                # One has just heard of its records: the others are somewhere between sending and hearing.
                producers.wait_for(chance.randint(1, 200))
                if kill < kills:
                    process.kill()
                    process.wait()
            finally:
                producers.close()
            acknowledged |= producers.acknowledged
            found = stored(headwater)
            lost = {offset: number for offset, number in acknowledged.items() if found.get(offset) != number}
            assert not lost, f"acknowledged, but not in the topic: {lost}"
            if kill < kills:
                process = start(headwater, ports)
        # What was sent last may still be on its way to the disk.
        assert headwater.stop(process)[0] == 130
        found = stored(headwater)
        process = start(headwater, ports)
        follower.read_up_to(len(found))
        seen = [(record.offset, int(record.value.split()[0])) for record in follower.records]
        assert seen == list(found.items())
        print(f"{kills} kills, {len(acknowledged)} records acknowledged, {len(found)} stored, all followed")


def test_two_kills(headwater: CommandLine) -> None:
    """Two kills lose nothing, and a follower sees every record once over them."""
    campaign(headwater, 2)


@pytest.mark.long
def test_twenty_kills(headwater: CommandLine) -> None:
    """Twenty kills lose nothing, and a follower sees every record once over them."""
    campaign(headwater, 20)
