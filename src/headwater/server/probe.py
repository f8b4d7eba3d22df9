"""Owns the question whether the server of a data directory answers. Asks as any client begins, and blocks meanwhile."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from headwater.core.errors import LogServerGoneError, WireError
from headwater.fluvio import frame
from headwater.fluvio.wire import Reader, decode, encode
from headwater.server.dialogue import APPEND, SOCKET_NAME

# Far more than a server says of its versions (bytes).
_MOST = 64 * 1024


def answers(directory: Path, patience: float) -> bool:
    """Return whether a server listens in a directory and answers; False when none listens.

    Raises LogServerGoneError when one listens and does not answer within `patience` seconds, or not as a server.
    """
    from headwater.server.local import SocketPlace  # noqa: PLC0415 - where nothing listens nobody pays for it

    if not (directory / SOCKET_NAME).is_socket():
        return False
    end = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX) as client, SocketPlace(directory) as path:
        client.settimeout(patience)
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            # A server that was killed leaves its socket behind.
            return False
        except OSError as error:
            raise _silent(directory, str(error)) from error
        try:
            _ask(client, end)
        except (OSError, WireError) as error:
            raise _silent(directory, str(error)) from error
    return True


def _silent(directory: Path, reason: str) -> LogServerGoneError:
    return LogServerGoneError(f"the server of {directory} does not answer: {reason}", hint="look into its log")


def _ask(client: socket.socket, end: float) -> None:
    header = frame.Header(frame.API_VERSIONS, frame.API_VERSIONS_VERSION, 1, "headwater health")
    client.sendall(frame.request(header, encode(frame.ApiVersions(), frame.API_VERSIONS_VERSION)))
    length = frame.frame_length(_take(client, 4, end), _MOST)
    reader = Reader(_take(client, length, end)[4:])
    if APPEND not in frame.ranges_of(decode(frame.ApiVersionsReply, reader, frame.API_VERSIONS_VERSION)):
        raise WireError("it is not a server of Headwater")


def _take(client: socket.socket, count: int, end: float) -> bytes:
    taken = b""
    while len(taken) < count:
        client.settimeout(max(0.001, end - time.monotonic()))
        piece = client.recv(count - len(taken))
        if not piece:
            raise WireError("it closed the connection")
        taken += piece
    return taken
