"""Owns what a group and its connectors are in a cluster. Pure and deterministic.

The group is one Deployment with what it may do; a connector in it is a ConfigMap that its pods watch. What they may
read of Secrets is said for each connector by itself, so that making one never changes what stands for another.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headwater.core.managed import Definition
from headwater.kubernetes import names
from headwater.kubernetes.group.slots import MOST_SLOTS, SLOTS
from headwater.kubernetes.options import Options, Settings, encode_settings, settings_of
from headwater.kubernetes.render import (
    CLOSING,
    DATA,
    HOME,
    Manifest,
    check,
    container,
    pod_security,
    secret_content,
    volumes_without_own,
    work_arguments,
)

REPLICAS: Final = 2
# Names of pods are longer by 17, and have 63 at most.
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,48}[a-z0-9])?")


class Group(msgspec.Struct, frozen=True):
    """A group: its pods share `slots`, whose number never changes. Raises ValueError for what cannot be one."""

    name: str
    settings: Settings
    replicas: int = REPLICAS
    slots: int = SLOTS

    def __post_init__(self) -> None:
        if self.settings.storage or not self.settings.on_cluster:
            raise ValueError("a group has no storage: its pods keep records and checkpoints in a Fluvio cluster")
        if not 1 <= self.slots <= MOST_SLOTS:
            raise ValueError(f"a group has 1 to {MOST_SLOTS} slots, not {self.slots}")
        if not 0 <= self.replicas <= self.slots:
            raise ValueError(f"{self.replicas} replicas cannot share {self.slots} slots; name 0 to {self.slots}")


def group_of(options: Options, kept: Group | None = None) -> Group:
    """Return the group that options mean, over what is `kept` of one. Raises ValueError.

    The Secret of the options is the connector's. The number of slots stays what it is.
    """
    name = options.group or (kept.name if kept is not None else "")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no group; use lower-case letters, digits and inner hyphens, at most 50")
    if kept is not None and options.slots not in {None, kept.slots}:
        raise ValueError(f"group {name} has {kept.slots} slots, which can never be others")
    own = msgspec.structs.replace(options, secret=None)
    settings = settings_of(own, None if kept is None else kept.settings)
    replicas = options.replicas if options.replicas is not None else REPLICAS if kept is None else kept.replicas
    slots = kept.slots if kept is not None else options.slots or SLOTS
    return Group(name, settings, replicas, slots)


def account_name(group: str) -> str:
    """Return the name of the ServiceAccount of a group, of its Role and of the binding."""
    return f"{group}-group"


def render_group(group: Group, namespace: str = "") -> list[Manifest]:
    """Return the objects of a group, in the order in which they are to be made."""
    account = _own("v1", "ServiceAccount", account_name(group.name), group, namespace)
    role = _own("rbac.authorization.k8s.io/v1", "Role", account_name(group.name), group, namespace)
    # Leases cannot be named before they are there, and lists are by labels: this is as narrow as it can be said.
    role["rules"] = [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["list", "create", "update", "delete"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]},
    ]
    binding = _own("rbac.authorization.k8s.io/v1", "RoleBinding", account_name(group.name), group, namespace)
    binding |= _binding(group.name, account_name(group.name))
    budget = _own("policy/v1", "PodDisruptionBudget", group.name, group, namespace)
    budget["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": names.group_owner(group.name)}}
    return [
        account | {"automountServiceAccountToken": False},
        role,
        binding,
        budget,
        group_deployment(group, namespace),
    ]


def _own(version: str, kind: str, name: str, group: Group, namespace: str) -> Manifest:
    metadata: Manifest = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    metadata["labels"] = names.group_labels(group.name)
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _binding(group: str, role: str) -> Manifest:
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        # With the namespace left out, a binding means its own.
        "subjects": [{"kind": "ServiceAccount", "name": account_name(group)}],
    }


def group_deployment(group: Group, namespace: str = "", restarted: str = "") -> Manifest:
    """Return the Deployment that runs the connectors of a group."""
    made = _own("apps/v1", "Deployment", group.name, group, namespace)
    made["metadata"]["annotations"] = {
        names.SETTINGS: encode_settings(group.settings),
        names.SLOTS: str(group.slots),
    }
    annotations = {"annotations": {names.RESTARTED: restarted}} if restarted else {}
    volumes, mounts = volumes_without_own(group.settings)
    made["spec"] = {
        "replicas": group.replicas,
        "revisionHistoryLimit": 2,
        # What an old pod gives up a new one has a second later, so there may be both: leases keep them apart.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": names.group_owner(group.name)},
        "template": {
            "metadata": {"labels": names.group_labels(group.name), **annotations},
            "spec": {
                "serviceAccountName": account_name(group.name),
                "automountServiceAccountToken": True,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": group.settings.grace + CLOSING,
                "securityContext": pod_security(),
                # Nodes fail as a whole; where there is only one, all may be on it.
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": names.group_owner(group.name)},
                    }
                ],
                "containers": [_container(group, mounts)],
                "volumes": volumes,
            },
        },
    }
    return made


def _container(group: Group, mounts: list[Manifest]) -> Manifest:
    settings = group.settings
    arguments = ["k8s", "worker", "--group", group.name, "--slots", str(group.slots), "--data-dir", DATA]
    arguments += work_arguments(settings)
    own = {"POD_IP": "status.podIP", "POD_NAME": "metadata.name", "POD_UID": "metadata.uid"}
    environment = {"HOME": HOME, "FLV_PROFILE_PATH": f"{HOME}/.fluvio/config"}
    return container(settings, arguments, environment, own, mounts)


def render_member(
    definition: Definition,
    group: str,
    *,
    namespace: str = "",
    secret: str = "",
    paused: bool = False,
    restarted: str = "",
) -> list[Manifest]:
    """Return the objects of a connector in a group, in the order in which they are to be made: the ConfigMap last.

    `secret` names a Secret that somebody else keeps. Raises InvalidConfigError when the definition is wrong, or needs
    something that a pod would not have.
    """
    config = check(definition, storage=False)
    named = secret or (names.secret_name(definition.name, definition.secrets) if definition.secrets else "")
    annotations = {names.TOPIC: config.topic.name, names.TYPE: config.type}
    if config.version:
        annotations[names.VERSION] = config.version

    def made(version: str, kind: str, name: str) -> Manifest:
        metadata: Manifest = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        metadata["labels"] = names.member_labels(definition.name, group)
        return {"apiVersion": version, "kind": kind, "metadata": metadata}

    objects = []
    if definition.secrets:
        annotations |= {names.SECRET: named, names.SECRETS: " ".join(sorted(definition.secrets))}
        if not secret:
            objects.append(made("v1", "Secret", named) | secret_content(definition.secrets))
        reading = names.reading_name(definition.name)
        role = made("rbac.authorization.k8s.io/v1", "Role", reading)
        role["rules"] = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [named], "verbs": ["get"]}]
        objects += [role, made("rbac.authorization.k8s.io/v1", "RoleBinding", reading) | _binding(group, reading)]
    if paused:
        annotations[names.PAUSED] = "true"
    if restarted:
        annotations[names.RESTARTED] = restarted
    said = made("v1", "ConfigMap", names.member_name(definition.name))
    said["metadata"]["annotations"] = annotations
    return [*objects, said | {"data": {names.CONFIG_KEY: definition.text}}]
