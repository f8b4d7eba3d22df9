"""kill -9 while refresh tokens replace each other: whoever starts next goes on with the newest, and none is lost."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from commandline import CommandLine
from e2e.test_kill import start
from engine.authorization import CLIENT, FIRST, SECRET, Authorization
from headwater.config import load_text
from headwater.config.auth import OAuth2Auth
from headwater.config.secrets import SecretSource
from headwater.log import LogReader
from headwater.sources.auth.chain import chain_name
from headwater.testing import Answer, Received, ScriptedServer, background

SECRETS = f"SECRET={SECRET}\nFIRST={FIRST}\n"


def configured(headwater: CommandLine, oauth: Authorization, connectors: int = 3) -> tuple[Path, Path]:
    """Write connectors that share a credential, and their secrets; return both paths."""
    documents = [
        f"""name: cats-{index}
topic: cats-{index}
secrets: {{SECRET: ~, FIRST: ~}}
parameters:
  endpoint: {oauth.server_url}/api
  interval: 100ms
  auth:
    type: oauth2
    grant: refresh-token
    token_url: {oauth.url}
    client_id: {CLIENT}
    client_secret: ${{{{ secrets.SECRET }}}}
    refresh_token: ${{{{ secrets.FIRST }}}}
"""
        for index in range(connectors)
    ]
    return headwater.config("---\n".join(documents)), headwater.config(SECRETS, "secrets.env")


def campaign(headwater: CommandLine, kills: int) -> int:
    """Kill a process so many times while each of its polls uses a token up; return how often tokens were replaced."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    with background(ScriptedServer()) as server:
        oauth = Authorization(server)

        def once(request: Received) -> Answer:
            answer = oauth.api(request)
            # A token is good for a few requests: then another one is wanted.
            oauth.refused |= {token for token in oauth.used if oauth.used.count(token) > 2}
            return answer

        server.route("/api", once)
        config, secrets = configured(headwater, oauth)
        for _ in range(kills):
            before = len(server.received)
            process = start(headwater, config, "--secrets", str(secrets))
            try:
                server.wait_for(before + chance.randint(1, 25))
                for _ in range(chance.randrange(20_000)):
                    pass
            finally:
                process.kill()
                process.wait()
        before = len(server.received)
        last = headwater.start("run", config, "--secrets", secrets)
        server.wait_for(before + 20)
        code, out, error = headwater.stop(last)
        assert code == 130
    refused = [answer for answer in oauth.answers if answer.status != 200]
    assert not refused, refused[0].body
    # Each process began with the newest that was kept: the first one was sent by the first alone, or until it was kept.
    sent = [request["refresh_token"] for request in oauth.requests]
    assert FIRST not in sent[kills + 1 :]
    everything = (
        b"".join(path.read_bytes() for path in headwater.data.iterdir() if path.is_file())
        + out.encode()
        + error.encode()
    )
    for token in oauth.tokens.values():
        assert token.encode() not in everything
    with LogReader(headwater.data) as reader:
        assert all(reader.offsets(f"cats-{index}", 0)[1] > 0 for index in range(3))
    return len(oauth.requests)


def test_six_kills(headwater: CommandLine) -> None:
    """Six kills in the middle of it lose no refresh token."""
    assert campaign(headwater, 6) > 6


@pytest.mark.long
def test_a_hundred_kills(headwater: CommandLine) -> None:
    """A hundred kills in the middle of it lose no refresh token."""
    replaced = campaign(headwater, 100)
    print(f"100 kills, {replaced} refresh tokens")
    assert replaced > 100


def test_a_trial_keeps_what_it_was_given(headwater: CommandLine) -> None:
    """`headwater test` gets a token, shows none, and leaves the refresh token that replaced its own to the next run."""
    with background(ScriptedServer()) as server:
        oauth = Authorization(server)
        config, secrets = configured(headwater, oauth, 1)
        for _ in range(2):
            shown = headwater.good("test", config, "--secrets", secrets)
            assert "> Authorization: ***" in shown
            assert "< HTTP/1.1 200 OK" in shown
            for access, refresh in oauth.tokens.items():
                assert access not in shown
                assert refresh not in shown
    assert len({request["refresh_token"] for request in oauth.requests}) == 2


def test_a_process_beside_a_server_leaves_it_its_refresh_token(headwater: CommandLine) -> None:
    """What `headwater up` works with, `headwater run` in the same directory does not touch, and says why."""
    with background(ScriptedServer()) as server:
        oauth = Authorization(server)
        config, secrets = configured(headwater, oauth, 1)
        up = headwater.start("up", "--sc-port", "0", "--spu-port", "0")
        assert up.stderr is not None
        assert "endpoint" in up.stderr.readline()
        headwater.good("connector", "create", "--config", config, "--secrets", secrets)
        server.wait_for(3)
        other = headwater.config(config.read_text().replace("cats-0", "dogs"), "other.yml")
        beside = headwater.start("run", other, "--secrets", secrets, "--log-format", "json")
        assert beside.stderr is not None
        said = next(line for line in beside.stderr if "failing" in line)
        assert "works with this credential itself" in said
        headwater.stop(beside)
        headwater.stop(up)
    assert all(answer.status == 200 for answer in oauth.answers)


def test_checkpoints_are_those_of_connectors(headwater: CommandLine) -> None:
    """What is kept of a refresh token is in no list, and cannot be looked at, set or reset."""
    with background(ScriptedServer()) as server:
        oauth = Authorization(server)
        config, secrets = configured(headwater, oauth, 1)
        process = headwater.start("run", config, "--secrets", secrets)
        server.wait_for(3)
        headwater.stop(process)
    listed = headwater.good("checkpoint", "show")
    assert "cats-0" in listed
    assert "@" not in listed
    auth = load_text(config.read_text(), secrets=SecretSource({"SECRET": SECRET, "FIRST": FIRST}, "")).connectors[0]
    assert isinstance(auth.http.auth, OAuth2Auth)
    name = chain_name(auth.http.auth)
    for command in (("show", name), ("set", name, "cursor.x=1"), ("reset", "-y", name)):
        refused = headwater.run("checkpoint", *command)
        assert refused.returncode == 1
        assert "there is no checkpoint of a connector" in refused.stderr
    with LogReader(headwater.data) as reader:
        assert reader.checkpoint(name) is not None
