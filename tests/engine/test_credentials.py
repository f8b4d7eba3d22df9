"""Credentials at work: a real OAuth 2 server library, a real log, connectors that share a token."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, RSAKey
from structlog.testing import capture_logs

from engine.authorization import CLIENT, FIRST, PASSWORD, SECRET, USER, Authorization
from engine.test_connector import Bench, bench, ledger
from headwater.config import ConnectorConfig, InvalidConfigError, load_text
from headwater.config.auth import OAuth2Auth
from headwater.config.secrets import SecretSource
from headwater.core.errors import HeadwaterError, LogFullError, LogIOError, LogLockedError
from headwater.core.exchange import Decision
from headwater.engine import Engine
from headwater.log import Append, LogReader, Receipt
from headwater.sources.auth.chain import chain_name, seal, unseal
from headwater.sources.request import build_request
from headwater.testing import Answer, Received, ScriptedServer, VirtualClock

SECRETS = SecretSource({"SECRET": SECRET, "FIRST": FIRST, "PASSWORD": PASSWORD}, "a test")


def config(it: Bench, auth: str, *, name: str = "cats", path: str = "/api", more: str = "") -> ConnectorConfig:
    """Return a connector with the options of `auth:`, in YAML's flow style without the braces."""
    text = (
        f"name: {name}\ntopic: {name}\nparameters:\n  endpoint: {it.server.url}{path}\n  interval: 10s\n"
        f"  retry: {{attempts: 3, initial: 1s, max: 1s}}\n{more}  auth: {{{auth}}}\nsecrets:\n"
        "  SECRET: ~\n  FIRST: ~\n  PASSWORD: ~\n"
    )
    return load_text(text, secrets=SECRETS).connectors[0]


def client(oauth: Authorization, more: str = "") -> str:
    return (
        f"type: oauth2, token_url: '{oauth.url}', client_id: {CLIENT}, "
        f"client_secret: '${{{{ secrets.SECRET }}}}'{', ' + more if more else ''}"
    )


def refreshing(oauth: Authorization, more: str = "") -> str:
    return client(
        oauth, f"grant: refresh-token, refresh_token: '${{{{ secrets.FIRST }}}}'{', ' + more if more else ''}"
    )


async def polled(it: Bench, count: int, name: str = "cats") -> None:
    """Wait until so many polls of a connector are over. A credential sleeps on the clock, too, while it waits."""
    await until(lambda: it.engine.figures.of(name).polls() >= count)
    await it.clock.sleeping()


async def until(done: Callable[[], bool], clock: VirtualClock | None = None) -> None:
    """Let the event loop turn until something is so; with a clock its time goes on meanwhile."""
    while not done():
        # Real time for the network, in which virtual time may pass.
        await asyncio.sleep(0.0005 if clock is None else 0.002)
        if clock is not None:
            clock.advance(0.5)


async def polls(it: Bench, count: int, *others: str) -> None:
    """Let so many polls be over, the first of which is due at once; of others besides, in step."""
    for _ in range(count):
        over = it.engine.figures.of("cats").polls()
        if over:
            it.clock.advance(10)
        for name in ("cats", *others):
            await polled(it, over + 1, name)


async def test_a_token_is_got_once_and_sent(tmp_path: Path) -> None:
    """The first request waits for a token; the others have it too, and nothing is asked again while it is good."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        async with it.running(config(it, client(oauth, "scope: read write, audience: 'https://x', params: {a: b}"))):
            await polls(it, 3)
        assert await it.values() == [b"1", b"2", b"3"]
    assert oauth.requests == [
        {"grant_type": "client_credentials", "scope": "read write", "audience": "https://x", "a": "b"}
    ]
    assert len(set(oauth.used)) == 1


@pytest.mark.parametrize("way", ["basic", "body", "private-key-jwt"])
async def test_a_client_shows_who_it_is(tmp_path: Path, way: str) -> None:
    """By HTTP Basic, in the body, or by a JWT that it signs."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(pem)
    names = {"basic": "client_secret_basic", "body": "client_secret_post", "private-key-jwt": "client_assertion_jwt"}
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, key=RSAKey.import_key(pem))
        oauth.client.methods = [names[way]]
        auth = client(oauth, f"client_auth: {way}")
        if way == "private-key-jwt":
            auth = (
                f"type: oauth2, token_url: '{oauth.url}', client_id: {CLIENT}, client_auth: {way}, "
                f"key_file: '{key_file}', algorithm: RS256"
            )
        # The library verifies assertions by the real time.
        it.clock.set_wall(time.time())
        async with it.running(config(it, auth)):
            await polls(it, 1)
        assert await it.values() == [b"1"]


async def test_a_jwt_is_a_grant(tmp_path: Path) -> None:
    """An assertion that is signed here is exchanged for a token (RFC 7523)."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, key=RSAKey.import_key(pem))
        it.clock.set_wall(time.time())
        auth = (
            f"type: oauth2, grant: jwt-bearer, token_url: '{oauth.url}', issuer: robot@project, subject: {USER}, "
            f"key_file: '{tmp_path}/key.pem', key_id: k1"
        )
        async with it.running(config(it, auth)):
            await polls(it, 1)
        assert await it.values() == [b"1"]


async def test_a_password_is_asked_once_and_its_refresh_token_then(tmp_path: Path) -> None:
    """The password goes once; later the refresh token that came with it does, and the password when that ends."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=30)
        auth = client(oauth, f"grant: password, username: {USER}, password: '${{{{ secrets.PASSWORD }}}}', margin: 1s")
        async with it.running(config(it, auth)):
            await polls(it, 4)
            oauth.live.clear()
            await polls(it, 4)
        assert len(await it.values()) == 8
    assert [request["grant_type"] for request in oauth.requests] == [
        "password",
        "refresh_token",
        "refresh_token",
        "password",
    ]


