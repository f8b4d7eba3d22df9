"""Owns the events of a node: what it does with Pods and why not, told to whoever describes them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import PatchType

from headwater.testing.kubernetes.api import told
from headwater.testing.kubernetes.status import stamp

Kind = Literal["Normal", "Warning"]

_MOST = 1000


class Events:
    """Tells of events in their order. What is told again counts up the event that is there, as Kubernetes does."""

    def __init__(self, client: AsyncClient, node: str) -> None:
        self._client = client
        self._node = node
        self._queue: asyncio.Queue[tuple[Pod, Kind, str, str]] = asyncio.Queue(_MOST)
        self._counts: dict[tuple[str, str, str], tuple[str, int]] = {}

    def tell(self, pod: Pod, kind: Kind, reason: str, message: str) -> None:
        """Tell of an event of a Pod, soon; when too many wait, not at all."""
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait((pod, kind, reason, message))

    async def run(self) -> None:
        """Send what is told, for ever."""
        while True:
            pod, kind, reason, message = await self._queue.get()
            metadata = pod.metadata
            assert metadata is not None
            key = (metadata.uid or "", reason, message)
            name, count = self._counts.get(key, ("", 0))
            if not name:
                name = f"{metadata.name}.{len(self._counts):x}.{self._node}"
            self._counts[key] = (name, count + 1)
            # A namespace that is about to go takes no more events.
            with suppress(ApiError):
                await self._send(pod, kind, reason, message, name=name, count=count + 1)

    async def _send(self, pod: Pod, kind: Kind, reason: str, message: str, *, name: str, count: int) -> None:
        metadata = pod.metadata
        assert metadata is not None
        now = datetime.now(UTC)
        if count > 1:
            again = {"count": count, "lastTimestamp": stamp(now)}
            patch = partial(self._client.patch, Event, name, again, patch_type=PatchType.MERGE)
            await told(partial(patch, namespace=metadata.namespace))
            return
        event = Event(
            metadata=ObjectMeta(name=name, namespace=metadata.namespace),
            involvedObject=ObjectReference(
                apiVersion="v1", kind="Pod", name=metadata.name, namespace=metadata.namespace, uid=metadata.uid
            ),
            type=kind,
            reason=reason,
            message=message,
            count=1,
            firstTimestamp=now,
            lastTimestamp=now,
            source=EventSource(component="kubelet", host=self._node),
        )
        await told(lambda: self._client.create(event))
