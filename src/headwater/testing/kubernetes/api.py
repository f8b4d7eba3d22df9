"""Owns what a node asks of the API server: the contents of volumes, and what is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient
from lightkube.core import decoders
from lightkube.core.generic_client import ListAsyncIterable
from lightkube.core.resource import GlobalResource, NamespacedResourceG
from lightkube.models.authentication_v1 import BoundObjectReference, TokenRequestSpec
from lightkube.models.core_v1 import ServiceAccountTokenProjection
from lightkube.models.meta_v1 import ObjectMeta, Status
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import (
    ConfigMap,
    Event,
    Node,
    NodeStatus,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodBinding,
    PodStatus,
    Secret,
    Service,
    ServiceAccountToken,
)
from lightkube.resources.storage_v1 import StorageClass

from headwater.testing.kubernetes.volumes import NotThereError, config_map_entries, secret_entries

T = TypeVar("T")
Kind = TypeVar("Kind", bound=GlobalResource | NamespacedResourceG)

_AGAIN = 0.2
"""Seconds after which something is tried again that the API server did not answer."""


_LISTED = (ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service)
_OTHERS = (
    *(Event, Lease, Node, NodeStatus, PodBinding, PodStatus, ServiceAccountToken, Status, StorageClass),
    decoders.WatchEvent,
)


def learn_kinds() -> None:
    """Have the classes of all kinds that a node knows ready for decoding. Call it before there is another thread.

    msgspec learns a class when it first decodes one, and crashes when two threads have it learn one at the same time.
    """
    for listed in _LISTED:
        decoders.decode_list(b'{"items":[]}', listed)
    for other in _OTHERS:
        msgspec.json.Decoder(other)


async def told(call: Callable[[], Awaitable[T]]) -> T | None:
    """Call until the API server answers; return the answer, or None when what is meant is gone or is there already.

    Raises ApiError for every other refusal.
    """
    while True:
        try:
            return await call()
        except ApiError as error:
            code, message = error.status.code, error.status.message or ""
            # Nothing more is made in a namespace that ends.
            ending = code == 403 and "is being terminated" in message
            # What is meant has a successor of the same name, as Pods of a StatefulSet have.
            other = code == 422 and "metadata.uid" in message
            if code in {404, 409} or ending or other:
                return None
            if (error.status.code or 0) < 500:
                raise
        except httpx2.HTTPError:
            pass
        await asyncio.sleep(_AGAIN)


async def changes(client: AsyncClient, kind: type[Kind]) -> AsyncIterator[tuple[str, Kind]]:
    """Yield every object of a kind, in all namespaces, as ("ADDED", object), then what becomes of them, for ever.

    After a break all come again; ("DELETED", object) comes for what has gone meanwhile.
    """
    where: Any = {"namespace": "*"} if issubclass(kind, NamespacedResourceG) else {}
    anything: Any = client  # its types have no name for kinds of both sorts
    known: dict[str, Kind] = {}
    while True:
        with suppress(httpx2.HTTPError):
            listing: ListAsyncIterable[Kind] = anything.list(kind, **where)
            there = {_uid(each): each async for each in listing}
            for gone in known.keys() - there.keys():
                yield "DELETED", known[gone]
            known = there
            for each in list(there.values()):
                yield "ADDED", each
            watched: AsyncIterable[tuple[str, Kind]] = anything.watch(
                kind, resource_version=listing.resourceVersion, server_timeout=300, **where
            )
            async for change, each in watched:
                if change == "DELETED":
                    known.pop(_uid(each), None)
                else:
                    known[_uid(each)] = each
                yield change, each
        await asyncio.sleep(_AGAIN)


def _uid(thing: object) -> str:
    uid: str = thing.metadata.uid  # type: ignore[attr-defined]
    return uid


class ApiSources:
    """Contents of volumes and variables, from the API server."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def config_map(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return the entries of a ConfigMap, None when there is none."""
        found = await told(lambda: self._client.get(ConfigMap, name, namespace=namespace))
        return None if found is None else config_map_entries(found)

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return the entries of a Secret, None when there is none."""
        found = await told(lambda: self._client.get(Secret, name, namespace=namespace))
        return None if found is None else secret_entries(found)

    async def token(self, pod: Pod, wanted: ServiceAccountTokenProjection) -> bytes:
        """Return a token of the Pod's service account, bound to the Pod. Raises NotThereError without an account."""
        assert pod.metadata is not None
        assert pod.spec is not None
        account = pod.spec.serviceAccountName or "default"
        bound = BoundObjectReference(apiVersion="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid)
        request = ServiceAccountToken(
            metadata=ObjectMeta(),
            spec=TokenRequestSpec(
                audiences=[wanted.audience] if wanted.audience else [],
                expirationSeconds=wanted.expirationSeconds or 3600,
                boundObjectRef=bound,
            ),
        )
        namespace = pod.metadata.namespace
        try:
            answer = await told(lambda: self._client.create(request, account, namespace=namespace))
        except ApiError as error:
            raise NotThereError(str(error)) from error
        if answer is None or answer.status is None or answer.status.token is None:
            raise NotThereError(f'serviceaccount "{account}" not found')
        return answer.status.token.encode()

    async def claim(self, namespace: str, name: str) -> Path | None:
        """Return the directory of a claim of storage, None when it is not bound to one on this machine."""
        claim = await told(lambda: self._client.get(PersistentVolumeClaim, name, namespace=namespace))
        if claim is None or claim.status is None or claim.status.phase != "Bound" or claim.spec is None:
            return None
        volume_name = claim.spec.volumeName or ""
        volume = await told(lambda: self._client.get(PersistentVolume, volume_name))
        if volume is None or volume.spec is None or volume.spec.hostPath is None:
            return None
        return Path(volume.spec.hostPath.path)
