"""Logins that libcurl carries out: digest at Apache, Negotiate in a Kerberos realm, signatures as AWS computes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from engine.programs import KERBEROS, PASSWORD, USER, Realm, apache, need, realm
from engine.test_connector import bench, ledger
from engine.test_credentials import polls
from headwater.config import ConnectorConfig, load_text
from headwater.config.auth import NegotiateAuth
from headwater.config.secrets import SecretSource
from headwater.core.exchange import Decision
from headwater.engine.kerberos import conflict, wanted
from headwater.testing import Answer, Received

SECRETS = SecretSource({"PASSWORD": PASSWORD}, "a test")
ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def config(url: str, auth: str, more: str = "", name: str = "cats") -> ConnectorConfig:
    text = (
        f"name: {name}\ntopic: {name}\nsecrets: {{PASSWORD: ~}}\nparameters:\n  endpoint: {url}\n"
        f"  interval: 10s\n  conditional: false\n{more}  auth: {{{auth}}}\n"
    )
    return load_text(text, secrets=SECRETS).connectors[0]


# Digest.


async def test_digest_logs_in_at_apache(tmp_path: Path) -> None:
    """The user is proved to mod_auth_digest, whose challenge is MD5; a wrong password is a 401."""
    with apache() as url:
        async with bench(tmp_path) as it:
            good = config(f"{url}/digest/", f"type: digest, username: {USER}, password: '${{{{ secrets.PASSWORD }}}}'")
            bad = config(f"{url}/digest/", f"type: digest, username: {USER}, password: wrong", name="dogs")
            async with it.running(good, bad):
                await polls(it, 2, "dogs")
            assert await it.values() == [b"hello digest"] * 2
    assert ledger(tmp_path, "dogs")[0].reason == "401 Unauthorized"
    assert ledger(tmp_path, "dogs")[0].decision is Decision.FAILED


class Digest:
    """A server of RFC 7616 that checks each answer; `lasts` is for how many requests a nonce is good."""

    def __init__(self, algorithm: str, lasts: int = 1000) -> None:
        self.algorithm = algorithm
        self.lasts = lasts
        self.nonces: dict[str, int] = {}
        self.challenges = 0

    def _hash(self, text: str) -> str:
        name = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[self.algorithm.removesuffix("-sess")]
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, request: Received) -> Answer:
        """Answer a request that proves the user by 200, any other by a challenge."""
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', (request.header("authorization") or "").partition(" ")[2]))
        nonce = given.get("nonce", "")
        stale = False
        if nonce in self.nonces and self._proves(request, given):
            self.nonces[nonce] += 1
            if self.nonces[nonce] <= self.lasts:
                return Answer(body=b"in")
            stale = True
        self.challenges += 1
        new = f"nonce-{self.challenges}"
        self.nonces[new] = 0
        said = f'Digest realm="r", nonce="{new}", qop="auth", algorithm={self.algorithm}, opaque="o"'
        return Answer(401, b"who?", (("www-authenticate", said + (", stale=true" if stale else "")),))

    def _proves(self, request: Received, given: dict[str, str]) -> bool:
        first = self._hash(f"{USER}:r:{PASSWORD}")
        if self.algorithm.endswith("-sess"):
            first = self._hash(f"{first}:{given['nonce']}:{given['cnonce']}")
        second = self._hash(f"{request.method}:{given['uri']}")
        middle = f"{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}"
        proof = self._hash(f"{first}:{middle}:{second}")
        return given["response"] == proof and given["uri"] == request.target and given["username"] == USER


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
async def test_digest_proves_the_user(tmp_path: Path, algorithm: str) -> None:
    """Each algorithm of RFC 7616 is answered, of a POST as well; the password is never sent."""
    async with bench(tmp_path) as it:
        url = it.server.route("/x", Digest(algorithm))
        auth = f"type: digest, username: {USER}, password: '${{{{ secrets.PASSWORD }}}}'"
        more = "  method: POST\n  body: hello\n"
        async with it.running(config(f"{url}?a=b%20c", auth), config(url, auth, more, "dogs")):
            await polls(it, 2, "dogs")
        assert await it.values() == [b"in"] * 2
        assert await it.values("dogs") == [b"in"] * 2
        bodies = [request.body for request in it.server.received if request.method == "POST"]
        assert bodies[-1] == b"hello"
        assert PASSWORD not in str(it.server.received)


async def test_digest_follows_a_nonce_that_is_over(tmp_path: Path) -> None:
    """A stale nonce is replaced within the exchange."""
    async with bench(tmp_path) as it:
        server = Digest("SHA-256", lasts=2)
        url = it.server.route("/x", server)
        auth = f"type: digest, username: {USER}, password: '${{{{ secrets.PASSWORD }}}}'"
        async with it.running(config(url, auth)):
            await polls(it, 6)
        assert await it.values() == [b"in"] * 6
    assert server.challenges >= 2


async def test_a_login_of_libcurl_crosses_to_no_other_origin(tmp_path: Path) -> None:
    """A redirect to another host finds nobody who logs in there."""
    async with bench(tmp_path) as it, bench(tmp_path / "other") as other:
        thief = Digest("MD5")
        url = other.server.route("/x", thief)
        it.server.route("/away", Answer(307, headers=(("location", url),)))
        auth = f"type: digest, username: {USER}, password: '${{{{ secrets.PASSWORD }}}}'"
        sigv4 = f"type: sigv4, access_key: {ACCESS}, secret_key: {SECRET}, region: r, service: s, session_token: tok"
        async with it.running(
            config(f"{it.server.url}/away", auth), config(f"{it.server.url}/away", sigv4, name="dogs")
        ):
            await polls(it, 1, "dogs")
        for request in other.server.received:
            assert request.header("authorization") is None
            assert not [name for name, _ in request.headers if name.startswith("x-amz")]


# Negotiate.


@pytest.fixture(scope="module")
def kerberos() -> Iterator[tuple[Realm, str]]:
    """Return a realm, and the URL of an Apache that is in it."""
    need(KERBEROS)
    with realm() as made, apache(made.http_keytab) as url:
        yield made, url


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is set meanwhile of Kerberos's variables set back."""
    for name in ("KRB5CCNAME", "KRB5_CLIENT_KTNAME", "KRB5_CONFIG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


async def test_negotiate_takes_a_cache_of_tickets(
    tmp_path: Path, kerberos: tuple[Realm, str], environment: None
) -> None:
    """What kinit has written logs in at mod_auth_gssapi."""
    made, url = kerberos
    made.kinit(tmp_path / "cache")
    auth = f"type: negotiate, ccache: 'FILE:{tmp_path}/cache', config_file: '{made.config}'"
    async with bench(tmp_path) as it:
        async with it.running(config(f"{url}/gss/", auth)):
            await polls(it, 3)
        assert await it.values() == [b"hello gss"] * 3


async def test_negotiate_gets_tickets_by_a_keytab(
    tmp_path: Path, kerberos: tuple[Realm, str], environment: None
) -> None:
    """A keytab is enough: the library gets the tickets by itself, into memory."""
    made, url = kerberos
    auth = f"type: negotiate, keytab: '{made.user_keytab}', config_file: '{made.config}'"
    async with bench(tmp_path) as it:
        async with it.running(config(f"{url}/gss/", auth)):
            await polls(it, 2)
        assert await it.values() == [b"hello gss"] * 2


async def test_negotiate_without_a_ticket_is_refused(
    tmp_path: Path, kerberos: tuple[Realm, str], environment: None
) -> None:
    """Without tickets the poll fails with the server's 401."""
    made, url = kerberos
    auth = f"type: negotiate, ccache: 'FILE:{tmp_path}/none', config_file: '{made.config}'"
    async with bench(tmp_path) as it, it.running(config(f"{url}/gss/", auth)):
        await polls(it, 1)
    assert ledger(tmp_path)[0].reason.startswith("401 Unauthorized")


def test_one_process_has_one_cache() -> None:
    """Two connectors that want other caches or keytabs do not go together; equal ones do."""
    one = NegotiateAuth(type="negotiate", ccache="FILE:/a")
    assert conflict(one, [NegotiateAuth(type="negotiate", ccache="FILE:/a")]) == ""
    assert conflict(one, [NegotiateAuth(type="negotiate", ccache="FILE:/b")]) == "KRB5CCNAME"
    keytab = NegotiateAuth(type="negotiate", keytab="/k")
    assert wanted(keytab)["KRB5_CLIENT_KTNAME"] == "FILE:/k"
    assert conflict(keytab, [NegotiateAuth(type="negotiate", keytab="/other")]) == "KRB5_CLIENT_KTNAME"


# Signatures of AWS.


def verified(request: Received, host: str, service: str, region: str) -> bool:
    """Compute the signature of a request anew, as AWS's own library does, and compare."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        request.header("authorization") or "",
    )
    assert found is not None, request.header("authorization")
    credential, names, signature = found.groups()
    date = request.header("x-amz-date") or ""
    assert credential == f"{ACCESS}/{date[:8]}/{region}/{service}/aws4_request"
    signed = names.split(";")
    assert "host" in signed
    assert "x-amz-date" in signed
    path, _, query = request.target.partition("?")
    aws = AWSRequest(
        method=request.method,
        url=f"http://{host}{path}",
        params=dict(parse_qsl(query, keep_blank_values=True)),
        data=request.body or None,
        headers={name: value for name, value in request.headers if name in signed},
    )
    aws.context["timestamp"] = date
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    return recomputed(kind(Credentials(ACCESS, SECRET), service, region), aws, signed) == signature


def recomputed(signer: SigV4Auth, request: AWSRequest, signed: list[str]) -> str:
    """Return the signature over exactly these headers; the library itself would leave User-Agent out."""
    headers = HTTPHeaders()
    for name, value in request.headers.items():
        headers[name.lower()] = value
    assert set(signed) <= set(headers), (signed, headers)
    signer.headers_to_sign = lambda _: headers
    text = signer.canonical_request(request)
    scope = signer.string_to_sign(request, text)
    return str(signer.signature(scope, request))


def test_the_verifier_agrees_with_the_published_vectors() -> None:
    """AWS's test suite has these signatures: get-vanilla and its -query-order-key-case, post-vanilla and a form."""
    date = "20150830T123600Z"
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    vectors = [
        ("GET", "/", {}, None, {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET",
            "/",
            {"Param1": "value1", "Param2": "value2"},
            None,
            {},
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("POST", "/", {}, None, {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST",
            "/",
            {},
            "Param1=value1",
            {"content-type": "application/x-www-form-urlencoded"},
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ]
    for method, path, params, body, more, signature in vectors:
        headers = {"host": "example.amazonaws.com", "x-amz-date": date, **more}
        request = AWSRequest(method, f"https://example.amazonaws.com{path}", params=params, data=body, headers=headers)
        request.context["timestamp"] = date
        signer = SigV4Auth(Credentials("AKIDEXAMPLE", secret), "service", "us-east-1")
        assert recomputed(signer, request, list(headers)) == signature


@pytest.mark.parametrize("service", ["execute-api", "es", "s3"])
@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("/x", ""),
        ("/x?b=2&a=1&empty=&z=%20%2F%C3%BC", ""),
        (
            "/x",
            "  method: POST\n  headers: {Content-Type: application/json, X-Custom: 'a b'}\n  body: '{\"a\": \"ü\"}'\n",
        ),
        ("/x", "  params: {q: 'a b+c'}\n"),
    ],
)
async def test_signatures_are_those_that_aws_computes(tmp_path: Path, service: str, target: str, more: str) -> None:
    """What arrives is signed as botocore signs it: path, parameters, headers and body; the time is now."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=b"ok"))
        auth = f"type: sigv4, access_key: {ACCESS}, secret_key: '{SECRET}', region: eu-central-1, service: {service}"
        async with it.running(config(f"{it.server.url}{target}", auth, more)):
            await polls(it, 2)
        assert await it.values() == [b"ok"] * 2
        host = it.server.url.removeprefix("http://")
        for request in it.server.received:
            assert verified(request, host, service, "eu-central-1")
            sent = datetime.strptime(request.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            assert abs((datetime.now(UTC) - sent).total_seconds()) < 60


async def test_a_session_token_is_sent_and_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary keys, here from the environment, have a session token that is one of the signed headers."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-session-token==")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=b"ok"))
        connector = config(f"{it.server.url}/x", "type: sigv4, environment: true, service: es")
        async with it.running(connector):
            await polls(it, 1)
        (request,) = it.server.received
        host = it.server.url.removeprefix("http://")
    assert request.header("x-amz-security-token") == "the-session-token=="
    assert "x-amz-security-token" in (request.header("authorization") or "")
    assert verified(request, host, "es", "us-west-2")
    shown = connector.masker.mask(f"{SECRET} the-session-token==")
    assert shown == "*** ***"
