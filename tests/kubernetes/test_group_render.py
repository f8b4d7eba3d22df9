"""What a group and its connectors are in a cluster: golden files, and what must be so in all of them.

`HEADWATER_GOLDEN=write` writes the files anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.config import InvalidConfigError, SecretSource, define_text
from headwater.core.managed import Definition
from headwater.kubernetes import names
from headwater.kubernetes.group.members import Member, member_of
from headwater.kubernetes.group.render import Group, account_name, group_of, render_group, render_member
from headwater.kubernetes.group.slots import SLOTS
from headwater.kubernetes.manifest import group_manifest, to_yaml
from headwater.kubernetes.options import Options, Settings
from headwater.kubernetes.render import Manifest

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "headwater:1.2.3"
PLAIN = """\
name: cat-facts
type: http
topic: cat-facts
parameters:
  endpoint: https://catfact.ninja/fact
  interval: 10s
"""
SECRET = """\
name: quotes
type: http
topic: prices
parameters:
  endpoint: https://api.example.com/prices
  headers: {authorization: "Bearer ${{ secrets.API_TOKEN }}"}
"""
SOURCE = SecretSource({"API_TOKEN": "hush-hush"}, "a test")


def definition(text: str) -> Definition:
    return define_text(text, secrets=SOURCE).definitions[0]


def golden(case: str, objects: list[Manifest]) -> None:
    """Compare objects with a file, or write it."""
    written = to_yaml(objects)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("HEADWATER_GOLDEN") == "write":
        path.write_text(written)
    assert written == path.read_text()
    assert list(yaml.safe_load_all(written)) == objects


def test_the_objects_of_a_group() -> None:
    """They are exactly those of the file."""
    settings = Settings(image=IMAGE, client_tls=True, grace=30)
    golden("group", render_group(Group("feeds", settings, 3), "feeds"))


def test_the_objects_of_its_connectors() -> None:
    """They are exactly those of the file: with and without secrets, paused, with a Secret of somebody else."""
    golden(
        "group-members",
        [
            *render_member(definition(PLAIN), "feeds", paused=True),
            *render_member(definition(SECRET), "feeds", namespace="feeds", restarted="2026-01-02T03:04:05Z"),
            *render_member(definition(SECRET), "feeds", secret="theirs"),
        ],
    )


def test_a_group_may_do_nothing_else() -> None:
    """Leases, and reading ConfigMaps; of Secrets only the one of a connector, by its name and not by lists."""
    role = next(it for it in render_group(Group("feeds", Settings())) if it["kind"] == "Role")
    assert {(*rule["resources"], *rule["verbs"]) for rule in role["rules"]} == {
        ("leases", "list", "create", "update", "delete"),
        ("configmaps", "list", "watch"),
    }
    reading = next(it for it in render_member(definition(SECRET), "feeds") if it["kind"] == "Role")
    (rule,) = reading["rules"]
    assert (rule["resources"], rule["verbs"]) == (["secrets"], ["get"])
    (name,) = rule["resourceNames"]
    assert name.startswith("quotes-secrets-")
    bindings = [it for it in render_member(definition(SECRET), "feeds") if it["kind"] == "RoleBinding"]
    assert [it["subjects"][0]["name"] for it in bindings] == [account_name("feeds")]
    assert not [it for it in render_member(definition(PLAIN), "feeds") if it["kind"] != "ConfigMap"]


def test_labels_tell_objects_apart() -> None:
    """Pods of a group are selected by what connectors' objects and leases never have."""
    own = render_group(Group("feeds", Settings()))
    selector = own[-1]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= own[-1]["spec"]["template"]["metadata"]["labels"].items()
    for it in render_member(definition(SECRET), "feeds"):
        assert not selector.items() <= it["metadata"]["labels"].items()
        assert names.group_owner("feeds", "connector").items() <= it["metadata"]["labels"].items()
        assert names.is_ours(it["metadata"]["labels"], "quotes")
    for component in ("slot", "member"):
        assert not selector.items() <= names.group_labels("feeds", component).items()
    assert all(names.is_of_group(it["metadata"]["labels"], "feeds") for it in own)


def test_a_config_map_reads_as_what_it_was_made_of() -> None:
    """What the pods make of it is what was said; the checksum changes with all that needs another start."""
    objects = render_member(definition(SECRET), "feeds", restarted="now")
    member = member_of(objects[-1])
    secret = next(it for it in objects if it["kind"] == "Secret")["metadata"]["name"]
    assert member == Member("quotes", definition(SECRET).text, secret, ("API_TOKEN",), paused=False, restarted="now")
    ways: tuple[dict[str, Any], ...] = ({}, {"restarted": "now"}, {"restarted": "later"}, {"secret": "theirs"})
    sums = {
        it.checksum
        for more in ways
        if (it := member_of(render_member(definition(SECRET), "feeds", **more)[-1])) is not None
    }
    assert len(sums) == 4
    paused = member_of(render_member(definition(SECRET), "feeds", restarted="now", paused=True)[-1])
    assert paused is not None
    assert paused.paused
    assert paused.checksum == member.checksum
    for wrong in ({}, {"metadata": {"name": "x", "labels": {names.CONNECTOR: "cats"}}}):
        assert member_of(wrong) is None


def test_what_cannot_be_a_group() -> None:
    """Storage, more replicas than slots, other slots than before, a name that is none: each is refused."""
    said: dict[str, Any] = {"group": "feeds"}
    assert group_of(Options(**said)) == Group("feeds", Settings(), 2, SLOTS)
    kept = Group("feeds", Settings(image=IMAGE, secret=""), 5, 8)
    assert group_of(Options(**said, secret="theirs"), kept) == kept
    assert group_of(Options(**said, replicas=0), kept).replicas == 0
    for more, message in (
        ({"storage": "1Gi"}, "no storage"),
        ({"replicas": 17}, "17 replicas cannot share 16 slots"),
        ({"slots": 129}, "1 to 128 slots"),
        ({"group": "No_Name"}, "'No_Name' is no group"),
    ):
        with pytest.raises(ValueError, match=message):
            group_of(Options(**(said | more)))
    with pytest.raises(ValueError, match="can never be others"):
        group_of(Options(**said, slots=9), kept)


def test_what_cannot_run_in_a_pod_is_refused() -> None:
    """As for a connector by itself."""
    with pytest.raises(InvalidConfigError):
        render_member(Definition("cats", "name: cats\n"), "feeds")


def test_a_manifest_of_a_group() -> None:
    """The group once, then its connectors; of a Secret that is left out is told what it must hold."""
    both = [definition(PLAIN), definition(SECRET)]
    text = group_manifest(both, Group("feeds", Settings()))
    kinds = [it["kind"] for it in yaml.safe_load_all(text)]
    assert kinds == [
        *("ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget", "Deployment"),
        *("ConfigMap", "Role", "RoleBinding", "ConfigMap"),
    ]
    assert "# quotes expects a Secret quotes-secrets-" in text
    assert "hush-hush" not in text
    assert "Secret" in [
        it["kind"] for it in yaml.safe_load_all(group_manifest(both, Group("feeds", Settings()), with_secrets=True))
    ]
    assert "expects a Secret theirs" in group_manifest(both, Group("feeds", Settings()), "theirs", with_secrets=True)