async def test_a_token_is_renewed_before_its_end(tmp_path: Path) -> None:
    """`expires_in` less the margin is when another one is got; the API never sees one that is over."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in="100")
        async with it.running(config(it, client(oauth, "margin: 35s"))):
            await polls(it, 7)
            assert len(oauth.requests) == 1
            await polls(it, 1)
            assert len(oauth.requests) == 2
        assert len(await it.values()) == 8


@pytest.mark.parametrize("answer", [None, 0, -5, "soon", True, "1e400", [1]])
async def test_a_token_without_a_life_is_used_until_it_is_refused(tmp_path: Path, answer: object) -> None:
    """No `expires_in`, or one that makes no sense, is no reason to ask for each request."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=answer)
        async with it.running(config(it, client(oauth))):
            await polls(it, 3)
            oauth.revoke_all()
            await polls(it, 1)
        assert len(await it.values()) == 4
    assert len(oauth.requests) == 2


async def test_a_401_renews_once_and_repeats_the_request(tmp_path: Path) -> None:
    """A token that the API refuses is replaced, and the request sent once more, in the same exchange."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        async with it.running(config(it, client(oauth))):
            await polls(it, 1)
            oauth.revoke_all()
            await polls(it, 1)
        assert await it.values() == [b"1", b"2"]
    entries = ledger(tmp_path)
    assert [(entry.decision, entry.attempts) for entry in entries] == [(Decision.ACCEPTED, 1), (Decision.ACCEPTED, 2)]
    assert len(oauth.requests) == 2


async def test_a_401_that_no_token_helps_asks_ever_more_rarely(tmp_path: Path) -> None:
    """An API that refuses each token fails the poll, says so, and has no storm of tokens asked for."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        it.server.route("/closed", Answer(401, b"no"))
        async with it.running(config(it, client(oauth), path="/closed")):
            await polls(it, 60)
    entries = ledger(tmp_path)
    assert {entry.decision for entry in entries} == {Decision.FAILED}
    assert entries[0].reason == "401 Unauthorized, also with a token that has just come"
    assert entries[0].attempts == 2
    # In ten minutes: at the first poll twice, then after 7.5, 15, 30, 60, 120 and 240 s.
    assert 6 <= len(oauth.requests) <= 9
    assert {entry.attempts for entry in entries} == {1, 2}


async def test_a_hundred_connectors_share_one_token(tmp_path: Path) -> None:
    """Equal credentials are one: a hundred connectors that begin, or are refused, at once ask the endpoint once."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        gate = asyncio.Event()
        oauth.before = lambda _: None
        slow = [False]

        async def answer(request: Received) -> Answer:
            if slow[0]:
                await gate.wait()
            return oauth.handle(request)

        it.server.route("/token", answer)
        slow[0] = True
        configs = [config(it, client(oauth), name=f"cats-{number}") for number in range(100)]
        async with it.running(*configs):
            await until(lambda: bool(it.server.received))
            gate.set()
            for one in configs:
                await polled(it, 1, one.name)
            assert len(oauth.requests) == 1
            oauth.revoke_all()
            await it.clock.sleeping(100)
            it.clock.advance(10)
            for one in configs:
                await polled(it, 2, one.name)
            assert len(oauth.requests) == 2
        for number in range(100):
            assert len(await it.values(f"cats-{number}")) == 2
    # The revoked token was refused to those that were under way; each was sent again once.
    assert len([request for request in it.server.received if request.path == "/token"]) == 2


async def test_other_credentials_are_others(tmp_path: Path) -> None:
    """Another scope, secret or transport is another token."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        configs = [
            config(it, client(oauth, "scope: a"), name="a"),
            config(it, client(oauth, "scope: b"), name="b"),
            config(it, client(oauth, "scope: a"), name="c"),
        ]
        async with it.running(*configs):
            for one in configs:
                await polled(it, 1, one.name)
    assert sorted(request["scope"] for request in oauth.requests) == ["a", "b"]


def failing(*answers: Answer) -> Callable[[Received], Answer | None]:
    left = list(answers)
    return lambda _: left.pop(0) if left else None


