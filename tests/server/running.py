"""`headwater up` as a process of its own, with peers of ours to talk to it from the test's event loop."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from commandline import CommandLine
from headwater.fluvio.objects import TopicSpec
from server.peer import Peer


class Said(NamedTuple):
    """What a server says at its start, and the lines before that."""

    endpoint: str
    sc_port: int
    spu_port: int
    before: list[str]


def started(process: subprocess.Popen[str]) -> Said:
    """Wait until a server says that it serves."""
    assert process.stderr is not None
    before: list[str] = []
    for line in process.stderr:
        if '"serving"' in line:
            said = json.loads(line)
            return Said(said["endpoint"], int(said["endpoint"].rpartition(":")[2]), said["spu_port"], before)
        before.append(line)
    raise AssertionError(f"it ended: {''.join(before)}")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs."""

    process: subprocess.Popen[str]
    sc_port: int
    spu_port: int
    cleanup: AsyncExitStack

    async def sc(self) -> Peer:
        """Return a new connection to the system controller."""
        return await self.cleanup.enter_async_context(await Peer.connect(self.sc_port))

    async def spu(self) -> Peer:
        """Return a new connection to the SPU."""
        return await self.cleanup.enter_async_context(await Peer.connect(self.spu_port))

    async def create(self, topic: str, spec: TopicSpec | None = None) -> None:
        """Create a topic."""
        assert not (await (await self.sc()).create(topic, spec)).code

    def memory(self) -> int:
        """Return the memory of the server in megabytes, as the kernel counts it."""
        return self.memory_of(self.process.pid)

    @staticmethod
    def memory_of(pid: int) -> int:
        """Return the memory of a process in megabytes."""
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def open_files(self) -> int:
        """Return how many files and sockets the server has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


@asynccontextmanager
async def up(headwater: CommandLine, *options: object) -> AsyncIterator[Running]:
    """Run a server on free ports, and end it. All of its memory is its own, so that it can be measured."""
    process = headwater.start("up", "--sc-port", "0", "--spu-port", "0", *options, anew=True)
    said = await asyncio.to_thread(started, process)
    async with AsyncExitStack() as cleanup:
        yield Running(process, said.sc_port, said.spu_port, cleanup)
    assert process.poll() is None, "the server has ended by itself"
    _, _, error = await asyncio.to_thread(headwater.stop, process)
    assert "Traceback" not in error, error
