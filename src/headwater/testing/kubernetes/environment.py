"""Owns the environment of a container, from its image, its variables and what they refer to."""

from __future__ import annotations

from collections.abc import Mapping

from lightkube.models.core_v1 import Container, EnvVarSource
from lightkube.resources.core_v1 import Pod

from headwater.testing.kubernetes.image import Image, expand
from headwater.testing.kubernetes.volumes import NotThereError, Sources, field


class Variables:
    """What variables of a Pod's containers refer to. `given` are those of every container, such as where the API is."""

    def __init__(self, pod: Pod, sources: Sources, address: str, host: str, given: Mapping[str, str]) -> None:
        assert pod.metadata is not None
        self._pod = pod
        self._namespace = pod.metadata.namespace or "default"
        self._sources = sources
        self._address = address
        self._host = host
        self._given = {"HOSTNAME": pod.metadata.name or "", **given}

    async def of(self, container: Container, image: Image) -> dict[str, str]:
        """Return a container's environment. Raises NotThereError for something that it refers to."""
        found = {**image.environment, **self._given}
        for each in container.envFrom or []:
            if each.configMapRef is not None:
                wanted = each.configMapRef
                entries = await self._sources.config_map(self._namespace, wanted.name or "")
                kind, name, optional = "configmap", wanted.name, wanted.optional
            elif each.secretRef is not None:
                entries = await self._sources.secret(self._namespace, each.secretRef.name or "")
                kind, name, optional = "secret", each.secretRef.name, each.secretRef.optional
            else:
                continue
            if entries is None and not optional:
                raise NotThereError(f'{kind} "{name}" not found')
            found |= {f"{each.prefix or ''}{key}": value.decode() for key, value in (entries or {}).items()}
        for variable in container.env or []:
            if variable.valueFrom is None:
                found[variable.name] = expand(variable.value or "", found)
            else:
                value = await self._referred(variable.valueFrom)
                if value is not None:
                    found[variable.name] = value
        return found

    async def _referred(self, source: EnvVarSource) -> str | None:
        if source.fieldRef is not None:
            return field(self._pod, source.fieldRef.fieldPath, self._address, self._host)
        if source.configMapKeyRef is not None:
            config_map = source.configMapKeyRef
            entries = await self._sources.config_map(self._namespace, config_map.name or "")
            return _entry("configmap", config_map.name, config_map.key, entries, optional=bool(config_map.optional))
        if source.secretKeyRef is not None:
            secret = source.secretKeyRef
            entries = await self._sources.secret(self._namespace, secret.name or "")
            return _entry("secret", secret.name, secret.key, entries, optional=bool(secret.optional))
        raise NotThereError("a variable's source is not known here")


def _entry(kind: str, name: str | None, key: str, entries: Mapping[str, bytes] | None, *, optional: bool) -> str | None:
    if entries is None:
        if optional:
            return None
        raise NotThereError(f'{kind} "{name}" not found')
    if key not in entries:
        if optional:
            return None
        raise NotThereError(f"couldn't find key {key} in {kind} {name}")
    return entries[key].decode()