REFUSALS = [
    (Answer.json({"error": "invalid_client", "error_description": "no such client"}, 401),
     "invalid_client (no such client): the client is unknown, or its secret is wrong"),
    (Answer.json({"error": "invalid_scope"}, 400), "400 Bad Request, invalid_scope: a scope is unknown, or more than"),
    (Answer.json({"error": "unauthorized_client"}, 400), "unauthorized_client: this client may not use this grant"),
    (Answer.json({"error": "unsupported_grant_type"}, 400), "the endpoint does not know this grant"),
    (Answer.json({"error": "weird", "error_description": "x" * 900}, 400), f"400 Bad Request, weird ({'x' * 200}...)"),
    (Answer.json({"error": "access_denied"}, 200), "200 OK, access_denied: the server denies access"),
    (Answer(404, b"not here"), "404 Not Found"),
    (Answer(200, b"<html>", (("content-type", "text/html"),)), "but the answer has no access_token (text/html)"),
    (Answer.json({"access_token": 5}), "200 OK, but its access_token is no text"),
    (Answer.json({"access_token": "a\r\nX: y"}), "200 OK, but its access_token holds characters that no header can"),
    (Answer.json({"access_token": "a" * 70_000}), "its access_token is longer than 65536 characters"),
    (Answer.json({"access_token": "a", "token_type": "DPoP"}), "the token is of type DPoP, not a bearer"),
    (Answer.json(["a"]), "200 OK, but the answer has no access_token"),
    (Answer(302, headers=(("location", "http://other.test/"),)), "302 Found"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "said"), REFUSALS, ids=[said[:40] for _, said in REFUSALS])
async def test_a_refusal_of_the_endpoint_is_a_sentence(tmp_path: Path, answer: Answer, said: str) -> None:
    """The endpoint, its status and its words are in the ledger; nothing is sent to the API; secrets are not shown."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        oauth.before = failing(*[answer] * 100)
        with capture_logs() as logs:
            async with it.running(config(it, client(oauth))):
                await polls(it, 4)
    entries = ledger(tmp_path)
    assert said in entries[0].reason
    assert entries[0].reason.startswith(f"POST {oauth.url}: ")
    assert all(entry.decision is Decision.FAILED for entry in entries)
    assert [request.path for request in it.server.received] == ["/token"] * len(oauth.requests)
    # Not for each poll: nothing will be other in ten seconds.
    assert len(oauth.requests) == 3
    assert "it is asked again in 5 s" in entries[2].reason
    warning = next(line for line in logs if line["event"] == "connector is failing")
    assert said in warning["reason"]
    assert warning.get("hint") or "weird" in said
    assert SECRET not in str(logs) + str(entries)


async def test_an_endpoint_that_fails_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    """503 and a broken connection are tried again within the time of the poll, with a pause between."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        oauth.before = failing(Answer(503, b"busy"), Answer(cut=-1))
        async with it.running(config(it, client(oauth))):
            await until(lambda: it.engine.figures.of("cats").polls() > 0, it.clock)
        assert await it.values() == [b"1"]
    entry = ledger(tmp_path)[0]
    assert entry.decision is Decision.ACCEPTED
    assert len(oauth.requests) == 3


async def test_an_endpoint_that_asks_for_quiet_gets_it(tmp_path: Path) -> None:
    """Retry-After is obeyed, by all who share the credential, and the reason says how long."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        oauth.before = failing(Answer(429, b"", (("retry-after", "100"),)))
        async with it.running(config(it, client(oauth)), config(it, client(oauth), name="dogs")):
            await until(lambda: min(it.engine.figures.of(name).records for name in ("cats", "dogs")) > 0, it.clock)
        assert it.clock.monotonic() >= 100
        assert len(oauth.requests) == 2
        assert await it.values()
        assert await it.values("dogs")
    reasons = " ".join(entry.reason for entry in ledger(tmp_path))
    assert "429 Too Many Requests; it is asked again in 9" in reasons


async def test_a_slow_endpoint_holds_nobody_longer_than_its_time(tmp_path: Path) -> None:
    """A token that does not come in time fails the poll; the next one has it when it has come at last."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        gate = asyncio.Event()

        async def answer(request: Received) -> Answer:
            await gate.wait()
            return oauth.handle(request)

        it.server.route("/token", answer)
        async with it.running(config(it, client(oauth))):
            # Only the deadline is waited for.
            assert await it.clock.next_wake() == 10
            await polled(it, 1)
            gate.set()
            await until(lambda: it.engine.figures.of("cats").records > 0, it.clock)
    reason = ledger(tmp_path)[0].reason
    assert reason.startswith("no token came in time")
    assert len(oauth.requests) == 1


async def test_whoever_stops_waiting_takes_the_token_from_nobody(tmp_path: Path) -> None:
    """A connector that is ended while it waits for a token leaves the request to the others."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        gate = asyncio.Event()

        async def answer(request: Received) -> Answer:
            await gate.wait()
            return oauth.handle(request)

        it.server.route("/token", answer)
        configs = [config(it, client(oauth), name=name) for name in ("cats", "dogs")]
        await it.engine.prepare(configs)
        await it.engine.start(configs)
        await until(lambda: bool(it.server.received))
        await it.engine.end(["cats"], grace=0)
        gate.set()
        await polled(it, 1, "dogs")
        assert await it.values("dogs") == [b"1"]
        await it.engine.drain()
    assert len(oauth.requests) == 1


async def test_a_stop_waits_for_no_pause(tmp_path: Path) -> None:
    """A connector that waits until a token endpoint may be asked again ends at once."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        oauth.before = lambda _: Answer(503, b"", (("retry-after", "8"),))
        one = config(it, client(oauth))
        await it.engine.prepare([one])
        await it.engine.start([one])
        await until(lambda: len(oauth.answers) == 1)
        # The pause of the exchange, and then that of the credential.
        await it.clock.next_wake()
        while await it.clock.sleeping() < 5:
            it.clock.advance(0.1)
        await it.engine.end(["cats"], grace=30)
    assert len(oauth.requests) == 1


