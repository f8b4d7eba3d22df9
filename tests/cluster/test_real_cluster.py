"""The client against a real Fluvio cluster: the one of the profile that HEADWATER_TEST_FLUVIO_PROFILE names."""

from __future__ import annotations

import os
import uuid
from functools import partial

import pytest

from headwater.cluster import Cluster, Producer, Target
from headwater.core.errors import TopicExistsError, TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import Offset, TopicSpec
from headwater.profile.file import chosen
from headwater.profile.tls import client_context, server_name

VARIABLE = "HEADWATER_TEST_FLUVIO_PROFILE"

pytestmark = pytest.mark.skipif(VARIABLE not in os.environ, reason=f"${VARIABLE} names no profile of a real cluster")


async def test_a_topic_from_its_making_to_its_end() -> None:
    """Topics are made and deleted, records go to their partitions and come back as they were."""
    profile = chosen(os.environ[VARIABLE]).cluster
    assert profile is not None, "the profile must be one of Fluvio's"
    target = Target(
        profile.host,
        profile.port,
        tls=client_context(profile.tls),
        server_name=partial(server_name, profile.tls),
        use_spu_local_address=profile.use_spu_local_address,
    )
    name = f"headwater-test-{uuid.uuid4().hex[:12]}"
    async with Cluster(target) as cluster:
        await cluster.create_topic(name, TopicSpec(partitions=2))
        try:
            with pytest.raises(TopicExistsError):
                await cluster.create_topic(name)
            sent = [Record(b"%d" % number, b"key" if number % 2 else None) for number in range(100)]
            async with Producer(cluster, name) as producer:
                receipts = await producer.send(sent)
            assert sum(receipt.count for receipt in receipts) == len(sent)
            read = []
            for partition in range(2):
                start, end = await cluster.offsets(name, partition)
                found = await cluster.read(name, Offset.beginning(), partition=partition)
                assert [record.offset for record in found] == list(range(start, end))
                read += [(int(record.value), record.key) for record in found]
            assert sorted(read) == [(int(record.value), record.key) for record in sent]
        finally:
            await cluster.delete_topic(name)
        with pytest.raises(TopicNotFoundError):
            await cluster.delete_topic(name)
