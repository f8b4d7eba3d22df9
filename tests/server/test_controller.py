"""The system controller: topics and SmartModules are made, listed, changed, deleted and watched in every version."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from headwater.core.topic import Deduplication
from headwater.core.topic import TopicSpec as OurSpec
from headwater.core.window import MOST_REMEMBERED
from headwater.fluvio import admin, objects
from headwater.fluvio.errorcode import code
from headwater.fluvio.objects import Algorithm, Assigned, Computed, PartitionMap, TopicSpec
from headwater.fluvio.wire import Reader
from server.peer import GoneError, Peer, Replies, serving

SC_VERSIONS = range(6, 20)


async def update(replies: Replies) -> admin.Update:
    return admin.decode_update(Reader(await replies.raw()), replies.version)


def names(update: admin.Update) -> tuple[list[str], list[str], list[str]]:
    """Return the names of all objects, of those that changed, and of those that were deleted."""
    return (
        [it.name for it in update.all],
        [it.object.name for it in update.changes if not it.deleted],
        [it.object.name for it in update.changes if it.deleted],
    )


@pytest.mark.parametrize("version", SC_VERSIONS)
async def test_a_topic_in_every_version(tmp_path: Path, version: int) -> None:
    """Every version that is announced creates, lists, watches and deletes a topic with its partitions."""
    async with serving(tmp_path) as it:
        peer, watcher = await it.sc(), await it.sc()
        watches = {label: watcher.watch(label, version) for label in ("Topic", "Partition", "SPU")}
        assert "cats" not in names(await update(watches["Topic"]))[0]
        assert names(await update(watches["SPU"]))[0] == ["spu-5001"]
        await update(watches["Partition"])
        spec = TopicSpec(Computed(3, 1), objects.Retention(3600), objects.Storage(2000, 1_000_000), Algorithm.GZIP)
        assert await peer.create("cats", spec, version) == admin.Status("cats")
        (topic,) = await peer.listed("Topic", "cats", version=version)
        assert topic.spec == objects.TopicSpec(
            Computed(3, 1), objects.Retention(3600), objects.Storage(2000, 1_000_000), Algorithm.GZIP
        )
        assert topic.status.resolution is objects.TopicResolution.PROVISIONED
        assert topic.status.replica_map == {0: (5001,), 1: (5001,), 2: (5001,)}
        assert await peer.names("Partition", version=version) == ["cats-0", "cats-1", "cats-2"]
        (spu,) = await peer.listed("SPU", version=version)
        assert (spu.spec.id, spu.spec.public.host, spu.spec.public.port) == (5001, "127.0.0.1", it.server.spu_port)
        assert names(await update(watches["Topic"])) == ([], ["cats"], [])
        assert names(await update(watches["Partition"])) == ([], ["cats-0", "cats-1", "cats-2"], [])
        assert await peer.delete("Topic", "cats", version) == admin.Status("cats")
        assert names(await update(watches["Topic"])) == ([], [], ["cats"])
        assert names(await update(watches["Partition"])) == ([], [], ["cats-0", "cats-1", "cats-2"])
        assert watches["SPU"].waiting == 0
        assert await peer.names("Topic", version=version) == []


async def test_what_a_topic_is_made_with(tmp_path: Path) -> None:
    """All that a client says of a topic is kept over a restart, and told again."""
    drops = objects.Deduplication(
        objects.Bounds(1000, timedelta(hours=1)), objects.Transform("dedup-filter", {"unit": "record"})
    )
    spec = TopicSpec(Computed(2, 1), objects.Retention(60), objects.Storage(None, 2**40), Algorithm.ZSTD, drops)
    async with serving(tmp_path) as it:
        peer = await it.sc()
        assert not (await peer.create("cats", spec)).code
        info = it.log.info("cats")
        assert info is not None
        assert info.spec == OurSpec(
            partitions=2,
            retention=timedelta(minutes=1),
            max_partition_bytes=2**40,
            compression="zstd",
            deduplication=Deduplication("dedup-filter", 1000, timedelta(hours=1), {"unit": "record"}),
        )
    async with serving(tmp_path) as it:
        (topic,) = await (await it.sc()).listed("Topic")
        assert topic.spec == spec
        (first, second) = await (await it.sc()).listed("Partition", "cats")
        assert (first.name, second.name) == ("cats-0", "cats-1")
        assert first.spec.deduplication == drops
        assert first.status.leader.spu == 5001


async def test_extremes_of_a_topic(tmp_path: Path) -> None:
    """The largest numbers that the wire takes neither break the server nor the next start."""
    drops = objects.Deduplication(objects.Bounds(MOST_REMEMBERED, timedelta.max), objects.Transform("dedup-filter", {}))
    largest = TopicSpec(
        Computed(1, 1), objects.Retention(2**32 - 1), objects.Storage(2**32 - 1, 2**64 - 1), Algorithm.ANY, drops
    )
    async with serving(tmp_path) as it:
        assert not (await (await it.sc()).create("cats", largest)).code
        await it.log.retain()
    async with serving(tmp_path) as it:
        (topic,) = await (await it.sc()).listed("Topic")
        assert topic.spec.storage == largest.storage
        assert topic.spec.deduplication.bounds == objects.Bounds(MOST_REMEMBERED, timedelta.max)
        assert (await (await it.sc()).create("dogs")).code == code("None")


REFUSED = [
    ("cats", TopicSpec(), "TopicAlreadyExists", "topic already exists: cats"),
    ("Cats", TopicSpec(), "TopicInvalidName", "invalid topic name: 'Cats'"),
    ("", TopicSpec(), "TopicInvalidName", "invalid topic name"),
    ("-a", TopicSpec(), "TopicInvalidName", "(try a)"),
    ("x" * 64, TopicSpec(), "TopicInvalidName", "at most 63"),
    ("x" * 32767, TopicSpec(), "TopicInvalidName", "invalid topic name"),
    ("\U0001f408" * 8000, TopicSpec(), "TopicInvalidName", "invalid topic name"),
    ("../../etc", TopicSpec(), "TopicInvalidName", "invalid topic name"),
    ("consumer-offset", TopicSpec(), "TopicAlreadyExists", "already exists"),
    ("dogs", TopicSpec(Computed(0, 1)), "TopicInvalidConfiguration", "1 to 10000 partitions, not 0"),
    ("dogs", TopicSpec(Computed(2**32 - 1, 1)), "TopicInvalidConfiguration", "1 to 10000 partitions"),
    ("dogs", TopicSpec(Computed(1, 3)), "TopicInvalidConfiguration", "replication factor 3"),
    (
        "dogs",
        TopicSpec(deduplication=objects.Deduplication(objects.Bounds(2**64 - 1), objects.Transform("x", {}))),
        "TopicInvalidConfiguration",
        "deduplication remembers 1 to",
    ),
    ("dogs", TopicSpec(Assigned(())), "TopicInvalidConfiguration", "partitions"),
    ("dogs", TopicSpec(Assigned((PartitionMap(1, (5001,)),))), "TopicInvalidConfiguration", "0, 1, 2 and so on"),
    ("dogs", TopicSpec(Assigned((PartitionMap(0, (5002,)),))), "TopicInvalidConfiguration", "SPU 5001"),
    (
        "dogs",
        TopicSpec(objects.Mirrored(objects.HomeMirror((objects.HomePartition("far", "x-0"),)))),
        "TopicInvalidConfiguration",
        "mirrored topics are not available",
    ),
]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_topics_that_are_refused(tmp_path: Path, *, dry_run: bool) -> None:
    """A name or a shape that cannot be is refused with Fluvio's code and a sentence, in a dry run too."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.sc()
        for name, spec, answer, message in REFUSED:
            status = await peer.create(name, spec, dry_run=dry_run)
            assert (status.name, status.code) == (name, code(answer)), status
            assert message in (status.message or "")
            assert len(status.message or "") < 2100
        assert [info.name for info in it.log.topics_now()] == ["cats"]


