"""Owns storage: a StorageClass whose claims are directories, made when they are claimed, removed when they are not."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

from lightkube import AsyncClient
from lightkube.models.core_v1 import HostPathVolumeSource, ObjectReference, PersistentVolumeSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from headwater.testing.kubernetes.api import changes, told

STORAGE_CLASS = "directories"
"""The StorageClass of claims that name none."""

_PROVISIONER = "headwater.test/directories"


class Storage:
    """Provisions claims under a directory, which is shared by all nodes that are given the same."""

    def __init__(self, client: AsyncClient, directory: Path) -> None:
        self._client = client
        self._directory = directory

    async def run(self) -> None:
        """Make the StorageClass, then serve claims for ever."""
        kind = StorageClass(
            metadata=ObjectMeta(
                name=STORAGE_CLASS, annotations={"storageclass.kubernetes.io/is-default-class": "true"}
            ),
            provisioner=_PROVISIONER,
            reclaimPolicy="Delete",
            volumeBindingMode="Immediate",
            allowVolumeExpansion=True,
        )
        await told(lambda: self._client.create(kind))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._claims())
            group.create_task(self._volumes())

    async def _claims(self) -> None:
        async for change, claim in changes(self._client, PersistentVolumeClaim):
            assert claim.spec is not None
            ours = claim.spec.storageClassName == STORAGE_CLASS and not claim.spec.volumeName
            if ours and change != "DELETED":
                await self._make(claim)

    async def _make(self, claim: PersistentVolumeClaim) -> None:
        assert claim.metadata is not None
        assert claim.metadata.uid is not None
        assert claim.spec is not None
        path = self._directory / claim.metadata.uid
        path.mkdir(parents=True, exist_ok=True)
        wanted = claim.spec.resources and claim.spec.resources.requests
        volume = PersistentVolume(
            metadata=ObjectMeta(
                name=f"pvc-{claim.metadata.uid}", annotations={"pv.kubernetes.io/provisioned-by": _PROVISIONER}
            ),
            spec=PersistentVolumeSpec(
                accessModes=claim.spec.accessModes,
                capacity=wanted or {"storage": "1Gi"},
                claimRef=ObjectReference(
                    apiVersion="v1",
                    kind="PersistentVolumeClaim",
                    name=claim.metadata.name,
                    namespace=claim.metadata.namespace,
                    uid=claim.metadata.uid,
                ),
                hostPath=HostPathVolumeSource(path=str(path)),
                persistentVolumeReclaimPolicy="Delete",
                storageClassName=STORAGE_CLASS,
            ),
        )
        await told(lambda: self._client.create(volume))

    async def _volumes(self) -> None:
        async for change, volume in changes(self._client, PersistentVolume):
            assert volume.metadata is not None
            name, spec, status = volume.metadata.name or "", volume.spec, volume.status
            ours = spec is not None and spec.storageClassName == STORAGE_CLASS and spec.hostPath is not None
            if not ours or change == "DELETED" or status is None or status.phase != "Released":
                continue
            assert spec is not None
            assert spec.hostPath is not None
            if spec.persistentVolumeReclaimPolicy == "Delete":
                shutil.rmtree(spec.hostPath.path, ignore_errors=True)
                await told(partial(self._client.delete, PersistentVolume, name))
