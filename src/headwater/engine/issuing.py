"""Owns the ways to a token: a file, a signature, a token endpoint, a login. Waits, and is bounded in it.

What is asked and what an answer means is decided in `headwater.sources.auth`; when it is asked is the credential's.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial

from headwater.config.auth import ApiKeyAuth, BearerAuth, JwtAuth, LoginAuth, OAuth2Auth
from headwater.core.callback import settle
from headwater.core.clock import Clock
from headwater.core.errors import FetchError, ReadTimeoutError
from headwater.core.http import Fetcher, Request, Response
from headwater.engine.chain import Chain
from headwater.engine.keys import read_secret, signed
from headwater.sources.auth.answer import failed
from headwater.sources.auth.claims import assertion_claims, bearer_claims
from headwater.sources.auth.login import login_request, logout_request, read_login
from headwater.sources.auth.oauth2 import read_answer, token_request
from headwater.sources.auth.token import Failure, Token

# What the network has beyond the time-out of a request (seconds).
_BEYOND = 5.0
_LOGGING_OUT = 5.0


class Network:
    """How token requests are sent: with the time-outs and the transport of `base`."""

    def __init__(self, fetcher: Fetcher, clock: Clock, base: Request) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self.base = base

    def now(self) -> float:
        """Return the time, Unix seconds."""
        return self._clock.time_ms() / 1000

    async def send(self, request: Request) -> Response | FetchError:
        """Perform one exchange."""
        answered: asyncio.Future[Response | FetchError] = asyncio.get_running_loop().create_future()
        exchange = self._fetcher.begin(request, partial(settle, answered))
        try:
            async with asyncio.timeout(request.total_timeout + _BEYOND):
                return await answered
        except TimeoutError:
            return ReadTimeoutError(f"{request.method} {request.shown_url}: no answer in time")
        finally:
            exchange.cancel()


class FileIssuer:
    """A token that somebody else writes into a file."""

    trouble = ""

    def __init__(self, auth: BearerAuth | ApiKeyAuth) -> None:
        path = auth.token_file if isinstance(auth, BearerAuth) else auth.value_file
        assert path is not None
        self._path = path
        self._refresh = auth.refresh.total_seconds()

    async def issue(self) -> Token | Failure:
        """Read the file."""
        text = await read_secret(self._path)
        return text if isinstance(text, Failure) else Token(text, renew_after=self._refresh)

    async def close(self, token: Token | None) -> None:
        """Do nothing: the token is not ours."""


class JwtIssuer:
    """A token that is signed here."""

    trouble = ""

    def __init__(self, auth: JwtAuth, clock: Clock) -> None:
        self._auth = auth
        self._clock = clock

    async def issue(self) -> Token | Failure:
        """Sign another token; it is replaced after three quarters of its life."""
        now = self._clock.time_ms() / 1000
        claims = bearer_claims(self._auth, now=now, nonce=secrets.token_urlsafe(16))
        text = await signed(self._auth, claims)
        if isinstance(text, Failure):
            return text
        lifetime = self._auth.lifetime.total_seconds()
        return Token(text, lifetime).renewed_before(lifetime / 4)

    async def close(self, token: Token | None) -> None:
        """Do nothing: it ends by itself."""


class LoginIssuer:
    """A login."""

    trouble = ""

    def __init__(self, auth: LoginAuth, network: Network) -> None:
        self._auth = auth
        self._network = network

    async def issue(self) -> Token | Failure:
        """Log in."""
        request = login_request(self._auth, self._network.base)
        outcome = await self._network.send(request)
        if isinstance(outcome, FetchError):
            return failed(outcome)
        found = read_login(self._auth, request, outcome, now=self._network.now())
        return found if isinstance(found, Failure) else found.renewed_before(self._auth.margin.total_seconds())

    async def close(self, token: Token | None) -> None:
        """Log out, where that is asked for. What comes of it changes nothing any more."""
        if token is None:
            return
        request = logout_request(self._auth, self._network.base, token.value)
        if request is not None:
            try:
                async with asyncio.timeout(_LOGGING_OUT):
                    await self._network.send(request)
            except TimeoutError:
                return


class OAuth2Issuer:
    """A token endpoint. `chain` has the refresh tokens of the grant of that name."""

    def __init__(self, auth: OAuth2Auth, network: Network, chain: Chain | None) -> None:
        self._auth = auth
        self._network = network
        self._chain = chain
        # What came with the token of another grant: asked with it, a server need not see the password again.
        self._refresh: str | None = None

    @property
    def trouble(self) -> str:
        """What is waited for."""
        return "" if self._chain is None else self._chain.trouble

    async def issue(self) -> Token | Failure:
        """Ask for a token."""
        if self._chain is not None:
            found = await self._chain.exchange(self._ask)
        else:
            found = await self._granted()
        return found if isinstance(found, Failure) else found.renewed_before(self._auth.margin.total_seconds())

    async def _granted(self) -> Token | Failure:
        if self._refresh is not None:
            found = await self._ask(self._refresh)
            if isinstance(found, Token):
                self._refresh = found.refresh or self._refresh
                return found
            if not found.over:
                return found
            self._refresh = None
        found = await self._ask(None)
        if isinstance(found, Token) and self._auth.grant == "password":
            self._refresh = found.refresh
        return found

    async def _ask(self, refresh_token: str | None) -> Token | Failure:
        auth, network = self._auth, self._network
        proofs: dict[str, str] = {}
        if auth.grant == "jwt-bearer" and refresh_token is None:
            proof = await self._assertion(client=False)
            if isinstance(proof, Failure):
                return proof
            proofs["assertion"] = proof
        if auth.client_auth == "private-key-jwt":
            proof = await self._assertion(client=True)
            if isinstance(proof, Failure):
                return proof
            proofs["client_assertion"] = proof
        request = token_request(auth, network.base, refresh_token=refresh_token, **proofs)
        outcome = await network.send(request)
        if isinstance(outcome, FetchError):
            return failed(outcome)
        return read_answer(auth, request, outcome, now=network.now(), refreshed=refresh_token is not None)

    async def _assertion(self, *, client: bool) -> str | Failure:
        auth = self._auth
        if auth.assertion_file is not None:
            return await read_secret(auth.assertion_file)
        now, nonce = self._network.now(), secrets.token_urlsafe(16)
        return await signed(auth, assertion_claims(auth, client=client, now=now, nonce=nonce))

    async def close(self, token: Token | None) -> None:
        """Do nothing: tokens end by themselves."""
