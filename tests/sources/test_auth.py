"""What is decided about credentials: signatures, answers, lifetimes, and where a token goes. Pure."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable
from functools import cache
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jws
from joserfc import jwt as other
from joserfc.errors import BadSignatureError

from headwater.config import load_text
from headwater.config.auth import Auth, JwtAuth, LoginAuth, OAuth2Auth
from headwater.core.http import Request, Response
from headwater.core.secret import Text
from headwater.sources.auth.answer import lifetime, said
from headwater.sources.auth.chain import chain_name, seal, unseal
from headwater.sources.auth.claims import assertion_claims, bearer_claims
from headwater.sources.auth.login import login_request, read_login
from headwater.sources.auth.oauth2 import read_answer, token_request
from headwater.sources.auth.signing import jwt, load_key
from headwater.sources.auth.standing import authorized, missing
from headwater.sources.auth.token import Failure, Place, Token, carries, placed, unfit

NOW = 1_790_000_000.0
BASE = Request("GET", "https://api.test/x?a=b", "https://api.test/x?a=***", (("Accept", "*/*"),))


def auth(text: str) -> Auth:
    page = f"name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n  auth: {{{text}}}\n"
    found = load_text(page).connectors[0].http.auth
    assert found is not None
    return found


def answer(body: object, status: int = 200, *headers: tuple[str, str]) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, "HTTP/1.1", headers, data, "https://x/", 0.1, len(data))


# Signatures.

KINDS: dict[str, Literal["oct", "RSA", "EC", "OKP"]] = {
    "HS": "oct",
    "RS": "RSA",
    "PS": "RSA",
    "ES": "EC",
    "Ed": "OKP",
}
KEYS: dict[str, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]] = {
    # They are made when they are needed: each process of tests imports this.
    "RS": cache(lambda: rsa.generate_private_key(65537, 2048)),
    "PS": cache(lambda: rsa.generate_private_key(65537, 3072)),
    "ES256": cache(lambda: ec.generate_private_key(ec.SECP256R1())),
    "ES384": cache(lambda: ec.generate_private_key(ec.SECP384R1())),
    "ES512": cache(lambda: ec.generate_private_key(ec.SECP521R1())),
    "Ed": cache(ed25519.Ed25519PrivateKey.generate),
}
ALGORITHMS = [
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]


def pem(algorithm: str, encryption: KeySerializationEncryption | None = None) -> bytes:
    make = KEYS.get(algorithm) or KEYS[algorithm[:2]]
    return make().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_library_verifies_each_signature(algorithm: str) -> None:
    """Header, claims and signature are what joserfc expects; a changed claim does not verify."""
    secret = b"a shared secret of more than 64 bytes, so that it is long enough for all of them"
    data = secret if algorithm.startswith("HS") else pem(algorithm)
    claims = {"iss": "mé", "n": 1, "list": ["a"], "exp": int(NOW)}
    for _ in range(20 if algorithm.startswith("ES") else 1):
        token = jwt({"kid": "k"}, claims, algorithm, load_key(algorithm, data))
        key = jwk.import_key(data, KINDS[algorithm[:2]])
        with warnings.catch_warnings():
            # RFC 9864 has another name for EdDSA, which servers know less.
            warnings.filterwarnings("ignore", "EdDSA is deprecated")
            read = other.decode(token, key, algorithms=[algorithm])
        assert read.claims == claims
        assert read.header == {"alg": algorithm, "typ": "JWT", "kid": "k"}
        head, body, signature = token.split(".")
        forged = f"{head}.{base64.urlsafe_b64encode(b'{}').decode().rstrip('=')}.{signature}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "EdDSA is deprecated")
            with pytest.raises(BadSignatureError):
                other.decode(forged, key, algorithms=[algorithm])
        assert "=" not in token + body


def test_a_published_signature() -> None:
    """RFC 7515, appendix A.1: the HMAC of an example with a given key."""
    key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    signed = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    sign = load_key("HS256", key.encode(), encoded=True)
    expected = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert base64.urlsafe_b64encode(sign(signed.encode())).decode().rstrip("=") == expected
    assert jws.extract_compact(f"{signed}.{expected}".encode()) is not None


SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - one that is refused


def _public(algorithm: str) -> bytes:
    return KEYS[algorithm]().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("algorithm", "data", "password", "message"),
    [
        ("RS256", pem("ES256"), None, "RS256 needs an RSA key"),
        ("ES256", pem("RS256"), None, "ES256 needs a key on the curve secp256r1"),
        ("ES256", pem("ES384"), None, "ES256 needs a key on the curve secp256r1"),
        ("EdDSA", pem("ES256"), None, "EdDSA needs a key of Ed25519 or Ed448"),
        ("RS256", b"no key", None, "the key is no private key in PEM that can be read"),
        ("ES256", _public("ES256"), None, "that is a public key or a certificate; signing needs the private key"),
        ("ES256", pem("ES256", BestAvailableEncryption(b"pw")), None, "the key is encrypted: give key_password"),
        ("ES256", pem("ES256", BestAvailableEncryption(b"pw")), b"no", "or key_password is wrong"),
        ("ES256", pem("ES256"), b"pw", "the key is not encrypted: leave key_password out"),
        ("HS256", b"short", None, "the key has 5 bytes; a shared secret has at least 16 (RFC 7518)"),
        (
            "RS256",
            SHORT.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            None,
            "the RSA key has 1024 bits; RS256 needs 2048 at least (RFC 7518)",
        ),
    ],
)
def test_a_key_that_does_not_fit_is_a_sentence(
    algorithm: str, data: bytes, password: bytes | None, message: str
) -> None:
    """What is wrong with it is said, and nothing of it is shown."""
    with pytest.raises(ValueError, match="key") as caught:
        load_key(algorithm, data, password=password)
    assert message in str(caught.value)


def test_an_encrypted_key_is_opened() -> None:
    """With its password."""
    load_key("ES256", pem("ES256", BestAvailableEncryption(b"pw")), password=b"pw")


def test_a_secret_that_is_not_base64_is_said() -> None:
    """It is one of both spellings, with or without padding."""
    with pytest.raises(ValueError, match="the key is not base64"):
        load_key("HS256", b"!!!", encoded=True)
    for text in (b"_-8gc2VjcmV0IHNlY3JldCBzZWNyZXQ", b"/+8gc2VjcmV0IHNlY3JldCBzZWNyZXQ="):
        load_key("HS256", text, encoded=True)


# Claims.


def test_claims_are_put_together() -> None:
    """Named options, further claims over them, and those that come by themselves, unless they are left out."""
    given = auth(
        "type: jwt, key: 0123456789abcdef, issuer: me, subject: you, lifetime: 20m, "
        "claims: {sub: other, nested: {a: [1, true]}, jti: auto}"
    )
    assert isinstance(given, JwtAuth)
    claims = bearer_claims(given, now=NOW, nonce="n")
    assert claims == {
        "iat": int(NOW) - 5,
        "exp": int(NOW) - 5 + 1200,
        "iss": "me",
        "sub": "other",
        "nested": {"a": [1, True]},
        "jti": "n",
    }
    bare = auth("type: jwt, key: 0123456789abcdef, claims: {iat: ~, exp: ~, other: ~}")
    assert isinstance(bare, JwtAuth)
    assert bearer_claims(bare, now=NOW, nonce="n") == {"other": None}


def test_assertions_say_who_and_to_whom() -> None:
    """Of a client: itself, twice; of a grant: issuer and subject; always for one time only."""
    given = auth(
        "type: oauth2, grant: jwt-bearer, client_id: c, client_auth: private-key-jwt, token_url: https://t/, "
        "issuer: i, subject: s, key_file: /k, claims: {scope: x}"
    )
    assert isinstance(given, OAuth2Auth)
    client = assertion_claims(given, client=True, now=NOW, nonce="n")
    grant = assertion_claims(given, client=False, now=NOW, nonce="m")
    assert (client["iss"], client["sub"], client["aud"], client["jti"]) == ("c", "c", "https://t/", "n")
    assert (grant["iss"], grant["sub"], grant["aud"], grant["scope"]) == ("i", "s", "https://t/", "x")
    assert grant["exp"] - grant["iat"] == 300


# Answers.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (" 60.5 ", 60.5),
        (NOW + 100, 100),
        ((NOW + 100) * 1000, 100),
        ("2026-09-21T14:15:00Z", 100),
        ("2026-09-21T14:15:00", 100),
        ("Mon, 21 Sep 2026 14:15:00 GMT", 100),
        (10**30, 10 * 365 * 86_400),
        (0, None),
        (-1, None),
        (None, None),
        (True, None),
        ("", None),
        ("tomorrow", None),
        ([], None),
        (float("nan"), None),
        ("nan", None),
        (NOW - 100, None),
    ],
)
def test_how_long_something_lasts(value: object, seconds: float | None) -> None:
    """Seconds, Unix times in seconds or milliseconds, and dates; what makes no sense says nothing."""
    found = lifetime(value, now=NOW)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=40)
    | st.lists(st.integers(), max_size=2)
)
def test_whatever_a_server_says_is_a_lifetime_or_none(value: object) -> None:
    """Never an error, never negative, never longer than ten years."""
    found = lifetime(value, now=NOW)
    assert found is None or 0 < found <= 10 * 365 * 86_400


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.integers(100, 599))
def test_whatever_an_endpoint_answers_is_a_token_or_a_failure(body: bytes, status: int) -> None:
    """Bytes of any kind with any status never raise, and a failure is one printable line."""
    given = auth("type: oauth2, token_url: https://t/, client_id: c")
    assert isinstance(given, OAuth2Auth)
    request = token_request(given, BASE)
    found = read_answer(given, request, answer(body, status), now=NOW)
    assert isinstance(found, Failure)
    assert found.reason.isprintable()
    login = auth("type: login, endpoint: https://l/, token: /a/b")
    assert isinstance(login, LoginAuth)
    assert isinstance(read_login(login, login_request(login, BASE), answer(body, status), now=NOW), Token | Failure)


@given(
    st.dictionaries(
        st.sampled_from(["access_token", "token_type", "expires_in", "refresh_token", "error", "error_description"]),
        st.none() | st.text(max_size=30) | st.integers() | st.lists(st.integers(), max_size=1),
    )
)
def test_whatever_json_an_endpoint_answers(body: dict[str, object]) -> None:
    """A token can go into a header as it is; a refresh token as well."""
    given = auth("type: oauth2, token_url: https://t/, client_id: c")
    assert isinstance(given, OAuth2Auth)
    found = read_answer(given, token_request(given, BASE), answer(body), now=NOW)
    if isinstance(found, Token):
        assert not unfit(found.value)
        assert found.refresh is None or not unfit(found.refresh)
    else:
        assert found.reason.isprintable()


def test_a_form_is_an_answer_as_well() -> None:
    """Some servers answer as the old days did."""
    given = auth("type: oauth2, token_url: https://t/, client_id: c, lifetime: 1h")
    assert isinstance(given, OAuth2Auth)
    kind = ("content-type", "application/x-www-form-urlencoded")
    found = read_answer(given, token_request(given, BASE), answer(b"access_token=t&scope=a", 200, kind), now=NOW)
    assert found == Token("t", 3600.0)
    refused = read_answer(given, token_request(given, BASE), answer(b"error=access_denied", 200, kind), now=NOW)
    assert isinstance(refused, Failure)
    assert "access_denied" in refused.reason


def test_a_token_shows_nothing() -> None:
    """Its representation is for defects' traces."""
    assert "secret" not in repr(Token("secret", 1, "secret"))


