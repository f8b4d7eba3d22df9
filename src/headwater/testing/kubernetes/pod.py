"""Owns one Pod on a node, from when it is bound until nothing of it runs any more."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from headwater.testing.kubernetes.container import ContainerRunner, NoImageError, Prepared, Stop, Surroundings
from headwater.testing.kubernetes.environment import Variables
from headwater.testing.kubernetes.events import Events
from headwater.testing.kubernetes.image import Image, command_line
from headwater.testing.kubernetes.launcher import Mount
from headwater.testing.kubernetes.process import Box
from headwater.testing.kubernetes.status import Json, pod_status, restarts
from headwater.testing.kubernetes.volumes import NotThereError, Sources, Volumes

_AGAIN = 0.25


class Host(msgspec.Struct, frozen=True):
    """What a Pod has from its node. `say` tells the API server its status; `gone` that nothing of it is left."""

    address: str
    directory: Path
    images: Mapping[str, Image]
    sources: Sources
    given: Mapping[str, str]
    restart_delay: float
    events: Events
    say: Callable[[Pod, Json], Awaitable[None]]
    gone: Callable[[Pod], Awaitable[None]]


class PodRunner:
    """One Pod. `run` is its whole life; `stop` makes it end. `address` is its own."""

    def __init__(self, pod: Pod, host: Host, address: str) -> None:
        assert pod.metadata is not None
        assert pod.metadata.uid is not None
        assert pod.spec is not None
        self.pod = pod
        self.address = address
        self._spec = pod.spec
        self._host = host
        self._directory = host.directory / pod.metadata.uid
        self._stop = Stop()
        self._changed = asyncio.Event()
        self._hosts = ""
        self._said: Json = pod.status.to_dict() if pod.status else {}
        self._volumes = Volumes(pod, self._directory / "volumes", host.sources, address, host.address)
        self._variables = Variables(pod, host.sources, address, host.address, host.given)
        # Something is known when the node has restarted.
        before = {each["name"]: each for each in self._said.get("containerStatuses", [])}
        self._initial = [self._runner(each, 0) for each in pod.spec.initContainers or []]
        self._main = [self._runner(each, _restarts(before.get(each.name))) for each in pod.spec.containers]
        policy = pod.spec.restartPolicy or "Always"
        for each in self._main:
            ended = before.get(each.facts.name, {}).get("state", {}).get("terminated")
            if ended is not None and not restarts(policy, int(ended["exitCode"])):
                each.was_done(ended)

    @property
    def containers(self) -> dict[str, ContainerRunner]:
        """All containers by their names."""
        return {each.facts.name: each for each in [*self._initial, *self._main]}

    def stop(self, grace: float) -> None:
        """Make the Pod end within so many seconds."""
        self._stop.ask(grace)

    async def refresh(self) -> None:
        """Bring volumes up to date with what the API server has."""
        await self._volumes.refresh()

    def resolve(self, text: str) -> None:
        """Have this hosts file from now on; it is written where it stands, because it is mounted there."""
        if text != self._hosts:
            self._hosts = text
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / "hosts").write_text(text)

    async def run(self) -> None:
        """Run the Pod until it is stopped and nothing of it is left; when this is cancelled, it is killed silently."""
        self._directory.mkdir(parents=True, exist_ok=True)
        telling = asyncio.create_task(self._tell())
        self._changed.set()
        try:
            if await self._initialise():
                policy = self._spec.restartPolicy or "Always"
                async with asyncio.TaskGroup() as group:
                    for each in self._main:
                        if not each.facts.for_good:
                            group.create_task(each.run(policy))
            await self._stop.asked()
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        await self._say()
        await self._host.gone(self.pod)
        self._volumes.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _initialise(self) -> bool:
        """Prepare volumes and run the containers that come first; return whether the others may run."""
        told = ""
        while not self._stop.is_asked():
            try:
                await self._volumes.prepare()
                break
            except NotThereError as error:
                # As on a real node, the Pod stays in ContainerCreating, and only events say why.
                if str(error) != told:
                    told = str(error)
                    self._host.events.tell(self.pod, "Warning", "FailedMount", f"MountVolume.SetUp failed: {told}")
                await asyncio.sleep(_AGAIN)
        policy = "Never" if self._spec.restartPolicy == "Never" else "OnFailure"
        for each in self._initial:
            if self._stop.is_asked() or await each.run(policy) != 0:
                return False
            each.facts.ready = True
        return not self._stop.is_asked()

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._say()

    async def _say(self) -> None:
        initial, main = ([each.facts for each in part] for part in (self._initial, self._main))
        now = datetime.now(UTC)
        status = pod_status(self._said, initial, main, address=self.address, host=self._host.address, now=now)
        if status != self._said:
            self._said = status
            await self._host.say(self.pod, status)

    def _runner(self, container: Container, before: int) -> ContainerRunner:
        directory = self._directory / container.name
        grace = self._spec.terminationGracePeriodSeconds
        around = Surroundings(
            directory=directory,
            address=self.address,
            prepare=self._prepare,
            changed=self._changed.set,
            tell=partial(self._host.events.tell, self.pod),
            restart_delay=self._host.restart_delay,
            grace=30.0 if grace is None else float(grace),
        )
        return ContainerRunner(container, around, before, self._stop)

    async def _prepare(self, container: Container) -> Prepared:
        if container.restartPolicy is not None:
            raise NotThereError("containers with a restartPolicy of their own are not known here")
        image = self._host.images.get(container.image or "")
        if image is None:
            raise NoImageError(f'image "{container.image}" stands for nothing on this node')
        environment = await self._variables.of(container, image)
        argv = command_line(image, container.command, container.args, environment)
        if not argv:
            raise NotThereError("no command specified")
        room = self._directory / container.name / "root"
        room.mkdir(parents=True, exist_ok=True)
        assert self.pod.metadata is not None
        last_words = self._directory / container.name / "last-words"
        last_words.write_bytes(b"")
        last_words.chmod(0o666)
        box = self._box(container, image, environment, room)
        where = container.terminationMessagePath or "/dev/termination-log"
        more = (
            Mount(source=str(last_words), path=where, read_only=False),
            Mount(source=str(self._directory / "hosts"), path="/etc/hosts", read_only=False),
        )
        return Prepared(argv, msgspec.structs.replace(box, mounts=(*more, *box.mounts)), last_words)

    def _box(self, container: Container, image: Image, environment: Mapping[str, str], room: Path) -> Box:
        own, shared = container.securityContext, self._spec.securityContext
        contexts = [each for each in (own, shared) if each is not None]
        users = [*(each.runAsUser for each in contexts), image.user]
        user = next((each for each in users if each is not None), None)
        groups = [*(each.runAsGroup for each in contexts), None if user is None else 0]
        group = next((each for each in groups if each is not None), None)
        if any(each.runAsNonRoot for each in contexts) and not user:
            raise NotThereError("container has runAsNonRoot and image will run as root")
        more: list[int] = []
        if shared is not None:
            more = [*(shared.supplementalGroups or []), *([shared.fsGroup] if shared.fsGroup else [])]
        assert self.pod.metadata is not None
        return Box(
            environment=environment,
            working_directory=container.workingDir or image.directory,
            hostname=self._spec.hostname or self.pod.metadata.name or "",
            address=self.address,
            directory=room,
            mounts=self._volumes.mounts(container),
            reach=image.reach,
            read_only=bool(own and own.readOnlyRootFilesystem),
            user=user,
            group=group,
            groups=tuple(more),
            no_new_privileges=bool(own and own.allowPrivilegeEscalation is False),
        )


def _restarts(before: Json | None) -> int:
    """Return how often a container will have been restarted when it is started now."""
    ran = before is not None and (before.get("state", {}).get("waiting") is None or before["restartCount"] > 0)
    return int(before["restartCount"]) + 1 if before is not None and ran else 0
