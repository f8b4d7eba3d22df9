"""docs/authentication.md: every kind has its example, and every example logs in at a server that checks it."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from engine.authorization import CLIENT, FIRST, PASSWORD, SECRET, USER, Authorization
from engine.programs import KERBEROS, apache, need, realm
from engine.programs import PASSWORD as DIGEST_PASSWORD
from engine.programs import USER as DIGEST_USER
from engine.test_connector import Bench, bench
from engine.test_credentials import polled, polls
from engine.test_logins import ACCESS, Digest, verified
from engine.test_logins import SECRET as AWS_SECRET
from headwater.config import load_text
from headwater.config.auth import AuthOptions
from headwater.config.secrets import SecretSource
from headwater.testing import Answer, Received

PAGE = (Path(__file__).parents[2] / "docs" / "authentication.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
KINDS = [str(re.search(r"    type: (\S+)", text)[1]) for text in EXAMPLES]  # type: ignore[index]
OK, NO = Answer(body=b"in"), Answer(401, b"out")


def ids(text: str) -> str:
    grant = re.search(r"grant: (\S+)", text)
    return str(re.search(r"    type: (\S+)", text)[1]) + (f"-{grant[1]}" if grant else "")  # type: ignore[index]


def test_every_kind_has_an_example() -> None:
    """No kind, and no grant, is without one, and each kind has its line in the table."""
    kinds = {str(kind.model_fields["type"].annotation.__args__[0]) for kind in AuthOptions.__args__}
    assert set(KINDS) == kinds
    assert set(re.findall(r"^\| \[`([a-z0-9-]+)`\]", PAGE, re.MULTILINE)) == kinds
    grants = set(re.findall(r"grant: (\S+)", "".join(EXAMPLES))) | {"client-credentials"}
    assert grants == {"client-credentials", "refresh-token", "password", "jwt-bearer"}


def servers(it: Bench, files: Path) -> Authorization:
    """Let a server check what each example sends; write the files that they name."""
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    for name, key in (("rsa", rsa_key), ("ec", ec_key)):
        (files / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (files / "token").write_text("the-token\n")
    oauth = Authorization(it.server, key=RSAKey.import_key((files / "rsa.pem").read_bytes()))
    host = it.server.url.removeprefix("http://")

    def only(good: Callable[[Received], object]) -> Callable[[Received], Answer]:
        return lambda request: OK if good(request) else NO

    def signed(request: Received) -> bool:
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        claims = jwt.decode(token, ECKey.import_key((files / "ec.pem").read_bytes()), algorithms=["ES256"]).claims
        return bool(claims["aud"] == "appstoreconnect-v1") and bool(claims["exp"] - claims["iat"] == 600)

    def session(request: Received) -> Answer:
        if json.loads(request.body) != {"user": "reader", "password": PASSWORD}:
            return NO
        return Answer.json({"data": {"token": "session", "expires_in": 3600}})

    basic = f"Basic {base64.b64encode(f'reader:{PASSWORD}'.encode()).decode()}"
    it.server.route("/basic", only(lambda request: request.header("authorization") == basic))
    it.server.route("/digest", Digest("SHA-256"))
    it.server.route("/bearer", only(lambda request: request.header("authorization") == "Bearer the-token"))
    it.server.route("/api-key", only(lambda request: request.query == {"api_key": "the-key"}))
    it.server.route("/oauth2", oauth.api)
    it.server.route("/jwt", only(signed))
    it.server.route("/sigv4", only(lambda request: verified(request, host, "execute-api", "eu-central-1")))
    it.server.route("/session", session)
    it.server.route("/login", only(lambda request: request.header("x-auth-token") == "session"))
    it.server.route("/logout", only(lambda request: request.header("x-auth-token") == "session"))
    return oauth


@pytest.mark.parametrize("text", [text for text in EXAMPLES if "type: negotiate" not in text], ids=ids)
async def test_each_example_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """It is run as it stands, but for the names of hosts, users and directories."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
    digest = "type: digest" in text
    secrets = {
        "PASSWORD": DIGEST_PASSWORD if digest else PASSWORD,
        "CLIENT_SECRET": SECRET,
        "REFRESH_TOKEN": FIRST,
        "API_KEY": "the-key",
    }
    async with bench(tmp_path) as it:
        it.clock.set_wall(time.time())
        servers(it, tmp_path)
        text = text.replace("https://api.example.com", it.server.url).replace("/run/secrets", str(tmp_path))
        text = text.replace("https://login.example.com", it.server.url)
        text = text.replace("client_id: headwater", f"client_id: {CLIENT}")
        text = text.replace("username: reader", f"username: {DIGEST_USER if digest else USER}")
        config = load_text(text, secrets=SecretSource(secrets, "a test")).connectors[0]
        async with it.running(config):
            await polled(it, 1, config.name)
        assert len(await it.values(config.topic.name)) == 1
        if "logout" in text:
            assert it.server.received[-1].path == "/logout"


async def test_the_example_of_negotiate_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a Kerberos realm, at Apache."""
    need(KERBEROS)
    # Tickets in memory outlive a realm of other tests.
    monkeypatch.setenv("KRB5CCNAME", "MEMORY:page")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", "")
    (text,) = [text for text in EXAMPLES if "type: negotiate" in text]
    with realm() as made, apache(made.http_keytab) as url:
        monkeypatch.setenv("KRB5_CONFIG", str(made.config))
        text = text.replace("http://localhost", url).replace("/run/secrets/user.keytab", str(made.user_keytab))
        text = text.replace("orders", "cats")
        async with bench(tmp_path) as it:
            async with it.running(load_text(text).connectors[0]):
                await polls(it, 1)
            assert await it.values() == [b"hello gss"]
