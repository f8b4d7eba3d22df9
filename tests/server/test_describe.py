"""How topics look as Fluvio's objects, and back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.topic import DEFAULT_RETENTION, Deduplication, TopicSpec
from headwater.fluvio import objects
from headwater.fluvio.compression import Compression
from headwater.fluvio.topicspec import wire_spec
from headwater.log import TopicInfo
from headwater.server import describe

SPECS = st.builds(
    TopicSpec,
    partitions=st.integers(1, 10_000),
    retention=st.none() | st.integers(1, 2**32 - 2).map(lambda seconds: timedelta(seconds=seconds)),
    max_partition_bytes=st.none() | st.integers(0, 2**64 - 1),
    compression=st.sampled_from(["any", *(codec.name.lower() for codec in Compression)]),
    segment_bytes=st.none() | st.integers(0, 2**32 - 1),
    ignore_rack=st.booleans(),
    deduplication=st.none() | st.builds(Deduplication, st.text(), st.integers(1, 1000), st.none() | st.timedeltas()),
    system=st.booleans(),
)


@given(SPECS)
def test_there_and_back(spec: TopicSpec) -> None:
    """Whatever a topic is made with, clients are told the same, and can make another one with it."""
    assert describe.topic_spec(wire_spec(spec)) == spec


def test_what_a_client_does_not_say() -> None:
    """A client that says nothing gets Fluvio's own defaults."""
    assert describe.topic_spec(objects.TopicSpec()) == TopicSpec()
    assert describe.topic_spec(objects.TopicSpec()).retention == DEFAULT_RETENTION


def test_partitions_and_the_spu() -> None:
    """A partition is led by the one SPU, which is told with the address and whether it speaks TLS."""
    info = TopicInfo("cats", 1, 0, TopicSpec(partitions=2))
    partition = describe.partition(info, 1, 3, 9, 4711)
    assert (partition.name, partition.spec.leader, partition.spec.replicas) == ("cats-1", 5001, (5001,))
    status = partition.status
    assert (status.base_offset, status.leader.high_watermark, status.leader.end, status.size) == (3, 9, 9, 4711)
    assert status.resolution is objects.PartitionResolution.ONLINE
    for encrypted, encryption in ((True, objects.Encryption.SSL), (False, objects.Encryption.PLAINTEXT)):
        spu = describe.spu("cats.example", 9005, encrypted=encrypted)
        assert (spu.name, spu.spec.id, spu.spec.public.host) == ("spu-5001", 5001, "cats.example")
        assert spu.spec.public.encryption is encryption


@pytest.mark.parametrize(
    ("names", "system", "found"),
    [((), False, ["cats", "tomcats"]), (("tom",), False, ["tomcats"]), ((), True, ["inner"]), (("x",), True, [])],
)
def test_which_topics_are_listed(names: tuple[str, ...], found: list[str], *, system: bool) -> None:
    """Filters are parts of names; topics of the system stand apart."""
    infos = [TopicInfo(name, 0, 0, TopicSpec(system=name == "inner")) for name in ("cats", "inner", "tomcats")]
    assert [info.name for info in describe.matching(infos, names, system=system)] == found
