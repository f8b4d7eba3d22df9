"""Owns what a Pod's volumes are on disk, and where containers see them.

What comes from the API server is asked of `Sources`; claims of storage are directories, which outlive Pods.
"""

from __future__ import annotations

import base64
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lightkube.models.core_v1 import (
    ConfigMapProjection,
    ConfigMapVolumeSource,
    Container,
    DownwardAPIVolumeFile,
    SecretProjection,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret

from headwater.testing.kubernetes.launcher import Mount

Files = dict[str, tuple[bytes, int]]
"""The files of a volume: by their path in it, their content and mode."""


_Source = ConfigMapVolumeSource | ConfigMapProjection | SecretVolumeSource | SecretProjection


class NotThereError(Exception):
    """Something that a Pod needs is not there (yet); the message says what."""


class Sources(Protocol):
    """Where the contents of volumes and variables come from."""

    async def config_map(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return the entries of a ConfigMap, None when there is none."""
        ...

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return the entries of a Secret, None when there is none."""
        ...

    async def token(self, pod: Pod, wanted: ServiceAccountTokenProjection) -> bytes:
        """Return a token of the Pod's service account, bound to the Pod."""
        ...

    async def claim(self, namespace: str, name: str) -> Path | None:
        """Return the directory of a claim of storage, None when it is not bound to one."""
        ...


def config_map_entries(config_map: ConfigMap) -> dict[str, bytes]:
    """Return the entries of a ConfigMap as bytes."""
    texts = {key: value.encode() for key, value in (config_map.data or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (config_map.binaryData or {}).items()}


def secret_entries(secret: Secret) -> dict[str, bytes]:
    """Return the entries of a Secret, decoded."""
    return {key: base64.b64decode(value) for key, value in (secret.data or {}).items()}


def field(pod: Pod, path: str, address: str, host: str) -> str:
    """Return a field of a Pod by its path, as `fieldRef` names it. Raises NotThereError for one not known here."""
    metadata, spec = pod.metadata, pod.spec
    assert metadata is not None
    assert spec is not None
    for kind, values in (("labels", metadata.labels), ("annotations", metadata.annotations)):
        if path.startswith(f"metadata.{kind}["):
            return str((values or {}).get(path.partition("[")[2].strip("]'\""), ""))
        if path == f"metadata.{kind}":
            return "\n".join(f'{key}="{value}"' for key, value in sorted((values or {}).items()))
    known = {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": metadata.uid,
        "spec.nodeName": spec.nodeName,
        "spec.serviceAccountName": spec.serviceAccountName,
        "status.hostIP": host,
        "status.hostIPs": host,
        "status.podIP": address,
        "status.podIPs": address,
    }
    if path not in known:
        raise NotThereError(f"no such field of a Pod: {path}")
    return known[path] or ""


class Volumes:
    """The volumes of one Pod under a directory of its own."""

    def __init__(self, pod: Pod, directory: Path, sources: Sources, address: str, host: str) -> None:
        assert pod.metadata is not None
        assert pod.metadata.namespace is not None
        assert pod.spec is not None
        self._pod = pod
        self._namespace = pod.metadata.namespace
        self._volumes = {volume.name: volume for volume in pod.spec.volumes or []}
        self._directory = directory
        self._sources = sources
        self._address = address
        self._host = host
        context = pod.spec.securityContext
        self._group = None if context is None or os.geteuid() != 0 else context.fsGroup
        self._paths: dict[str, Path] = {}
        self._open = True

    async def prepare(self) -> None:
        """Make all volumes. Raises NotThereError; what has been made until then stays, and it can be called again."""
        for name, volume in self._volumes.items():
            if name not in self._paths:
                self._paths[name] = await self._make(volume)

    async def refresh(self) -> None:
        """Bring what comes from the API server up to date, each volume in one step. What is gone there stays here."""
        for name, volume in self._volumes.items():
            if name in self._paths and (volume.configMap or volume.secret or volume.projected):
                try:
                    files = await self._files(volume)
                except NotThereError:
                    continue
                if not self._open:
                    return
                write(self._paths[name], files, self._group)

    def close(self) -> None:
        """Write nothing any more: the directory is about to go."""
        self._open = False

    def mounts(self, container: Container) -> tuple[Mount, ...]:
        """Return where a container sees which of them, outer paths first."""
        mounts = []
        for each in sorted(container.volumeMounts or [], key=lambda each: each.mountPath):
            source = self._paths[each.name]
            if each.subPath:
                source = source / each.subPath
                if not source.exists():
                    source.mkdir(parents=True)
                    self._own(source)
            volume = self._volumes[each.name]
            claim = volume.persistentVolumeClaim
            fixed = bool(volume.configMap or volume.secret or volume.projected or volume.downwardAPI)
            read_only = fixed or bool(each.readOnly) or bool(claim and claim.readOnly)
            mounts.append(Mount(source=str(source.resolve()), path=each.mountPath, read_only=read_only))
        return tuple(mounts)

    async def _make(self, volume: Volume) -> Path:
        if volume.persistentVolumeClaim is not None:
            claim = volume.persistentVolumeClaim.claimName
            path = await self._sources.claim(self._namespace, claim)
            if path is None:
                raise NotThereError(f'persistentvolumeclaim "{claim}" is not bound')
            self._own(path)
            return path
        if volume.hostPath is not None:
            return Path(volume.hostPath.path)
        path = self._directory / volume.name
        path.mkdir(parents=True, exist_ok=True)
        if volume.emptyDir is not None:
            path.chmod(0o777)
            self._own(path)
            return path
        write(path, await self._files(volume), self._group)
        return path

    def _own(self, path: Path) -> None:
        """Give a directory to the Pod's group, as far as it has one."""
        if self._group is not None:
            os.chown(path, -1, self._group)
            path.chmod(path.stat().st_mode | 0o2770)

    async def _files(self, volume: Volume) -> Files:
        if volume.configMap is not None:
            source, mode = volume.configMap, volume.configMap.defaultMode
            return await self._entries("configmap", source, source.name, mode)
        if volume.secret is not None:
            wanted, mode = volume.secret, volume.secret.defaultMode
            return await self._entries("secret", wanted, wanted.secretName, mode)
        if volume.downwardAPI is not None:
            return self._fields(volume.downwardAPI.items, volume.downwardAPI.defaultMode)
        if volume.projected is not None:
            files: Files = {}
            for part in volume.projected.sources or []:
                files |= await self._projected(part, volume.projected.defaultMode)
            return files
        raise NotThereError(f'volume "{volume.name}" is of a kind that is not known here')

    async def _projected(self, part: VolumeProjection, mode: int | None) -> Files:
        if part.configMap is not None:
            source = part.configMap
            return await self._entries("configmap", source, source.name, mode)
        if part.secret is not None:
            wanted = part.secret
            return await self._entries("secret", wanted, wanted.name, mode)
        if part.downwardAPI is not None:
            return self._fields(part.downwardAPI.items, mode)
        if part.serviceAccountToken is not None:
            token = await self._sources.token(self._pod, part.serviceAccountToken)
            return {part.serviceAccountToken.path: (token, mode or 0o644)}
        raise NotThereError("a projected volume has a source that is not known here")

    async def _entries(self, kind: str, source: _Source, name: str | None, mode: int | None) -> Files:
        ask = self._sources.secret if kind == "secret" else self._sources.config_map
        entries = await ask(self._namespace, name or "")
        items, optional = source.items, source.optional
        mode = 0o644 if mode is None else mode
        if entries is None:
            if optional:
                return {}
            raise NotThereError(f'{kind} "{name}" not found')
        if not items:
            return {key: (value, mode) for key, value in entries.items()}
        absent = [item.key for item in items if item.key not in entries]
        if absent and not optional:
            raise NotThereError(f'{kind} "{name}" has no key "{absent[0]}"')
        return {
            item.path: (entries[item.key], mode if item.mode is None else item.mode)
            for item in items
            if item.key in entries
        }

    def _fields(self, items: Sequence[DownwardAPIVolumeFile] | None, mode: int | None) -> Files:
        files: Files = {}
        for item in items or []:
            if item.fieldRef is None:
                raise NotThereError(f"{item.path}: only fields of the Pod are known here")
            text = field(self._pod, item.fieldRef.fieldPath, self._address, self._host)
            files[item.path] = (text.encode(), item.mode or mode or 0o644)
        return files


def write(directory: Path, files: Files, group: int | None) -> None:
    """Write the files of a volume as kubelets do: into a new directory, to which one link then turns for all of them.

    Readers see all files of before or all of now. With a group, the files are its own and it may read them.
    """
    data = directory / "..data"
    if data.is_symlink() and _same(data, files):
        return
    fresh = directory / f"..{uuid.uuid4().hex}"
    fresh.mkdir()
    for name, (content, mode) in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode if group is None else mode | 0o440)
        if group is not None:
            os.chown(path, -1, group)
    old = data.resolve() if data.is_symlink() else None
    turned = directory / "..turned"
    turned.symlink_to(fresh.name)
    turned.replace(data)
    tops = {name.partition("/")[0] for name in files}
    for top in tops:
        if not (directory / top).is_symlink():
            (directory / top).symlink_to(f"..data/{top}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old)


def _same(data: Path, files: Files) -> bool:
    now = data.resolve()
    there = {str(path.relative_to(now)): path for path in now.rglob("*") if path.is_file()}
    return there.keys() == files.keys() and all(there[name].read_bytes() == files[name][0] for name in files)