async def test_an_endpoint_that_hangs_is_cut(tmp_path: Path) -> None:
    """A token request has the time-out of the connector's own requests."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        oauth.before = lambda _: Answer(hang=True)
        async with it.running(config(it, client(oauth), more="  timeout: 100ms\n")):
            await until(lambda: it.engine.figures.of("cats").polls() > 0, it.clock)
    reason = ledger(tmp_path)[0].reason
    assert reason.startswith((f"POST {oauth.url}: no whole response in time", "no token came in time"))


async def test_a_token_that_still_counts_is_used_while_no_other_comes(tmp_path: Path) -> None:
    """Between the margin and the end a failing endpoint stops nothing."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=100)
        async with it.running(config(it, client(oauth, "margin: 50s"))):
            await polls(it, 1)
            oauth.before = lambda _: Answer(500, b"broken")
            await polls(it, 9)
            assert len(await it.values()) == 10
            it.clock.advance(10)
            await until(lambda: it.engine.figures.of("cats").polls() >= 11, it.clock)
    last = ledger(tmp_path)[10]
    assert last.decision is Decision.FAILED
    assert last.reason.startswith(f"POST {oauth.url}: 500 Internal Server Error")
    # From 50 s on it was tried again and again, with pauses that grow.
    assert 3 <= len(oauth.requests) <= 8


async def test_tokens_are_masked_wherever_a_server_repeats_them(tmp_path: Path) -> None:
    """What was obtained at run time shows in no ledger and no log line, though an API echoes it in an error."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)

        def echo(request: Received) -> Answer:
            token = request.header("authorization") or ""
            return Answer(400, b"", (("location", token), ("content-type", f"text/{token}")))

        it.server.route("/echo", echo)
        more = "  accept_status: [400]\n  accept_content_type: [application/json]\n"
        with capture_logs() as logs:
            async with it.running(config(it, client(oauth), path="/echo", more=more)):
                await polls(it, 2)
        (token,) = oauth.tokens
    entries = ledger(tmp_path)
    assert token not in str(logs) + str(entries)
    assert "***" in entries[0].reason


# Refresh tokens that replace each other.


async def test_a_refresh_token_that_is_replaced_is_kept_before_its_access_token_is_used(tmp_path: Path) -> None:
    """When the API sees a token, what came with it is on disk already; the first one is never used again."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=20)
        seen: list[bool] = []
        auth = config(it, refreshing(oauth, "margin: 1s"))
        chosen = auth.http.auth
        assert isinstance(chosen, OAuth2Auth)
        name = chain_name(chosen)

        def on_use(token: str) -> None:
            with LogReader(tmp_path) as reader:
                kept = reader.checkpoint(name)
            assert kept is not None
            seen.append(unseal(chosen, kept)[0] == oauth.tokens[token])
            assert oauth.tokens[token].encode() not in kept

        oauth.on_use = on_use
        async with it.running(auth):
            await polls(it, 6)
        assert len(await it.values()) == 6
    assert seen == [True] * 6
    assert [request["grant_type"] for request in oauth.requests] == ["refresh_token"] * 3
    assert oauth.requests[0]["refresh_token"] == FIRST
    assert len({request["refresh_token"] for request in oauth.requests}) == 3


async def test_a_restart_goes_on_with_the_newest_refresh_token(tmp_path: Path) -> None:
    """What the endpoint has replaced is not used again by the next process."""
    async with ScriptedServer() as server:
        oauth = Authorization(server)
        for _ in range(3):
            async with bench(tmp_path, server) as it, it.running(config(it, refreshing(oauth))):
                await polls(it, 1)
    assert len({request["refresh_token"] for request in oauth.requests}) == 3
    assert oauth.requests[2]["refresh_token"] == list(oauth.tokens.values())[1]
    assert len(oauth.used) == 3


async def test_a_refresh_token_that_stays_is_not_kept(tmp_path: Path) -> None:
    """A server that gives no new one, or the same, leaves nothing to be written."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=10)
        oauth.rotates = False
        auth = config(it, refreshing(oauth))
        chosen = auth.http.auth
        assert isinstance(chosen, OAuth2Auth)
        async with it.running(auth):
            await polls(it, 3)
        assert await it.log.checkpoint(chain_name(chosen)) is None
    assert {request["refresh_token"] for request in oauth.requests} == {FIRST}


async def test_a_refresh_token_that_is_over_is_said_and_not_tried_in_a_storm(tmp_path: Path) -> None:
    """invalid_grant says what to do; the token is tried again only after long pauses."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        oauth.live.clear()
        with capture_logs() as logs:
            async with it.running(config(it, refreshing(oauth))):
                await polls(it, 30)
    entries = ledger(tmp_path)
    assert "400 Bad Request, invalid_grant" in entries[0].reason
    assert "the refresh token is expired or revoked, or was used by somebody else" in entries[0].reason
    hints = [line.get("hint") for line in logs]
    assert "authorise anew and put the new refresh token into the configuration" in hints
    assert len(oauth.requests) <= 7
    assert FIRST not in str(entries) + str(logs)


