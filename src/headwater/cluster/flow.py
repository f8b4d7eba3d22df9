"""Owns one stream of answers while it lasts: its flow control and its end. Does not open another one.

The server has one answer under way. As stock clients do, the next one is asked for when the caller takes an answer, so
at most two are in memory, and none comes to a caller that does not go on.
"""

from __future__ import annotations

import asyncio
from collections import deque

from headwater.cluster.connection import Connection, Sink
from headwater.cluster.failure import refused
from headwater.core.errors import ClusterError, HeadwaterError
from headwater.fluvio.records import (
    STREAM_FETCH,
    UPDATE_CONSUMER_OFFSET,
    UPDATE_OFFSETS,
    ConsumerOffsetUpdated,
    OffsetsUpdated,
    OffsetUpdate,
    StreamFetch,
    StreamFetched,
    UpdateConsumerOffset,
    UpdateOffsets,
)
from headwater.fluvio.wire import Reader

# More answers than the protocol allows at once, and few enough to keep (a server that sends more is cut off).
_MOST_WAITING = 8


class Flow:
    """A stream of answers on a connection, from the moment it is asked for."""

    def __init__(self, connection: Connection, request: StreamFetch) -> None:
        self.connection = connection
        self.name = f"partition {request.partition} of topic {request.topic} on {connection.endpoint}"
        self._answers: deque[StreamFetched] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._error: HeadwaterError | None = None
        self._session: int | None = None
        self.number = connection.stream(STREAM_FETCH, request, Sink(self._take, self._fail))

    async def next(self) -> StreamFetched:
        """Return the next answer, however long it takes. Raises the error that ended the stream."""
        while not self._answers:
            if self._error is not None:
                raise self._error
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._answers.popleft()

    def go_on(self, offset: int) -> None:
        """Tell the server where this consumer has got, so that it sends what comes then."""
        if self._error is not None or self._session is None:
            return
        update = UpdateOffsets((OffsetUpdate(offset, self._session),))
        self.connection.call(UPDATE_OFFSETS, update).add_done_callback(self._updated)

    async def commit(self, offset: int) -> None:
        """Have the server keep how far the stream's consumer has got. Raises ClusterError."""
        if self._error is not None:
            raise self._error
        request = UpdateConsumerOffset(offset, 0 if self._session is None else self._session)
        reply = await self.connection.ask(UPDATE_CONSUMER_OFFSET, request, ConsumerOffsetUpdated)
        if reply.code:
            raise refused(reply.code, f"cannot keep offset {offset} of {self.name}")

    def _take(self, reader: Reader) -> None:
        try:
            answer = self.connection.decoded(reader, STREAM_FETCH, StreamFetched)
        except ClusterError:
            return  # the connection has broken, and has told this flow
        if len(self._answers) >= _MOST_WAITING:
            self.connection.distrust(f"{self.connection.endpoint} sends more of {self.name} than it was asked for")
            return
        self._session = answer.stream
        self._answers.append(answer)
        self._wake()

    def _updated(self, answer: asyncio.Future[Reader]) -> None:
        """See whether the server goes on."""
        if answer.cancelled() or answer.exception() is not None:
            return  # the connection has broken, and has told this flow
        try:
            statuses = self.connection.decoded(answer.result(), UPDATE_OFFSETS, OffsetsUpdated).statuses
        except ClusterError:
            return
        for status in statuses:
            if status.code and status.stream == self._session:
                self._fail(refused(status.code, f"cannot go on with {self.name}"))

    def _fail(self, error: HeadwaterError) -> None:
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
