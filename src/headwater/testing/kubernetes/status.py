"""Owns what is told of a Pod: its phase, its conditions and its containers' states, from what these do (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

Json = dict[str, Any]


class Waiting(msgspec.Struct, frozen=True):
    """A container that does not run yet, or not again yet."""

    reason: str
    message: str = ""


class Running(msgspec.Struct, frozen=True):
    """A container whose process runs."""

    since: datetime


class Terminated(msgspec.Struct, frozen=True):
    """A container whose process has ended."""

    status: int
    reason: str
    since: datetime
    until: datetime
    message: str = ""


State = Waiting | Running | Terminated


class Facts(msgspec.Struct):
    """What is known of a container. `ready` and `started` are what its probes say while it runs."""

    name: str
    image: str
    state: State = Waiting("ContainerCreating")
    last: Terminated | None = None
    restarts: int = 0
    ready: bool = False
    started: bool = False
    for_good: bool = False
    """It has ended and will not be started again."""


def stamp(time: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def restarts(policy: str, status: int) -> bool:
    """Return whether a container that has ended is started again."""
    return policy == "Always" or (policy == "OnFailure" and status != 0)


def phase(initial: Sequence[Facts], main: Sequence[Facts]) -> str:
    """Return a Pod's phase."""
    broken = any(isinstance(each.state, Terminated) and each.state.status and each.for_good for each in initial)
    if broken:
        return "Failed"
    if main and all(each.for_good for each in main):
        failed = any(isinstance(each.state, Terminated) and each.state.status for each in main)
        return "Failed" if failed else "Succeeded"
    if any(isinstance(each.state, Running | Terminated) or each.last for each in main):
        return "Running"
    return "Pending"


def pod_status(
    before: Json, initial: Sequence[Facts], main: Sequence[Facts], *, address: str, host: str, now: datetime
) -> Json:
    """Return what a Pod's status says now. `before` is what it said: times of what has not changed are kept.

    Conditions that others have written are kept as well.
    """
    done = all(isinstance(each.state, Terminated) and each.state.status == 0 for each in initial)
    ready = done and all(each.ready for each in main)
    now_phase = phase(initial, main)
    finished = "PodCompleted" if now_phase == "Succeeded" else ""
    conditions = {str(each["type"]): each for each in before.get("conditions", [])}
    unready = finished or "ContainersNotReady"
    for kind, met, reason in (
        ("PodReadyToStartContainers", True, ""),
        ("Initialized", done, "" if done else "ContainersNotInitialized"),
        ("ContainersReady", ready, "" if ready else unready),
        ("Ready", ready, "" if ready else unready),
        ("PodScheduled", True, ""),
    ):
        old = conditions.get(kind, {})
        new: Json = {"type": kind, "status": "True" if met else "False"}
        if reason:
            new["reason"] = reason
        same = old.get("status") == new["status"] and old.get("lastTransitionTime")
        new["lastTransitionTime"] = same or stamp(now)
        conditions[kind] = new
    return {
        "phase": now_phase,
        "conditions": list(conditions.values()),
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": before.get("startTime") or stamp(now),
        "initContainerStatuses": [_container(each) for each in initial],
        "containerStatuses": [_container(each) for each in main],
    }


def _container(facts: Facts) -> Json:
    running = isinstance(facts.state, Running)
    return {
        "name": facts.name,
        "image": facts.image,
        "imageID": facts.image if running or facts.restarts else "",
        "ready": facts.ready,
        "started": running and facts.started,
        "restartCount": facts.restarts,
        "state": _state(facts.state),
        "lastState": {} if facts.last is None else _state(facts.last),
    }


def _state(state: State) -> Json:
    if isinstance(state, Waiting):
        return {"waiting": {"reason": state.reason, "message": state.message}}
    if isinstance(state, Running):
        return {"running": {"startedAt": stamp(state.since)}}
    ended: Json = {"exitCode": state.status, "reason": state.reason, "message": state.message}
    return {"terminated": {**ended, "startedAt": stamp(state.since), "finishedAt": stamp(state.until)}}
