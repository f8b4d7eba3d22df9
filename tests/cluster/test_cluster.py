"""Topics, SmartModules and SPUs of a cluster, and how it is found again."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.peer import FIRST_SPU, ScriptedCluster, answer, close, cut, raw, says, silent
from headwater.cluster import Cluster, ClusterTopic
from headwater.cluster import cluster as cluster_module
from headwater.cluster.failure import refused, unreachable
from headwater.cluster.versions import SC_VERSIONS
from headwater.core.errors import (
    ClusterError,
    ClusterProtocolError,
    ClusterRefusedError,
    ClusterTimeoutError,
    ClusterUnreachableError,
    HeadwaterError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    RecordTooLargeError,
    SmartModuleError,
    TopicExistsError,
    TopicNameError,
    TopicNotFoundError,
)
from headwater.core.topic import Deduplication, TopicSpec
from headwater.fluvio import objects
from headwater.fluvio.admin import CREATE, DELETE, LIST, WATCH, Changed, Update, encode_objects, encode_update
from headwater.fluvio.errorcode import NAMES, ErrorCode, code
from headwater.fluvio.frame import API_VERSIONS
from headwater.fluvio.records import FETCH_OFFSETS
from headwater.testing.certificates import Certificates
from headwater.testing.clock import VirtualClock

SOON = timedelta(seconds=0.1)


async def test_topics() -> None:
    """Topics come by name; a filter that the cluster takes for a part of names is exact here."""
    async with ScriptedCluster({"b": 1, "a": 3, "ab": 1}) as peer, Cluster(peer.target()) as cluster:
        assert cluster.platform == "0.18.1"
        assert [it.name for it in await cluster.topics()] == ["a", "ab", "b"]
        assert [it.name for it in await cluster.topics(["a"])] == ["a"]
        assert (await cluster.topic("a")).spec.partitions == 3
        with pytest.raises(TopicNotFoundError, match="topic not found: c"):
            await cluster.topic("c")


async def test_create_and_delete() -> None:
    """A topic is made with everything that was said of it, once, and goes."""
    spec = TopicSpec(
        partitions=2,
        retention=timedelta(hours=1),
        max_partition_bytes=10_000,
        segment_bytes=1000,
        compression="zstd",
        replication=3,
        ignore_rack=True,
        deduplication=Deduplication("dedup", 10, timedelta(minutes=1), {"a": "b"}),
        system=True,
    )
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await cluster.create_topic("new", spec)
        assert await cluster.topic("new") == ClusterTopic("new", spec)
        await cluster.create_topic("kept", TopicSpec(retention=None))
        assert (await cluster.topic("kept")).spec == TopicSpec(retention=None)
        with pytest.raises(TopicExistsError, match="topic already exists: new"):
            await cluster.create_topic("new")
        await cluster.delete_topic("new", force=True)
        with pytest.raises(TopicNotFoundError, match="cannot delete topic new"):
            await cluster.delete_topic("new")
        with pytest.raises(TopicNameError):
            await cluster.create_topic("No")
        assert len(peer.requests(CREATE)) == 3


async def test_what_cannot_be_said_of_a_topic() -> None:
    """Topics that were made otherwise are shown as far as words go."""
    assigned = objects.Assigned((objects.PartitionMap(0, (5001, 5002)),))
    mirrored = objects.Mirrored(objects.RemoteMirror("home", ()))
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.topics["assigned"] = objects.TopicSpec(assigned)
        peer.topics["mirrored"] = objects.TopicSpec(mirrored)
        found = {it.name: it.spec for it in await cluster.topics()}
        assert found["assigned"] == TopicSpec(replication=2)
        assert found["mirrored"] == TopicSpec(partitions=0)


async def test_an_unclear_end_is_not_repeated() -> None:
    """What creates or deletes is asked once: a second time could be refused for the first."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(0, CREATE, cut)
        with pytest.raises(ClusterUnreachableError):
            await cluster.create_topic("new")
        assert len(peer.requests(CREATE)) == 1
        peer.script(0, DELETE, says("PermissionDenied"))
        with pytest.raises(ClusterRefusedError, match="permission denied"):
            await cluster.delete_topic("t")


