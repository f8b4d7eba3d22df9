"""Owns what stands between a round and the network: the protocol of whatever may hold, change or refuse a request.

Credentials and limits are gates. Connectors without any pay for none.
"""

from __future__ import annotations

from typing import Protocol

from headwater.core.errors import FetchError
from headwater.core.http import Request, Response


class HeldError(Exception):
    """A gate does not let a request pass now: nothing was sent.

    `wait` is for how many seconds it will not; `slug` the kind of reason. With `failing` it is a trouble of the
    connector, else the round is skipped and that is all.
    """

    def __init__(self, reason: str, *, slug: str, wait: float, failing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.slug = slug
        self.wait = wait
        self.failing = failing


class Gate(Protocol):
    """Something that each request of a connector passes, and each outcome."""

    async def admit(self, request: Request, left: float) -> Request:
        """Return the request as it may be sent, after at most `left` seconds.

        Raises HeldError when it may not, and a FetchError when what it needs first failed: that is judged like a
        failure of the request itself.
        """
        ...

    def heard(self, request: Request, outcome: Response | FetchError) -> None:
        """Take in what came of a request that was admitted, before it is judged."""
        ...

    async def renew(self, request: Request, left: float) -> bool:
        """Renew what the server has refused in an admitted request; return whether it is worth sending once more.

        Raises as `admit` does.
        """
        ...
