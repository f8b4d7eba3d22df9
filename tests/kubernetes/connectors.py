"""What tests of managed connectors share: a Fluvio cluster that pods reach, a sample endpoint, and the manager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from lightkube.codecs import from_dict
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, Pod, Secret, ServiceAccount

from headwater.cluster import Cluster as FluvioCluster
from headwater.cluster import Target
from headwater.config import SecretSource, define_text
from headwater.core.managed import Definition, ManagedConnector, Phase
from headwater.fluvio.batch import decode_records
from headwater.kubernetes import Options, manager
from headwater.kubernetes.connectors import KubernetesManager
from headwater.log import Log, LogReader
from headwater.server.server import Listen, Server
from headwater.testing import Answer, Received, ScriptedServer
from kubernetes.cluster import Cluster

PATIENCE = 40.0
KINDS = (ServiceAccount, ConfigMap, Secret, PersistentVolumeClaim, Deployment)
IMAGE = "headwater:test"
# The endpoints are on this machine, where pods may not go by themselves.
ALLOWED = ("127.0.0.0/8",)

PROFILE = """\
version = "2.0"
current_profile = "far"

[profile.far]
cluster = "far"

[cluster.far]
endpoint = "{endpoint}"
use_spu_local_address = false

[cluster.far.tls]
tls_policy = "disabled"
"""


async def until(met: Callable[[], Any], what: str = "") -> Any:
    """Ask again and again, an awaitable too, until the answer is neither None nor False; return it."""
    answer = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = met()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer is not None and answer is not False:
                    return answer
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not met within {PATIENCE:g} s: {what or met}, last {answer}") from None


def numbered(request: Received) -> Answer:
    """Answer with the number that follows the one that the connector has, which its ETag says."""
    number = int(request.header("if-none-match") or 0)
    return Answer(body=b"%d" % number, headers=(("etag", str(number + 1)),))


class Bed:
    """A namespace of a cluster with a Fluvio cluster beside it, and an endpoint that counts."""

    def __init__(self, cluster: Cluster, namespace: str, server: ScriptedServer, fluvio: Server, log: Log) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.server = server
        self.fluvio = fluvio
        self.log = log
        self.client = cluster.async_client(namespace)

    def options(self, **more: Any) -> Options:
        """Return options that reach the namespace."""
        given: dict[str, Any] = {
            "kubeconfig": self.cluster.kubeconfig,
            "namespace": self.namespace,
            "image": IMAGE,
            "egress_allow": ALLOWED,
        }
        return Options(**(given | more))

    def manager(self, **more: Any) -> AbstractAsyncContextManager[KubernetesManager]:
        """Return the manager of the namespace."""
        return manager(self.options(**more))

    def definition(self, name: str = "cats", more: str = "", **secrets: str) -> Definition:
        """Return a connector of the endpoint that counts."""
        url = self.server.route(f"/{name}", numbered)
        text = f"name: {name}\ntopic: {name}\nparameters:\n  endpoint: {url}\n  interval: 100ms\n{more}"
        return define_text(text, secrets=SecretSource(secrets, "a test")).definitions[0]

    async def provide_profile(self) -> None:
        """Put the profile of the Fluvio cluster where the old controller expected it."""
        data = {"fluvioClientConfig": PROFILE.format(endpoint=self.fluvio.endpoint)}
        await self.client.create(ConfigMap(metadata=ObjectMeta(name="fluvio-config-map"), data=data))

    async def apply(self, plain: dict[str, Any], manager: str = "kubectl") -> None:
        """Apply an object as another tool does."""
        await self.client.apply(from_dict(plain), field_manager=manager)

    async def values(self, topic: str = "cats") -> list[int]:
        """Return the numbers in a topic of the Fluvio cluster."""
        async with FluvioCluster(Target("127.0.0.1", self.fluvio.sc_port)) as cluster:
            if not await cluster.topics([topic]):
                return []
            return [int(it.value) for it in await cluster.read(topic, limit=100_000)]

    async def grown(self, topic: str = "cats", by: int = 3) -> list[int]:
        """Wait until a topic has grown, and return the numbers in it."""
        before = len(await self.values(topic))

        async def more() -> list[int] | None:
            now = await self.values(topic)
            return now if len(now) >= before + by else None

        found: list[int] = await until(more, f"{topic} grows")
        return found

    async def objects(self) -> dict[str, dict[str, Any]]:
        """Return every object of the kinds that we make, by kind and name, without what the cluster adds."""
        found = {}
        for kind in KINDS:
            resource: type[Any] = kind
            async for it in self.client.list(resource):
                plain = it.to_dict()
                for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "selfLink"):
                    plain["metadata"].pop(name, None)
                plain.pop("status", None)
                plain.get("metadata", {}).get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
                found[f"{plain['kind']}/{plain['metadata']['name']}"] = plain
        return found

    async def ours(self) -> list[str]:
        """Return the names of the objects that carry our label."""
        objects = await self.objects()
        label = "app.kubernetes.io/managed-by"
        return sorted(it for it, plain in objects.items() if label in plain["metadata"].get("labels", {}))

    async def pods(self, name: str = "cats") -> list[Pod]:
        """Return the pods of a connector."""
        return [it async for it in self.client.list(Pod, labels={"connectorName": name})]


async def phase(manager: KubernetesManager, name: str, wanted: Phase, reason: str = "") -> ManagedConnector:
    """Wait until a connector is in a phase, for a reason that has these words."""

    async def reached() -> ManagedConnector | None:
        now = await manager.get(name)
        return now if now.status is wanted and reason in now.reason else None

    try:
        found: ManagedConnector = await until(reached)
    except AssertionError:
        raise AssertionError(f"it never became {wanted} ({reason}), but is {await manager.get(name)}") from None
    return found


@asynccontextmanager
async def bed(cluster: Cluster, namespace: str, directory: Path) -> AsyncIterator[Bed]:
    """Open all of it; the Fluvio cluster is a server of ours."""
    async with (
        ScriptedServer() as server,
        Log.open(directory / "fluvio") as log,
        Server(log, Listen()) as fluvio,
    ):
        made = Bed(cluster, namespace, server, fluvio, log)
        try:
            yield made
        finally:
            await made.client.close()


def stored(directory: Path, topic: str) -> list[int]:
    """Return the numbers in a topic of a data directory."""
    with LogReader(directory) as reader:
        start, end = reader.offsets(topic, 0)
        batches = reader.read(topic, 0, start, 1 << 24) if end > start else []
        return [int(record.value) for batch in batches for record in decode_records(batch.data)]


__all__ = ["ALLOWED", "IMAGE", "Bed", "bed", "numbered", "phase", "stored", "until"]
