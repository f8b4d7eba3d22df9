"""A cluster for tests: a real API server with its controllers, and what tests ask of it. Its nodes are Kubelets."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from lightkube import ApiError, AsyncClient, Client, KubeConfig, SingleConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Event, Namespace, Pod, ServiceAccount

from kubernetes.build import BINARY
from kubernetes.servers import Servers, kubeconfig

T = TypeVar("T")

BUILT = Path(__file__).parents[2] / ".kubernetes" / BINARY
"""The control plane, where `make kubernetes` builds it."""

PATIENCE = 60.0
"""How long a test waits for anything, seconds."""


class Cluster:
    """A running control plane, seen as its administrator. `kubeconfig` is a file that says where it is."""

    def __init__(self, servers: Servers, directory: Path) -> None:
        self._servers = servers
        self._directory = directory
        self.kubeconfig = directory / "kubeconfig"

    @property
    def url(self) -> str:
        """The API server's address."""
        return self._servers.url

    @property
    def config(self) -> SingleConfig:
        """The configuration of a client that may do everything."""
        config = KubeConfig.from_file(self.kubeconfig).get()
        assert config is not None
        return config

    def away(self) -> AbstractContextManager[None]:
        """Have no API server for as long as a block lasts: connections break, and new ones are refused."""
        return self._servers.away()

    def stalled(self) -> AbstractContextManager[None]:
        """Have an API server that does not answer for as long as a block lasts."""
        return self._servers.stalled()

    def client(self, namespace: str = "default") -> Client:
        """Return a client whose default is a namespace. Whoever asks for it closes it."""
        return Client(config=self.config, namespace=namespace, field_manager="test", trust_env=False)

    def async_client(self, namespace: str = "default") -> AsyncClient:
        """Return a client for `async` tests. Whoever asks for it closes it."""
        return AsyncClient(config=self.config, namespace=namespace, field_manager="test", trust_env=False)

    def kubeconfig_of(self, token: str, namespace: str) -> Path:
        """Return a new kubeconfig file of somebody else, with a token and a default namespace."""
        path = self._directory / f"kubeconfig-{uuid.uuid4().hex}"
        path.write_text(kubeconfig(self.url, self._servers.authority, token, namespace))
        return path

    def make_namespace(self, labels: dict[str, str] | None = None, node: str | None = None) -> str:
        """Make a namespace with a name of its own, for the Pods of which only one node is good, and return its name."""
        name = f"test-{uuid.uuid4().hex[:10]}"
        selector = {"scheduler.alpha.kubernetes.io/node-selector": f"kubernetes.io/hostname={node}"} if node else None
        with self.client() as client:
            client.create(Namespace(metadata=ObjectMeta(name=name, labels=labels, annotations=selector)))
            # Pods are refused until it is there.
            until(lambda: present(lambda: client.get(ServiceAccount, "default", namespace=name)))
        return name

    def delete_namespace(self, name: str) -> None:
        """Ask for a namespace's end, with all that is in it; it is not waited for."""
        with self.client() as client:
            client.delete(Namespace, name)


def until(met: Callable[[], T | None], what: str = "", patience: float = PATIENCE) -> T:
    """Ask again and again until something is met (neither None nor False), and return it.

    Raises AssertionError when it is not within so many seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        found = met()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not met within {patience:g} s: {what or met}"
        time.sleep(0.05)


def present(ask: Callable[[], T]) -> T | None:
    """Return what is asked for, None when it is not there."""
    try:
        return ask()
    except ApiError as error:
        if error.status.code != 404:
            raise
        return None


def pods(client: Client, namespace: str, **labels: str) -> list[Pod]:
    """Return the Pods of a namespace with certain labels, oldest first."""
    found = list(client.list(Pod, namespace=namespace, labels=dict(labels)))
    return sorted(found, key=lambda pod: str(pod.metadata and pod.metadata.creationTimestamp))


def ready(pod: Pod) -> bool:
    """Return whether a Pod is Ready."""
    conditions = (pod.status and pod.status.conditions) or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


def logged(client: Client, pod: str, text: str) -> str | None:
    """Return what a Pod of one container has written, when a text is in it."""
    try:
        said = "".join(client.log(pod))
    except ApiError as error:
        # Nothing runs yet, or the Pod has no node yet.
        if error.status.code not in {400, 404, 500}:
            raise
        return None
    return said if text in said else None


def followed(client: Client, pod: str) -> Iterator[str]:
    """Yield the lines of a Pod of one container as they come, without line feeds, to the container's end.

    Raises queue.Empty when none comes for a minute.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def follow() -> None:
        try:
            for line in client.log(pod, follow=True, newlines=False):
                lines.put(line)
        finally:
            lines.put(None)

    # The client itself waits for ever.
    threading.Thread(target=follow, name=f"log-{pod}", daemon=True).start()
    while (line := lines.get(timeout=PATIENCE)) is not None:
        yield line


def available(client: Client, name: str) -> Deployment | None:
    """Return a Deployment when all that it asks for is there and available."""
    found = client.get(Deployment, name)
    assert found.metadata is not None
    status = found.status
    if status is None or status.observedGeneration != found.metadata.generation:
        return None
    return found if status.availableReplicas == status.updatedReplicas == status.replicas == 1 else None


def container(client: Client, name: str) -> dict[str, Any]:
    """Return the status of a Pod's only container."""
    status = client.get(Pod, name).status
    statuses = (status and status.containerStatuses) or []
    return statuses[0].to_dict() if statuses else {}


def running(client: Client, name: str, restarts: int = 0) -> Pod | None:
    """Return a Pod whose only container runs, after at least so many restarts."""
    status = container(client, name)
    runs = status and "running" in status["state"] and status["restartCount"] >= restarts
    return client.get(Pod, name) if runs else None


def events(client: Client, name: str) -> dict[str, str]:
    """Return the messages of a Pod's events by their reasons."""
    found = client.list(Event, fields={"involvedObject.name": name})
    return {each.reason or "": each.message or "" for each in found}


def name_of(found: Pod) -> str:
    """Return a Pod's name."""
    assert found.metadata is not None
    assert found.metadata.name is not None
    return found.metadata.name
