"""Runs the Autobahn test-suite's fuzzing server, which puts each client that connects through one of its cases."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from autobahn.install import INTERPRETER

FOLDER = Path(__file__).parents[2] / ".autobahn"
# In Python 2. The suite's own command would open a port for browsers as well, and both on all addresses.
_PROGRAM = """
import json, site, sys
site.addsitedir(sys.argv[1])
from autobahntestsuite.fuzzing import FuzzingServerFactory
from autobahn.twisted.websocket import listenWS
from twisted.internet import reactor
listenWS(FuzzingServerFactory(json.loads(sys.argv[2])), interface="127.0.0.1")
reactor.run()
"""


def lack() -> str | None:
    """Return why it cannot be run, None when it can."""
    if (FOLDER / INTERPRETER).is_file():
        return None
    return "the Autobahn test-suite is not installed: that needs Python 2.7, and then `make autobahn`"


class Fuzzer(msgspec.Struct, frozen=True):
    """A fuzzing server that listens on a port of loopback, and the folder that its reports go to."""

    port: int
    reports: Path

    def results(self, agent: str) -> dict[str, dict[str, Any]]:
        """Return what it found of a client, by the names of cases, once it was asked to write that down."""
        found: dict[str, dict[str, Any]] = json.loads((self.reports / "index.json").read_text())[agent]
        return found


@asynccontextmanager
async def fuzzing(folder: Path, cases: Sequence[str]) -> AsyncIterator[Fuzzer]:
    """Run a fuzzing server with the cases of these names (`*` stands for any); it works in `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reports = folder / "reports"
    spec = {
        "url": f"ws://127.0.0.1:{port}",
        "outdir": str(reports),
        "cases": [*cases],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    python = (FOLDER / INTERPRETER).read_text()
    log = folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(python, "-W", "ignore", "-c", _PROGRAM, str(FOLDER), json.dumps(spec)),
            cwd=folder,
            stdout=output,
            stderr=output,
        )
        try:
            async with asyncio.timeout(30):
                await _listening(port, process, log)
            yield Fuzzer(port, reports)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until it listens."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            assert process.returncode is None, f"it has ended; see {log}"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            await writer.wait_closed()
            return
