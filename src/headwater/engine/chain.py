"""Owns a chain of refresh tokens that replace each other: each is kept, durably, before what came with it is used.

They are kept where checkpoints are, so that a restart, a crash or a kill -9 finds the newest. What is kept, and how it
is sealed, is decided in `headwater.sources.auth.chain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from headwater.config.auth import OAuth2Auth
from headwater.core.callback import settle
from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.core.topic import Receipt
from headwater.engine.target import Target
from headwater.log import Append
from headwater.sources.auth.chain import seal, unseal
from headwater.sources.auth.token import Failure, Token
from headwater.sources.retry import back_off

# How long the place may take to answer, and the pauses between tries to keep (seconds).
_PATIENCE = 30.0
_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

logger = structlog.get_logger("headwater.credential")


class Chain:
    """The refresh tokens of one grant, for all credentials of this process that begin with the same one.

    `elsewhere` says whether another process works with what is kept under a name.
    """

    def __init__(
        self,
        auth: OAuth2Auth,
        name: str,
        target: Target,
        clock: Clock,
        *,
        chance: Callable[[], float],
        elsewhere: Callable[[str], bool],
    ) -> None:
        self._auth = auth
        self._name = name
        self._target = target
        self._clock = clock
        self._chance = chance
        self._elsewhere = elsewhere
        self._lock = asyncio.Lock()
        self._token = ""
        self._rotations = 0
        # One that came and could not be kept: it is kept before anything else is done.
        self._unkept = ""
        self.trouble = ""

    async def exchange(self, ask: Callable[[str], Awaitable[Token | Failure]]) -> Token | Failure:
        """Get a token for the newest refresh token; keep the one that came with it before it is returned."""
        async with self._lock:
            failure = await self._keep(self._unkept) if self._unkept else await self._load()
            if failure is not None:
                return failure
            tried = self._token
            found = await ask(tried)
            if isinstance(found, Failure) and found.over:
                # Another machine may have used it; what that one has kept is as good.
                failure = await self._load()
                if failure is None and self._token != tried:
                    found = await ask(self._token)
            if isinstance(found, Token) and found.refresh is not None and found.refresh != self._token:
                failure = await self._keep(found.refresh)
                if failure is not None:
                    return failure
            return found

    async def _load(self) -> Failure | None:
        """Read what is kept: somebody else may have kept another one since."""
        assert self._auth.refresh_token is not None
        if self._elsewhere(self._name):
            reason = "another process on this machine works with this refresh token, and there can be one only"
            return Failure(reason, "end that process, or give its connectors to this one", passing=True)
        try:
            async with asyncio.timeout(_PATIENCE):
                kept = await self._target.checkpoint(self._name)
            if kept is None:
                self._token, self._rotations = self._auth.refresh_token.reveal(), 0
            else:
                self._token, self._rotations = unseal(self._auth, kept)
        except TimeoutError:
            return Failure("what is kept of the refresh token could not be read in time", passing=True)
        except HeadwaterError as error:
            said = f"what is kept of the refresh token cannot be read: {error.message}"
            return Failure(said, error.hint, passing=True)
        except ValueError as error:
            return Failure(str(error), "authorise anew and put the new refresh token into the configuration")
        return None

    async def _keep(self, token: str) -> Failure | None:
        """Keep a refresh token, for as long as it takes: the one before it counts no more."""
        self._unkept = token
        data = seal(self._auth, token, rotations=self._rotations + 1, since=self._clock.time_ms())
        failures = 0
        try:
            while (error := await self._store(data)) is not None:
                if not getattr(error, "retryable", False):
                    said = f"the new refresh token cannot be kept: {error.message}"
                    return Failure(said, error.hint)
                failures += 1
                self.trouble = f"the new refresh token cannot be kept yet: {error.message}"
                pause = back_off(failures, initial=_PAUSE, longest=_LONGEST_PAUSE, chance=self._chance())
                await self._clock.sleep_until(self._clock.monotonic() + pause)
        except asyncio.CancelledError:
            logger.error("a refresh token is lost", reason=self.trouble or "the stop came before it was kept")  # noqa: TRY400 - no defect
            raise
        finally:
            self.trouble = ""
        self._token, self._unkept = token, ""
        self._rotations += 1
        return None

    async def _store(self, data: bytes) -> HeadwaterError | None:
        stored: asyncio.Future[Receipt | HeadwaterError] = asyncio.get_running_loop().create_future()
        append = Append(None, (), checkpoint=(self._name, data))
        self._target.store(append, partial(settle, stored))
        try:
            async with asyncio.timeout(_PATIENCE):
                outcome = await stored
        except TimeoutError:
            return _LateError(f"it was not stored within {_PATIENCE:g} s")
        return outcome if isinstance(outcome, HeadwaterError) else None


class _LateError(HeadwaterError):
    """The place did not answer. Keeping the same once more changes nothing."""

    retryable = True
