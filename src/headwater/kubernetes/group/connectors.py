"""Owns what may be asked of connectors in groups, and the order of the requests that do it.

Objects are `render`'s, and what they tell is `observe`'s. A group is made with its first connector, and goes with its
last; the Leases of its slots stay, for pods that are about to end go by them.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, cast

import msgspec

from headwater.core.difference import plan
from headwater.core.errors import ConnectorError, ConnectorExistsError, ConnectorOwnedError
from headwater.core.managed import Definition, ManagedConnector, Plan
from headwater.kubernetes import names
from headwater.kubernetes.api import Api, NoLogError
from headwater.kubernetes.group.members import Member, member_of
from headwater.kubernetes.group.observe import Slot, group_of_deployment, is_about, slot_of_plain, state
from headwater.kubernetes.group.render import Group, group_of, render_group, render_member
from headwater.kubernetes.group.slots import slot_of
from headwater.kubernetes.observe import Deployment, deployment_of
from headwater.kubernetes.options import Options, Settings
from headwater.kubernetes.render import Manifest

_PRUNED = ("Secret", "Role", "RoleBinding")
_OWN = ("Deployment", "PodDisruptionBudget", "RoleBinding", "Role", "ServiceAccount")
# How often is looked whether another pod has a connector whose log is followed (seconds).
_LOOK: Final = 2.0


class Grouped(msgspec.Struct, frozen=True):
    """A connector that is there: its ConfigMap, and what that says."""

    config_map: Manifest
    member: Member
    group: str

    @property
    def foreign_secret(self) -> str:
        """The Secret that somebody else keeps for it, "" for none."""
        ours = self.member.secret.startswith(f"{self.member.name}-secrets-")
        return "" if ours else self.member.secret


class Groups:
    """The connectors that are in groups, in one namespace of a cluster."""

    def __init__(self, api: Api, options: Options, now: Callable[[], datetime]) -> None:
        self._api = api
        self._options = options
        self._now = now

    async def find(self, name: str, doing: str) -> Grouped | None:
        """Return a connector, None when there is none of that name in any group."""
        found = await self._api.get("ConfigMap", names.member_name(name), doing)
        if found is None:
            return None
        labels = found["metadata"].get("labels") or {}
        member = member_of(found)
        if member is None or names.GROUP not in labels or not names.is_ours(labels, name):
            return None
        return Grouped(found, member, labels[names.GROUP])

    async def get(self, grouped: Grouped, doing: str) -> ManagedConnector:
        """Return a connector as it is now."""
        deployment = await self._deployment(grouped.group, doing)
        slot = await self._slot(grouped, deployment, doing)
        return state(grouped.config_map, deployment, slot, self._now())

    async def all(self, doing: str) -> list[ManagedConnector]:
        """Return every connector of every group."""
        labels = {names.MANAGED_BY: names.MANAGER, names.GROUP: None}
        found = await self._api.labelled("ConfigMap", {**labels, names.COMPONENT: "connector"}, doing)
        if not found:
            return []
        owns = await self._api.labelled("Deployment", {**labels, names.COMPONENT: "group"}, doing)
        deployments = {it.metadata.name: it for it in map(deployment_of, owns)}
        leases = await self._api.labelled("Lease", {**labels, names.COMPONENT: "slot"}, doing)
        slots = {it.metadata.name: it for it in map(slot_of_plain, leases)}
        states = []
        for it in found:
            member, group = member_of(it), it["metadata"]["labels"][names.GROUP]
            if member is not None:
                deployment = deployments.get(group)
                lease = slots.get(_lease_of(member.name, deployment))
                states.append(state(it, deployment, lease, self._now()))
        return states

    async def create(self, definition: Definition, doing: str, *, dry_run: bool = False) -> Plan:
        """Make a connector in the group of the options, and the group when it is not there."""
        name = definition.name
        if await self.find(name, doing) is not None:
            raise ConnectorExistsError(
                f"Connector already exists: {name}", hint="change it with: headwater connector update -c FILE"
            )
        group, of_group, _ = await self._group(self._options.group or "", doing)
        secret = self._options.secret or ""
        objects = render_member(definition, group.name, namespace=self._api.namespace, secret=secret)
        await self._apply([*of_group, *objects], doing, dry_run=dry_run)
        return plan(name, None, definition)

    async def update(self, grouped: Grouped, definition: Definition, doing: str, *, dry_run: bool = False) -> Plan:
        """Run a connector by another definition from now on, and the group by other settings where the options say."""
        if self._options.group not in {None, grouped.group}:
            raise ConnectorError(
                f"cannot {doing}: it is in group {grouped.group}, not in {self._options.group}",
                hint="delete it, and create it anew in the other group once its endpoint is polled no more",
            )
        _, of_group, lines = await self._group(grouped.group, doing)
        secret = self._options.secret or grouped.foreign_secret
        member = grouped.member
        objects = self._objects(definition, grouped, paused=member.paused, restarted=member.restarted, secret=secret)
        planned = plan(definition.name, await self._before(grouped, definition, doing), definition)
        if lines or secret != grouped.foreign_secret:
            planned = Plan(planned.name, "updated", (*planned.difference, *lines))
        if planned.action == "unchanged":
            return planned
        await self._apply([*of_group, *objects], doing, dry_run=dry_run)
        if not dry_run:
            # The Secret before stays until its pod has read the other one, and is deleted by the next change.
            kept = {member.secret, *(it["metadata"]["name"] for it in objects)}
            await self._prune(definition.name, kept, doing)
        return planned

    async def delete(self, grouped: Grouped, doing: str, *, dry_run: bool = False) -> Plan:
        """End a connector and forget it; the group goes with its last one."""
        name = grouped.member.name
        planned = plan(name, await self._before(grouped, None, doing), None)
        await self._api.delete("ConfigMap", names.member_name(name), doing, dry_run=dry_run)
        if dry_run:
            return planned
        await self._prune(name, set(), doing)
        if not await self._api.labelled("ConfigMap", names.group_owner(grouped.group, "connector"), doing):
            for kind in _OWN:
                for it in await self._api.labelled(kind, names.group_owner(grouped.group), doing):
                    await self._api.delete(kind, it["metadata"]["name"], doing)
        return planned

    async def change(
        self, grouped: Grouped, doing: str, *, paused: bool | None = None, restarted: str | None = None
    ) -> None:
        """Pause or resume a connector, or have it started anew."""
        said = grouped.config_map
        annotations = {
            name: value for name, value in (said["metadata"].get("annotations") or {}).items() if _is_ours(name)
        }
        if paused is not None:
            annotations.pop(names.PAUSED, None)
            annotations |= {names.PAUSED: "true"} if paused else {}
        if restarted is not None:
            annotations[names.RESTARTED] = restarted
        metadata = {
            "name": said["metadata"]["name"],
            "labels": names.member_labels(grouped.member.name, grouped.group),
            "annotations": annotations,
        }
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": said.get("data", {})}
        await self._api.apply(applied, doing, uid=said["metadata"]["uid"])

    async def logs(
        self, grouped: Grouped, doing: str, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[str]:
        """Yield the lines about a connector from the pod that has it; with `follow` from whichever has it then."""
        name = grouped.member.name
        pod = await self._pod(grouped, doing)
        if not follow or tail is not None:
            last: deque[str] = deque(maxlen=tail)
            if pod:
                last.extend([line async for line in self._lines(pod, name, doing, follow=False)])
            for line in last:
                yield line
        # Of what is followed after a tail only what comes is wanted.
        skip = tail is not None
        while follow:
            if not pod:
                await asyncio.sleep(_LOOK)
            else:
                async with aclosing(cast("Any", self._followed(pod, grouped, doing, skip=skip))) as lines:
                    async for line in lines:
                        yield line
            skip = False
            pod = await self._pod(grouped, doing)

    async def _followed(self, pod: str, grouped: Grouped, doing: str, *, skip: bool) -> AsyncIterator[str]:
        """Yield what a pod says of a connector until another one has it."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1000)

        async def read() -> None:
            try:
                tail = 0 if skip else None
                found = self._lines(pod, grouped.member.name, doing, follow=True, tail=tail)
                async with aclosing(cast("Any", found)) as lines:
                    async for line in lines:
                        await queue.put(line)
            finally:
                await queue.put(None)

        async def until_another_one() -> None:
            while await self._pod(grouped, doing) in {pod, ""}:  # noqa: ASYNC110 - it happens in the cluster
                await asyncio.sleep(_LOOK)
            await queue.put(None)

        tasks = [asyncio.create_task(read()), asyncio.create_task(until_another_one())]
        try:
            while (line := await queue.get()) is not None:
                yield line
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        # A pod that is gone has no log any more, and its lease ends a little later.
        await asyncio.sleep(_LOOK)

    async def _lines(
        self, pod: str, name: str, doing: str, *, follow: bool, tail: int | None = None
    ) -> AsyncIterator[str]:
        try:
            async with aclosing(cast("Any", self._api.lines(pod, doing, follow=follow, tail=tail))) as lines:
                async for line in lines:
                    if is_about(line, name):
                        yield line
        except NoLogError:
            return

    # What they have in common.

    async def _deployment(self, group: str, doing: str) -> Deployment | None:
        found = await self._api.get("Deployment", group, doing)
        if found is None or not names.is_of_group(found["metadata"].get("labels"), group):
            return None
        return deployment_of(found)

    async def _slot(self, grouped: Grouped, deployment: Deployment | None, doing: str) -> Slot | None:
        lease = _lease_of(grouped.member.name, deployment)
        found = await self._api.get("Lease", lease, doing) if lease else None
        return None if found is None else slot_of_plain(found)

    async def _pod(self, grouped: Grouped, doing: str) -> str:
        """Return the pod that has a connector, "" when none has."""
        slot = await self._slot(grouped, await self._deployment(grouped.group, doing), doing)
        return "" if slot is None else slot.pod

    async def _group(self, name: str, doing: str) -> tuple[Group, list[Manifest], tuple[str, ...]]:
        """Return the group as the options want it, what is to be applied for that, and the lines that tell of it."""
        found = await self._api.get("Deployment", name, doing)
        if found is not None and not names.is_of_group(found["metadata"].get("labels"), name):
            raise ConnectorOwnedError(
                f"cannot {doing} in {self._api.place}: the Deployment {name} there is no group of Headwater's",
                hint="give the group another name, or use another namespace",
            )
        try:
            live = None if found is None else group_of_deployment(deployment_of(found))
            wanted = group_of(msgspec.structs.replace(self._options, group=name), live)
        except ValueError as error:
            raise ConnectorError(f"cannot {doing} in {self._api.place}: {error}") from error
        if wanted == live:
            return wanted, [], ()
        lines = () if live is None else (*_differences(live, wanted), *_differences(live.settings, wanted.settings))
        return wanted, render_group(wanted, self._api.namespace), lines

    def _objects(
        self, definition: Definition, grouped: Grouped, *, paused: bool, restarted: str, secret: str
    ) -> list[Manifest]:
        return render_member(
            definition,
            grouped.group,
            namespace=self._api.namespace,
            secret=secret,
            paused=paused,
            restarted=restarted,
        )

    async def _before(self, grouped: Grouped, after: Definition | None, doing: str) -> Definition:
        """Return what a connector is defined by now, as far as it makes a difference to `after`."""
        member = grouped.member
        secrets = dict.fromkeys(member.secrets, "")
        if grouped.foreign_secret:
            if after is not None and set(secrets) == set(after.secrets):
                secrets = after.secrets
        elif member.secret and after is not None:
            found = await self._api.get("Secret", member.secret, doing)
            data = {} if found is None else found.get("data", {})
            secrets = {key: base64.b64decode(value).decode() for key, value in data.items()}
        return Definition(member.name, member.text, secrets)

    async def _apply(self, objects: Sequence[Manifest], doing: str, *, dry_run: bool) -> None:
        """Make all objects, the connector's ConfigMap last. The cluster is asked first whether it would take them."""
        for it in objects:
            labels = it["metadata"]["labels"]
            owner = {name: labels[name] for name in (names.MANAGED_BY, names.GROUP, names.COMPONENT, names.INSTANCE)}
            found = await self._api.get(it["kind"], it["metadata"]["name"], doing)
            theirs = {} if found is None else found["metadata"].get("labels") or {}
            if found is not None and any(theirs.get(name) != value for name, value in owner.items()):
                what = f"the {it['kind']} {it['metadata']['name']} there"
                raise ConnectorOwnedError(
                    f"cannot {doing} in {self._api.place}: {what} is of something else",
                    hint="give the connector or the group another name, or use another namespace",
                )
        for trial in (True,) if dry_run else (True, False):
            for it in objects:
                # Whether somebody may bind a Role is not known before it is there.
                if not trial or it["kind"] != "RoleBinding":
                    await self._api.apply(it, doing, dry_run=trial)

    async def _prune(self, name: str, kept: set[str], doing: str) -> None:
        for kind in _PRUNED:
            for it in await self._api.ours(kind, doing, name):
                if names.GROUP in it["metadata"]["labels"] and it["metadata"]["name"] not in kept:
                    await self._api.delete(kind, it["metadata"]["name"], doing)


def _lease_of(connector: str, deployment: Deployment | None) -> str:
    """Return the name of the Lease of a connector's slot, "" when that cannot be told."""
    slots = "" if deployment is None else deployment.metadata.annotations.get(names.SLOTS, "")
    if deployment is None or not slots.isdecimal() or int(slots) < 1:
        return ""
    return names.slot_name(deployment.metadata.name, slot_of(connector, int(slots)))


def _is_ours(annotation: str) -> bool:
    return annotation.startswith("headwater/")


def _differences(before: Group | Settings, after: Group | Settings) -> list[str]:
    return [
        line
        for field in before.__struct_fields__
        if field != "settings" and (old := getattr(before, field)) != (new := getattr(after, field))
        for line in (f"-{field}: {old}", f"+{field}: {new}")
    ]
