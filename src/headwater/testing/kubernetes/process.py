"""Owns the processes of containers, from outside: started by way of `launcher`, waited for, signalled, entered."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from headwater.testing.kubernetes.containerlog import ContainerLog
from headwater.testing.kubernetes.launcher import Mount, Spec

_LAUNCHER = Path(__file__).with_name("launcher.py")
_MOST_SAID = 10 * 1024


class StartError(Exception):
    """A command could not be started; the message is the operating system's."""


class Box(msgspec.Struct, frozen=True):
    """What a container may see and be. `directory` is an empty one; the rest is `launcher.Spec`'s."""

    environment: Mapping[str, str]
    working_directory: str
    hostname: str
    address: str
    directory: Path
    mounts: tuple[Mount, ...] = ()
    reach: tuple[str, ...] = ()
    read_only: bool = False
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    no_new_privileges: bool = False

    def spec(self, argv: Sequence[str], report: int, enter: int) -> Spec:
        """Return what the launcher is told."""
        return Spec(
            parent=os.getpid(),
            report=report,
            argv=list(argv),
            environment=dict(self.environment),
            working_directory=self.working_directory,
            hostname=self.hostname,
            address=self.address,
            directory=str(self.directory),
            mounts=list(self.mounts),
            reach=list(self.reach),
            read_only=self.read_only,
            root=os.geteuid() == 0,
            user=self.user,
            group=self.group,
            groups=list(self.groups),
            no_new_privileges=self.no_new_privileges,
            enter=enter,
        )


def lacks(directory: Path) -> str | None:
    """Return why no container can be started on this machine, None when one can. Blocks for a moment.

    `directory` is for the trial; it is made when it is not there.
    """

    async def start() -> str | None:
        box = Box({"PATH": "/usr/bin:/bin"}, "/", "trial", "127.255.0.1", directory / "root")
        box.directory.mkdir(parents=True, exist_ok=True)
        try:
            process = await ContainerProcess.start(["true"], box, ContainerLog(directory / "log"))
        except StartError as error:
            return f"containers need root or user namespaces: {error}"
        await process.wait()
        return None

    return asyncio.run(start())


class ContainerProcess:
    """The first process of a container. `pid` is its number outside; when it ends, all others of the container do."""

    def __init__(self, launcher: asyncio.subprocess.Process, pid: int, box: Box, log: ContainerLog) -> None:
        self._launcher = launcher
        self._box = box
        self._ended = asyncio.create_task(self._watch(log))
        self.pid = pid

    @classmethod
    async def start(cls, argv: Sequence[str], box: Box, log: ContainerLog) -> ContainerProcess:
        """Start a command in a box of its own, writing to a log. Raises StartError."""
        process: ContainerProcess | None = None
        try:
            launcher, pid, error = await _launch(argv, box, 0, PIPE)
            if pid is not None and error is None:
                process = cls(launcher, pid, box, log)
            else:
                await launcher.communicate()
        finally:
            if process is None:
                log.close()
        if process is None:
            raise StartError(error or "the launcher ended")
        return process

    async def wait(self) -> int:
        """Wait until it has ended and all is in the log; return the exit status, 128 + N for signal N."""
        return await asyncio.shield(self._ended)

    def signal(self, number: int) -> None:
        """Send a signal to the first process, if it still runs."""
        # The number cannot be anybody else's before the launcher, its parent, has waited for it, and then ends itself.
        if self._launcher.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def execute(self, argv: Sequence[str], limit: float) -> tuple[int, bytes]:
        """Run a command inside for at most so many seconds; return its exit status and what it wrote, at most 10 KiB.

        Raises StartError and TimeoutError.
        """
        entered, _, error = await _launch(argv, self._box, self.pid, STDOUT)
        try:
            async with asyncio.timeout(limit):
                assert entered.stdout is not None
                said = b""
                while data := await entered.stdout.read(4096):
                    said = (said + data)[:_MOST_SAID]
                status = await entered.wait()
        finally:
            if entered.returncode is None:
                entered.kill()
                await entered.wait()
        if error is not None:
            raise StartError(error)
        return status, said

    async def _watch(self, log: ContainerLog) -> int:
        assert self._launcher.stdout is not None
        assert self._launcher.stderr is not None
        try:
            await asyncio.gather(log.take(self._launcher.stdout), log.take(self._launcher.stderr))
            return await self._launcher.wait()
        finally:
            log.close()


async def _launch(
    argv: Sequence[str], box: Box, enter: int, errors: int
) -> tuple[asyncio.subprocess.Process, int | None, str | None]:
    """Start the launcher; return it, the number of the command's process, and why the command does not run."""
    reading, writing = os.pipe()
    try:
        launcher = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(_LAUNCHER)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            pass_fds=[writing],
            start_new_session=True,
            cwd="/",
            env={},
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    said = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(said), os.fdopen(reading, "rb", 0)
    )
    pid: int | None = None
    error: str | None = None
    try:
        assert launcher.stdin is not None
        launcher.stdin.write(json.dumps(box.spec(argv, writing, enter)).encode())
        launcher.stdin.close()
        while line := await said.readline():
            told = json.loads(line)
            pid = told.get("pid", pid)
            error = told.get("error", error)
    except BaseException:
        launcher.kill()
        await launcher.wait()
        raise
    finally:
        transport.close()
    return launcher, pid, error