async def test_nothing_is_used_before_it_is_kept(tmp_path: Path) -> None:
    """While the disk is full the access token waits; once there is room, requests go on with it."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        real, full = it.log.store, [True]

        def store(append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
            if full[0] and append.topic is None:
                asyncio.get_running_loop().call_soon(receive, LogFullError("no space left on the disk"))
            else:
                real(append, receive)

        it.log.store = store  # type: ignore[method-assign]
        async with it.running(config(it, refreshing(oauth))):
            await until(lambda: it.engine.figures.of("cats").polls() >= 2, it.clock)
            assert not oauth.used
            assert len(oauth.requests) == 1
            full[0] = False
            await until(lambda: bool(oauth.used), it.clock)
            assert len(oauth.requests) == 1
    reason = ledger(tmp_path)[0].reason
    assert reason == "no token came in time: the new refresh token cannot be kept yet: no space left on the disk"


async def test_a_refresh_token_that_cannot_be_kept_is_kept_later(tmp_path: Path) -> None:
    """A place that refuses for good fails the poll; the new token is kept as soon as it can be, and nothing is lost."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        real, refusing = it.log.store, [True]

        def store(append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
            if refusing[0] and append.topic is None:
                asyncio.get_running_loop().call_soon(receive, LogLockedError("somebody else has it", hint="end it"))
            else:
                real(append, receive)

        it.log.store = store  # type: ignore[method-assign]
        async with it.running(config(it, refreshing(oauth))):
            await polls(it, 1)
            assert not oauth.used
            (newest,) = oauth.tokens.values()
            refusing[0] = False
            oauth.confirm(newest)
            await polls(it, 1)
        assert await it.values() == [b"1"]
    assert ledger(tmp_path)[0].reason == "the new refresh token cannot be kept: somebody else has it"
    assert oauth.requests[1]["refresh_token"] == newest


async def test_a_place_that_cannot_be_read_is_read_again(tmp_path: Path) -> None:
    """No token is asked for before what is kept is known."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        real, failing_ = it.log.checkpoint, [True]

        async def checkpoint(connector: str) -> bytes | None:
            if failing_[0] and connector.startswith("@"):
                raise LogIOError("the disk is gone", hint="find it")
            return await real(connector)

        it.log.checkpoint = checkpoint  # type: ignore[method-assign]
        async with it.running(config(it, refreshing(oauth))):
            await until(lambda: it.engine.figures.of("cats").polls() > 0, it.clock)
            assert not oauth.requests
            failing_[0] = False
            await until(lambda: it.engine.figures.of("cats").records > 0, it.clock)
    assert "what is kept of the refresh token cannot be read: the disk is gone" in ledger(tmp_path)[0].reason


@pytest.mark.parametrize(
    ("elsewhere", "kept", "said"),
    [
        (True, None, "another process on this machine works with this refresh token, and there can be one only"),
        (False, b'{"sealed": "nonsense"}', "what is kept of the refresh token cannot be read: InvalidToken"),
    ],
)
async def test_what_is_not_ours_is_not_used(tmp_path: Path, *, elsewhere: bool, kept: bytes | None, said: str) -> None:
    """Another process has the refresh token, or what is kept of it is damaged: nothing is asked."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        auth = config(it, refreshing(oauth))
        chosen = auth.http.auth
        assert isinstance(chosen, OAuth2Auth)
        if kept is not None:
            await it.log.submit(Append(None, (), checkpoint=(chain_name(chosen), kept)))
        it.engine.credentials.elsewhere = lambda name: elsewhere and name == chain_name(chosen)
        async with it.running(auth):
            await until(lambda: it.engine.figures.of("cats").polls() > 0, it.clock)
            assert it.engine.credentials.holds(chain_name(chosen))
        assert not oauth.requests
    assert said in ledger(tmp_path)[0].reason


async def test_a_stop_waits_for_a_refresh_token_that_is_on_its_way(tmp_path: Path) -> None:
    """A token request that has used up the old token is not cut by the stop: what comes is kept."""
    async with ScriptedServer() as server:
        oauth = Authorization(server)
        gate, asked = asyncio.Event(), asyncio.Event()

        async def answer(request: Received) -> Answer:
            made = oauth.handle(request)
            asked.set()
            await gate.wait()
            return made

        server.route("/token", answer)
        async with bench(tmp_path, server) as it:
            engine = Engine(it.log, it.fetcher, clock=it.clock, grace=5)
            auth = config(it, refreshing(oauth))
            await engine.prepare([auth])
            await engine.start([auth])
            await asked.wait()
            ending = asyncio.create_task(engine.end(["cats"], grace=5))
            await asyncio.sleep(0)
            gate.set()
            await ending
            chosen = auth.http.auth
            assert isinstance(chosen, OAuth2Auth)
            kept = await it.log.checkpoint(chain_name(chosen))
    assert kept is not None
    assert unseal(chosen, kept)[0] in oauth.tokens.values()


async def test_two_ways_to_use_one_refresh_token_take_turns(tmp_path: Path) -> None:
    """Connectors that ask for other scopes with one refresh token use it one after the other."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server, expires_in=10)
        configs = [config(it, refreshing(oauth, f"scope: {scope}"), name=scope) for scope in ("read", "write")]
        async with it.running(*configs):
            for count in range(1, 5):
                for one in configs:
                    await polled(it, count, one.name)
                await it.clock.sleeping(2)
                it.clock.advance(10)
        assert len(oauth.used) >= 8
    assert all(b"invalid_grant" not in answer.body for answer in oauth.answers)


async def test_what_another_process_kept_is_taken(tmp_path: Path) -> None:
    """A refresh token that somebody else has used is looked for once more where it is kept."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        auth = config(it, refreshing(oauth))
        chosen = auth.http.auth
        assert isinstance(chosen, OAuth2Auth)
        oauth.live = {"newer-refresh-token"}
        kept = seal(chosen, "newer-refresh-token", rotations=4, since=0)

        def before(request: Received) -> Answer | None:
            if len(oauth.requests) == 1:
                it.log.submit(Append(None, (), checkpoint=(chain_name(chosen), kept)))
            return None

        oauth.before = before
        async with it.running(auth):
            await polls(it, 1)
        assert await it.values() == [b"1"]
    assert [request["refresh_token"] for request in oauth.requests] == [FIRST, "newer-refresh-token"]


# Files, signatures, keys, logins.


async def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    """A file that changes is seen within `refresh`, and at once after a 401; one that is away leaves the last token."""
    file = tmp_path / "token"
    file.write_text("one\n")
    async with bench(tmp_path) as it:
        good = {"one"}

        def api(request: Received) -> Answer:
            token = (request.header("x-token") or "").removeprefix("Key ")
            return Answer(body=token.encode()) if token in good else Answer(401)

        it.server.route("/api", api)
        auth = f"type: bearer, token_file: '{file}', refresh: 25s, header: X-Token, prefix: Key"
        async with it.running(config(it, auth)):
            await polls(it, 1)
            file.write_text("two")
            good.add("two")
            await polls(it, 3)
            file.write_text("three")
            good.clear()
            good.add("three")
            await polls(it, 1)
            file.unlink()
            await polls(it, 5)
        assert await it.values() == [b"one"] * 3 + [b"two"] + [b"three"] * 6


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"a\nb", "holds characters that no header can"),
        (b"x" * 70_000, "is longer than 65536 characters"),
        ("ü".encode(), "holds characters that no header can"),
        (b"|", "cannot be read: it is no regular file"),
    ],
)
async def test_a_file_without_a_token_is_a_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    """What is wrong with the file is in the ledger, and nothing is sent."""
    file = tmp_path / "token"
    if content == b"|":
        os.mkfifo(file)
    elif content is not None:
        file.write_bytes(content)
    async with bench(tmp_path) as it:
        more = "  timeout: 1s\n"
        async with it.running(config(it, f"type: bearer, token_file: '{file}'", more=more)):
            await until(lambda: it.engine.figures.of("cats").polls() > 0, it.clock)
        assert not it.server.received
    assert said in ledger(tmp_path)[0].reason