async def test_a_dry_run(tmp_path: Path) -> None:
    """A dry run says whether it would be made, and makes nothing."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        assert not (await peer.create("cats", dry_run=True)).code
        assert await peer.names() == []


async def test_partitions_that_are_assigned(tmp_path: Path) -> None:
    """Partitions may be assigned by hand, to the one SPU that there is, in any order."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        maps = (PartitionMap(1, (5001,)), PartitionMap(0, (5001,)))
        assert not (await peer.create("cats", TopicSpec(Assigned(maps)))).code
        assert await peer.names("Partition") == ["cats-0", "cats-1"]


async def test_what_is_listed(tmp_path: Path) -> None:
    """Filters are parts of names; topics of the system come only when they are asked for, and then alone."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        for name in ("cats", "dogs", "tomcats"):
            await peer.create(name)
        await peer.create("inner", TopicSpec(system=True))
        for label, suffix in (("Topic", ""), ("Partition", "-0")):
            assert await peer.names(label) == [f"{name}{suffix}" for name in ("cats", "dogs", "tomcats")]
        assert [it.name for it in await peer.listed("Topic", "cat")] == ["cats", "tomcats"]
        assert [it.name for it in await peer.listed("Topic", "cat", "dog")] == ["cats", "dogs", "tomcats"]
        assert [it.name for it in await peer.listed("Topic", "bird")] == []
        assert [it.name for it in await peer.listed("Partition", "cats-0")] == ["cats-0", "tomcats-0"]
        assert await peer.names("Topic", system=True) == ["inner", "consumer-offset"]
        assert await peer.names("Partition", system=True) == ["inner-0", "consumer-offset-0"]
        assert {"inner", "consumer-offset", "cats"} <= set(names(await update(peer.watch("Topic")))[0])


@pytest.mark.parametrize("label", ["CustomSpu", "SpuGroup", "TableFormat", "Mirror", "Nonsense", ""])
async def test_kinds_that_there_are_none_of(tmp_path: Path, label: str) -> None:
    """Kinds of objects that exist elsewhere are listed as none, and neither made nor deleted."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        body = admin.encode_request(label, admin.Filters(), 19)
        assert (await peer.ask(admin.LIST, 19, body).raw()).endswith(bytes(4))
        create = admin.encode_labelled(label, b"\0\1x\0\0" + bytes(20), 19)
        status = await peer.call(admin.CREATE, 19, create, admin.Status)
        assert status.code == code("InvalidCreateRequest")
        assert status.message == f"{label} cannot be created here"
        deleted = await peer.delete(label, "x")
        assert (deleted.code, deleted.message) == (code("InvalidDeleteRequest"), f"there is no {label} x")
        changed = await peer.call(
            admin.UPDATE,
            19,
            admin.encode_request(label, admin.UpdateTopic("x", admin.AddPartitions(1)), 19),
            admin.Status,
        )
        assert changed.code == code("Other", f"{label} cannot be changed here")
        await peer.ask(admin.WATCH, 19, admin.encode_request(label, admin.Watch(), 19)).raw()


