"""What a connector is in a cluster: golden files, and what must be so in all of them.

`HEADWATER_GOLDEN=write` writes the files anew.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.config import InvalidConfigError, SecretSource, define_text
from headwater.core.managed import Definition
from headwater.kubernetes import names
from headwater.kubernetes.group.render import render_member
from headwater.kubernetes.manifest import manifest, to_yaml
from headwater.kubernetes.options import Settings
from headwater.kubernetes.render import Manifest, render

GOLDEN = Path(__file__).parent / "golden"

PLAIN = """\
# What cats do.
name: cat-facts
type: http
topic: cat-facts
parameters:
  endpoint: https://catfact.ninja/fact
  interval: 10s
"""
SECRET = """\
apiVersion: 0.1.0
meta:
  name: quotes
  type: http-source
  version: 0.3.0
  topic: prices
  secrets:
    - name: API_TOKEN
    - name: PEM
http:
  endpoint: https://api.example.com/prices
  headers:
    - "authorization: Bearer ${{ secrets.API_TOKEN }}"
    - "x-more: ${{ secrets.PEM }}"
"""
SOURCE = SecretSource({"API_TOKEN": "hush-hush", "PEM": "two-part=hush"}, "a test")
IMAGE = "headwater:1.2.3"

CASES: dict[str, tuple[str, Settings, dict[str, Any]]] = {
    "plain": (PLAIN, Settings(image=IMAGE), {}),
    "secrets": (SECRET, Settings(image=IMAGE), {"namespace": "feeds"}),
    "storage": (
        SECRET,
        Settings(image=IMAGE, storage="10Gi", storage_class="fast", profile_config_map="", grace=60),
        {"restarted": "2026-01-02T03:04:05Z"},
    ),
    "tls-paused": (
        PLAIN,
        Settings(image=IMAGE, profile_config_map="theirs", client_tls=True, limits={"memory": "1Gi"}),
        {"paused": True},
    ),
    "cluster-and-storage": (PLAIN, Settings(image=IMAGE, storage="1Gi", secret="unused"), {}),
}


def definition(text: str) -> Definition:
    return define_text(text, secrets=SOURCE).definitions[0]


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    """The objects are exactly those of the file, and the file reads as what was rendered."""
    text, how, more = CASES[case]
    objects = render(definition(text), how, **more)
    written = to_yaml(objects)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("HEADWATER_GOLDEN") == "write":
        path.write_text(written)
    assert written == path.read_text()
    assert list(yaml.safe_load_all(written)) == objects


def of_kind(objects: list[Manifest], kind: str) -> Manifest:
    (found,) = [it for it in objects if it["kind"] == kind]
    return found


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_known_as_ours(case: str) -> None:
    """Each has the labels by which it is found and by which it may be touched; the pods too."""
    text, how, more = CASES[case]
    made = definition(text)
    objects = render(made, how, **more)
    for it in objects:
        assert names.is_ours(it["metadata"]["labels"], made.name)
        assert it["metadata"].get("namespace", "") == more.get("namespace", "")
    deployment = of_kind(objects, "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert objects[-1] is deployment


@pytest.mark.parametrize("case", CASES)
def test_the_restricted_level_is_kept(case: str) -> None:
    """Nothing runs as root, gains privileges, writes to the image or has a token of the cluster."""
    text, how, more = CASES[case]
    pod = of_kind(render(definition(text), how, **more), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    assert int(how.grace) < pod["terminationGracePeriodSeconds"]
    assert f"{how.grace}s" in container["args"]
    assert {"requests", "limits"} == set(container["resources"])


def test_secrets_are_in_the_secret_and_nowhere_else() -> None:
    """No value is in the ConfigMap, in arguments, in the environment, or in a name."""
    objects = render(definition(SECRET), Settings())
    secret = of_kind(objects, "Secret")
    assert secret["immutable"]
    assert {name: base64.b64decode(value).decode() for name, value in secret["data"].items()} == {
        "API_TOKEN": "hush-hush",
        "PEM": "two-part=hush",
    }
    others = [it for it in objects if it is not secret]
    assert "hush" not in to_yaml(others)
    assert base64.b64encode(b"hush-hush").decode() not in to_yaml(others)
    assert "--secrets" in of_kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]


def test_a_manifest_without_secrets_says_which_are_expected() -> None:
    """The Secret is named with its keys, so that somebody else can make it; with_secrets includes it."""
    without = manifest([definition(SECRET)], Settings())
    with_them = manifest([definition(SECRET)], Settings(), with_secrets=True)
    secret = of_kind(list(yaml.safe_load_all(with_them)), "Secret")["metadata"]["name"]
    assert "kind: Secret" not in without
    assert without.startswith(f"# quotes expects a Secret {secret} with these keys:\n#   API_TOKEN\n#   PEM\n---\n")
    assert "expects" not in with_them
    assert f"secretName: {secret}" in without


def test_a_secret_of_somebody_else() -> None:
    """A Secret that is named is mounted and expected, and none is made."""
    text = manifest([definition(SECRET)], Settings(secret="vaulted"), with_secrets=True)
    assert text.startswith("# quotes expects a Secret vaulted with these keys:")
    assert "kind: Secret" not in text
    assert "secretName: vaulted" in text


def test_another_content_is_another_object_and_another_pod() -> None:
    """A change of the text or of a secret changes a name and the checksum; the rest stays."""
    one = render(definition(SECRET), Settings())
    again = render(definition(SECRET), Settings())
    assert one == again
    text = render(definition(SECRET + "  interval: 1s\n"), Settings())
    changed = define_text(SECRET, secrets=SecretSource({"API_TOKEN": "other", "PEM": "x"}, "a test")).definitions[0]
    secret = render(changed, Settings())

    def of(objects: list[Manifest]) -> tuple[str, str, str]:
        deployment = of_kind(objects, "Deployment")
        return (
            of_kind(objects, "ConfigMap")["metadata"]["name"],
            of_kind(objects, "Secret")["metadata"]["name"],
            deployment["spec"]["template"]["metadata"]["annotations"][names.CHECKSUM],
        )

    assert of(one)[1] == of(text)[1]
    assert of(one)[0] != of(text)[0]
    assert of(one)[0] == of(secret)[0]
    assert of(one)[1] != of(secret)[1]
    assert len({of(one)[2], of(text)[2], of(secret)[2]}) == 3


@pytest.mark.parametrize(("uses", "right"), [("./mine.py:short", False), ("a.wasm", False), ("/opt/a.wasm", True)])
def test_files_of_this_machine_are_refused(uses: str, right: bool) -> None:  # noqa: FBT001 - a parameter
    """What a pod would not have is told beforehand, with its place."""
    text = f"{PLAIN}transforms:\n  - uses: {uses}\n"
    if right:
        render(definition(text), Settings())
        return
    with pytest.raises(InvalidConfigError, match="which a pod does not have"):
        render(definition(text), Settings())


@pytest.mark.parametrize(
    ("path", "right"), [("ca.pem", False), ("./ca.pem", False), ("/etc/ca.pem", True), ("/etc/nothing.pem", True)]
)
def test_files_of_certificates(path: str, right: bool) -> None:  # noqa: FBT001 - a parameter
    """They are looked for in the pod, so that only their path has to be one there."""
    for text in (f"  tls: {{ca_file: {path}}}\n", f"  unix_socket: {path}\n"):
        if right:
            render(definition(PLAIN + text), Settings())
        else:
            with pytest.raises(InvalidConfigError, match="which a pod does not have"):
                render(definition(PLAIN + text), Settings())


def test_where_a_pod_may_go() -> None:
    """Pods reach public addresses alone unless they are told more, and always say so themselves."""

    def told(settings: Settings) -> list[str]:
        pod = of_kind(render(definition(PLAIN), settings), "Deployment")["spec"]["template"]["spec"]
        return [it for it in pod["containers"][0]["args"] if "egress" in it or it in {"open", "public"}]

    assert told(Settings()) == ["--egress", "public"]
    assert told(Settings(egress="open")) == ["--egress", "open"]
    allowed = Settings(egress_allow=("10.0.0.0/8", "*.svc.cluster.local"))
    assert told(allowed) == ["--egress", "public", "--egress-allow=10.0.0.0/8", "--egress-allow=*.svc.cluster.local"]


@pytest.mark.parametrize(
    ("origin", "right"), [("file: /etc/token", False), ("command: [get, token]", False), ("env: OTHER", True)]
)
def test_secrets_of_this_machine_are_refused(origin: str, right: bool) -> None:  # noqa: FBT001 - a parameter
    """A pod has neither the file nor the program; a variable's value goes into the Secret."""
    text = f"{PLAIN}secrets:\n  - name: TOKEN\n    {origin}\n"
    given = msgspec.structs.replace(definition(PLAIN), text=text, secrets={"TOKEN": "hush"})
    if right:
        assert of_kind(render(given, Settings()), "Secret")["data"]
        return
    with pytest.raises(InvalidConfigError, match=r"the secret TOKEN comes from a .*, which a pod does not have"):
        render(given, Settings())