@pytest.mark.parametrize(
    ("where", "sent"),
    [
        ("in: header, name: X-Key", ("x-key", "s3cr&t key")),
        ("in: header, name: Authorization, prefix: Token", ("authorization", "Token s3cr&t key")),
        ("in: query, name: 'api key'", "/api?x=1&api%20key=s3cr%26t%20key"),
    ],
)
async def test_an_api_key_goes_where_it_is_to(tmp_path: Path, where: str, sent: object) -> None:
    """A header, or a parameter of the query; the endpoint's own parameters stay."""
    async with bench(tmp_path) as it:
        it.server.route("/api", Answer(body=b"1"))
        async with it.running(config(it, f"type: api-key, value: 's3cr&t key', {where}", path="/api?x=1")):
            await polls(it, 1)
        (request,) = it.server.received
    assert sent in request.headers or sent == request.target


async def test_an_api_key_is_a_cookie(tmp_path: Path) -> None:
    """As a text, and from a file."""
    file = tmp_path / "key"
    file.write_text("k2")
    async with bench(tmp_path) as it:
        it.server.route("/api", Answer(body=b"1"))
        one = config(it, "type: api-key, value: k1, in: cookie, name: sid")
        two = config(it, f"type: api-key, value_file: '{file}', in: cookie, name: sid", name="dogs")
        async with it.running(one, two):
            await polled(it, 1)
            await polled(it, 1, "dogs")
        cookies = sorted(request.header("cookie") or "" for request in it.server.received)
    assert cookies == ["sid=k1", "sid=k2"]


async def test_basic_is_sent_at_once(tmp_path: Path) -> None:
    """User and password go with the first request, in UTF-8, in a header that is secret."""
    async with bench(tmp_path) as it:
        it.server.route("/api", Answer(body=b"1"))
        auth = config(it, "type: basic, username: rädar, password: 'a:bcd'")
        request = build_request(auth.http)
        async with it.running(auth):
            await polls(it, 1)
        (received,) = it.server.received
    assert received.header("authorization") == "Basic " + base64.b64encode("rädar:a:bcd".encode()).decode()
    assert "authorization" in request.secret_headers
    assert "a:bcd" not in auth.masker.mask("rädar:a:bcd")
    assert auth.masker.mask(received.header("authorization") or "") == "Basic ***"


