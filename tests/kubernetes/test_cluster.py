"""The test bed itself: real controllers and a real API server over a node of processes."""

from __future__ import annotations

from lightkube import Client
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod

from kubernetes.cluster import pods, present, until
from kubernetes.workloads import deployment, pod_spec

STAY = "trap 'echo stopping; exit 0' TERM; echo started; while :; do sleep 0.1; done"


def available(client: Client, name: str, generation: int = 1) -> Deployment | None:
    found = client.get(Deployment, name)
    status = found.status
    done = status and status.observedGeneration and status.observedGeneration >= generation
    return found if done and status and status.availableReplicas and status.updatedReplicas else None


def test_deployment_becomes_available_and_its_log_is_followed(client: Client, namespace: str) -> None:
    """A Deployment becomes Available; its log is read, and followed to its end, by way of the API server."""
    client.create(deployment("hello", pod_spec(STAY)))
    until(lambda: available(client, "hello"))
    (only,) = pods(client, namespace, app="hello")
    assert only.metadata is not None
    assert only.metadata.name is not None
    name = only.metadata.name
    until(lambda: list(client.log(name)) == ["started\n"])
    lines = client.log(name, follow=True, newlines=False)
    assert next(lines) == "started"
    client.delete(Deployment, "hello")
    assert list(lines) == ["stopping"]
    until(lambda: present(lambda: client.get(Pod, name)) is None)
