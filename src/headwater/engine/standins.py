"""Owns stand-ins for credentials: a connector that is replayed needs no keys, and shows itself to nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from headwater.config import ConnectorConfig, Problem
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.core.secret import MASK
from headwater.engine.credentials import Leave, place_of
from headwater.engine.gate import Gate
from headwater.sources.auth.standing import renewable
from headwater.sources.auth.token import Place, placed


class StandIns:
    """What is in the place of credentials in a replay: each token is the mask that recordings have of it."""

    def __init__(self) -> None:
        self.elsewhere: Callable[[str], bool] = lambda _: False

    async def problems(self, configs: Sequence[ConnectorConfig]) -> list[Problem]:  # noqa: ARG002 - theirs
        """Return nothing: no key is needed."""
        return []

    def gates(self, config: ConnectorConfig, base: Request, leave: Leave | None = None) -> tuple[Gate, ...]:  # noqa: ARG002 - theirs
        """Return a gate for a connector whose token is got at run time."""
        auth = config.http.auth
        return (_Gate(place_of(auth)),) if auth is not None and renewable(auth) else ()

    def holds(self, name: str) -> bool:  # noqa: ARG002 - theirs
        """Return that nothing is kept."""
        return False

    async def release(self, connectors: Iterable[str], patience: float) -> None:
        """Do nothing: there is nothing to be given back."""


class _Gate:
    """Puts the mask where a token was."""

    __slots__ = ("_place",)

    def __init__(self, place: Place) -> None:
        self._place = place

    async def admit(self, request: Request, left: float) -> Request:  # noqa: ARG002 - a gate's signature
        return placed(request, self._place, MASK)

    def heard(self, request: Request, outcome: Response | FetchError) -> None:
        """Nothing is learned from a recording."""

    def dropped(self, request: Request) -> None:
        """The same."""

    def stop(self) -> None:
        """Nobody waits here."""

    async def renew(self, request: Request, left: float) -> bool:  # noqa: ARG002 - a gate's signature
        """Return that it was: the recording has what came of it."""
        return True
