"""Whether the server of a data directory answers: one that does, one that is gone, and what is no server."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from headwater.core.errors import LogServerGoneError
from headwater.log import Log
from headwater.server.dialogue import SOCKET_NAME
from headwater.server.probe import answers
from headwater.server.server import Listen, Server


async def test_a_server(tmp_path: Path) -> None:
    """It answers while it runs, and there is nobody afterwards; a deep directory is as good as any."""
    deep = tmp_path.joinpath(*["a-directory-with-a-long-name"] * 6)
    async with Log.open(deep) as log:
        async with Server(log, Listen(sc_port=0, spu_port=0)):
            assert await asyncio.to_thread(answers, deep, 30)
        assert not answers(deep, 30)


def test_nobody(tmp_path: Path) -> None:
    """No directory, no socket, a file in its place, and the socket of a dead server: nobody listens."""
    assert not answers(tmp_path / "nowhere", 30)
    assert not answers(tmp_path, 30)
    (tmp_path / SOCKET_NAME).write_text("")
    assert not answers(tmp_path, 30)
    (tmp_path / SOCKET_NAME).unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    assert not answers(tmp_path, 30)


@pytest.mark.parametrize(
    ("answer", "patience", "said"),
    [
        (None, 0.1, "timed out"),
        (b"", 30, "closed the connection"),
        (b"\x7f\xff\xff\xff", 30, "a frame of 2147483647 bytes"),
        (b"\0\0\0\x04\0\0\0\1", 30, "does not answer"),
        (b"\0\0\0\x11\0\0\0\1\0\0\0\0\0\0\0\0\x050.0.0", 30, "not a server of Headwater"),
    ],
    ids=["silence", "an end", "nonsense", "too little", "another server"],
)
async def test_what_is_no_server(tmp_path: Path, answer: bytes | None, patience: float, said: str) -> None:
    """Whoever listens and does not answer as our server does is an error that says what came back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, tmp_path / SOCKET_NAME):
        with pytest.raises(LogServerGoneError, match=said):
            await asyncio.to_thread(answers, tmp_path, patience)