async def test_a_jwt_is_signed_anew_before_its_end(tmp_path: Path) -> None:
    """Each is good for its lifetime, is replaced after three quarters of it, and verifies with the public key."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = tmp_path / "key.p8"
    file.write_bytes(pem)
    async with bench(tmp_path) as it:
        it.server.route("/api", Answer(body=b"1"))
        auth = (
            f"type: jwt, algorithm: ES256, key_file: '{file}', key_id: K1, issuer: me, audience: you, lifetime: 60s, "
            "claims: {scope: [a, b], jti: auto, n: 5}"
        )
        async with it.running(config(it, auth)):
            await polls(it, 6)
        sent = [(request.header("authorization") or "").removeprefix("Bearer ") for request in it.server.received]
    tokens = list(dict.fromkeys(sent))
    assert [sent.count(token) for token in tokens] == [5, 1]
    for token in tokens:
        decoded = jwt.decode(token, ECKey.import_key(pem), algorithms=["ES256"])
        claims = decoded.claims
        assert decoded.header == {"alg": "ES256", "typ": "JWT", "kid": "K1"}
        assert (claims["iss"], claims["aud"], claims["scope"], claims["n"]) == ("me", "you", ["a", "b"], 5)
        assert claims["exp"] - claims["iat"] == 60
        assert claims["jti"]


async def test_a_jwt_says_what_it_is_for(tmp_path: Path) -> None:
    """Claims with the request in them make a token for each request; a key in a file is read again after a 401."""
    file = tmp_path / "key.pem"
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    pems = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in keys]
    file.write_bytes(pems[0])
    accepted = [pems[0]]
    tokens: list[str] = []

    def api(request: Received) -> Answer:
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, ECKey.import_key(accepted[0]), algorithms=["ES256"]).claims
        except BadSignatureError:
            return Answer(401)
        tokens.append(token)
        return Answer(body=str(claims["uri"]).encode())

    async with bench(tmp_path) as it:
        it.server.route("/api", api)
        auth = (
            f"type: jwt, algorithm: ES256, key_file: '{file}', "
            "claims: {uri: '${{ request.method }} ${{ request.host }}${{ request.path }}', jti: auto}"
        )
        connector = config(it, auth, path="/api?page=1")
        async with it.running(connector):
            await polls(it, 2)
            file.write_bytes(pems[1])
            accepted[0] = pems[1]
            await polls(it, 1)
        host = it.server.url.removeprefix("http://")
        assert await it.values() == [f"GET {host}/api".encode()] * 3
    assert len(set(tokens)) == 3
    assert connector.masker.mask(tokens[-1]) == "***"


async def test_what_keys_do_not_fit_is_said_before_the_start(tmp_path: Path) -> None:
    """A key that is away, or of another kind than the algorithm's, is a problem with its place."""
    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = tmp_path / "key.pem"
    file.write_bytes(pem)
    async with bench(tmp_path) as it:
        for auth, said in (
            (f"type: jwt, algorithm: ES256, key_file: '{file}'", "ES256 needs a key on the curve secp256r1"),
            (f"type: jwt, algorithm: RS256, key_file: '{file}'", "RS256 needs an RSA key"),
            (f"type: jwt, algorithm: RS256, key_file: '{file}.no'", "cannot be read: No such file or directory"),
            ("type: sigv4, service: s3, environment: true", "looks for AWS_ACCESS_KEY_ID, which is not set"),
        ):
            with pytest.raises(InvalidConfigError) as caught:
                await it.engine.check([config(it, auth)])
            (problem,) = caught.value.problems
            assert said in problem.message
            assert (problem.key, problem.line) == ("parameters.auth", 7)


LOGINS = [
    ("body: {user: reader, password: '${{ secrets.PASSWORD }}'}, token: /data/token", "bearer"),
    ("form: {user: reader, password: '${{ secrets.PASSWORD }}'}, token: data.token", "bearer"),
    ("body: 'reader', token_header: X-Subject-Token, name: X-Auth-Token", "x-auth-token"),
    ("username: reader, password: '${{ secrets.PASSWORD }}', cookies: true", "cookie"),
    ("method: GET, cookies: true", "cookie"),
    ("token: /data/token, in: query, name: sid", "query"),
    ("token: /data/number, in: cookie, name: sid, prefix: ''", "sid"),
]


@pytest.mark.parametrize(("auth", "way"), LOGINS, ids=[auth[:30] for auth, _ in LOGINS])
async def test_a_login_gives_what_requests_carry(tmp_path: Path, auth: str, way: str) -> None:
    """A token of the body or a header, or the cookies, go with each request; one login is for all."""
    async with bench(tmp_path) as it:
        logins: list[Received] = []

        def login(request: Received) -> Answer:
            logins.append(request)
            body = json.dumps({"data": {"token": "the-token", "number": 12345}}).encode()
            status = 302 if way == "cookie" else 200
            cookies = (("set-cookie", "a=1; Path=/; HttpOnly"), ("set-cookie", "gone=; Max-Age=0"))
            more = (("x-subject-token", "the-token"), ("location", "/home"), ("set-cookie", "b=2; Secure"))
            return Answer(status, body, (*cookies, *more))

        url = it.server.route("/login", login)
        it.server.route("/api", Answer(body=b"1"))
        async with it.running(config(it, f"type: login, endpoint: '{url}', {auth}")):
            await polls(it, 2)
        assert len(await it.values()) == 2
        requests = [request for request in it.server.received if request.path == "/api"]
    (sent,) = logins
    if "body: {" in auth:
        assert json.loads(sent.body) == {"user": "reader", "password": PASSWORD}
        assert sent.header("content-type") == "application/json"
    elif "form:" in auth:
        assert dict(parse_qsl(sent.body.decode())) == {"user": "reader", "password": PASSWORD}
    elif "username" in auth:
        pair = base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
        assert sent.header("authorization") == f"Basic {pair}"
    for request in requests:
        seen = {
            "bearer": request.header("authorization") == "Bearer the-token",
            "x-auth-token": request.header("x-auth-token") == "the-token",
            "cookie": request.header("cookie") == "a=1; b=2",
            "query": request.target == "/api?sid=the-token",
            "sid": request.header("cookie") == "sid=12345",
        }
        assert seen[way]


