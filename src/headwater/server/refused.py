"""Owns how a request is refused: with an error code of Fluvio's."""

from __future__ import annotations

from headwater.core.errors import HeadwaterError
from headwater.fluvio.errorcode import ErrorCode


class RefusedError(HeadwaterError):
    """A request is answered with an error code. Never leaves the server."""

    def __init__(self, answer: ErrorCode) -> None:
        super().__init__(answer.sentence)
        self.code = answer