async def test_lists_are_asked_again() -> None:
    """A connection that broke is opened again, with its watches."""
    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        peer.script(0, LIST, close, cut)
        assert [it.name for it in await cluster.topics()] == ["t"]
        assert len(peer.requests(WATCH)) == 9
        peer.drop(0)
        assert [it.spec.id for it in await cluster.spus()] == [FIRST_SPU]
        assert [it.name for it in await cluster.partitions()] == ["t-0"]


async def test_patience_ends() -> None:
    """A cluster that is gone is asked again with growing pauses, until patience ends."""
    clock = VirtualClock()
    async with ScriptedCluster() as peer, Cluster(peer.target(), clock=clock, chance=lambda: 1) as cluster:
        peer.shut(0)
        task = asyncio.ensure_future(cluster.topics())
        pauses: list[float] = []
        while sum(pauses) < 30:
            pauses.append(await clock.next_wake())
        with pytest.raises(ClusterUnreachableError, match="connection refused"):
            await task
        assert pauses[:9] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])
        assert sum(pauses) == pytest.approx(30)


@pytest.mark.parametrize("fault", [close, raw(b"SSH-2.0-OpenSSH_9.2\r\n"), answer(b"\0")])
async def test_no_cluster_there(fault: object) -> None:
    """Entering fails at once when there is no cluster."""
    async with ScriptedCluster() as peer:
        peer.script(0, API_VERSIONS, fault)  # type: ignore[arg-type]
        with pytest.raises(ClusterError):
            await Cluster(peer.target()).__aenter__()


@pytest.mark.parametrize("fault", [close, answer(b"\0\3SPU\0\0\0\1\0"), says("PermissionDenied")])
async def test_watches_that_fail(fault: object) -> None:
    """A cluster whose watches cannot be read is none that can be used."""
    async with ScriptedCluster() as peer:
        peer.script(0, WATCH, fault)  # type: ignore[arg-type]
        with pytest.raises(ClusterError):
            await Cluster(peer.target()).__aenter__()


async def test_a_watch_of_another_kind() -> None:
    """Objects of another kind than the watched one are not Fluvio's protocol."""
    async with ScriptedCluster() as peer:
        body = encode_update("SPU", Update(1, (), ()), 19)
        topic = encode_update("Topic", Update(1, (), peer.objects_of("Topic")), 19)
        peer.script(0, WATCH, answer(topic), answer(body))
        with pytest.raises(ClusterProtocolError, match="another kind"):
            await Cluster(peer.target()).__aenter__()


async def test_a_watch_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster need not say that it has nothing of a kind."""
    monkeypatch.setattr("headwater.cluster.links._FIRST_WORD", 0.05)
    async with ScriptedCluster() as peer:
        peer.script(0, WATCH, silent, silent, silent)
        async with Cluster(peer.target()) as cluster:
            assert [it.name for it in await cluster.topics()] == ["t"]


async def test_too_old() -> None:
    """A cluster from before objects had what is needed says so."""
    versions = {**SC_VERSIONS, WATCH: (1, 4)}
    async with ScriptedCluster(sc_versions=versions) as peer:
        with pytest.raises(ClusterProtocolError, match="versions 1 to 4 of API 1004"):
            await Cluster(peer.target()).__aenter__()


@pytest.mark.parametrize("version", [10, 11, 15, 19])
async def test_older_clusters(version: int) -> None:
    """Everything works in the versions of clusters from 0.10 on."""
    versions = dict.fromkeys(SC_VERSIONS, (1, version)) | {API_VERSIONS: (0, 2)}
    async with ScriptedCluster(sc_versions=versions) as peer, Cluster(peer.target()) as cluster:
        await cluster.create_topic("new", TopicSpec(partitions=2))
        assert [it.name for it in await cluster.topics()] == ["new", "t"]
        assert await cluster.offsets("new", 1) == (0, 0)
        await cluster.delete_topic("new")


async def test_modules() -> None:
    """A SmartModule's code comes unpacked, whether it was packed or not."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        code_ = b"\0asm" + bytes(1000)
        peer.modules = {"b": gzip.compress(code_), "a": code_}
        assert [it.name for it in await cluster.modules()] == ["a", "b"]
        assert await cluster.module("a") == await cluster.module("b") == code_
        with pytest.raises(SmartModuleError, match="the cluster has no SmartModule c"):
            await cluster.module("c")


