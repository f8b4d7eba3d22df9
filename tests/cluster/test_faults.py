"""At least once, in order, without a gap: random breaks while records are sent and followed."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from datetime import timedelta

import pytest

from cluster.peer import FIRST_SPU, Action, ScriptedCluster, close, cut, says
from headwater.cluster import Cluster, Producer
from headwater.core.record import Record
from headwater.core.topic import Offset
from headwater.fluvio.batch import decode_records
from headwater.fluvio.records import PRODUCE, STREAM_FETCH, UPDATE_OFFSETS

PARTITIONS = 3
RECORDS = 400


@pytest.mark.parametrize("seed", range(8))
async def test_random_breaks(seed: int) -> None:
    """Whatever breaks when, every record is there, first ones in order, and followers see the log as it is."""
    chance = random.Random(seed)
    faults: list[Action] = [close, cut, says("NotLeaderForPartition")]
    async with ScriptedCluster({"t": PARTITIONS}, spus=2) as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:

        async def breaks(pace: int) -> None:
            for number in range(25):
                side = FIRST_SPU + chance.randrange(2)
                api = chance.choice([PRODUCE, STREAM_FETCH, UPDATE_OFFSETS])
                peer.script(side, api, chance.choice(faults if api != UPDATE_OFFSETS else [close, cut]))
                if number % 5 == 0:
                    peer.drop(chance.choice([0, side]))
                if number % 7 == 0:
                    peer.leaders["t", chance.randrange(PARTITIONS)] = FIRST_SPU + chance.randrange(2)
                    peer.announce()
                await peer.wait_for(pace, len(peer.requests(pace)) + 1)

        async def send() -> None:
            async with Producer(cluster, "t", batch_size=300, timeout=timedelta(seconds=50)) as producer:
                for first in range(0, RECORDS, 5):
                    partition = first // 5 % PARTITIONS
                    await producer.send([Record(b"%d" % it) for it in range(first, first + 5)], partition)

        breaking = asyncio.ensure_future(breaks(PRODUCE))
        await send()
        breaking.cancel()
        log = {
            partition: [int(it.value) for data in peer.log["t", partition] for it in decode_records(data)]
            for partition in range(PARTITIONS)
        }
        for partition, numbers in log.items():
            mine = [it for it in range(RECORDS) if it // 5 % PARTITIONS == partition]
            assert list(dict.fromkeys(numbers)) == mine
        total = sum(map(len, log.values()))
        # Those that nobody met would come one after the other now.
        peer.unscript()
        followed: dict[int, list[int]] = {}
        breaking = asyncio.ensure_future(breaks(UPDATE_OFFSETS))
        async with aclosing(cluster.follow("t", Offset.beginning(), max_bytes=400)) as records:
            for number in range(total):
                record = await anext(records)
                followed.setdefault(record.partition, []).append(int(record.value))
                if number % 60 == 30:
                    peer.drop(FIRST_SPU + chance.randrange(2))
        breaking.cancel()
        assert followed == log