async def test_what_is_deleted(tmp_path: Path) -> None:
    """What is not there is not deleted; topics of the system only by force, and that of offsets never."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.sc()
        missing = await peer.delete("Topic", "dogs")
        assert (missing.code, missing.message) == (code("TopicNotFound"), "topic not found: dogs")
        await peer.create("inner", TopicSpec(system=True))
        assert (await peer.delete("Topic", "inner")).code == code("SystemSpecDeletionAttempt", "topic", "inner")
        assert not (await peer.delete("Topic", "inner", force=True)).code
        for force in (False, True):
            refused = await peer.delete("Topic", "consumer-offset", force=force)
            assert refused.code == code("SystemSpecDeletionAttempt", "topic", "consumer-offset")
        assert await peer.names() == ["cats"]


async def test_partitions_are_added(tmp_path: Path) -> None:
    """A topic gets more partitions and its watchers hear of them; mirrors and too many are refused."""

    def asked(name: str, action: admin.AddPartitions | admin.AddMirror) -> bytes:
        return admin.encode_request("Topic", admin.UpdateTopic(name, action), 19)

    async with serving(tmp_path, "cats") as it:
        peer, watcher = await it.sc(), await it.sc()
        watch = watcher.watch("Partition")
        await update(watch)
        for version in range(15, 20):
            assert not (
                await peer.call(admin.UPDATE, version, asked("cats", admin.AddPartitions(1)), admin.Status)
            ).code
        found = set()
        while "cats-5" not in found:
            found.update(names(await update(watch))[1])
        assert await peer.names("Partition") == [f"cats-{number}" for number in range(6)]
        for name, action, answer, message in (
            ("dogs", admin.AddPartitions(1), "TopicNotFound", "topic not found: dogs"),
            ("cats", admin.AddPartitions(9_995), "TopicInvalidConfiguration", "at most 10000 partitions"),
            ("cats", admin.AddPartitions(2**32 - 1), "TopicInvalidConfiguration", "at most 10000 partitions"),
            ("cats", admin.AddMirror("far"), "TopicInvalidConfiguration", "mirrored topics"),
        ):
            status = await peer.call(admin.UPDATE, 19, asked(name, action), admin.Status)
            assert (status.code, message in (status.message or "")) == (code(answer), True)


async def test_watches_miss_nothing(tmp_path: Path) -> None:
    """Whatever changes while a watcher is busy, it ends up knowing what there is."""
    async with serving(tmp_path) as it:
        peer, watcher = await it.sc(), await it.sc()
        watch = watcher.watch("Topic")
        known = set(names(await update(watch))[0])
        asked = []
        for number in range(60):
            body = admin.encode_create(admin.Create("Topic", admin.Common(f"t{number}"), TopicSpec()), 19)
            asked.append(peer.ask(admin.CREATE, 19, body))
            if number % 3 == 0:
                asked.append(
                    peer.ask(admin.DELETE, 19, admin.encode_request("Topic", admin.DeleteKey(f"t{number}"), 19))
                )
        for replies in asked:
            assert not (await replies.next(admin.Status)).code
        wanted = {info.name for info in it.log.topics_now()} | {"consumer-offset"}
        epochs = [0]
        while known != wanted:
            told = await update(watch)
            epochs.append(told.epoch)
            _, changed, deleted = names(told)
            known = (known | set(changed)) - set(deleted)
        assert epochs == sorted(set(epochs))


async def test_too_many_watches(tmp_path: Path) -> None:
    """A connection has a bound of watches, and goes with the one beyond it."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        watches = [peer.watch("Topic") for _ in range(64)]
        for watch in watches:
            await update(watch)
        with pytest.raises(GoneError):
            await peer.watch("Topic").raw()