async def test_a_login_is_done_again_and_ends_with_a_logout(tmp_path: Path) -> None:
    """After its life, or a 401, it logs in again; when the connectors stop it logs out with the last token."""
    async with bench(tmp_path) as it:
        numbers = iter(range(100))
        live: set[str] = set()
        logouts: list[Received] = []

        def login(_: Received) -> Answer:
            live.clear()
            live.add(f"token-{next(numbers)}")
            return Answer.json({"token": next(iter(live)), "ends": it.clock.time_ms() / 1000 + 35})

        def logout(request: Received) -> Answer:
            logouts.append(request)
            return Answer(204)

        def api(request: Received) -> Answer:
            token = (request.header("authorization") or "").removeprefix("Bearer ")
            return Answer(body=token.encode()) if token in live else Answer(401)

        url = it.server.route("/login", login)
        out = it.server.route("/logout", logout)
        it.server.route("/api", api)
        auth = (
            f"type: login, endpoint: '{url}', token: /token, expires: /ends, margin: 1s, logout: '{out}', "
            "logout_method: DELETE"
        )
        async with it.running(config(it, auth)):
            await polls(it, 5)
            live.clear()
            await polls(it, 1)
        values = await it.values()
    assert values == [b"token-0"] * 4 + [b"token-1", b"token-2"]
    (request,) = logouts
    assert (request.method, request.header("authorization")) == ("DELETE", "Bearer token-2")


@pytest.mark.parametrize(
    ("answer", "auth", "said"),
    [
        (Answer(401, b"no"), "token: /t", "401 Unauthorized: the login is refused"),
        (Answer.json({"x": 1}), "token: /t", "200 OK (application/json), but /t is no text"),
        (Answer(200, b"<html>"), "token: /t", "200 OK (no Content-Type), but /t is no text"),
        (Answer(200, b""), "token_header: X-T", "but the header X-T is no text"),
        (Answer(200, b""), "cookies: true", "200 OK, but the answer sets no cookie"),
        (Answer(200, headers=(("set-cookie", "a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),)), "cookies: true",
         "sets no cookie"),
        (Answer(302, headers=(("location", "/"),)), "token: /t", "302 Found: the login is refused"),
    ],
)  # fmt: skip
async def test_a_login_that_fails_is_a_sentence(tmp_path: Path, answer: Answer, auth: str, said: str) -> None:
    """What was asked and what came back is in the ledger."""
    async with bench(tmp_path) as it:
        url = it.server.route("/login", answer)
        async with it.running(config(it, f"type: login, endpoint: '{url}', {auth}")):
            await polls(it, 1)
        assert [request.path for request in it.server.received] == ["/login"]
    assert said in ledger(tmp_path)[0].reason


async def test_a_credential_crosses_to_no_other_origin(tmp_path: Path) -> None:
    """A redirect to another host takes none of it along: no header, no cookie, no parameter."""
    async with bench(tmp_path) as it, ScriptedServer() as other:
        seen = other.route("/seen", Answer(body=b"1"))
        oauth = Authorization(it.server)
        it.server.route("/away", Answer(307, headers=(("location", f"{seen}?mine=1"),)))
        kinds = [
            "type: basic, username: u, password: secret",
            "type: api-key, value: secret, in: query, name: key",
            "type: api-key, value: secret, in: cookie, name: key",
            "type: bearer, token: secret, header: X-Mine",
            client(oauth),
        ]
        configs = [config(it, auth, path="/away", name=f"c{number}") for number, auth in enumerate(kinds)]
        async with it.running(*configs):
            for one in configs:
                await polled(it, 1, one.name)
        assert len(other.received) == len(kinds)
        for request in other.received:
            names = {name for name, _ in request.headers}
            assert not names & {"authorization", "cookie", "x-mine"}
            assert request.target == "/seen?mine=1"


async def test_a_link_to_another_origin_gets_no_token(tmp_path: Path) -> None:
    """A request for another host than the endpoint's passes the gate as it is."""
    async with bench(tmp_path) as it:
        oauth = Authorization(it.server)
        auth = config(it, client(oauth))
        (gate,) = it.engine.credentials.gates(auth, build_request(auth.http))
        request = msgspec.structs.replace(build_request(auth.http), url="http://other.test/next")
        assert await gate.admit(request, 5) is request
        assert not await gate.renew(request, 5)
        assert not oauth.requests
        await it.engine.credentials.release(["cats"], 1)