def test_what_a_server_says_is_one_line() -> None:
    """Line breaks, control characters and the rest of a novel are left out."""
    assert said("a\r\nb\x00c" + "d" * 500) == "a b c" + "d" * 195 + "..."
    assert said(5) == ""


def test_a_token_is_renewed_before_its_end_but_not_in_its_first_half() -> None:
    """A margin that is longer than half of a life is half of it."""
    assert Token("t", 100.0).renewed_before(10).renew_after == 90
    assert Token("t", 100.0).renewed_before(1000).renew_after == 50
    assert Token("t").renewed_before(10).renew_after is None


# Token requests.


def test_the_names_of_a_client_are_encoded_before_basic() -> None:
    """RFC 6749, section 2.3.1: so a colon in the name stays one."""
    given = auth("type: oauth2, token_url: https://t/, client_id: 'a:b', client_secret: 'c d%'")
    assert isinstance(given, OAuth2Auth)
    request = token_request(given, BASE)
    sent = dict(request.headers)["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent) == b"a%3Ab:c%20d%25"
    assert request.max_redirects == -1


def test_a_public_client_says_its_name() -> None:
    """Without a secret the name goes into the body; without a name nothing does."""
    given = auth("type: oauth2, grant: refresh-token, token_url: https://t/, client_id: c, refresh_token: r")
    assert isinstance(given, OAuth2Auth)
    request = token_request(given, BASE, refresh_token="r")
    assert dict(parse_qsl((request.body or b"").decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "c",
    }
    assert "Authorization" not in dict(request.headers)


# Refresh tokens that are kept.


def test_what_is_kept_is_sealed_with_the_first_token() -> None:
    """Only the configuration opens it; another first token, client or endpoint is another chain."""
    text = "type: oauth2, grant: refresh-token, token_url: https://t/, client_id: c, refresh_token: "
    one, two = auth(text + "first"), auth(text + "second")
    assert isinstance(one, OAuth2Auth)
    assert isinstance(two, OAuth2Auth)
    data = seal(one, "the newest", rotations=3, since=5)
    assert b"newest" not in data
    assert b"first" not in data
    assert unseal(one, data) == ("the newest", 3)
    json.loads(data)
    for broken in (b"", b"{}", data.replace(b"A", b"B", 3)):
        with pytest.raises(ValueError, match="cannot be read"):
            unseal(one, broken)
    with pytest.raises(ValueError, match="cannot be read: InvalidToken"):
        unseal(two, data)
    names = {chain_name(one), chain_name(two)}
    assert len(names) == 2
    assert all(name.startswith("@credential/") and "first" not in name for name in names)


# Places.

PLACES = [
    Place("header", "X-Key"),
    Place("header", "Authorization", "Bearer"),
    Place("query", "api key"),
    Place("cookie", "sid"),
    Place("cookie", "", whole=True),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.where}-{place.name}")
@given(value=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';,"\\'), min_size=1))
def test_a_token_in_its_place_is_found_and_not_shown(place: Place, value: str) -> None:
    """It is secret there, whichever it is; another one is told from it."""
    request = placed(BASE, place, value)
    assert carries(request, place, value)
    assert not carries(BASE, place, value)
    assert not carries(request, place, value + "x")
    if place.where == "query":
        assert ("a", "b") in parse_qsl(urlsplit(request.url).query)
        assert request.secret_params == {place.name}
        assert request.shown_url == "https://api.test/x?a=***&api%20key=***"
    else:
        assert request.secret_headers == {"cookie" if place.where == "cookie" else place.name.lower()}
        assert request.url == BASE.url


