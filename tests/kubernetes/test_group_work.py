"""What is to be done with connectors, and what is told of them: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.managed import Phase
from headwater.engine.guard import Permit
from headwater.kubernetes import names
from headwater.kubernetes.group.claims import Standing
from headwater.kubernetes.group.members import Member, Told, decode_states, encode_states, member_of
from headwater.kubernetes.group.observe import is_about, slot_of_plain, state
from headwater.kubernetes.group.work import Stage, Todo, Trouble, Work, todo
from headwater.kubernetes.observe import Deployment, deployment_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CATS = Member("cats", "text")


def holding() -> Permit:
    return Permit(1, 1, lambda: 0)


def ended() -> Permit:
    return Permit(1, 0, lambda: 0)


def work(
    stage: Stage = Stage.RUNNING, permit: Permit | None = None, checksum: str = CATS.checksum, **more: Any
) -> Work:
    return Work(0, permit or holding(), checksum, stage, **more)


def trouble(checksum: str = CATS.checksum, again: float = 10) -> Trouble:
    return Trouble(checksum, Phase.INVALID, "no", 0, again)


PAUSED = Member("cats", "text", paused=True)
OTHER = Member("cats", "another text")


@pytest.mark.parametrize(
    ("member", "there", "wrong", "standing", "wanted"),
    [
        (CATS, None, None, Standing.HELD, Todo(start=("cats",))),
        (CATS, None, None, Standing.IDLE, Todo()),
        (CATS, None, None, Standing.DRAINING, Todo()),
        (PAUSED, None, None, Standing.HELD, Todo()),
        (CATS, None, trouble(), Standing.HELD, Todo()),
        (CATS, None, trouble(again=1), Standing.HELD, Todo(start=("cats",))),
        (CATS, None, trouble("before"), Standing.HELD, Todo(start=("cats",))),
        (CATS, work(), None, Standing.HELD, Todo()),
        (CATS, work(Stage.STARTING, ended()), None, Standing.CUT, Todo()),
        (CATS, work(permit=ended()), None, Standing.CUT, Todo(cut=("cats",))),
        (CATS, work(Stage.ENDING, ended()), None, Standing.CUT, Todo(cut=("cats",))),
        (CATS, work(Stage.ENDING, ended(), cut=True), None, Standing.CUT, Todo()),
        (CATS, work(), None, Standing.DRAINING, Todo(drain=("cats",))),
        (CATS, work(Stage.ENDING), None, Standing.DRAINING, Todo()),
        (PAUSED, work(), None, Standing.HELD, Todo(drain=("cats",))),
        (None, work(), None, Standing.HELD, Todo(drain=("cats",))),
        (OTHER, work(), None, Standing.HELD, Todo(change=("cats",))),
        (OTHER, work(), trouble(OTHER.checksum), Standing.HELD, Todo()),
    ],
)
def test_what_is_to_be_done(
    member: Member | None, there: Work | None, wrong: Trouble | None, standing: Standing, wanted: Todo
) -> None:
    """By what its ConfigMap says, what is here of it, what was wrong with it, and how its slot stands."""
    members = {} if member is None else {"cats": member}
    works = {} if there is None else {"cats": there}
    troubles = {} if wrong is None else {"cats": wrong}
    assert todo(members, works, troubles, lambda _: standing, 5) == wanted


@given(st.dictionaries(st.text("abc", min_size=1), st.builds(Told, st.sampled_from(Phase), st.text(max_size=20))))
def test_states_read_as_they_were_written(states: dict[str, Told]) -> None:
    """Whatever is said comes back."""
    assert decode_states(encode_states(states)) == states


def test_states_are_bounded() -> None:
    """Of very many only the troubled ones are told, and of those as many as there is room for; reasons are cut."""
    many = {f"connector-{number:05}": Told(checksum="0123456789") for number in range(10_000)}
    many["bad"] = Told(Phase.FAILED, "x" * 1000)
    text = encode_states(many)
    assert decode_states(text) == {"bad": Told(Phase.FAILED, "x" * 300)}
    worse = {name: Told(Phase.FAILED, "x" * 300) for name in many}
    assert 1000 < len(encode_states(worse)) <= 200_000
    assert decode_states("nonsense") == {}


def config_map(**annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "cats-connector",
            "labels": names.member_labels("cats", "feeds"),
            "annotations": {names.TOPIC: "facts", **annotations},
            "creationTimestamp": "2026-01-02T03:00:00Z",
        },
        "data": {"connect.yml": "text"},
    }


def slot(states: dict[str, Told], holder: str = "feeds-x_1", age: float = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": "feeds-slot-7", "annotations": {names.STATES: encode_states(states)}},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 10,
            "renewTime": (NOW - timedelta(seconds=age)).isoformat(),
        },
    }


def group(replicas: int = 2) -> Deployment:
    return deployment_of(
        {"metadata": {"name": "feeds"}, "spec": {"replicas": replicas}, "status": {"readyReplicas": 1}}
    )


def test_what_is_told_of_a_connector() -> None:
    """By its pod when that has this version of it; else why nobody says anything."""
    plain = config_map()
    member = member_of(plain)
    assert member is not None
    good = {"cats": Told(checksum=member.checksum)}
    running = state(plain, group(), slot_of_plain(slot(good)), NOW)
    assert (running.status, running.where, running.topic, running.reason) == (Phase.RUNNING, "feeds-x", "facts", "")
    bad = {"cats": Told(Phase.FAILED, "503", 7, member.checksum)}
    failing = state(plain, group(), slot_of_plain(slot(bad)), NOW)
    assert (failing.status, failing.reason, failing.since) == (Phase.FAILED, "503", 7)
    for found, deployment, lease, status, reason in (
        (plain, None, slot(good), Phase.FAILED, "there is no group feeds"),
        (plain, group(0), slot(good), Phase.PAUSED, "scaled to 0"),
        (plain, group(), None, Phase.PENDING, "no pod of group feeds works on it yet (1 are ready)"),
        (plain, group(), slot(good, ""), Phase.PENDING, "no pod of group feeds"),
        (plain, group(), slot(good, age=31), Phase.PENDING, "pod feeds-x is silent"),
        (plain, group(), slot({}), Phase.INIT, "has not begun with it"),
        (plain, group(), slot({"cats": Told(checksum="old")}), Phase.INIT, "has not begun with it"),
        (config_map(**{names.PAUSED: "true"}), group(), slot(good), Phase.PAUSED, ""),
    ):
        now = state(found, deployment, None if lease is None else slot_of_plain(lease), NOW)
        assert now.status is status, reason
        assert reason in now.reason


def test_lines_about_a_connector() -> None:
    """Only those that name it as theirs, whatever else they quote."""
    assert is_about('{"connector": "cats", "event": "x"}', "cats")
    for line in ('{"connector": "cats-2"}', '{"event": "\\"cats\\""}', '{"reason": "cats"}', '"cats"', '["cats"] no'):
        assert not is_about(line, "cats")