@pytest.mark.parametrize(
    ("packed", "says_so"),
    [
        (b"nonsense", "does not unpack"),
        (gzip.compress(bytes(1000), mtime=0)[:-4], "cut off"),
        (gzip.compress(bytes(5000), mtime=0), "larger than 2000"),
    ],
)
async def test_modules_that_are_none(packed: bytes, says_so: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not unpack, or would fill the memory, is refused."""
    monkeypatch.setattr(cluster_module, "MOST_MODULE_BYTES", 2000)
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.modules = {"m": packed}
        with pytest.raises(SmartModuleError, match=says_so):
            await cluster.module("m")
    assert zlib.MAX_WBITS == 15


async def test_a_list_of_something_else() -> None:
    """Objects that were not asked for are dropped."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(0, LIST, answer(encode_objects("Topic", peer.objects_of("Topic"), 19)))
        assert await cluster.modules() == []


async def test_names_of_tls(tmp_path: Path) -> None:
    """The SC's certificate is for the domain, and each SPU's for its own name below it."""
    certificates = Certificates(tmp_path)

    def server_name(key: str | None) -> str | None:
        return "fluvio.local" if key is None else f"{key}.fluvio.local"

    async with ScriptedCluster(tls=certificates.context("fluvio.local", "*.fluvio.local")) as peer:
        async with Cluster(peer.target(tls=certificates.client_context(), server_name=server_name)) as cluster:
            assert await cluster.offsets("t") == (0, 0)
        with pytest.raises(ClusterUnreachableError, match="certificate"):
            await Cluster(peer.target(tls=certificates.client_context())).__aenter__()
        names = {None: "fluvio.local", f"spu-{FIRST_SPU}": "elsewhere"}
        target = peer.target(tls=certificates.client_context(), server_name=names.get)
        async with Cluster(target) as cluster:
            with pytest.raises(ClusterUnreachableError, match=f"SPU {FIRST_SPU}.*certificate"):
                await cluster.offsets("t")


async def test_local_addresses() -> None:
    """Inside the cluster's network SPUs are dialled at their local addresses."""
    async with ScriptedCluster() as peer, Cluster(peer.target(use_spu_local_address=True)) as cluster:
        assert await cluster.offsets("t") == (0, 0)
        spu = cluster.links._asking[FIRST_SPU]
        assert spu.endpoint.host == "localhost"


async def test_partitions_that_are_not_there() -> None:
    """A topic or a partition that does not exist is named at once."""
    async with ScriptedCluster({"t": 2}) as peer, Cluster(peer.target()) as cluster:
        with pytest.raises(PartitionNotFoundError, match="topic t has no partition 2; it has 2"):
            await cluster.offsets("t", 2)
        with pytest.raises(TopicNotFoundError, match="topic not found: nope"):
            await cluster.offsets("nope")


async def test_just_created() -> None:
    """A topic whose leaders are not told yet is waited for, no longer than until they are."""
    clock = VirtualClock()
    async with ScriptedCluster() as peer, Cluster(peer.target(), clock=clock) as cluster:
        peer.tell = False
        await cluster.create_topic("new")
        task = asyncio.ensure_future(cluster.offsets("new"))
        await clock.sleeping()
        peer.tell = True
        peer.announce()
        assert await task == (0, 0)
        assert clock.monotonic() == 0


async def test_nobody_leads() -> None:
    """A partition without a leader is an error once patience has ended."""
    clock = VirtualClock()
    async with ScriptedCluster({"t": 2}) as peer:
        peer.leaders["t", 1] = 0
        async with Cluster(peer.target(patience=timedelta(seconds=1)), clock=clock) as cluster:
            task = asyncio.ensure_future(cluster.offsets("t", 1))
            while clock.monotonic() < 1:
                await clock.next_wake()
            with pytest.raises(ClusterRefusedError, match="partition 1 of topic t has no leader") as caught:
                await task
            assert caught.value.retryable


async def test_an_spu_that_leaves() -> None:
    """An SPU that is not in the cluster any more, or has no address, is not dialled."""
    async with ScriptedCluster(spus=2) as peer, Cluster(peer.target(patience=timedelta(0))) as cluster:
        gone = peer.spu(FIRST_SPU)
        with pytest.raises(ClusterUnreachableError, match="not part of the cluster"):
            await cluster.links.asking(4000)
        nowhere = objects.Spu(gone.name, objects.SpuSpec(FIRST_SPU), gone.status)
        peer.announce(Changed(False, nowhere))
        await cluster.topics()
        with pytest.raises(ClusterUnreachableError, match="tells no address of SPU 5001"):
            await cluster.offsets("t")
        peer.announce(Changed(True, gone))
        await cluster.topics()
        with pytest.raises(ClusterRefusedError, match="has no leader"):
            await cluster.offsets("t")


async def test_a_leader_that_moved() -> None:
    """Who does not lead any more says so, and who leads now is asked."""
    async with ScriptedCluster(spus=2) as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        peer.tell = False
        peer.leaders["t", 0] = FIRST_SPU + 1
        task = asyncio.ensure_future(cluster.offsets("t"))
        await peer.wait_for(FETCH_OFFSETS)
        peer.tell = True
        peer.announce()
        assert await task == (0, 0)
        assert peer.requests(FETCH_OFFSETS)[-1].side == FIRST_SPU + 1


async def test_only_one_connection_is_opened() -> None:
    """Many who need an SPU at once share its connection."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await asyncio.gather(*(cluster.offsets("t") for _ in range(20)))
        assert [it.side for it in peer.requests(API_VERSIONS)] == [0, FIRST_SPU]
        peer.drop(0)
        peer.drop(FIRST_SPU)
        await asyncio.gather(*(cluster.topics() for _ in range(20)))
        assert len([it for it in peer.requests(API_VERSIONS) if it.side == 0]) == 2


async def test_offsets_of_something_else() -> None:
    """An answer about another partition is not taken for the one that was asked for."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(FIRST_SPU, FETCH_OFFSETS, answer(b"\0\0\0\0"))
        with pytest.raises(ClusterProtocolError, match="something else"):
            await cluster.offsets("t")


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (code("OffsetOutOfRange"), OffsetOutOfRangeError),
        (code("OffsetEvicted", 3, 9), OffsetOutOfRangeError),
        (code("TopicNotFound"), TopicNotFoundError),
        (code("TopicAlreadyExists"), TopicExistsError),
        (code("TopicInvalidName"), TopicNameError),
        (code("MessageTooLarge"), RecordTooLargeError),
        (code("RequestTimedOut", 1500, 0), ClusterTimeoutError),
        (code("SmartModuleNotFound", "x"), SmartModuleError),
        (code("StorageError"), ClusterRefusedError),
        (ErrorCode(12345), ClusterRefusedError),
    ],
)
def test_codes(outcome: ErrorCode, kind: type[HeadwaterError]) -> None:
    """Error codes are the errors of the tree, with what was tried and what the cluster said."""
    error = refused(outcome, "cannot do it")
    assert type(error) is kind
    assert error.message.startswith(f"cannot do it: {outcome.sentence}")
    assert refused(outcome, "cannot do it", "because").message.startswith("cannot do it: because")
    if isinstance(error, ClusterRefusedError):
        assert error.retryable == (outcome.number == NAMES["StorageError"])


def test_broken_connections() -> None:
    """Whatever the system says of a connection is the same error of ours."""
    errors = (None, OSError("odd"), ConnectionResetError(104, "Connection reset by peer"), TimeoutError())
    assert [unreachable(error, "tried").slug for error in errors] == ["closed", "connect", "closed", "timeout"]
