"""Owns a node without containers: what a kubelet and a scheduler do, with processes of this machine in their place."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar

from lightkube import SingleConfig

from headwater.testing.kubernetes.api import learn_kinds
from headwater.testing.kubernetes.image import Image
from headwater.testing.kubernetes.node import Node, Settings

T = TypeVar("T")

_PATIENCE = 60.0
_PAUSE = 1.0


class Kubelet:
    """A node of a cluster: `with Kubelet(config, directory, images) as kubelet`. It is Ready when the block begins.

    It is the cluster's scheduler as well, and provides storage for claims, both without regard to how much there is.
    Each container becomes a process with the volumes, the root, the user, the host name and the environment that its
    Pod gives it, in a mount and a process namespace of its own; the network is this machine's, and `status.podIP` a
    loopback address of the Pod's own. Needs root or user namespaces.

    `config` says where the API server is and must be an administrator's. What is written goes into `directory`.
    `images` says what an image's name stands for, and may be changed at any time. `claims` is where storage is, when
    several nodes share it. `restart_delay` is how long a container waits that has crashed twice, seconds; each further
    crash doubles it.

    It works in a thread of its own; all methods may be called from any other. Each raises what the thread has ended
    with, if it has.
    """

    def __init__(
        self,
        config: SingleConfig,
        directory: Path,
        images: Mapping[str, Image],
        *,
        name: str = "node",
        labels: Mapping[str, str] | None = None,
        claims: Path | None = None,
        restart_delay: float = 1.0,
    ) -> None:
        self._settings = Settings(
            config=config,
            directory=directory,
            claims=claims or directory / "claims",
            images=images,
            name=name,
            labels=labels or {},
            restart_delay=restart_delay,
        )
        self._ready = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=f"kubelet-{name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.name = name

    def __enter__(self) -> Self:
        self._settings.directory.mkdir(parents=True, exist_ok=True)
        learn_kinds()
        self._thread.start()
        if not self._ready.wait(_PATIENCE):
            self.die()
            raise TimeoutError(f"node {self.name} is not ready after {_PATIENCE:g} s")
        self.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()
        self.check()

    def kill(self, pod: str, namespace: str, container: str | None = None) -> None:
        """Kill a Pod's running processes with SIGKILL, or those of one container: it crashes. Raises LookupError."""

        def kill(node: Node) -> None:
            runner = node.runner(namespace, pod)
            containers = {} if runner is None else runner.containers
            running = [
                each.process
                for name, each in containers.items()
                if each.process is not None and container in {None, name}
            ]
            if not running:
                raise LookupError(f"nothing runs of {namespace}/{pod} on node {self.name}")
            for process in running:
                process.signal(signal.SIGKILL)

        self._call(kill)

    def processes(self, pod: str, namespace: str) -> dict[str, int]:
        """Return the numbers of a Pod's running processes, by container; empty when none runs here."""

        def processes(node: Node) -> dict[str, int]:
            runner = node.runner(namespace, pod)
            containers = {} if runner is None else runner.containers
            return {name: each.process.pid for name, each in containers.items() if each.process is not None}

        return self._call(processes)

    def claim(self, name: str, namespace: str) -> Path:
        """Return the directory in which a claim's data is. Raises LookupError when it is not bound."""
        found = self._await(lambda node: node.claim(namespace, name))
        if found is None:
            raise LookupError(f"claim {namespace}/{name} is not bound to storage of this kind")
        return found

    def check(self) -> None:
        """Raise what the node has ended with, if it has."""
        if self._trouble is not None:
            raise self._trouble

    def die(self) -> None:
        """End as a machine does whose power fails: processes are killed, and nobody is told. It may be called again.

        Another Kubelet of the same name, with the same `claims`, is the machine after its restart.
        """
        loop, task = self._loop, self._task if self._loop is not None else None
        deadline = monotonic() + _PATIENCE
        while self._thread.is_alive():
            if monotonic() > deadline:
                raise TimeoutError(f"node {self.name} has not ended after {_PATIENCE:g} s")
            if loop is not None and task is not None:
                # A cancellation can be lost where it meets the end of what is awaited: it is repeated.
                with suppress(RuntimeError):  # it has ended by itself
                    loop.call_soon_threadsafe(task.cancel)
            self._thread.join(_PAUSE)

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised again where the node is used
            self._trouble = error
        finally:
            self._ready.set()

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._node = Node(self._settings)
        self._loop = asyncio.get_running_loop()
        await self._node.run(self._ready.set)

    def _call(self, function: Callable[[Node], T]) -> T:
        async def later(node: Node) -> T:
            return function(node)

        return self._await(later)

    def _await(self, function: Callable[[Node], Coroutine[None, None, T]]) -> T:
        self.check()
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(function(self._node), self._loop).result(_PATIENCE)
