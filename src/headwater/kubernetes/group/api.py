"""Owns the requests that a pod of a group makes of the API server, each with its time-out. Decides nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.coordination_v1 import Lease as LeaseObject
from lightkube.resources.core_v1 import ConfigMap, Secret

from headwater.core.errors import ConnectorError, HeadwaterError
from headwater.kubernetes import access, names
from headwater.kubernetes.api import timeout
from headwater.kubernetes.failure import refusal_of, told, unreachable
from headwater.kubernetes.group.claims import Act, Lease, Request
from headwater.kubernetes.options import Options
from headwater.kubernetes.render import Manifest

_Found = TypeVar("_Found")
_SLOT, _MEMBER = "slot", "member"
# Longer than leases take: nothing stops when it fails (seconds).
_PATIENCE = 10.0
# An API server ends a watch after so long; whoever heard nothing of that then looks anew (seconds).
_WATCH, _WATCH_PATIENCE = 60, 75


class Self(msgspec.Struct, frozen=True):
    """Who asks: a process of a pod, by an identity that no other process ever has. Without a `uid` it is in no pod."""

    identity: str
    pod: str
    uid: str = ""

    @property
    def lease_name(self) -> str:
        """The name of its membership's Lease."""
        return self.identity.replace("_", "-")


def pod_of(identity: str) -> str:
    """Return the pod of an identity."""
    return identity.rpartition("_")[0]


@asynccontextmanager
async def opened(options: Options, group: str, slots: int, me: Self) -> AsyncIterator[GroupApi]:
    """Open the way to the cluster that is meant. Raises ManagerError when it is not known which. Asks nothing yet."""
    config = access.find(options)
    namespace = options.namespace or config.namespace
    client = AsyncClient(config=config, namespace=namespace, timeout=timeout(), field_manager=names.MANAGER)
    try:
        yield GroupApi(client, f"namespace {namespace} of {config.cluster.server}", group, slots, me)
    finally:
        await client.close()


