"""A way between a server's socket and those who speak to it that loses what it is told to lose."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from struct import unpack_from

from headwater.log import FILE_NAME
from headwater.server.dialogue import APPEND, SOCKET_NAME

PASS, BEFORE, AFTER, LATE = "pass", "before", "after", "late"


class Wire:
    """Passes frames from `near` to the server of `far`, both ways. `script` says what becomes of each append in turn.

    PASS it; cut BEFORE the server has it; cut AFTER the server has answered, instead of its answer; cut at once and
    keep it, so that it comes LATE.
    """

    def __init__(self, far: Path) -> None:
        self._far = far
        self.script: deque[str] = deque()
        self.open = True
        self.connections = 0
        self._held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def prepare(self, near: Path) -> None:
        """Make a data directory whose file is that of the server."""
        near.mkdir()
        (near / FILE_NAME).symlink_to(self._far / FILE_NAME)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.connections += 1
        if not self.open:
            writer.transport.abort()
            return
        theirs, server = await asyncio.open_unix_connection(self._far / SOCKET_NAME)
        self._writers |= {writer, server}
        doomed: set[int] = set()
        back = asyncio.create_task(self._back(theirs, writer, doomed))
        held = False
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = await _frame(reader)
                api, _, correlation = unpack_from(">Hhi", frame, 4)
                what = self.script.popleft() if api == APPEND and self.script else PASS
                if what == BEFORE:
                    break
                if what == LATE:
                    held = True
                    back.cancel()
                    await asyncio.wait([back])
                    self._held.append((theirs, server, frame))
                    break
                if what == AFTER:
                    doomed.add(correlation)
                server.write(frame)
                await server.drain()
        back.cancel()
        writer.transport.abort()
        if not held:
            server.transport.abort()

    async def _back(self, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: set[int]) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = await _frame(theirs)
                if unpack_from(">i", frame, 4)[0] in doomed:
                    break
                writer.write(frame)
                await writer.drain()
        writer.transport.abort()

    async def release(self) -> None:
        """Deliver what is kept, and wait until the server has answered to it."""
        held, self._held = self._held, []
        for theirs, server, frame in held:
            server.write(frame)
            # What the server had to answer before comes first.
            while (await _frame(theirs))[4:8] != frame[8:12]:
                pass
            server.transport.abort()

    def close(self) -> None:
        """Cut all."""
        for writer in self._writers:
            writer.transport.abort()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    prefix = await reader.readexactly(4)
    return prefix + await reader.readexactly(int.from_bytes(prefix))


@asynccontextmanager
async def wire(near: Path, far: Path) -> AsyncIterator[Wire]:
    """Put a wire before the server of `far`: whoever uses the data directory `near` speaks through it."""
    made = Wire(far)
    made.prepare(near)
    listening = await asyncio.start_unix_server(made.serve, near / SOCKET_NAME)
    try:
        yield made
    finally:
        listening.close()
        made.close()
