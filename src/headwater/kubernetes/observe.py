"""Owns what a connector in a cluster is doing, told from its Deployment and its pods. Pure.

Of both only those fields are declared here that are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from headwater.core.managed import ManagedConnector, Phase
from headwater.kubernetes import names
from headwater.kubernetes.options import Settings, decode_settings
from headwater.kubernetes.render import Parts

_LONGEST_REASON = 500
# The exit status of a command whose configuration is wrong.
_WRONG_CONFIGURATION = 3


class _Field(msgspec.Struct, frozen=True, rename="camel"):
    """Anything in an object of Kubernetes; what is not declared is passed over."""


class ManagedFields(_Field, frozen=True, rename="camel"):
    """Who has set fields, and when."""

    manager: str = ""
    operation: str = ""
    time: datetime | None = None


class Metadata(_Field, frozen=True, rename="camel"):
    """What every object has."""

    name: str = ""
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    managed_fields: list[ManagedFields] = []


class Condition(_Field, frozen=True, rename="camel"):
    """One of the things that are so, or not, of an object."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Named(_Field, frozen=True, rename="camel"):
    """Where a volume comes from."""

    name: str = ""
    secret_name: str = ""


class Volume(_Field, frozen=True, rename="camel"):
    """A volume of a pod."""

    name: str = ""
    config_map: Named = Named()
    secret: Named = Named()


class PodSpec(_Field, frozen=True, rename="camel"):
    """What a pod is to be."""

    volumes: list[Volume] = []


class Template(_Field, frozen=True, rename="camel"):
    """What pods are made from."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class DeploymentSpec(_Field, frozen=True, rename="camel"):
    """What a Deployment is to be."""

    replicas: int = 1
    template: Template = Template()


class DeploymentStatus(_Field, frozen=True, rename="camel"):
    """What a Deployment has come to."""

    observed_generation: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    conditions: list[Condition] = []


class Deployment(_Field, frozen=True, rename="camel"):
    """A Deployment."""

    metadata: Metadata = Metadata()
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class Waiting(_Field, frozen=True, rename="camel"):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Running(_Field, frozen=True, rename="camel"):
    """Since when a container runs."""

    started_at: datetime | None = None


class Terminated(_Field, frozen=True, rename="camel"):
    """How a container has ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(_Field, frozen=True, rename="camel"):
    """One of the three."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Field, frozen=True, rename="camel"):
    """What a container of a pod is doing."""

    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(_Field, frozen=True, rename="camel"):
    """What a pod has come to."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []


class Pod(_Field, frozen=True, rename="camel"):
    """A pod."""

    metadata: Metadata = Metadata()
    status: PodStatus = PodStatus()

    @property
    def container(self) -> ContainerStatus:
        """What its container is doing; as good as nothing before there is one."""
        return next((it for it in self.status.container_statuses if it.name == names.CONTAINER), ContainerStatus())

    @property
    def run(self) -> str:
        """Which run of its container has a log, "" before there is one: another pod and each restart are others."""
        container = self.container
        begun = (container.state.running, container.state.terminated, container.last_state.terminated)
        return f"{self.metadata.uid} {container.restart_count}" if any(it is not None for it in begun) else ""


def deployment_of(plain: dict[str, Any]) -> Deployment:
    """Read a Deployment as the API gives it."""
    return msgspec.convert(plain, Deployment, strict=False)


def pod_of(plain: dict[str, Any]) -> Pod:
    """Read a pod as the API gives it."""
    return msgspec.convert(plain, Pod, strict=False)


def newest(pods: Sequence[Pod]) -> Pod | None:
    """Return the pod that counts: the youngest of those that are to stay, else of all."""

    def rank(pod: Pod) -> tuple[bool, float, str]:
        created = pod.metadata.creation_timestamp
        return pod.metadata.deletion_timestamp is None, created.timestamp() if created else 0.0, pod.metadata.name

    return max(pods, key=rank, default=None)


def settings_of(deployment: Deployment) -> Settings:
    """Return the settings that a Deployment was made with. Raises ValueError when it does not say."""
    text = deployment.metadata.annotations.get(names.SETTINGS)
    if text is None:
        raise ValueError(f"it has no annotation {names.SETTINGS}")
    return decode_settings(text)


