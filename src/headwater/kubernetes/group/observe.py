"""Owns what a connector of a group is doing, told from its ConfigMap, its slot's Lease and its Deployment. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import msgspec

from headwater.core.managed import ManagedConnector, Phase
from headwater.kubernetes import names
from headwater.kubernetes.group.members import Member, Told, decode_states, member_of
from headwater.kubernetes.group.render import Group
from headwater.kubernetes.observe import Deployment, Metadata, settings_of
from headwater.kubernetes.render import Manifest

# Clocks of machines differ: only a lease that ended so many durations ago is told to have ended.
_LENIENCE = 3


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What a Lease says."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    renew_time: datetime | None = None


class Slot(msgspec.Struct, frozen=True):
    """The Lease of a slot."""

    metadata: Metadata = Metadata()
    spec: LeaseSpec = LeaseSpec()

    @property
    def pod(self) -> str:
        """The pod that holds it, "" for none."""
        return self.spec.holder_identity.rpartition("_")[0]


def slot_of_plain(plain: Manifest) -> Slot:
    """Read a Lease as the API gives it."""
    return msgspec.convert(plain, Slot, strict=False)


def group_of_deployment(found: Deployment) -> Group:
    """Return the group that a Deployment was made for. Raises ValueError when it does not say."""
    slots = found.metadata.annotations.get(names.SLOTS, "")
    if not slots.isdecimal():
        raise ValueError(f"it has no annotation {names.SLOTS}")
    return Group(found.metadata.name, settings_of(found), found.spec.replicas, int(slots))


def state(config_map: Manifest, deployment: Deployment | None, slot: Slot | None, now: datetime) -> ManagedConnector:
    """Return a connector of a group as it is now."""
    metadata = msgspec.convert(config_map["metadata"], Metadata, strict=False)
    member = member_of(config_map)
    assert member is not None
    group = metadata.labels.get(names.GROUP, "")
    told = Told(Phase.PAUSED) if member.paused else _told(member, group, deployment, slot, now)
    applied = [it.time for it in metadata.managed_fields if it.manager == names.MANAGER and it.time]
    return ManagedConnector(
        name=member.name,
        type=metadata.annotations.get(names.TYPE, "http"),
        version=metadata.annotations.get(names.VERSION, "") or "latest",
        status=told.status,
        topic=metadata.annotations.get(names.TOPIC, ""),
        reason=told.reason,
        since=told.since,
        paused=member.paused,
        created=_ms(metadata.creation_timestamp),
        updated=_ms(max(applied, default=metadata.creation_timestamp)),
        where="" if slot is None else slot.pod,
    )


def _ms(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _told(member: Member, group: str, deployment: Deployment | None, slot: Slot | None, now: datetime) -> Told:
    if deployment is None:
        return Told(Phase.FAILED, f"there is no group {group}")
    if deployment.spec.replicas == 0:
        return Told(Phase.PAUSED, f"the Deployment of group {group} is scaled to 0")
    if slot is None or not slot.pod:
        ready = deployment.status.ready_replicas
        return Told(Phase.PENDING, f"no pod of group {group} works on it yet ({ready} are ready)")
    renewed = slot.spec.renew_time
    if renewed is not None and (now - renewed).total_seconds() > _LENIENCE * slot.spec.lease_duration_seconds:
        return Told(Phase.PENDING, f"pod {slot.pod} is silent, and no other of group {group} has taken over")
    told = decode_states(slot.metadata.annotations.get(names.STATES, "{}")).get(member.name)
    if told is None or told.checksum != member.checksum:
        return Told(Phase.INIT, "its pod has not begun with it yet")
    return told


def is_about(line: str, connector: str) -> bool:
    """Return whether a line of a pod's log is about a connector."""
    if f'"{connector}"' not in line:
        return False
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, Mapping) and said.get("connector") == connector
