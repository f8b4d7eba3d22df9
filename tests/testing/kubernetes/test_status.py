from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headwater.testing.kubernetes.status import (
    Facts,
    Json,
    Running,
    State,
    Terminated,
    Waiting,
    phase,
    pod_status,
    restarts,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAITS = Waiting("ContainerCreating")
RUNS = Running(NOW)


def ended(status: int) -> Terminated:
    return Terminated(status, "Completed" if status == 0 else "Error", NOW, NOW)


def facts(state: State, *, ready: bool = False) -> Facts:
    return Facts("main", "image:test", state, ready=ready, started=ready, for_good=isinstance(state, Terminated))


def conditions(status: Json) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


@pytest.mark.parametrize(
    ("initial", "main", "expected"),
    [
        ([], [WAITS], "Pending"),
        ([RUNS], [WAITS], "Pending"),
        ([ended(1)], [WAITS], "Failed"),
        ([ended(0)], [RUNS], "Running"),
        ([], [RUNS, ended(0)], "Running"),
        ([], [ended(0), ended(0)], "Succeeded"),
        ([], [ended(0), ended(1)], "Failed"),
    ],
)
def test_phase(initial: list[State], main: list[State], expected: str) -> None:
    """The phase follows from what the containers do."""
    assert phase([facts(each) for each in initial], [facts(each) for each in main]) == expected


def test_a_container_that_waits_for_its_restart_is_of_a_running_pod() -> None:
    """Between two runs of a container its Pod is Running."""
    assert phase([], [Facts("main", "image:test", Waiting("CrashLoopBackOff"), last=ended(1))]) == "Running"


@pytest.mark.parametrize(
    ("policy", "status", "again"),
    [("Always", 0, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_restarts(policy: str, status: int, again: bool) -> None:  # noqa: FBT001
    """The policy says who is started again."""
    assert restarts(policy, status) is again


def test_conditions_keep_the_time_of_their_last_change() -> None:
    """A condition that stays what it was keeps its time; those of others stay as they are."""
    foreign = {"type": "DisruptionTarget", "status": "True"}
    first = pod_status({"conditions": [foreign]}, [], [facts(RUNS)], address="127.1.1.1", host="127.0.0.1", now=NOW)
    assert conditions(first)["Ready"] == "False"
    later = NOW + timedelta(seconds=9)
    second = pod_status(first, [], [facts(RUNS, ready=True)], address="127.1.1.1", host="127.0.0.1", now=later)
    assert conditions(second)["Ready"] == "True"
    times = {each["type"]: each.get("lastTransitionTime") for each in second["conditions"]}
    assert times["Ready"] == "2026-01-02T03:04:14Z"
    assert times["Initialized"] == second["startTime"] == "2026-01-02T03:04:05Z"
    assert foreign in second["conditions"]
    third = pod_status(second, [], [facts(RUNS, ready=True)], address="127.1.1.1", host="127.0.0.1", now=NOW)
    assert third == second


def test_states_of_containers() -> None:
    """A container's status tells its state, the one before and its restarts."""
    crashed = Facts("main", "image:test", Waiting("CrashLoopBackOff", "soon"), last=ended(137), restarts=3)
    status = pod_status({}, [], [crashed], address="127.1.1.1", host="127.0.0.1", now=NOW)
    (only,) = status["containerStatuses"]
    assert only["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "soon"}}
    assert only["lastState"]["terminated"]["exitCode"] == 137
    assert (only["restartCount"], only["ready"], only["started"]) == (3, False, False)
