"""Owns what stands between a round and the network: the protocol of whatever may hold, change or refuse a request.

Credentials and limits are gates. Connectors without any pay for none.
"""

from __future__ import annotations

from typing import Protocol

from headwater.core.errors import FetchError
from headwater.core.http import Request, Response


class HeldError(Exception):
    """A gate does not let a request pass now: nothing was sent.

    `wait` is for how many seconds it is no use to try; `slug` the kind of reason. With `failing` it is a trouble of the
    connector, else the round is skipped and that is all. `trouble` is the kind of trouble where that is another one:
    what is known already is not told again.
    """

    def __init__(self, reason: str, *, slug: str, wait: float, failing: bool = False, trouble: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.slug = slug
        self.wait = wait
        self.failing = failing
        self.trouble = trouble or slug


class Gate(Protocol):
    """Something that each request of a connector passes, and each outcome.

    What was admitted is followed by `heard` or by `dropped`.
    """

    async def admit(self, request: Request, left: float) -> Request:
        """Return the request as it may be sent, after at most `left` seconds.

        Raises HeldError when it may not, and a FetchError when what it needs first failed: that is judged like a
        failure of the request itself.
        """
        ...

    def heard(self, request: Request, outcome: Response | FetchError) -> None:
        """Take in what came of a request that was admitted, before it is judged."""
        ...

    def dropped(self, request: Request) -> None:
        """Take in that nobody waits any more for what comes of a request that was admitted, or that it is not sent."""

    def stop(self) -> None:
        """Cancel whoever only waits here for a time to come: the connector is to end."""

    async def renew(self, request: Request, left: float) -> bool:
        """Renew what the server has refused in an admitted request; return whether it is worth sending once more.

        Raises as `admit` does.
        """
        ...
