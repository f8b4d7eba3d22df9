"""What a connector is doing, told from what a cluster says of it."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.core.managed import Phase
from headwater.kubernetes import Settings
from headwater.kubernetes.observe import deployment_of, last_words, newest, parts_of, pod_of, settings_of, state
from headwater.kubernetes.render import Manifest, deployment, render
from kubernetes.test_render import PLAIN, SECRET, definition

AT = "2026-01-02T03:04:05Z"
MS = 1_767_323_045_000


def made(text: str = PLAIN, *, paused: bool = False, **status: Any) -> Manifest:
    """Return the Deployment of a connector as a cluster gives it back."""
    found = render(definition(text), Settings(image="a:1"), paused=paused, restarted="once")[-1]
    metadata = {
        **found["metadata"],
        "uid": "1234",
        "generation": 2,
        "creationTimestamp": AT,
        "managedFields": [{"manager": "headwater", "operation": "Apply", "time": "2026-01-02T03:04:06Z"}],
    }
    usual = {"observedGeneration": 2, "updatedReplicas": 1, "conditions": []}
    return {**found, "metadata": metadata, "status": {**usual, **status}}


def pod(name: str = "cats-1", *, phase: str = "Running", gone: bool = False, **container: Any) -> Manifest:
    """Return a pod with a container in some state."""
    conditions = container.pop("conditions", None) or [{"type": "Ready", "status": "False", "lastTransitionTime": AT}]
    metadata = {"name": name, "creationTimestamp": AT, **({"deletionTimestamp": AT} if gone else {})}
    status: Manifest = {"phase": phase, "conditions": conditions}
    if container:
        status["containerStatuses"] = [{"name": "sidecar"}, {"name": "fluvio-connector", **container}]
    return {"metadata": metadata, "status": status}


READY = [{"type": "Ready", "status": "True", "lastTransitionTime": AT}]
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}


def ended(code: int, message: str = "", reason: str = "Error") -> Manifest:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": AT}}


@pytest.mark.parametrize(
    ("of_deployment", "of_pod", "phase", "reason"),
    [
        (made(paused=True), None, Phase.PAUSED, ""),
        ({**made(), "spec": {**made()["spec"], "replicas": 0}}, None, Phase.PAUSED, "somebody has scaled"),
        (made(), None, Phase.INIT, "it has no pod yet"),
        (made(), pod(conditions=READY, ready=True), Phase.RUNNING, ""),
        (made(observedGeneration=1), pod(conditions=READY, ready=True), Phase.INIT, "is being replaced"),
        (made(updatedReplicas=0), pod(conditions=READY, ready=True), Phase.INIT, "is being replaced"),
        (made(), pod(gone=True, conditions=READY, ready=True), Phase.INIT, "is being replaced"),
        (
            made(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}]),
            None,
            Phase.FAILED,
            "no pod can be made: exceeded quota: few",
        ),
        (
            made(),
            pod(
                phase="Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
            ),
            Phase.PENDING,
            "0/3 nodes are available",
        ),
        (made(), pod(phase="Pending"), Phase.INIT, "it is starting"),
        (made(), pod(state={"waiting": {"reason": "ContainerCreating"}}), Phase.INIT, "it is starting"),
        (
            made(),
            pod(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            Phase.FAILED,
            "ImagePullBackOff: no such image",
        ),
        (made(), pod(state={"running": {"startedAt": AT}}, started=False), Phase.INIT, "it is starting"),
        (made(), pod(state={"running": {"startedAt": AT}}, started=True), Phase.FAILED, "runs but is not ready"),
        (
            made(),
            pod(state=BACK_OFF, lastState=ended(3, 'connect.yml:1:1: error: topic: there is no topic "x"\n')),
            Phase.INVALID,
            'it exited with status 3: connect.yml:1:1: error: topic: there is no topic "x"',
        ),
        (
            made(),
            pod(state=BACK_OFF, lastState=ended(137, "", "OOMKilled")),
            Phase.FAILED,
            "killed for using more memory than its limit",
        ),
        (made(), pod(state=ended(4, "headwater: no cluster")), Phase.FAILED, "status 4: headwater: no cluster"),
        (made(), pod(phase="Failed"), Phase.FAILED, "its pod has ended"),
    ],
)
def test_phases(of_deployment: Manifest, of_pod: Manifest | None, phase: Phase, reason: str) -> None:
    """Running when it is ready and rolled out; else in one of Fluvio's words, with a sentence."""
    found = state(deployment_of(of_deployment), [] if of_pod is None else [pod_of(of_pod)])
    assert found.status is phase
    assert reason in found.reason
    assert bool(found.reason) == bool(reason)


def test_what_is_told_besides() -> None:
    """Type, version and topic come from the Deployment; restarts and the place from the pod; times are in ms."""
    found = state(deployment_of(made(SECRET)), [pod_of(pod(conditions=READY, ready=True, restartCount=3))])
    assert (found.name, found.type, found.version, found.topic) == ("quotes", "http-source", "0.3.0", "prices")
    assert (found.restarts, found.where, found.since) == (3, "cats-1", MS)
    assert (found.created, found.updated) == (MS, MS + 1000)


def test_the_pod_that_counts_is_the_one_that_stays() -> None:
    """A pod that ends is not looked at while there is another one, however old."""
    pods = [pod_of(pod("b", gone=True)), pod_of(pod("a"))]
    found = newest(pods)
    assert found is not None
    assert found.metadata.name == "a"
    assert newest(pods[:1]) is pods[0]
    assert newest([]) is None


@pytest.mark.parametrize("paused", [False, True])
def test_a_deployment_says_all_that_made_it(paused: bool) -> None:  # noqa: FBT001 - a parameter
    """What is read from one renders the same again: so a pause changes nothing else."""
    plain = render(definition(SECRET), Settings(image="a:1", storage="1Gi"), paused=paused, restarted="once")[-1]
    seen = deployment_of(plain)
    assert deployment(parts_of(seen), settings_of(seen)) == plain


def test_a_deployment_of_another_version() -> None:
    plain = made()
    del plain["metadata"]["annotations"]["headwater/settings"]
    with pytest.raises(ValueError, match="it has no annotation headwater/settings"):
        settings_of(deployment_of(plain))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ""),
        (
            '{"event":"running"}\nheadwater: no cluster\n  hint: name another\n',
            "headwater: no cluster; hint: name another",
        ),
        ('{"event":"connector stopped","reason":"damaged","level":"error"}\n', "connector stopped damaged"),
        ('{"event":"cut of', ""),
    ],
)
def test_last_words(message: str, expected: str) -> None:
    """Plain lines are what a command says of its end; without any it is the last event of the log."""
    assert last_words(message) == expected
