"""Owns the credentials of an engine: connectors with equal ones share one, each through a gate of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
from pydantic import BaseModel

from headwater.config import ConnectorConfig
from headwater.config.auth import (
    ApiKeyAuth,
    AuthOptions,
    BearerAuth,
    JwtAuth,
    LoginAuth,
    NegotiateAuth,
    OAuth2Auth,
    located,
)
from headwater.config.problem import Problem
from headwater.config.url import over_http
from headwater.core.clock import Clock
from headwater.core.http import Fetcher, Request, Transport
from headwater.core.secret import Text
from headwater.engine.chain import Chain
from headwater.engine.credential import Credential, Issuer
from headwater.engine.credentialgate import CredentialGate, SigningGate, known_origin
from headwater.engine.gate import Gate
from headwater.engine.issuing import FileIssuer, JwtIssuer, LoginIssuer, Network, OAuth2Issuer
from headwater.engine.kerberos import conflict, use_kerberos
from headwater.engine.keys import key_fault
from headwater.engine.target import Target
from headwater.sources.auth.chain import chain_name
from headwater.sources.auth.login import login_place
from headwater.sources.auth.standing import found_secrets, missing, renewable
from headwater.sources.auth.token import Place

_PATH = ("http", "auth")
# How long the files of keys may take to be read (seconds).
_CHECKING = 30.0

# Whether a process still works on what it does for a connector; without one it does always.
Leave = Callable[[], bool]


class Wicket(Protocol):
    """Where the connectors of an engine get the gates by which they show who they are."""

    elsewhere: Callable[[str], bool]

    async def problems(self, configs: Sequence[ConnectorConfig]) -> list[Problem]:
        """Return why connectors cannot show who they are on this machine."""
        ...

    def gates(self, config: ConnectorConfig, base: Request, leave: Leave | None = None) -> tuple[Gate, ...]:
        """Return the gates of a connector that starts."""
        ...

    def holds(self, name: str) -> bool:
        """Return whether this process works with what is kept under a name."""
        ...

    async def release(self, connectors: Iterable[str], patience: float) -> None:
        """Let connectors go that have ended."""
        ...


class Credentials:
    """The credentials of an engine. `elsewhere` says of a name whether another process on this machine works with it.

    A `target` is needed only where refresh tokens are kept.
    """

    def __init__(self, target: Target | None, fetcher: Fetcher, clock: Clock, chance: Callable[[], float]) -> None:
        self._target = target
        self._fetcher = fetcher
        self._clock = clock
        self._chance = chance
        self.elsewhere: Callable[[str], bool] = lambda _: False
        self._shared: dict[str, Credential] = {}
        self._users: dict[str, set[str]] = {}
        self._gates: dict[str, tuple[str, CredentialGate]] = {}
        self._chains: dict[str, Chain] = {}
        self._leaves: dict[str, Leave] = {}

    async def problems(self, configs: Sequence[ConnectorConfig]) -> list[Problem]:
        """Return why connectors cannot show who they are on this machine: keys, variables, what they do not share."""
        wanting = [config for config in configs if config.http.auth is not None]
        if not wanting:
            return []
        try:
            async with asyncio.timeout(_CHECKING):
                return await asyncio.to_thread(_problems, wanting)
        except TimeoutError:
            return [wanting[0].problem(_PATH, f"the files that keys are in could not be read within {_CHECKING:g} s")]

    def gates(self, config: ConnectorConfig, base: Request, leave: Leave | None = None) -> tuple[Gate, ...]:
        """Return the gate of a connector, or none. `base` has its time-outs and its transport.

        With a `leave`, nothing is sent for the connector without it.
        """
        auth = _auth(config)
        for secret in found_secrets(auth, os.environ):
            config.masker.learn(secret)
        if isinstance(auth, NegotiateAuth):
            use_kerberos(auth)
        if auth is None or not renewable(auth):
            return ()
        endpoint = over_http(config.http.endpoint.reveal())
        if isinstance(auth, JwtAuth) and auth.of_requests:
            return (SigningGate(auth, place_of(auth), endpoint, config.masker, self._clock),)
        transport = _transport(base.transport, auth, endpoint)
        key = _key(auth, transport)
        credential = self._shared.get(key)
        if credential is None:
            issuer = self._issuer(auth, key, msgspec.structs.replace(base, transport=transport, permit=None))
            credential = self._shared[key] = Credential(issuer, self._clock, self._chance)
        gate = CredentialGate(credential, place_of(auth), endpoint, config.masker)
        self._users.setdefault(key, set()).add(config.name)
        self._gates[config.name] = (key, gate)
        if leave is not None:
            self._leaves[config.name] = leave
        return (gate,)

    def _issuer(self, auth: AuthOptions, key: str, base: Request) -> Issuer:
        if isinstance(auth, BearerAuth | ApiKeyAuth):
            return FileIssuer(auth)
        if isinstance(auth, JwtAuth):
            return JwtIssuer(auth, self._clock)
        base = msgspec.structs.replace(base, permit=lambda: self._may(key))
        network = Network(self._fetcher, self._clock, base)
        if isinstance(auth, LoginAuth):
            return LoginIssuer(auth, network)
        assert isinstance(auth, OAuth2Auth)
        if auth.grant != "refresh-token":
            return OAuth2Issuer(auth, network, None)
        name = chain_name(auth)
        if name not in self._chains:
            assert self._target is not None
            tell = self.elsewhere
            self._chains[name] = Chain(auth, name, self._target, self._clock, chance=self._chance, elsewhere=tell)
        return OAuth2Issuer(auth, network, self._chains[name])

    def _may(self, key: str) -> bool:
        """Return whether any of those who share a credential may work: what is sent for it is sent for all."""
        leaves = [self._leaves.get(name) for name in self._users.get(key, ())]
        # Without anybody it is given back, or the last use of it ends.
        return not leaves or any(leave is None or leave() for leave in leaves)

    def holds(self, name: str) -> bool:
        """Return whether this engine works with what is kept under a name."""
        return name in self._chains

    async def release(self, connectors: Iterable[str], patience: float) -> None:
        """Let connectors go; what nobody uses any more ends within so many seconds, and a little for a logout."""
        ending: list[Credential] = []
        for name in connectors:
            found = self._gates.pop(name, None)
            self._leaves.pop(name, None)
            if found is None:
                continue
            key, gate = found
            gate.release()
            users = self._users[key]
            users.discard(name)
            if not users:
                del self._users[key]
                ending.append(self._shared.pop(key))
        if ending:
            await asyncio.gather(*(credential.close(patience) for credential in ending))
        if not self._shared:
            self._chains.clear()


def _problems(configs: Sequence[ConnectorConfig]) -> list[Problem]:
    problems = []
    kerberos: list[NegotiateAuth] = []
    for config in configs:
        auth = _auth(config)
        fault = missing(auth, os.environ)
        if isinstance(auth, NegotiateAuth):
            if name := conflict(auth, kerberos):
                fault = f"another connector wants another {name}, and there is one for a process"
            kerberos.append(auth)
        elif isinstance(auth, JwtAuth) or (isinstance(auth, OAuth2Auth) and auth.signs and auth.assertion_file is None):
            fault = key_fault(auth)
        if fault:
            problems.append(config.problem(_PATH, fault))
    return problems


def _auth(config: ConnectorConfig) -> AuthOptions | None:
    return located(config.http.auth, Path(config.place.file).parent)


def keeps_tokens(config: ConnectorConfig) -> bool:
    """Return whether a connector has refresh tokens that replace each other, which are kept where checkpoints are."""
    auth = config.http.auth
    return isinstance(auth, OAuth2Auth) and auth.grant == "refresh-token"


def place_of(auth: AuthOptions) -> Place:
    """Return where the token of a kind goes that is got at run time."""
    if isinstance(auth, LoginAuth):
        return login_place(auth)
    if isinstance(auth, ApiKeyAuth):
        return Place(auth.in_, auth.name, auth.prefix)
    assert isinstance(auth, BearerAuth | JwtAuth | OAuth2Auth)
    return Place("header", auth.header, auth.prefix)


def _transport(transport: Transport, auth: AuthOptions, endpoint: str) -> Transport:
    """Return how token requests travel: as the connector's, without what is meant for its endpoint alone."""
    transport = msgspec.structs.replace(transport, login=None, cookies="")
    asked = auth.token_url if isinstance(auth, OAuth2Auth) else auth.endpoint if isinstance(auth, LoginAuth) else None
    if asked is None or known_origin(asked.reveal()) != known_origin(endpoint):
        return msgspec.structs.replace(transport, unix_socket="", server_name="")
    return transport


def _key(auth: AuthOptions, transport: Transport) -> str:
    """Return what equal configurations have in common. Nobody sees it, and it tells nothing."""
    told = hashlib.blake2b(digest_size=16)
    told.update(msgspec.json.encode(_revealed(auth)))
    told.update(b"\0".join(str(part).encode() for part in msgspec.structs.astuple(transport)))
    return told.hexdigest()


def _revealed(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {"": type(value).__name__} | {name: _revealed(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Text):
        return value.reveal()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(name): _revealed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(inner) for inner in value]
    return value