def parts_of(deployment: Deployment) -> Parts:
    """Return what a Deployment says of its connector."""
    annotations = deployment.metadata.annotations
    volumes = {it.name: it for it in deployment.spec.template.spec.volumes}
    return Parts(
        name=deployment.metadata.name,
        type=annotations.get(names.TYPE, "http"),
        version=annotations.get(names.VERSION, ""),
        topic=annotations.get(names.TOPIC, ""),
        config_map=volumes.get("config", Volume()).config_map.name,
        secret=volumes.get("secrets", Volume()).secret.secret_name,
        secrets=tuple(annotations.get(names.SECRETS, "").split()),
        paused=names.PAUSED in annotations,
        restarted=deployment.spec.template.metadata.annotations.get(names.RESTARTED, ""),
    )


def state(deployment: Deployment, pods: Sequence[Pod]) -> ManagedConnector:
    """Return a connector as it is now. `pods` are those of its Deployment."""
    parts, pod = parts_of(deployment), newest(pods)
    phase, reason, since = standing(deployment, pod)
    applied = [it.time for it in deployment.metadata.managed_fields if it.manager == names.MANAGER and it.time]
    return ManagedConnector(
        name=parts.name,
        type=parts.type,
        version=parts.version or "latest",
        status=phase,
        topic=parts.topic,
        reason=reason[:_LONGEST_REASON],
        since=_ms(since),
        paused=phase is Phase.PAUSED,
        created=_ms(deployment.metadata.creation_timestamp),
        updated=_ms(max(applied, default=deployment.metadata.creation_timestamp)),
        restarts=0 if pod is None else pod.container.restart_count,
        where="" if pod is None else pod.metadata.name,
    )


def _ms(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def standing(deployment: Deployment, pod: Pod | None) -> tuple[Phase, str, datetime | None]:
    """Return the phase of a connector, why it is not running, and since when it is so."""
    if names.PAUSED in deployment.metadata.annotations:
        return Phase.PAUSED, "", None
    if deployment.spec.replicas == 0:
        return Phase.PAUSED, "somebody has scaled its Deployment to 0", None
    status = deployment.status
    rolled_out = status.observed_generation >= deployment.metadata.generation and status.updated_replicas > 0
    refused = _condition(status.conditions, "ReplicaFailure")
    if refused is not None and refused.status == "True":
        return Phase.FAILED, f"no pod can be made: {refused.message}", refused.last_transition_time
    if pod is None or pod.metadata.deletion_timestamp is not None or not rolled_out:
        return Phase.INIT, "its pod is being replaced" if pod is not None else "it has no pod yet", None
    return _of_pod(pod)


def _condition(conditions: Sequence[Condition], kind: str) -> Condition | None:
    return next((it for it in conditions if it.type == kind), None)


def _of_pod(pod: Pod) -> tuple[Phase, str, datetime | None]:
    ready = _condition(pod.status.conditions, "Ready")
    since = None if ready is None else ready.last_transition_time
    if ready is not None and ready.status == "True":
        return Phase.RUNNING, "", since
    if pod.status.phase in {"Failed", "Succeeded"}:
        return Phase.FAILED, pod.status.message or pod.status.reason or "its pod has ended", since
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return Phase.PENDING, scheduled.message or "no node takes its pod", scheduled.last_transition_time
    return _of_container(pod.container, since)


def _of_container(container: ContainerStatus, since: datetime | None) -> tuple[Phase, str, datetime | None]:
    now, before = container.state, container.last_state.terminated
    ended = now.terminated or (before if now.waiting is not None else None)
    if ended is not None:
        phase = Phase.INVALID if ended.exit_code == _WRONG_CONFIGURATION else Phase.FAILED
        return phase, exit_reason(ended), ended.finished_at
    if now.waiting is not None and now.waiting.reason not in {"", "ContainerCreating", "PodInitializing"}:
        # An image that cannot be pulled, a Secret that is not there.
        more = f": {now.waiting.message}" if now.waiting.message else ""
        return Phase.FAILED, f"{now.waiting.reason}{more}", since
    if now.running is None or not container.started:
        return Phase.INIT, "it is starting", since
    return Phase.FAILED, "it runs but is not ready: its log or its cluster refuses records", since


def exit_reason(ended: Terminated) -> str:
    """Return one sentence on how a container has ended, with its last words."""
    if ended.reason == "OOMKilled":
        return "it was killed for using more memory than its limit (OOMKilled)"
    word = f", {ended.reason}" if ended.reason not in {"", "Error", "Completed"} else ""
    words = last_words(ended.message)
    return f"it exited with status {ended.exit_code}{word}" + (f": {words}" if words else "")


def last_words(message: str) -> str:
    """Return what a process said of its end: its plain lines, else the last of its log."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith("{")]
    if plain:
        return "; ".join(plain[-3:])
    try:
        said = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return ""
    return " ".join(str(said[key]) for key in ("event", "reason") if key in said)