def test_cookies_are_added_to_those_that_are_there() -> None:
    """One header, whatever the case of its name."""
    base = Request("GET", "https://x/", "https://x/", (("cookie", "a=1"), ("Accept", "*/*")))
    assert placed(base, Place("cookie", "b"), "2").headers == (("Accept", "*/*"), ("Cookie", "a=1; b=2"))


def test_the_environment_has_the_keys_of_aws() -> None:
    """They are found, or it is said which is not there."""
    given = auth("type: sigv4, service: s3, environment: true")
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "r"}
    login = authorized(BASE, given, keys).transport.login
    assert login is not None
    assert (login.user, login.password, login.scope) == ("a", "b", "aws:amz:r:s3")
    for name in keys:
        less = {key: value for key, value in keys.items() if key != name}
        assert name in missing(given, less)
        assert authorized(BASE, given, less).transport.login != login


def test_texts_of_bodies_hold_secrets() -> None:
    """Those of a login's map are revealed on the wire alone."""
    login = LoginAuth.model_validate(
        {
            "type": "login",
            "endpoint": "https://l/",
            "body": {"p": Text("real", "***"), "n": [1]},
            "token": "/t",
        }
    )
    assert login_request(login, BASE).body == b'{"p":"real","n":[1]}'
    assert "real" not in repr(login)


@pytest.mark.parametrize("text", ["1" + "0" * 400, "-1" + "0" * 400, '"1e400"', '"-1e400"', "1e308", "-5"])
def test_lifetimes_that_no_float_can_hold(text: str) -> None:
    """A token endpoint may write any number there; it says nothing, or as long as anything lasts."""
    body = f'{{"access_token":"t0ken","expires_in":{text}}}'.encode()
    oauth = auth("type: oauth2, token_url: https://x/t, client_id: a")
    assert isinstance(oauth, OAuth2Auth)
    found = read_answer(oauth, BASE, answer(body), now=NOW)
    assert isinstance(found, Token)
    assert found.lifetime is None or found.lifetime == 10 * 365 * 86_400
