"""Owns a WebSocket as what frames come out of: its messages are the frames, and it wants to be spoken to. Pure.

The protocol itself is `websocket`'s; here it is put together with what the configuration wants to be said and heard.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from headwater.config.websocket import WebsocketOptions
from headwater.core.http import Headers, Response
from headwater.sources.stream.receiving import Due, Ended, Frames
from headwater.sources.websocket.handshake import agree, offer
from headwater.sources.websocket.life import Life
from headwater.sources.websocket.session import Session
from headwater.sources.websocket.talk import Talk


def offered(options: WebsocketOptions, key: str) -> Headers:
    """Return the headers of a handshake."""
    return offer(compression=options.compression, subprotocols=options.subprotocols, key=key)


def _mask() -> bytes:
    return os.urandom(4)


class Socket:
    """One connection behind its handshake, of which `head` is the answer. See `receiving.Intake`.

    `greeting` are the messages that are sent first, `keep_alive` the one that is sent from time to time. Raises
    ProtocolError for a handshake that is none.
    """

    __slots__ = ("_greeting", "_keep_alive", "_life", "_more", "_said", "_session", "_talk")

    what = "message"
    event_id: str | None = None
    retry: int | None = None

    def __init__(
        self,
        options: WebsocketOptions,
        head: Response,
        key: str,
        max_record: int,
        *,
        talk: Talk,
        greeting: Sequence[bytes] = (),
        keep_alive: bytes = b"",
    ) -> None:
        agreed = agree(head, key=key, compression=options.compression, subprotocols=options.subprotocols)
        self._session = Session(agreed, max_message=max_record, mask=_mask)
        self._talk = talk
        self._greeting = greeting
        self._keep_alive = keep_alive
        beat = options.keep_alive
        self._more = (
            options.ping_interval_ms / 1000,
            options.pong_timeout.total_seconds(),
            beat.interval.total_seconds() if beat is not None else 0.0,
        )
        self._life: Life | None = None
        self._said: list[bytes] = []

    @property
    def ended(self) -> Ended | None:
        """See `receiving.Intake`."""
        ended = self._session.ended
        return None if ended is None else Ended(ended.told(), failed=ended.failure)

    def greeting(self) -> bytes:
        """See `receiving.Intake`."""
        return b"".join(map(self._session.text, self._greeting))

    def feed(self, chunk: bytes) -> Frames:
        """See `receiving.Intake`."""
        talked = self._talk.sort(self._session.feed(chunk))
        if talked.answers:
            self._said += map(self._session.text, talked.answers)
        return Frames(talked.records)

    def finish(self) -> Frames:
        """See `receiving.Intake`. Half a message is none."""
        return Frames(())

    def outgoing(self) -> bytes:
        """See `receiving.Intake`."""
        said, self._said = self._said, []
        return b"".join((*said, self._session.outgoing()))

    def farewell(self) -> bytes:
        """See `receiving.Intake`."""
        return self._session.close()

    def due(self, now: float, *, held: bool) -> Due | None:
        """See `receiving.Intake`."""
        if self._life is None:
            interval, timeout, keep_alive = self._more
            self._life = Life(now, ping_interval=interval, pong_timeout=timeout, keep_alive=keep_alive)
        due = self._life.due(now, self._session.heard, held=held)
        if due.dead:
            return Due(now, dead=f"nothing has come within {self._more[1]:g} s of a ping")
        if due.again_at is None:
            return None
        frames = self._session.ping() if due.ping else b""
        if due.keep_alive:
            frames += self._session.text(self._keep_alive)
        return Due(due.again_at, frames)
