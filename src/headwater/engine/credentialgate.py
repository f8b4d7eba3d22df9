"""Owns the gates of credentials: what a connector's requests pass on their way, to carry what shows who sends them."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from headwater.config.auth import JwtAuth
from headwater.core.clock import Clock
from headwater.core.errors import CredentialRefusedError, FetchError
from headwater.core.http import Request, Response
from headwater.core.origin import origin
from headwater.core.secret import Masker
from headwater.engine.credential import Credential
from headwater.engine.keys import Signer
from headwater.sources.auth.claims import bearer_claims
from headwater.sources.auth.token import Failure, Place, Token, carries, placed


def known_origin(url: str) -> tuple[str, str, int | None] | None:
    """Return the origin of a URL; None for one that cannot be told before it is asked for."""
    try:
        found = origin(url)
    except ValueError:
        return None
    return None if "${{" in found[1] or not found[1] else found


class CredentialGate:
    """What the requests of one connector pass: they get the token of a credential that others may share."""

    __slots__ = ("_given", "_masker", "_origin", "_passed", "_place", "_token", "_waiting", "credential")

    def __init__(self, credential: Credential, place: Place, endpoint: str, masker: Masker) -> None:
        self.credential = credential
        self._place = place
        self._origin = known_origin(endpoint)
        self._masker = masker
        # The last request that came, as it went on, with which token.
        self._given: Request | None = None
        self._passed: Request | None = None
        self._token: Token | None = None
        # Who waits for a token now.
        self._waiting: set[asyncio.Task[Any]] = set()
        credential.attach(masker)

    async def admit(self, request: Request, left: float) -> Request:
        """Return the request with a token that is good now. Raises CredentialError."""
        if request is not self._given and self._elsewhere(request):
            return request
        token = await self._get(left)
        if request is not self._given or token is not self._token or self._passed is None:
            # The same request stays the same one: fetchers keep what they have set up for it.
            self._given, self._token = request, token
            self._passed = placed(request, self._place, token.value)
        return self._passed

    def heard(self, request: Request, outcome: Response | FetchError) -> None:
        """Take in whether the server accepts the token."""
        token = self._sent(request)
        if token is None or isinstance(outcome, FetchError):
            return
        if outcome.status == 401:
            self.credential.refused(token)
        elif outcome.status < 400:
            self.credential.accepted(token)

    def dropped(self, request: Request) -> None:
        """Take in that nobody waits for a request any more: its token is as good as before."""

    async def _get(self, left: float) -> Token:
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            return await self.credential.get(left)
        finally:
            self._waiting.discard(task)

    def stop(self) -> None:
        """Cancel whoever waits for the end of a pause; a token that is under way is waited for."""
        if not self.credential.issuing:
            for task in self._waiting:
                task.cancel()

    async def renew(self, request: Request, left: float) -> bool:
        """Replace the token that a request was sent with. Raises CredentialError."""
        if self._elsewhere(request):
            return False
        return await self.credential.renew(self._sent(request), left)

    def _elsewhere(self, request: Request) -> bool:
        """Return whether a request goes to another origin: a link in an answer leads wherever the answer says."""
        return self._origin is not None and known_origin(request.url) != self._origin

    def _sent(self, request: Request) -> Token | None:
        """Return the token of a request, if it is the present one."""
        token = self.credential.token
        return token if token is not None and carries(request, self._place, token.value) else None

    def release(self) -> None:
        """Use the credential no more."""
        self.credential.detach(self._masker)


class SigningGate:
    """What the requests of one connector pass whose tokens say something of each: they are signed one by one."""

    __slots__ = ("_auth", "_clock", "_masker", "_origin", "_place", "_signer")

    def __init__(self, auth: JwtAuth, place: Place, endpoint: str, masker: Masker, clock: Clock) -> None:
        self._auth = auth
        self._place = place
        self._origin = known_origin(endpoint)
        self._masker = masker
        self._clock = clock
        self._signer = Signer(auth)

    async def admit(self, request: Request, left: float) -> Request:  # noqa: ARG002 - a gate's signature
        """Return the request with a token of its own. Raises CredentialError, and RequestError for unfit claims."""
        if self._origin is not None and known_origin(request.url) != self._origin:
            return request
        now, nonce = self._clock.time_ms() / 1000, secrets.token_urlsafe(16)
        token = await self._signer.sign(bearer_claims(self._auth, now=now, nonce=nonce, request=request))
        if isinstance(token, Failure):
            raise CredentialRefusedError(token.reason, hint=token.hint)
        self._masker.learn(token)
        return placed(request, self._place, token)

    def heard(self, request: Request, outcome: Response | FetchError) -> None:
        """Do nothing: the next token is another one anyway."""

    def dropped(self, request: Request) -> None:
        """Do nothing: the next token is another one anyway."""

    def stop(self) -> None:
        """Do nothing: signing takes no time that is worth cutting."""

    async def renew(self, request: Request, left: float) -> bool:  # noqa: ARG002 - a gate's signature
        """Read the key again, where it is in a file: somebody may have put another one there."""
        return self._signer.forget()
