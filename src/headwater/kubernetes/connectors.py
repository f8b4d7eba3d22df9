"""Owns what may be asked of connectors in a cluster, and the order of the requests that do it.

What objects are is `render`'s, what they tell is `observe`'s, and how they are asked for is `api`'s. Only what carries
our labels is ever changed or deleted.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, cast

import msgspec
from lightkube import AsyncClient

from headwater.core.difference import plan
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
    HeadwaterError,
)
from headwater.core.managed import Definition, ManagedConnector, Phase, Plan
from headwater.kubernetes import access, names, observe
from headwater.kubernetes.api import Api, NoLogError, timeout
from headwater.kubernetes.group.connectors import Groups
from headwater.kubernetes.options import Options, Settings, settings_of
from headwater.kubernetes.render import Manifest, Parts, check, deployment, render

_PRUNED = ("ConfigMap", "Secret")
# How long to wait for a log that is not there yet before it is asked for again (seconds).
_LOOK = 1.0


@asynccontextmanager
async def opened(options: Options) -> AsyncIterator[KubernetesManager]:
    """Return the manager of a cluster. Raises ManagerError when it is not known which. Nothing is asked of it yet."""
    config = access.find(options)
    namespace = options.namespace or config.namespace
    client = AsyncClient(config=config, namespace=namespace, timeout=timeout(), field_manager=names.MANAGER)
    try:
        yield KubernetesManager(Api(client, f"namespace {namespace} of {config.cluster.server}"), options)
    finally:
        await client.close()


class Live(msgspec.Struct, frozen=True):
    """A connector that is there: its Deployment, what that says of it, and what it was made with."""

    deployment: observe.Deployment
    parts: Parts
    settings: Settings

    @property
    def uid(self) -> str:
        """The identity of the Deployment: a later one of the same name has another."""
        return self.deployment.metadata.uid


class KubernetesManager:
    """Manages the connectors in one namespace of a cluster: a `core.managed.Manager`."""

    def __init__(self, api: Api, options: Options, *, now: Callable[[], datetime] | None = None) -> None:
        self._api = api
        self._options = options
        self._now = now or (lambda: datetime.now(UTC))
        self._groups = Groups(api, options, self._now)

    async def get(self, name: str) -> ManagedConnector:
        """Return one connector. Raises ConnectorNotFoundError."""
        doing = f"look at connector {name}"
        if (grouped := await self._groups.find(name, doing)) is not None:
            return await self._groups.get(grouped, doing)
        found = await self._deployment(name, doing)
        pods, _ = await self._api.pods(doing, name)
        state = observe.state(found, pods)
        if state.status is Phase.INIT and state.where:
            # A volume that cannot be mounted is told nowhere else.
            with suppress(ConnectorError):
                warning = await self._api.warning(state.where, doing)
                state = msgspec.structs.replace(state, reason=f"{state.reason}: {warning}" if warning else state.reason)
        return state

    async def create(self, definition: Definition, *, dry_run: bool = False) -> Plan:
        """Make a connector and start it. Raises ConnectorExistsError. `dry_run` changes nothing."""
        name = definition.name
        doing = f"create connector {name}"
        check(definition)
        existing = await self._api.get("Deployment", name, doing)
        # A group may have the name of one of its connectors.
        if existing is not None and not (
            self._options.group is not None and names.is_of_group(_labels(existing), name)
        ):
            self._check_ours(existing, name, doing)
            raise ConnectorExistsError(
                f"Connector already exists: {name}", hint="change it with: headwater connector update -c FILE"
            )
        if self._options.group is not None:
            return await self._groups.create(definition, doing, dry_run=dry_run)
        if (grouped := await self._groups.find(name, doing)) is not None:
            raise ConnectorExistsError(
                f"Connector already exists: {name}, in group {grouped.group}",
                hint="change it with: headwater connector update -c FILE",
            )
        objects = render(definition, self._settings(), namespace=self._api.namespace)
        await self._apply(objects, name, doing, dry_run=dry_run)
        return plan(name, None, definition)

    async def update(self, definition: Definition, *, dry_run: bool = False) -> Plan:
        """Run a connector by another definition from now on. Raises ConnectorNotFoundError."""
        name = definition.name
        doing = f"update connector {name}"
        if (grouped := await self._groups.find(name, doing)) is not None:
            return await self._groups.update(grouped, definition, doing, dry_run=dry_run)
        if self._options.group is not None:
            raise ConnectorNotFoundError(
                f"Invalid connector: {name} - does not exist in group {self._options.group}.",
                hint="'headwater connector list' shows what there is",
            )
        live = await self._live(name, doing, missing=f"Invalid connector: {name} - does not exist.")
        settings = self._settings(live.settings)
        objects = render(
            definition,
            settings,
            namespace=self._api.namespace,
            paused=live.parts.paused,
            restarted=live.parts.restarted,
        )
        before = await self._definition(live, definition, doing)
        planned = _with_settings(plan(name, before, definition), live.settings, settings)
        if planned.action == "unchanged":
            return planned
        await self._apply(objects, name, doing, dry_run=dry_run, uid=live.uid)
        if not dry_run:
            # What the pods before used stays until the next change, so that the rollout can be undone.
            kept = {live.parts.config_map, live.parts.secret, *(it["metadata"]["name"] for it in objects)}
            await self._prune(name, kept, doing)
        return planned

    async def delete(self, name: str, *, dry_run: bool = False) -> Plan:
        """End a connector and forget it; its topic and its volume stay. Raises ConnectorNotFoundError."""
        doing = f"delete connector {name}"
        if (grouped := await self._groups.find(name, doing)) is not None:
            return await self._groups.delete(grouped, doing, dry_run=dry_run)
        live = await self._live(name, doing)
        before = await self._definition(live, None, doing)
        await self._api.delete("Deployment", name, doing, dry_run=dry_run)
        if not dry_run:
            await self._prune(name, set(), doing, (*_PRUNED, "ServiceAccount"))
        return plan(name, before, None)

    async def config(self, name: str) -> str:
        """Return the connect.yml of a connector, without the values of secrets. Raises ConnectorNotFoundError."""
        doing = f"read the configuration of connector {name}"
        if (grouped := await self._groups.find(name, doing)) is not None:
            return grouped.member.text
        return await self._text(observe.parts_of(await self._deployment(name, doing)), doing)

    async def pause(self, name: str) -> None:
        """Poll no more until `resume`. Raises ConnectorNotFoundError."""
        await self._change(name, f"pause connector {name}", paused=True)

    async def resume(self, name: str) -> None:
        """Poll again. Raises ConnectorNotFoundError."""
        await self._change(name, f"resume connector {name}", paused=False)

    async def restart(self, name: str) -> None:
        """End the pod of a connector and start another one. Raises ConnectorNotFoundError."""
        restarted = self._now().isoformat(timespec="milliseconds")
        await self._change(name, f"restart connector {name}", restarted=restarted)

    async def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of a connector's log, oldest first; with `follow` also those of the pods that come after."""
        doing = f"read the log of connector {name}"
        if (grouped := await self._groups.find(name, doing)) is not None:
            async for line in self._groups.logs(grouped, doing, follow=follow, tail=tail):
                yield line
            return
        await self._deployment(name, doing)
        seen = ""
        while True:
            pods, version = await self._api.pods(doing, name)
            pod = observe.newest(pods)
            if pod is not None and pod.run not in {"", seen}:
                try:
                    found = self._api.lines(pod.metadata.name, doing, follow=follow, tail=tail)
                    async with aclosing(cast("Any", found)) as lines:
                        async for line in lines:
                            seen = pod.run
                            yield line
                except NoLogError:
                    # It has only just begun, or is gone already.
                    if follow:
                        await self._api.changed(name, version, doing, patience=_LOOK)
                        continue
                    return
                seen = pod.run
                # Of the next one everything is new.
                tail = None
            elif follow:
                await self._api.changed(name, version, doing)
            if not follow:
                return

    async def list(self) -> list[ManagedConnector]:
        """Return every connector, sorted by name."""
        doing = "list connectors"
        deployments = [observe.deployment_of(it) for it in await self._api.ours("Deployment", doing)]
        found = [it for it in deployments if names.CONNECTOR in it.metadata.labels]
        pods, _ = await self._api.pods(doing)
        by_name: dict[str, list[observe.Pod]] = {}
        for pod in pods:
            by_name.setdefault(pod.metadata.labels.get(names.CONNECTOR, ""), []).append(pod)
        states = [observe.state(it, by_name.get(it.metadata.name, [])) for it in found]
        states += await self._groups.all(doing)
        return sorted(states, key=lambda it: it.name)

    # What they have in common.

    def _settings(self, kept: Settings | None = None) -> Settings:
        try:
            return settings_of(self._options, kept)
        except ValueError as error:
            raise ConnectorError(str(error)) from error

    async def _deployment(self, name: str, doing: str, missing: str = "") -> observe.Deployment:
        """Return the Deployment of a connector. Raises ConnectorNotFoundError; ConnectorOwnedError if it is no one."""
        found = await self._api.get("Deployment", name, doing)
        if found is None:
            raise ConnectorNotFoundError(missing or f"Connector not found: {name}", hint=await self._near(name, doing))
        self._check_ours(found, name, doing)
        return observe.deployment_of(found)

    async def _live(self, name: str, doing: str, missing: str = "") -> Live:
        found = await self._deployment(name, doing, missing)
        try:
            return Live(found, observe.parts_of(found), observe.settings_of(found))
        except ValueError as error:
            raise ConnectorError(
                f"cannot {doing} in {self._api.place}: its Deployment is not as this version made it: {error}",
                hint="delete the connector and create it anew",
            ) from error

    def _check_ours(self, found: Manifest, name: str, doing: str) -> None:
        """Refuse to go on with an object that somebody else has made."""
        metadata = found["metadata"]
        if names.is_of_group(_labels(found), name):
            raise ConnectorOwnedError(
                f"cannot {doing} in {self._api.place}: the {found['kind']} {name} there is a group, not a connector",
                hint="'headwater connector list' shows what there is; give a new connector another name",
            )
        if not names.is_ours(_labels(found), name):
            raise ConnectorOwnedError(
                f"cannot {doing} in {self._api.place}: the {found['kind']} {metadata['name']} there is not Headwater's",
                hint="give the connector another name, or use another namespace",
            )

    async def _near(self, name: str, doing: str) -> str:
        objects = await self._api.ours("Deployment", doing) + await self._api.ours("ConfigMap", doing)
        known = sorted({label for it in objects if (label := it["metadata"]["labels"].get(names.CONNECTOR))})
        near = get_close_matches(name, known, n=1)
        return f"did you mean {near[0]}?" if near else "'headwater connector list' shows what there is"

    async def _text(self, parts: Parts, doing: str) -> str:
        found = await self._api.get("ConfigMap", parts.config_map, doing)
        if found is None:
            message = f"cannot {doing} in {self._api.place}: its ConfigMap {parts.config_map} is gone"
            raise ConnectorError(message, hint="create it again with: headwater connector update -c FILE")
        text: str = found.get("data", {}).get(names.CONFIG_KEY, "")
        return text

    async def _definition(self, live: Live, after: Definition | None, doing: str) -> Definition:
        """Return what a connector is defined by now; where its parts are gone, what makes a difference to `after`."""
        try:
            text = await self._text(live.parts, doing)
        except ConnectorError:
            text = ""
        secrets = dict.fromkeys(live.parts.secrets, "")
        if live.settings.secret:
            # They are somebody else's, and only their names are our business.
            if after is not None and set(secrets) == set(after.secrets):
                secrets = after.secrets
        elif live.parts.secret and after is not None:
            found = await self._api.get("Secret", live.parts.secret, doing)
            data = {} if found is None else found.get("data", {})
            secrets = {key: base64.b64decode(value).decode() for key, value in data.items()}
        return Definition(live.parts.name, text, secrets)

    async def _apply(self, objects: Sequence[Manifest], name: str, doing: str, *, dry_run: bool, uid: str = "") -> None:
        """Make all objects, the Deployment last. The cluster is asked first whether it would take them all.

        What goes wrong nevertheless leaves nothing behind that was not there before, but for a volume.
        """
        new: list[Manifest] = []
        for it in objects:
            if it["kind"] != "Deployment":
                found = await self._api.get(it["kind"], it["metadata"]["name"], doing)
                if found is not None:
                    self._check_ours(found, name, doing)
                elif it["kind"] != "PersistentVolumeClaim":
                    new.append(it)
        try:
            for trial in (True,) if dry_run else (True, False):
                for it in objects:
                    await self._api.apply(it, doing, dry_run=trial, uid=uid if it["kind"] == "Deployment" else "")
        except HeadwaterError:
            for it in () if dry_run else new:
                with suppress(HeadwaterError):
                    await self._api.delete(it["kind"], it["metadata"]["name"], doing)
            raise

    async def _change(self, name: str, doing: str, *, paused: bool | None = None, restarted: str = "") -> None:
        """Apply the Deployment of a connector, or what it is in a group, with something else in it."""
        if (grouped := await self._groups.find(name, doing)) is not None:
            await self._groups.change(grouped, doing, paused=paused, restarted=restarted or None)
            return
        live = await self._live(name, doing)
        parts = live.parts
        if paused is not None:
            parts = msgspec.structs.replace(parts, paused=paused)
        if restarted:
            parts = msgspec.structs.replace(parts, restarted=restarted)
        await self._api.apply(deployment(parts, live.settings, self._api.namespace), doing, uid=live.uid)

    async def _prune(self, name: str, kept: set[str], doing: str, kinds: Sequence[str] = _PRUNED) -> None:
        """Delete what a connector has no use for any more. What lacks our labels is not even listed."""
        for kind in kinds:
            for it in await self._api.ours(kind, doing, name):
                if it["metadata"]["name"] not in kept:
                    await self._api.delete(kind, it["metadata"]["name"], doing)


def _labels(found: Manifest) -> dict[str, str]:
    labels: dict[str, str] = found["metadata"].get("labels") or {}
    return labels


def _with_settings(planned: Plan, before: Settings, after: Settings) -> Plan:
    """Return a plan that also tells which settings change."""
    if before == after:
        return planned
    lines = [
        line
        for field in Settings.__struct_fields__
        if (old := getattr(before, field)) != (new := getattr(after, field))
        for line in (f"-{field}: {_shown(old)}", f"+{field}: {_shown(new)}")
    ]
    return Plan(planned.name, "updated", (*planned.difference, *lines))


def _shown(value: object) -> str:
    """Return the value of a setting as the option for it takes it."""
    return ",".join(f"{name}={it}" for name, it in value.items()) if isinstance(value, dict) else str(value)
