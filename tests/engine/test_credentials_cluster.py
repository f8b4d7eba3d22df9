"""Refresh tokens of connectors whose records go to a cluster: kept beside checkpoints, found by the next machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.authorization import CLIENT, FIRST, SECRET, Authorization
from engine.faraway import Faraway, faraway
from headwater.cluster import Cluster
from headwater.cluster import Target as Whither
from headwater.config import ConnectorConfig, load_text
from headwater.config.auth import OAuth2Auth
from headwater.config.secrets import SecretSource
from headwater.core.errors import CredentialRefusedError
from headwater.core.http import Request
from headwater.engine.checkpoints import TOPIC, Checkpoints
from headwater.engine.credentials import Credentials
from headwater.engine.guard import Permit
from headwater.engine.oncluster import OnCluster
from headwater.sources.auth.chain import chain_name
from headwater.sources.request import build_request


def config(it: Faraway, oauth: Authorization, name: str = "cats") -> ConnectorConfig:
    text = f"""
name: {name}
topic: {name}
secrets: {{SECRET: ~, FIRST: ~}}
parameters:
  endpoint: {it.server.url}/api
  auth:
    type: oauth2
    grant: refresh-token
    token_url: {oauth.url}
    client_id: {CLIENT}
    client_secret: ${{{{ secrets.SECRET }}}}
    refresh_token: ${{{{ secrets.FIRST }}}}
"""
    return load_text(text, secrets=SecretSource({"SECRET": SECRET, "FIRST": FIRST}, "a test")).connectors[0]


class Process:
    """A process that works with a credential: its own connection to the cluster, its own memory."""

    def __init__(self, it: Faraway, target: OnCluster, one: ConnectorConfig) -> None:
        self.credentials = Credentials(target, it.fetcher, it.clock, lambda: 0.5)
        self.request = build_request(one.http)
        (self.gate,) = self.credentials.gates(one, self.request)

    async def use(self) -> Request:
        """Get another token, and use it."""
        request = await self.gate.admit(self.request, 20)
        token = dict(request.headers)["Authorization"].removeprefix("Bearer ")
        return request if token else self.request


@asynccontextmanager
async def process(
    it: Faraway, one: ConnectorConfig, *, in_cluster: bool, guarded: bool = False
) -> AsyncIterator[Process]:
    whither = Whither("127.0.0.1", it.ports[0], patience=it.patience)
    permit = Permit(7, 1e9, it.clock.monotonic)

    def guard(name: str) -> Permit | None:
        return permit if name == one.name else None

    async with Cluster(whither) as cluster, Checkpoints(cluster, clock=it.clock) as checkpoints:
        there = checkpoints if in_cluster else None
        async with OnCluster(cluster, it.keeper, [one], checkpoints=there, guard=guard if guarded else None) as target:
            made = Process(it, target, one)
            yield made
            await made.credentials.release([one.name], 5)


async def test_they_are_kept_in_the_data_directory(tmp_path: Path) -> None:
    """Without checkpoints in the cluster the newest is in the data directory, and nothing of it on the cluster."""
    async with faraway(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=10)
        one = config(it, oauth)
        auth = one.http.auth
        assert isinstance(auth, OAuth2Auth)
        for _ in range(3):
            async with process(it, one, in_cluster=False) as made:
                await made.use()
            oauth.confirm(list(oauth.tokens.values())[-1])
        assert await it.keeper.checkpoint(chain_name(auth)) is not None
        assert await it.log.topics() == []
    assert len({request["refresh_token"] for request in oauth.requests}) == 3
    assert all(answer.status == 200 for answer in oauth.answers)


async def test_two_machines_take_turns(tmp_path: Path) -> None:
    """With checkpoints in the cluster each looks for the newest before it asks; nobody there can read them."""
    async with faraway(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=10)
        one = config(it, oauth)
        async with (
            process(it, one, in_cluster=True) as first,
            process(it, one, in_cluster=True, guarded=True) as second,
        ):
            for _ in range(3):
                for machine in (first, second):
                    await machine.use()
                    oauth.confirm(list(oauth.tokens.values())[-1])
                    it.clock.advance(30)
        records = await it.records(TOPIC)
        kept = b"".join(record.value for record in records)
        for token in oauth.tokens.values():
            assert token.encode() not in kept
        assert b"sealed" in kept
    assert len(oauth.requests) == 6
    assert all(answer.status == 200 for answer in oauth.answers)
    assert len({request["refresh_token"] for request in oauth.requests}) == 6


async def test_without_a_permit_no_token_is_asked_for(tmp_path: Path) -> None:
    """A process whose connectors are others' by now uses no refresh token up."""
    async with faraway(tmp_path) as it:
        oauth = Authorization(it.server)
        one = config(it, oauth)
        credentials = Credentials(it.keeper, it.fetcher, it.clock, lambda: 0.5)
        request = build_request(one.http)
        permit = Permit(1, 1e9, it.clock.monotonic)
        permit.revoke()
        (gate,) = credentials.gates(one, request, permit.holds)
        with pytest.raises(CredentialRefusedError):
            await gate.admit(request, 5)
        assert not oauth.requests
        await credentials.release([one.name], 1)
