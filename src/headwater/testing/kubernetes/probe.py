"""Owns probes: how one is made, and what a row of results means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping

from lightkube.models.core_v1 import HTTPGetAction, Probe

Execute = Callable[[list[str], float], Awaitable[bool]]
"""Runs a command inside the container for at most so many seconds; returns whether it ended with 0."""

_MOST_HEAD = 16 * 1024


class Threshold:
    """What a row of results of a probe means: `passing` changes after as many equal results as the probe says."""

    def __init__(self, probe: Probe, *, passing: bool) -> None:
        self._needed = {True: probe.successThreshold or 1, False: probe.failureThreshold or 3}
        self._last = passing
        self._row = 0
        self.passing = passing
        self.decided = False

    def observe(self, passed: bool) -> None:  # noqa: FBT001 - the one value there is
        """Take the next result in."""
        self._row = self._row + 1 if passed is self._last else 1
        self._last = passed
        if self._row >= self._needed[passed]:
            self.passing = passed
            self.decided = True


async def passes(probe: Probe, address: str, ports: Mapping[str, int], execute: Execute) -> bool:
    """Probe once; whatever goes wrong is a failure. `ports` are the container's by their names."""
    limit = float(probe.timeoutSeconds or 1)
    if probe.exec is not None:
        return await execute(probe.exec.command or [], limit)
    try:
        async with asyncio.timeout(limit):
            if probe.httpGet is not None:
                return await _get(probe.httpGet, address, ports)
            if probe.tcpSocket is not None:
                where = probe.tcpSocket.host or address
                _, writer = await asyncio.open_connection(where, _port(probe.tcpSocket.port, ports))
                writer.close()
                return True
    except (OSError, ValueError, KeyError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    return False


async def _get(action: HTTPGetAction, address: str, ports: Mapping[str, int]) -> bool:
    port = _port(action.port, ports)
    tls: ssl.SSLContext | None = None
    if action.scheme == "HTTPS":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(action.host or address, port, ssl=tls, limit=_MOST_HEAD)
    try:
        headers = {"host": f"{action.host or address}:{port}", "user-agent": "kube-probe/1.35", "connection": "close"}
        headers |= {each.name.lower(): each.value for each in action.httpHeaders or []}
        lines = [f"GET {action.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        status = (await reader.readuntil(b"\r\n")).split()[1]
        return 200 <= int(status) < 400
    finally:
        writer.close()


def _port(port: int | str, ports: Mapping[str, int]) -> int:
    return ports[port] if isinstance(port, str) and not port.isdigit() else int(port)
