"""What tests of groups share: a bed whose endpoints note who polls them, and what must be so of the notes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from lightkube import ApiError
from lightkube.codecs import from_dict
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Pod

from headwater.config import SecretSource, define_text
from headwater.core.managed import Definition
from headwater.kubernetes import names
from headwater.kubernetes.group.members import Told, decode_states, member_of
from headwater.kubernetes.group.render import Group, render_group, render_member
from headwater.kubernetes.options import Settings
from headwater.kubernetes.render import Manifest
from headwater.testing import Answer, Received
from headwater.testing.kubernetes import Image
from kubernetes.cluster import Cluster
from kubernetes.connectors import ALLOWED, PATIENCE, PROFILE, Bed, bed, until

TELLING = "headwater:telling"
GROUP = "feeds"
SLOTS = 12
BOUND = 20.0
"""Within so many seconds of a death everything is polled again."""


def telling() -> Image:
    """Return the image whose requests tell who sends them."""
    return Image.python(str(Path(__file__).with_name("telling.py")))


class Poll(msgspec.Struct, frozen=True):
    """A request of a connector as its endpoint saw it. `number` is what its checkpoint says."""

    at: float
    connector: str
    pod: str
    fence: int
    number: int


class GroupBed:
    """A namespace with a group in it."""

    def __init__(self, it: Bed) -> None:
        self.bed = it
        self.polls: list[Poll] = []

    def definition(self, name: str, more: str = "", **secrets: str) -> Definition:
        """Return a connector whose endpoint counts, and notes who asks."""

        def counted(request: Received) -> Answer:
            number = int(request.header("if-none-match") or 0)
            pod, fence = request.header("x-pod") or "", int(request.header("x-fence") or 0)
            self.polls.append(Poll(time.monotonic(), name, pod, fence, number))
            return Answer(body=b"%d" % number, headers=(("etag", str(number + 1)),))

        url = self.bed.server.route(f"/{name}", counted)
        text = f"name: {name}\ntopic: {name}\nparameters:\n  endpoint: {url}\n  interval: 200ms\n{more}"
        return define_text(text, secrets=SecretSource(secrets, "a test")).definitions[0]

    async def apply(self, *objects: Manifest) -> None:
        """Make objects, or make them so."""
        for it in objects:
            await self.bed.client.apply(from_dict(it), field_manager=names.MANAGER, force=True)

    async def make(self, replicas: int, connectors: int, image: str = TELLING) -> list[str]:
        """Make the group with so many connectors, and wait until all are polled; return their names."""
        await self.bed.provide_profile()
        group = Group(GROUP, Settings(image=image, grace=5, egress_allow=ALLOWED), replicas, SLOTS)
        await self.apply(*render_group(group))
        found = [f"c{number}" for number in range(connectors)]
        for name in found:
            await self.apply(*render_member(self.definition(name), GROUP))
        await self.polled(found)
        return found

    async def polled(self, connectors: list[str]) -> None:
        """Wait until each of these has been polled from now on."""
        now = time.monotonic()
        await until(
            lambda: {it.connector for it in self.polls if it.at > now} >= set(connectors), "every connector is polled"
        )

    async def objects(self, kind: type[Any], labels: Mapping[str, str]) -> list[Manifest]:
        """Return the objects of a kind that have these labels."""
        return [it.to_dict() async for it in self.bed.client.list(kind, labels=dict(labels))]

    async def pods(self) -> list[str]:
        """Return the names of the pods that are there and not about to go."""
        found = await self.objects(Pod, names.group_owner(GROUP))
        return [it["metadata"]["name"] for it in found if "deletionTimestamp" not in it["metadata"]]

    async def holders(self) -> dict[int, str]:
        """Return the pods that hold the slots, by the slots."""
        return {
            int(it["metadata"]["labels"][names.SLOT]): holder.rpartition("_")[0]
            for it in await self.objects(Lease, names.group_owner(GROUP, "slot"))
            if (holder := it["spec"].get("holderIdentity"))
        }

    async def states(self) -> Mapping[str, Told]:
        """Return what is told of the connectors by the leases of their slots."""
        found: dict[str, Told] = {}
        for it in await self.objects(Lease, names.group_owner(GROUP, "slot")):
            found |= decode_states(it["metadata"].get("annotations", {}).get(names.STATES, "{}"))
        return found

    async def shared(self, pods: int) -> dict[str, int]:
        """Wait until so many pods share all slots fairly; return how many each has."""

        async def fair() -> dict[str, int] | None:
            holders, there = await self.holders(), await self.pods()
            shares = {pod: sum(it == pod for it in holders.values()) for pod in there}
            good = len(holders) == SLOTS and len(there) == pods and sum(shares.values()) == SLOTS
            return shares if good and max(shares.values()) - min(shares.values()) <= 1 else None

        shares: dict[str, int] = await until(fair, f"{pods} pods share all slots")
        return shares

    async def replaced(self, definition: Definition) -> None:
        """Make another version of a connector, and wait until it runs."""
        objects = render_member(definition, GROUP)
        await self.apply(*objects)
        version = member_of(objects[-1])
        assert version is not None
        wanted = Told(checksum=version.checksum)

        async def so() -> bool:
            return (await self.states()).get(definition.name) == wanted

        await until(so, f"another {definition.name} runs")

    async def scale(self, replicas: int) -> None:
        """Have another number of pods."""
        await self.bed.client.patch(Deployment, GROUP, {"spec": {"replicas": replicas}})

    async def patch(self, connector: str, change: Manifest) -> None:
        """Change the ConfigMap of a connector by hand."""
        await self.bed.client.patch(ConfigMap, names.member_name(connector), change)

    async def tell(self) -> None:
        """Print what the pods are and have said, for whoever reads why a test has failed."""
        for pod in await self.objects(Pod, {}):
            name = pod["metadata"]["name"]
            print(name, pod["status"].get("containerStatuses"))
            with suppress(ApiError):
                async for line in self.bed.client.log(name, tail_lines=60):
                    print(line.rstrip())
        print({slot: pod[-5:] for slot, pod in (await self.holders()).items()})

    def check(self) -> None:
        """No endpoint is ever polled by two: what comes under a lease comes from one pod, and after all before it."""
        newest: dict[str, int] = {}
        owners: dict[tuple[str, int], str] = {}
        for poll in self.polls:
            assert poll.fence > 0
            assert poll.fence >= newest.get(poll.connector, 0), poll
            newest[poll.connector] = poll.fence
            assert owners.setdefault((poll.connector, poll.fence), poll.pod) == poll.pod, poll

    async def check_records(self, connectors: list[str], *, twice: int) -> None:
        """No number is missing in any topic, none comes after a later one, and so many at most are there twice."""
        for name in connectors:
            numbers = await self.bed.values(name)
            assert numbers == sorted(numbers), name
            assert set(numbers) == set(range(max(numbers) + 1)), name
            assert len(numbers) - len(set(numbers)) <= twice, name


class Line:
    """The way to the API server, which a test can cut: `async with Line(port) as line`."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Sockets are closed a turn after their transports have been given up.
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Let nothing pass, from now on."""
        self._is_cut.set()
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Let everything pass again."""
        self._is_cut.clear()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut.is_set():
            writer.transport.abort()
            return
        self._ends.add(writer)
        ends = {writer}
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
            ends.add(far_writer)
            self._ends.add(far_writer)
            if self._is_cut.is_set():
                return
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(reader, far_writer))
                tasks.create_task(_pump(far_reader, writer))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class Process:
    """A worker outside of pods, over a line of its own."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, line: Line, log: Path) -> None:
        self.name = name
        self.process = process
        self.line = line
        self._log = log

    def said(self) -> str:
        """Return what it has logged."""
        return self._log.read_text()


@asynccontextmanager
async def working(it: GroupBed, name: str, directory: Path, slots: int = SLOTS) -> AsyncIterator[Process]:
    """Run a worker until the block is left; it is ended with SIGTERM, and must end well."""
    far = urlsplit(it.bed.cluster.url)
    directory = directory / name
    directory.mkdir()
    async with Line(far.port or 443) as line:
        log = (directory / "log").open("w")
        kubeconfig = it.bed.cluster.kubeconfig.read_text().replace(it.bed.cluster.url, f"https://127.0.0.1:{line.port}")
        (directory / "kubeconfig").write_text(kubeconfig)
        (directory / "profile").write_text(PROFILE.format(endpoint=it.bed.fluvio.endpoint))
        told = {"POD_NAME": name, "FLV_PROFILE_PATH": str(directory / "profile"), "HOME": str(directory)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("telling.py")),
            *("k8s", "worker", "--group", GROUP, "--slots", str(slots), "--namespace", it.bed.namespace),
            *("--kubeconfig", str(directory / "kubeconfig"), "--data-dir", str(directory / "data"), "--grace", "5s"),
            f"--egress-allow={','.join(ALLOWED)}",
            env=os.environ | told,
            stderr=log,
        )
        try:
            yield Process(name, process, line, directory / "log")
        except BaseException:
            print(name, (directory / "log").read_text())
            raise
        finally:
            line.mend()
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                status = await process.wait()
            log.close()
        assert status == 0


@asynccontextmanager
async def group_bed(cluster: Cluster, namespace: str, directory: Path) -> AsyncIterator[GroupBed]:
    """Open a bed for a group."""
    async with bed(cluster, namespace, directory) as it:
        made = GroupBed(it)
        try:
            yield made
        except BaseException:
            await made.tell()
            raise