async def test_lists_while_topics_come_and_go(tmp_path: Path) -> None:
    """Lists of partitions are right while other clients make and delete topics."""
    async with serving(tmp_path, "cats") as it:
        peer, other = await it.sc(), await it.sc()

        async def churn() -> None:
            for _ in range(40):
                await other.create("dogs", TopicSpec(Computed(20, 1)))
                await other.delete("Topic", "dogs")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(churn())
            while not task.done():
                found = await peer.names("Partition")
                assert found[0] == "cats-0"


async def test_many_topics(tmp_path: Path) -> None:
    """Five hundred topics are told to a hundred watches, and a change costs each of them next to nothing."""
    async with serving(tmp_path) as it:
        for number in range(500):
            await it.log.create_topic(f"t{number}")
        peers = [await it.sc() for _ in range(50)]
        watches = [peer.watch(label) for peer in peers for label in ("Topic", "Partition")]
        for watch in watches:
            assert len((await update(watch)).all) == 501
        async with asyncio.timeout(2):
            for number in range(5):
                assert not (await peers[0].create(f"more{number}")).code
        for watch in watches:
            assert len(names(await update(watch))[1]) >= 1
        assert len(await peers[0].names("Partition")) == 505


@pytest.mark.parametrize("label", ["Topic", "SmartModule"])
async def test_bodies_that_lie_about_their_length(tmp_path: Path, label: str) -> None:
    """A label with a length beyond the frame ends the connection."""
    async with serving(tmp_path) as it:
        peer: Peer = await it.sc()
        body = len(label).to_bytes(2) + label.encode() + (2**31).to_bytes(4) + bytes(10)
        for api in (admin.CREATE, admin.LIST):
            with pytest.raises(GoneError):
                await peer.ask(api, 19, body).raw()
            peer = await it.sc()
