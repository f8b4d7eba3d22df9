"""Owns who may ask the control API where more than the owner of the data directory can reach it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater.control.api import refused
from headwater.control.messages import Refusal


class Guard:
    """What stands before the API where more than the owner of the data directory can reach it.

    Every request needs the `token`. `hosts` are the names that it may be asked under: a page that had its own name
    lead to this address would ask under that. Pages of other origins are refused, whatever they send.
    """

    def __init__(self, token: str, hosts: Sequence[str]) -> None:
        self._token = token.encode()
        self._hosts = frozenset(hosts)

    def before(self, inner: ASGIApp) -> ASGIApp:
        """Return the application with the guard before it."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                answer = self._refusal(Headers(scope=scope))
                if answer is not None:
                    await answer(scope, receive, send)
                    return
                scope["headwater.remote"] = True
            await inner(scope, receive, send)

        return guarded

    def _refusal(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if host not in self._hosts:
            return refused(403, Refusal("host", f"this is not {host!r}", f"ask for {min(self._hosts)}"))
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] not in self._hosts:
            return refused(403, Refusal("origin", f"pages of {origin} may not ask here"))
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            hint = "send it as Authorization: Bearer TOKEN"
            said = Refusal("token", "the token is missing or wrong", hint)
            return refused(401, said, {"www-authenticate": "Bearer"})
        return None
