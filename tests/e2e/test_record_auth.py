"""Recordings of connectors that log in: no token is in them, none is lost, and they replay without the credentials."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from commandline import CommandLine
from engine.authorization import CLIENT, FIRST, PASSWORD, SECRET, Authorization
from headwater.testing import Answer, Received, ScriptedServer, background

SECRETS = f"SECRET={SECRET}\nFIRST={FIRST}\nPASSWORD={PASSWORD}\nKEY=0123456789abcdef0123456789abcdef\n"


def page(server: ScriptedServer, auth: str) -> str:
    return f"""
name: cats
topic: cats
secrets: {{SECRET: ~, FIRST: ~, PASSWORD: ~, KEY: ~, PEM: ~}}
parameters:
  endpoint: {server.url}/api
  interval: 1s
  auth: {{{auth}}}
"""


CLIENT_AUTH = f"client_id: {CLIENT}, client_secret: '${{{{ secrets.SECRET }}}}'"
REFRESHING = (
    f"type: oauth2, token_url: 'URL/token', {CLIENT_AUTH}, grant: refresh-token, "
    "refresh_token: '${{ secrets.FIRST }}'"
)
AUTHS = [
    f"type: oauth2, token_url: 'URL/token', {CLIENT_AUTH}",
    REFRESHING,
    "type: bearer, token_file: DIR/token",
    "type: jwt, key: '${{ secrets.KEY }}', claims: {jti: auto}",
    "type: jwt, algorithm: ES256, key_file: DIR/key.pem, claims: {url: '${{ request.url }}'}",
    "type: login, endpoint: 'URL/login', body: {p: '${{ secrets.PASSWORD }}'}, token: /t",
    "type: jwt, algorithm: ES256, key: '${{ secrets.PEM }}'",
    "type: login, endpoint: 'URL/login', cookies: true",
    "type: api-key, value: '${{ secrets.KEY }}', in: query, name: k",
    "type: basic, username: u, password: '${{ secrets.PASSWORD }}'",
]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: auth[:70])
def test_a_recording_has_no_token_and_replays(headwater: CommandLine, auth: str) -> None:
    """What was fetched at run time is masked in it, and it replays on a machine that has none of the credentials."""
    with background(ScriptedServer()) as server:
        oauth = Authorization(server)
        sent: list[str] = []

        def api(request: Received) -> Answer:
            sent.append(request.header("authorization") or request.header("cookie") or "")
            return Answer(body=b"%d" % len(sent))

        server.route("/api", api)
        kinds = (("content-type", "application/json"), ("set-cookie", "session=cookie-of-the-session"))
        server.route("/login", Answer(200, b'{"t": "token-of-the-login"}', kinds))
        (headwater.directory / "token").write_text("token-of-the-file")
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (headwater.directory / "key.pem").write_bytes(pem)
        text = page(server, auth.replace("URL", server.url).replace("DIR", str(headwater.directory)))
        config = headwater.config(text)
        headwater.environment |= dict(line.split("=", 1) for line in SECRETS.split("\n") if line)
        headwater.environment["PEM"] = pem.decode()
        headwater.good("record", config, "-o", "tape.yml", "--rounds", "2")
        tape = (headwater.directory / "tape.yml").read_text()
        for token in (*oauth.tokens, *oauth.tokens.values(), *sent):
            for part in token.split():
                assert part in {"Bearer", "Basic", ""} or part not in tape, part
        for secret in ("token-of-the-file", "token-of-the-login", "cookie-of-the-session", SECRET, FIRST, PASSWORD):
            assert secret not in tape
    for name in ("SECRET", "FIRST", "PASSWORD", "KEY", "PEM"):
        headwater.environment.pop(name, None)
    (headwater.directory / "token").unlink()
    (headwater.directory / "key.pem").unlink()
    shown = headwater.good("test", config, "--replay", "tape.yml")
    assert '"1"' in shown or "1" in shown


def test_a_recording_leaves_the_refresh_token_to_the_next_run(headwater: CommandLine) -> None:
    """What replaces a refresh token while it is recorded is kept as in a run."""
    with background(ScriptedServer()) as server:
        oauth = Authorization(server)
        config = headwater.config(page(server, REFRESHING.replace("URL", server.url)))
        secrets = headwater.config(SECRETS + "PEM=none\n", "secrets.env")
        headwater.good("record", config, "--secrets", secrets, "-o", "tape.yml")
        oauth.live.discard(FIRST)
        assert "200 OK" in headwater.good("test", config, "--secrets", secrets)
        assert all(answer.status == 200 for answer in oauth.answers)