@pytest.mark.parametrize("option", ["changes: {key: /id}", "deduplicate: {by: /id}"])
def test_what_remembers_items_needs_storage(option: str) -> None:
    """The checkpoints would be in the cluster, where nothing of items is kept; pods of a group have no storage."""
    text = f"name: cats\ntopic: cats\nparameters:\n  endpoint: http://x/\n  {option}\n"
    wanted = Definition("cats", text, {})
    assert render(wanted, Settings(storage="1Gi"))
    with pytest.raises(InvalidConfigError, match="with the checkpoints in the cluster there is no place"):
        render(wanted, Settings())
    with pytest.raises(InvalidConfigError, match="with the checkpoints in the cluster there is no place"):
        render_member(wanted, "group")


def test_what_is_too_large_is_refused() -> None:
    """A ConfigMap has a bound, which is better heard of here."""
    with pytest.raises(InvalidConfigError, match="larger than the 1000000 bytes"):
        render(definition(PLAIN + "#" * 1_000_000), Settings())


@pytest.mark.parametrize("name", [names.config_name, names.secret_name])
@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.text(), st.text(), min_size=1, max_size=3),
    st.dictionaries(st.text(), st.text(), min_size=1, max_size=3),
)
def test_names_tell_contents_apart(
    name: Callable[[str, Mapping[str, str]], str], one: dict[str, str], other: dict[str, str]
) -> None:
    """Equal contents have equal names whatever their order, and others have others."""
    # Each name of a Secret is a hash that costs a fortieth of a second.
    named = name("a", one)
    assert (named == name("a", other)) == (one == other)
    if len(one) > 1:
        assert named == name("a", dict(reversed(one.items())))


@pytest.mark.parametrize("name", [names.config_name, names.secret_name])
def test_names_are_short_enough(name: Callable[[str, Mapping[str, str]], str]) -> None:
    """The longest name of a connector, with what tells contents apart, is one of Kubernetes."""
    for data in ({"a": ""}, {"a" * 1000: "b" * 100_000}):
        assert len(name("a" * 63, data)) < 253
