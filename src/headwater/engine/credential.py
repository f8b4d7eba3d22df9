"""Owns a credential at work: the token that many requests carry, got once for all of them, and got again in time.

How a token is got is the issuer's. Here is when: one issuing at a time, whoever waits for it; a pause after each that
failed, longer each time; and none for a request that was refused with a token that had just come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from headwater.core.callback import settle
from headwater.core.clock import Clock
from headwater.core.errors import CredentialError, CredentialRefusedError
from headwater.core.secret import Masker
from headwater.sources.auth.token import Failure, Token
from headwater.sources.retry import back_off

_NEVER = float("inf")
# The shortest life of a token (seconds).
_SHORTEST_LIFE = 1.0
# Pauses after failures that may pass, and after those that somebody has to mend (seconds).
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LONG_PAUSE, _LONGEST_LONG_PAUSE = 10.0, 600.0


class Issuer(Protocol):
    """Whatever gets tokens."""

    @property
    def trouble(self) -> str:
        """What it waits for while it takes long; empty for an answer."""
        ...

    async def issue(self) -> Token | Failure:
        """Get a token, or say why there is none. Bounded in time; it raises nothing but what is a defect."""
        ...

    async def close(self, token: Token | None) -> None:
        """Give the last token back, where the server wants that. Bounded in time."""
        ...


class Credential:
    """A token for everybody who has an equal configuration. `chance` returns a random number in [0, 1)."""

    def __init__(self, issuer: Issuer, clock: Clock, chance: Callable[[], float]) -> None:
        self._issuer = issuer
        self._clock = clock
        self._chance = chance
        self.token: Token | None = None
        # Monotonic times: when the token is to be replaced, and when it ends.
        self._renew_at = self._ends_at = 0.0
        # Whether the server has accepted the token; has refused it, so that there must be another; and, refusing it
        # when it was new, has put the next one off.
        self._proven = self._refused = self._held = False
        self._issuing: asyncio.Task[None] | None = None
        self._failure: Failure | None = None
        self._failures = 0
        self._not_before = 0.0
        # Tokens that were refused though they were new: renewing is no use.
        self._futile = 0
        self._renew_not_before = 0.0
        self._maskers: dict[int, Masker] = {}

    @property
    def issuing(self) -> bool:
        """Whether a token is under way."""
        return self._issuing is not None

    def attach(self, masker: Masker) -> None:
        """Let a connector's masker know each token before it is used."""
        self._maskers[id(masker)] = masker
        if self.token is not None:
            self._teach(masker, self.token)

    def detach(self, masker: Masker) -> None:
        """Forget a connector's masker."""
        self._maskers.pop(id(masker), None)

    async def get(self, left: float) -> Token:
        """Return a token that is good now, after at most `left` seconds. Raises CredentialError."""
        deadline = self._clock.monotonic() + left
        while True:
            now = self._clock.monotonic()
            if self.token is not None and now < self._renew_at and not self._refused:
                return self.token
            # One that is near its end, or refused for another reason than its age, is better than none.
            usable = self.token if now < self._ends_at else None
            if now < self._not_before:
                if usable is not None and not self._refused:
                    return usable
                # What somebody has to mend will be no other in a moment.
                if self._not_before > deadline or (self._failure is not None and not self._failure.passing):
                    raise self._error(f"; it is asked again in {self._not_before - now:.3g} s")
                await self._clock.sleep_until(self._not_before)
                continue
            if not await self._issued(deadline):
                if usable is not None and not self._refused:
                    return usable
                trouble = self._issuer.trouble
                said = f"no token came in time: {trouble}" if trouble else "no token came in time"
                raise CredentialRefusedError(said, hint="" if trouble else "see whether the token endpoint is slow")
            if self._failure is not None and (usable is None or self._refused):
                raise self._error("")

    async def _issued(self, deadline: float) -> bool:
        """Get a token, together with everybody else who wants one; return whether that has ended in time."""
        if self._issuing is None:
            self._issuing = asyncio.create_task(self._issue())
            self._issuing.add_done_callback(_ended)
        issuing = self._issuing
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(deadline, partial(settle, over, None))
        try:
            # Whoever is cancelled does not take the token from the others, nor a refresh token from its successor.
            await asyncio.wait((issuing, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            over.cancel()
        if not issuing.done():
            return False
        # A defect: the connector's supervision says so.
        issuing.result()
        return True

    async def _issue(self) -> None:
        started = self._clock.monotonic()
        try:
            outcome = await self._issuer.issue()
            if isinstance(outcome, Failure):
                self._fail(outcome)
            else:
                self._take(outcome, started)
        finally:
            self._issuing = None

    def _take(self, token: Token, started: float) -> None:
        for masker in self._maskers.values():
            self._teach(masker, token)
        self._ends_at = started + (_NEVER if token.lifetime is None else token.lifetime)
        renew_at = self._ends_at if token.renew_after is None else started + token.renew_after
        # However short its life is, and however late it came: nobody asks without an end.
        self._renew_at = max(renew_at, self._clock.monotonic() + _SHORTEST_LIFE)
        self.token, self._failure, self._failures, self._not_before = token, None, 0, 0.0
        self._proven = self._refused = self._held = False

    @staticmethod
    def _teach(masker: Masker, token: Token) -> None:
        masker.learn(token.value)
        if token.refresh is not None:
            masker.learn(token.refresh)

    def _fail(self, failure: Failure) -> None:
        self._failure = failure
        self._failures += 1
        pauses = (_PAUSE, _LONGEST_PAUSE) if failure.passing else (_LONG_PAUSE, _LONGEST_LONG_PAUSE)
        pause = back_off(self._failures, initial=pauses[0], longest=pauses[1], chance=self._chance())
        self._not_before = self._clock.monotonic() + max(pause, failure.wait)

    def _error(self, more: str) -> CredentialError:
        failure = self._failure
        assert failure is not None
        kind = CredentialError if failure.passing and not more else CredentialRefusedError
        return kind(failure.reason + more, hint=failure.hint)

    def refused(self, token: Token) -> None:
        """Hear that the server has refused a token."""
        if token is not self.token or self._refused or self._held or self._proven or not self._futile:
            return
        # It has just come, in place of one that was refused as well.
        self._held = True
        pause = back_off(self._futile, initial=_LONG_PAUSE, longest=_LONGEST_LONG_PAUSE, chance=self._chance())
        self._renew_not_before = self._clock.monotonic() + pause

    def accepted(self, token: Token) -> None:
        """Hear that the server has accepted a token."""
        if token is self.token:
            self._proven = True
            self._futile, self._renew_not_before = 0, 0.0

    async def renew(self, token: Token | None, left: float) -> bool:
        """Replace a token that was refused, unless that was done meanwhile; return whether there is another one.

        Raises CredentialError.
        """
        if token is None or token is not self.token:
            return True
        if self._clock.monotonic() < self._renew_not_before:
            return False
        if not self._refused:
            self._refused = True
            self._futile = 1 if self._proven else self._futile + 1
        return (await self.get(left)).value != token.value

    async def close(self, patience: float) -> None:
        """End: what is being issued has so many seconds, for a refresh token may have been used up for it."""
        if self._issuing is not None:
            await asyncio.wait((self._issuing,), timeout=patience)
        issuing = self._issuing
        if issuing is not None:
            issuing.cancel()
            await asyncio.gather(issuing, return_exceptions=True)
        await self._issuer.close(self.token)


def _ended(issuing: asyncio.Task[None]) -> None:
    """Take a defect in that nobody waited for: the next one who wants a token meets it."""
    if not issuing.cancelled():
        issuing.exception()
