"""Owns the few requests that are made of a cluster, each with its time-out and its errors. Decides nothing.

Objects go there as they were rendered, by server-side apply: the cluster knows which fields are ours, and refuses to
take those of others from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, suppress
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.operators import exists
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Event, PersistentVolumeClaim, Pod, Secret, ServiceAccount
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding
from lightkube.types import PatchType

from headwater.core.errors import ConnectorError
from headwater.kubernetes import names, observe
from headwater.kubernetes.failure import Refusal, refusal_of, told, unreachable
from headwater.kubernetes.render import Manifest

_Found = TypeVar("_Found")
# How long one request may take, all in all (seconds).
PATIENCE: Final = 30.0
_STEP: Final = 10.0
# An API server ends a watch after so long without a change; then it is asked again (seconds).
_WATCH: Final = 60

KINDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "ServiceAccount": ServiceAccount,
        "ConfigMap": ConfigMap,
        "Secret": Secret,
        "PersistentVolumeClaim": PersistentVolumeClaim,
        "Deployment": Deployment,
        "Role": Role,
        "RoleBinding": RoleBinding,
        "PodDisruptionBudget": PodDisruptionBudget,
        "Lease": Lease,
    }
)


def timeout() -> httpx2.Timeout:
    """Return how long each step of a request may take."""
    return httpx2.Timeout(_STEP)


class _GoneError(ConnectorError):
    """There is no such object."""


class NoLogError(ConnectorError):
    """There is no log of that pod: not yet, or not any more."""


class Api:
    """A namespace of a cluster. In errors `doing` says what was tried. All raise ConnectorError or ManagerError."""

    def __init__(self, client: AsyncClient, place: str) -> None:
        self.namespace: str = client.namespace
        self.place = place
        self._client = client

    async def _ask(self, request: Awaitable[_Found], doing: str) -> _Found:
        """Make a request, bounded in time, and turn what goes wrong into our errors."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await request
        except ApiError as error:
            refusal = refusal_of(error)
            known = told(refusal, doing, self.place)
            raise (_GoneError(known.message) if refusal.code == 404 and _is_object(refusal) else known) from error
        except (TimeoutError, httpx2.HTTPError, ConfigError, OSError) as error:
            raise unreachable(error, doing, self.place) from error

    async def apply(self, manifest: Manifest, doing: str, *, dry_run: bool = False, uid: str = "") -> None:
        """Make an object, or make it so. With `uid` nothing but that very object is changed."""
        metadata = {**manifest["metadata"], "uid": uid} if uid else manifest["metadata"]
        request = self._client.patch(
            KINDS[manifest["kind"]],
            metadata["name"],
            {**manifest, "metadata": metadata},
            patch_type=PatchType.APPLY,
            field_manager=names.MANAGER,
            dry_run=dry_run,
        )
        await self._ask(request, doing)

    async def get(self, kind: str, name: str, doing: str) -> Manifest | None:
        """Return an object, None when there is none of that name."""
        try:
            found: Manifest = (await self._ask(self._client.get(KINDS[kind], name), doing)).to_dict()
        except _GoneError:
            return None
        return found

    async def ours(self, kind: str, doing: str, connector: str | None = None) -> list[Manifest]:
        """Return our objects of a kind, of one connector or of all."""
        return await self.labelled(kind, names.owner(connector), doing)

    async def labelled(self, kind: str, labels: Mapping[str, str | None], doing: str) -> list[Manifest]:
        """Return the objects of a kind that have these labels; None stands for any value."""
        wanted: dict[str, Any] = {name: exists() if value is None else value for name, value in labels.items()}

        async def all_of_them() -> list[Manifest]:
            return [it.to_dict() async for it in self._client.list(KINDS[kind], labels=wanted)]

        return await self._ask(all_of_them(), doing)

    async def delete(self, kind: str, name: str, doing: str, *, dry_run: bool = False) -> None:
        """Delete an object and what depends on it; one that is gone already is fine."""
        with suppress(_GoneError):
            await self._ask(self._client.delete(KINDS[kind], name, dry_run=dry_run), doing)

    async def pods(self, doing: str, connector: str | None = None) -> tuple[list[observe.Pod], str]:
        """Return our pods, of one connector or of all, and the version of the list for `changed`."""

        async def all_of_them() -> tuple[list[observe.Pod], str]:
            found = self._client.list(Pod, labels=dict(names.owner(connector)))
            return [observe.pod_of(pod.to_dict()) async for pod in found], found.resourceVersion

        return await self._ask(all_of_them(), doing)

    async def warning(self, pod: str, doing: str) -> str:
        """Return the newest warning that the cluster has noted of a pod, "" when there is none."""

        async def all_of_them() -> list[Event]:
            fields: dict[str, Any] = {"involvedObject.name": pod, "type": "Warning"}
            return [it async for it in self._client.list(Event, fields=fields)]

        found = await self._ask(all_of_them(), doing)
        newest = max(found, key=lambda it: str(it.lastTimestamp or it.eventTime or ""), default=None)
        return "" if newest is None or newest.message is None else newest.message

    async def changed(self, connector: str, version: str, doing: str, *, patience: float | None = None) -> None:
        """Wait until a connector's pods are others than in the list of that version, or until the patience ends."""
        watching = self._client.watch(
            Pod, labels=dict(names.owner(connector)), resource_version=version, server_timeout=_WATCH
        )
        try:
            async with asyncio.timeout(patience), aclosing(cast("Any", watching)) as changes:
                async for _ in changes:
                    return
        except TimeoutError:
            return
        except ApiError as error:
            refusal = refusal_of(error)
            # The version is too old to go on from: the list is to be read again.
            if refusal.code != 410:
                raise told(refusal, doing, self.place) from error
        except (httpx2.HTTPError, OSError) as error:
            raise unreachable(error, doing, self.place) from error

    async def lines(self, pod: str, doing: str, *, follow: bool, tail: int | None) -> AsyncIterator[str]:
        """Yield the lines of a pod's container, to its end with `follow`. Raises NoLogError."""
        found = self._client.log(pod, container=names.CONTAINER, follow=follow, tail_lines=tail, newlines=False)
        try:
            async with aclosing(cast("Any", found)) as lines:
                async for line in lines:
                    yield line
        except ApiError as error:
            refusal = refusal_of(error)
            known = told(refusal, doing, self.place)
            raise (NoLogError(known.message) if refusal.code in {400, 404} else known) from error
        except RuntimeError as error:
            # lightkube cannot read the refusal of a log that is followed.
            raise NoLogError(f"cannot {doing} in {self.place}: there is no log of {pod} now") from error
        except (httpx2.HTTPError, OSError) as error:
            raise unreachable(error, doing, self.place) from error


def _is_object(refusal: Refusal) -> bool:
    """Return whether what was not found is the object, not the namespace that it was to be in."""
    return not refusal.message.startswith("namespaces ")
