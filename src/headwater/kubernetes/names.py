"""Owns how the objects of a connector are named and labelled, and whether an object is one of them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

MANAGER: Final = "headwater"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
INSTANCE: Final = "app.kubernetes.io/instance"
CONNECTOR: Final = "connectorName"

CHECKSUM: Final = "headwater/checksum"
PAUSED: Final = "headwater/paused"
RESTARTED: Final = "headwater/restarted-at"
SETTINGS: Final = "headwater/settings"
TYPE: Final = "headwater/type"
VERSION: Final = "headwater/version"
TOPIC: Final = "headwater/topic"
SECRETS: Final = "headwater/secrets"
SECRET: Final = "headwater/secret"  # noqa: S105 - the name of an annotation
GROUP: Final = "headwater/group"
SLOTS: Final = "headwater/slots"
SLOT: Final = "headwater/slot"
STATES: Final = "headwater/states"
COMPONENT: Final = "app.kubernetes.io/component"

CONTAINER: Final = "fluvio-connector"
CONFIG_KEY: Final = "connect.yml"

_DIGITS = 10


def labels(connector: str) -> dict[str, str]:
    """Return the labels of every object of a connector: the common ones, and those of Fluvio's old controller."""
    return {
        "app": "fluvio-connector",
        COMPONENT: "connector",
        INSTANCE: connector,
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/name": "headwater",
        CONNECTOR: connector,
    }


def owner(connector: str | None = None) -> dict[str, str]:
    """Return the labels that say that an object is ours, and of which connector. What lacks one is never touched."""
    return {MANAGED_BY: MANAGER, CONNECTOR: connector} if connector is not None else {MANAGED_BY: MANAGER}


def is_ours(found: Mapping[str, str] | None, connector: str) -> bool:
    """Return whether an object with such labels belongs to a connector of ours."""
    return found is not None and all(found.get(name) == value for name, value in owner(connector).items())


def member_labels(connector: str, group: str) -> dict[str, str]:
    """Return the labels of every object of a connector that is in a group."""
    return {**labels(connector), GROUP: group}


def group_labels(group: str, component: str = "group") -> dict[str, str]:
    """Return the labels of the objects of a group itself; those of its leases are other components."""
    return {
        COMPONENT: component,
        INSTANCE: group,
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/name": "headwater",
        GROUP: group,
    }


def group_owner(group: str, component: str = "group") -> dict[str, str]:
    """Return the labels that say that an object is one of a group's own; of its connectors the component is another."""
    return {MANAGED_BY: MANAGER, GROUP: group, COMPONENT: component}


def is_of_group(found: Mapping[str, str] | None, group: str) -> bool:
    """Return whether an object with such labels is one of a group's own."""
    return found is not None and all(found.get(name) == value for name, value in group_owner(group).items())


def member_name(connector: str) -> str:
    """Return the name of the ConfigMap of a connector that is in a group, whatever the ConfigMap says."""
    return f"{connector}-connector"


def reading_name(connector: str) -> str:
    """Return the name of the Role, and its binding, by which a group reads the Secret of a connector."""
    return f"{connector}-secrets"


def slot_name(group: str, slot: int) -> str:
    """Return the name of the Lease of a slot."""
    return f"{group}-slot-{slot}"


def account_name(connector: str) -> str:
    """Return the name of a connector's ServiceAccount."""
    return f"{connector}-connector"


def claim_name(connector: str) -> str:
    """Return the name of a connector's volume claim."""
    return f"{connector}-data"


def config_name(connector: str, data: Mapping[str, str]) -> str:
    """Return the name of the ConfigMap that holds these data, and never others."""
    digest = hashlib.sha256(msgspec.json.encode(dict(data), order="sorted")).hexdigest()
    return f"{connector}-config-{digest[:_DIGITS]}"


def secret_name(connector: str, values: Mapping[str, str]) -> str:
    """Return the name of the Secret that holds these values, and never others.

    Names are read by many who may not read Secrets, so the hash is one that costs too much to guess values with.
    """
    encoded = msgspec.json.encode(dict(values), order="sorted")
    digest = hashlib.scrypt(encoded, salt=connector.encode(), n=2**14, r=8, p=1, dklen=_DIGITS // 2)
    return f"{connector}-secrets-{digest.hex()}"