class GroupApi:
    """The objects of a group, as its pods see them. All calls raise ConnectorError or ManagerError."""

    def __init__(self, client: AsyncClient, place: str, group: str, slots: int, me: Self) -> None:
        self.me = me
        self.group = group
        self.slots = slots
        self._client = client
        self._place = place
        # What is in our leases besides what is asked about; kept, so that a renewal does not have to say when it began.
        self._acquired: dict[int, datetime] = {}

    async def _ask(self, request: Awaitable[_Found], doing: str, patience: float) -> _Found:
        try:
            async with asyncio.timeout(patience):
                return await request
        except ApiError as error:
            raise told(refusal_of(error), doing, self._place) from error
        except (TimeoutError, httpx2.HTTPError, ConfigError, OSError) as error:
            raise unreachable(error, doing, self._place) from error

    async def leases(self, patience: float) -> tuple[dict[int, Lease], dict[str, str]]:
        """Return the leases of the slots, and the versions of the memberships by their identities.

        Raises ConnectorError when the group has another number of slots than this process was told.
        """
        doing = f"read the leases of group {self.group}"

        async def all_of_them() -> list[LeaseObject]:
            labels: dict[str, Any] = {names.MANAGED_BY: names.MANAGER, names.GROUP: self.group}
            return [it async for it in self._client.list(LeaseObject, labels=labels)]

        slots: dict[int, Lease] = {}
        members: dict[str, str] = {}
        for it in await self._ask(all_of_them(), doing, patience):
            metadata, spec = it.metadata or ObjectMeta(), it.spec or LeaseSpec()
            labels = metadata.labels or {}
            component = labels.get(names.COMPONENT)
            if component == _MEMBER:
                members[spec.holderIdentity or ""] = metadata.resourceVersion or ""
            elif component == _SLOT:
                if labels.get(names.SLOTS) != str(self.slots):
                    raise HeadwaterError(
                        f"cannot {doing} in {self._place}: its leases are of {labels.get(names.SLOTS)} slots, and this "
                        f"process was told {self.slots}",
                        hint="the number of slots never changes while a group is there: delete it and make it anew",
                    )
                slots[int(labels.get(names.SLOT, "-1"))] = _lease(it)
        return slots, members

    async def change(self, request: Request, duration: float, states: str, patience: float) -> Lease | None:
        """Change a lease and return it; None when it had changed meanwhile, or is gone."""
        doing = f"{request.act} a lease of group {self.group}"
        try:
            async with asyncio.timeout(patience):
                return await self._changed(request, duration, states)
        except ApiError as error:
            refusal = refusal_of(error)
            if refusal.code in {404, 409}:
                gone = request.act is Act.LEAVE
                return Lease("", "", 0, 0) if gone else None
            raise told(refusal, doing, self._place) from error
        except (TimeoutError, httpx2.HTTPError, ConfigError, OSError) as error:
            raise unreachable(error, doing, self._place) from error

    async def _changed(self, request: Request, duration: float, states: str) -> Lease | None:
        if request.act is Act.LEAVE:
            await self._client.delete(LeaseObject, self.me.lease_name)
            return Lease("", "", 0, 0)
        wanted = self._object(request, duration, states)
        if request.version:
            return _lease(await self._client.replace(wanted))
        return _lease(await self._client.create(wanted))

    def _object(self, request: Request, duration: float, states: str) -> LeaseObject:
        now = datetime.now(UTC)
        slot = request.slot
        metadata = ObjectMeta(name=self.me.lease_name, resourceVersion=request.version or None)
        spec = LeaseSpec(holderIdentity=self.me.identity, leaseDurationSeconds=round(duration), renewTime=now)
        if slot is None:
            metadata.labels = names.group_labels(self.group, _MEMBER)
            if self.me.uid:
                # It goes when its pod is gone.
                metadata.ownerReferences = [OwnerReference("v1", "Pod", self.me.pod, self.me.uid)]
            return LeaseObject(metadata=metadata, spec=spec)
        metadata.name = names.slot_name(self.group, slot)
        metadata.labels = {
            **names.group_labels(self.group, _SLOT),
            names.SLOTS: str(self.slots),
            names.SLOT: str(slot),
        }
        if request.act is Act.TAKE:
            self._acquired[slot] = now
        if request.act is Act.RELEASE:
            spec.holderIdentity = ""
        elif states:
            metadata.annotations = {names.STATES: states}
        spec.acquireTime = self._acquired.get(slot)
        spec.leaseTransitions = request.transitions
        return LeaseObject(metadata=metadata, spec=spec)

    async def members(self) -> tuple[list[Manifest], str]:
        """Return the ConfigMaps of the group's connectors, and the version of the list for `changes`."""
        doing = f"read the connectors of group {self.group}"

        async def all_of_them() -> tuple[list[Manifest], str]:
            found = self._client.list(ConfigMap, labels=self._labels())
            return [it.to_dict() async for it in found], found.resourceVersion

        return await self._ask(all_of_them(), doing, _PATIENCE)

    def _labels(self) -> dict[str, Any]:
        return names.group_owner(self.group, "connector")

    async def changes(self, version: str) -> AsyncIterator[tuple[bool, Manifest]]:
        """Yield what changes after a list, for a minute or so: whether a ConfigMap is there, and how it is or was.

        When it ends the list is to be read anew.
        """
        doing = f"watch the connectors of group {self.group}"
        watching = self._client.watch(ConfigMap, labels=self._labels(), resource_version=version, server_timeout=_WATCH)
        try:
            async with asyncio.timeout(_WATCH_PATIENCE), aclosing(cast("Any", watching)) as events:
                async for kind, it in events:
                    yield kind != "DELETED", it.to_dict()
        except TimeoutError:
            return
        except ApiError as error:
            refusal = refusal_of(error)
            # The version is too old to go on from.
            if refusal.code != 410:
                raise told(refusal, doing, self._place) from error
        except (httpx2.HTTPError, ConfigError, OSError) as error:
            raise unreachable(error, doing, self._place) from error

    async def secret(self, name: str) -> dict[str, str]:
        """Return the values in a Secret."""
        doing = f"read the Secret {name}"
        try:
            found = await self._ask(self._client.get(Secret, name), doing, _PATIENCE)
        except HeadwaterError as error:
            cause = error.__cause__
            if isinstance(cause, ApiError) and cause.status.code == 404:
                raise ConnectorError(f"there is no Secret {name} in {self._place}", hint="make it") from error
            raise
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}


def _lease(found: LeaseObject) -> Lease:
    metadata, spec = found.metadata or ObjectMeta(), found.spec or LeaseSpec()
    return Lease(
        metadata.resourceVersion or "",
        spec.holderIdentity or "",
        float(spec.leaseDurationSeconds or 0),
        spec.leaseTransitions or 0,
    )
