"""Owns a node's share of a cluster's work: it is there, it takes Pods that nobody has, it runs those that it has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from lightkube import ApiError, AsyncClient, SingleConfig
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import (
    ConfigMap,
    NodeStatus,
    PersistentVolumeClaim,
    Pod,
    PodBinding,
    PodStatus,
    Secret,
    Service,
)
from lightkube.resources.core_v1 import (
    Node as NodeObject,
)
from lightkube.types import PatchType

from headwater.testing.certificates import Certificates
from headwater.testing.kubernetes.api import ApiSources, changes, told
from headwater.testing.kubernetes.containerlog import ContainerLog
from headwater.testing.kubernetes.events import Events
from headwater.testing.kubernetes.hosts import hosts
from headwater.testing.kubernetes.image import Image
from headwater.testing.kubernetes.logserver import LogServer
from headwater.testing.kubernetes.pod import Host, PodRunner
from headwater.testing.kubernetes.status import Json, stamp
from headwater.testing.kubernetes.storage import Storage

_ADDRESS = "127.0.0.1"
_HEARTBEAT = 2.0
_LEASES = "kube-node-lease"
_networks = count()


class Settings(msgspec.Struct, frozen=True):
    """What a node is: see `Kubelet`."""

    config: SingleConfig
    directory: Path
    claims: Path
    images: Mapping[str, Image]
    name: str
    labels: Mapping[str, str]
    restart_delay: float


class Node:
    """A node in the running event loop. `run` is its whole life; when that is cancelled it dies, as machines do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._labels = {"kubernetes.io/hostname": settings.name, "kubernetes.io/os": "linux", **settings.labels}
        self._client = AsyncClient(config=settings.config, trust_env=False)
        self._runners: dict[str, PodRunner] = {}
        self._waiting: dict[str, Pod] = {}
        self._pods: dict[str, Pod] = {}
        self._services: dict[str, Service] = {}
        self._names = asyncio.Event()
        self._look = asyncio.Event()
        self._events = Events(self._client, settings.name)
        # Each Pod has an address of its own, and so have those of other nodes and processes.
        self._network = 20 + (os.getpid() * 7 + next(_networks)) % 200
        self._addresses = count(2)

    async def run(self, ready: Callable[[], None]) -> None:
        """Register, call `ready`, and work for ever."""
        try:
            certificates = Certificates(self._settings.directory)
            async with LogServer(self._find_log, certificates.context()) as logs:
                await self._register(logs.port)
                async with asyncio.TaskGroup() as group:
                    self._host = self._make_host()
                    for work in (self._follow_services, self._resolve_all):
                        group.create_task(work())
                    for work in (
                        self._beat,
                        self._events.run,
                        self._schedule,
                        self._refresh_claims,
                        self._serve_storage,
                    ):
                        group.create_task(work())
                    group.create_task(self._refresh(ConfigMap))
                    group.create_task(self._refresh(Secret))
                    group.create_task(self._follow(group))
                    ready()
        finally:
            await self._client.close()

    def runner(self, namespace: str, pod: str) -> PodRunner | None:
        """Return who runs a Pod here, None when nobody does."""
        for each in self._runners.values():
            metadata = each.pod.metadata
            if metadata is not None and (metadata.namespace, metadata.name) == (namespace, pod):
                return each
        return None

    async def claim(self, namespace: str, name: str) -> Path | None:
        """Return the directory of a claim, None when it is not bound to one."""
        return await self._host.sources.claim(namespace, name)

    async def _register(self, port: int) -> None:
        name = self._settings.name
        node = NodeObject(metadata=ObjectMeta(name=name, labels=self._labels))
        if await told(lambda: self._client.create(node)) is None:
            labels = {"metadata": {"labels": self._labels}}
            await told(lambda: self._client.patch(NodeObject, name, labels, patch_type=PatchType.MERGE))
        resources = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}
        self._status: Json = {
            "addresses": [{"type": "InternalIP", "address": _ADDRESS}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "capacity": resources,
            "allocatable": resources,
        }
        self._since = stamp(datetime.now(UTC))
        await self._say_ready()
        lease = Lease(metadata=ObjectMeta(name=name, namespace=_LEASES), spec=self._lease())
        await told(lambda: self._client.create(lease))

    async def _beat(self) -> None:
        """Say again and again that the node is alive."""
        name = self._settings.name
        while True:
            await asyncio.sleep(_HEARTBEAT)
            lease = Lease(metadata=ObjectMeta(name=name), spec=self._lease())
            await told(partial(self._client.patch, Lease, name, lease, namespace=_LEASES, patch_type=PatchType.MERGE))
            await self._say_ready()
            self._look.set()  # the node may take Pods again

    def _lease(self) -> LeaseSpec:
        return LeaseSpec(holderIdentity=self._settings.name, leaseDurationSeconds=40, renewTime=datetime.now(UTC))

    async def _say_ready(self) -> None:
        conditions = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "lastHeartbeatTime": stamp(datetime.now(UTC)),
                "lastTransitionTime": self._since,
            }
            for kind, status, reason in (
                ("Ready", "True", "KubeletReady"),
                ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                ("PIDPressure", "False", "KubeletHasSufficientPID"),
            )
        ]
        status = {"status": {**self._status, "conditions": conditions}}
        name = self._settings.name
        await told(lambda: self._client.patch(NodeStatus, name, status, patch_type=PatchType.MERGE))

    async def _serve_storage(self) -> None:
        await Storage(self._client, self._settings.claims).run()

    def _make_host(self) -> Host:
        server = urlsplit(self._settings.config.cluster.server)
        port = str(server.port or 443)
        return Host(
            address=_ADDRESS,
            directory=self._settings.directory / "pods",
            images=self._settings.images,
            sources=ApiSources(self._client),
            given={
                "KUBERNETES_SERVICE_HOST": server.hostname or _ADDRESS,
                "KUBERNETES_SERVICE_PORT": port,
                "KUBERNETES_SERVICE_PORT_HTTPS": port,
            },
            restart_delay=self._settings.restart_delay,
            events=self._events,
            say=self._say,
            gone=self._gone,
        )

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Follow all Pods: run those that are ours, put those that nobody has on the list."""
        async for change, pod in changes(self._client, Pod):
            metadata, spec = pod.metadata, pod.spec
            assert metadata is not None
            assert metadata.uid is not None
            assert spec is not None
            runner = self._runners.get(metadata.uid)
            self._pods[metadata.uid] = pod
            self._names.set()
            if change == "DELETED":
                del self._pods[metadata.uid]
                self._waiting.pop(metadata.uid, None)
                if runner is not None:
                    runner.stop(0)
            elif spec.nodeName is None and metadata.deletionTimestamp is None:
                self._waiting[metadata.uid] = pod
                self._look.set()
            elif spec.nodeName == self._settings.name:
                if runner is None:
                    if pod.status is not None and pod.status.phase in {"Succeeded", "Failed"}:
                        if metadata.deletionTimestamp is not None:
                            group.create_task(self._gone(pod))
                        continue
                    runner = PodRunner(pod, self._host, self._address())
                    self._runners[metadata.uid] = runner
                    self._resolve(runner)
                    group.create_task(self._run(metadata.uid, runner))
                if metadata.deletionTimestamp is not None:
                    runner.stop(float(metadata.deletionGracePeriodSeconds or 0))

    async def _run(self, uid: str, runner: PodRunner) -> None:
        try:
            await runner.run()
        finally:
            del self._runners[uid]

    def _address(self) -> str:
        number = next(self._addresses)
        return f"127.{self._network}.{number // 250}.{number % 250 + 1}"

    async def _schedule(self) -> None:
        """Bind Pods that nobody has to this node, when they may go there and what they need is there."""
        while True:
            await self._look.wait()
            self._look.clear()
            for uid, pod in list(self._waiting.items()):
                if await self._bind(pod):
                    self._waiting.pop(uid, None)

    async def _bind(self, pod: Pod) -> bool:
        """Bind a Pod; return whether it is dealt with."""
        metadata, spec = pod.metadata, pod.spec
        assert metadata is not None
        assert metadata.name is not None
        assert spec is not None
        name, namespace = metadata.name, metadata.namespace
        wanted = spec.nodeSelector or {}
        if any(self._labels.get(key) != value for key, value in wanted.items()) or spec.schedulingGates:
            return False
        for volume in spec.volumes or []:
            claim = volume.persistentVolumeClaim
            if claim is not None and await self._host.sources.claim(namespace or "", claim.claimName) is None:
                await self._say_unschedulable(pod, f'persistentvolumeclaim "{claim.claimName}" not found or not bound')
                return False
        node = await told(lambda: self._client.get(NodeObject, self._settings.name))
        if node is None or (node.spec is not None and node.spec.unschedulable):
            return False
        binding = PodBinding(
            metadata=ObjectMeta(name=name, namespace=namespace, uid=metadata.uid),
            target=ObjectReference(apiVersion="v1", kind="Node", name=self._settings.name),
        )
        try:
            await told(lambda: self._client.create(binding, name, namespace=namespace))
        except msgspec.ValidationError:
            pass  # the answer is a Status, which lightkube does not expect here
        except ApiError as error:
            self._events.tell(pod, "Warning", "FailedScheduling", str(error))
            return True
        self._events.tell(pod, "Normal", "Scheduled", f"Assigned {namespace}/{name} to {self._settings.name}")
        return True

    async def _say_unschedulable(self, pod: Pod, why: str) -> None:
        now = stamp(datetime.now(UTC))
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
        before = (pod.status and pod.status.conditions) or []
        if not any(each.type == "PodScheduled" and each.message == why for each in before):
            self._events.tell(pod, "Warning", "FailedScheduling", why)
            await self._say(pod, {"conditions": [{**condition, "lastTransitionTime": now}]})

    async def _say(self, pod: Pod, status: Json) -> None:
        metadata = pod.metadata
        assert metadata is not None
        assert metadata.name is not None
        name, namespace = metadata.name, metadata.namespace
        # With the uid, nothing is said of a successor that has the same name.
        patch = {"metadata": {"uid": metadata.uid}, "status": status}
        await told(lambda: self._client.patch(PodStatus, name, patch, namespace=namespace, patch_type=PatchType.MERGE))

    async def _gone(self, pod: Pod) -> None:
        metadata = pod.metadata
        assert metadata is not None
        assert metadata.name is not None
        name, namespace = metadata.name, metadata.namespace
        there = await told(lambda: self._client.get(Pod, name, namespace=namespace))
        if there is not None and there.metadata is not None and there.metadata.uid == metadata.uid:
            await told(lambda: self._client.delete(Pod, name, namespace=namespace, grace_period=0))

    async def _follow_services(self) -> None:
        async for change, service in changes(self._client, Service):
            assert service.metadata is not None
            assert service.metadata.uid is not None
            self._services[service.metadata.uid] = service
            if change == "DELETED":
                del self._services[service.metadata.uid]
            self._names.set()

    async def _resolve_all(self) -> None:
        """Bring the names up to date that Pods can resolve."""
        while True:
            await self._names.wait()
            self._names.clear()
            for each in list(self._runners.values()):
                self._resolve(each)

    def _resolve(self, runner: PodRunner) -> None:
        runner.resolve(hosts(runner.pod, runner.address, self._services.values(), self._pods.values()))

    async def _refresh(self, kind: type[ConfigMap | Secret]) -> None:
        """Bring volumes up to date when a ConfigMap or a Secret changes."""
        async for change, thing in changes(self._client, kind):
            if change != "MODIFIED" or thing.metadata is None:
                continue
            for each in list(self._runners.values()):
                if each.pod.metadata is not None and each.pod.metadata.namespace == thing.metadata.namespace:
                    await each.refresh()

    async def _refresh_claims(self) -> None:
        """Look at Pods again that wait for storage."""
        async for change, _ in changes(self._client, PersistentVolumeClaim):
            if change == "MODIFIED":
                self._look.set()

    def _find_log(self, namespace: str, pod: str, container: str, previous: bool) -> ContainerLog | None:  # noqa: FBT001
        runner = self.runner(namespace, pod)
        found = None if runner is None else runner.containers.get(container)
        return None if found is None else found.log(previous=previous)
