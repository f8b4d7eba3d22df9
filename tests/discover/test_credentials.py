"""What is a credential and what only looks like one, by names and by values."""

from __future__ import annotations

import pytest

from headwater.discover import credentials
from headwater.discover.asking import Ask, clean, from_url, mapped, mark, revealed, shown, written
from headwater.discover.credentials import hide, holds_credential, names_credential, secret_name


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "X-API-Key", "api_key", "apikey", "apiKey", "key", "token", "access_token", "accessToken",
        "X-Auth-Token", "PRIVATE-TOKEN", "Ocp-Apim-Subscription-Key", "X-Shopify-Access-Token", "DD-APPLICATION-KEY",
        "client_secret", "clientSecret", "password", "passwd", "pwd", "sig", "X-Amz-Signature", "jwt", "Cookie",
        "session_id", "sid", "X-CSRF-Token", "appid", "app_id", "auth", "x-functions-key", "bot_token", "otp",
    ],
)  # fmt: skip
def test_names_of_credentials(name: str) -> None:
    """Whatever APIs call their keys and tokens."""
    assert names_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        "page_token", "pageToken", "next_token", "nextPageToken", "continuation_token", "skiptoken", "syncToken",
        "cursor", "id", "sort_key", "partition_key", "primary_key", "Idempotency-Key", "max_tokens", "token_type",
        "keyword", "author", "country_code", "passenger", "session_length_limit", "Accept", "monkey", "object_key",
    ],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    """Places in a listing, words that only begin alike, and what is said about a token."""
    assert not names_credential(name)


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", True),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", True),
        ("xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzzqgy", True),
        ("AKIAIOSFODNN7EXAMPLE", True),
        ("Bearer abcdefgh", True),
        ("hello", False),
        ("2024-01-01T00:00:00Z", False),
        ("application/json", False),
    ],
)
def test_values_that_tell_by_themselves(value: str, *, holds: bool) -> None:
    """Tokens of known forms are credentials whatever they are called."""
    assert holds_credential(value) is holds


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("X-API-Key", "API_KEY"),
        ("accessToken", "ACCESS_TOKEN"),
        ("key", "KEY"),
        ("123", "API_KEY"),
        ("ключ", "API_KEY"),
    ],
)
def test_names_of_secrets(text: str, name: str) -> None:
    """A secret is called as the header or parameter it is in."""
    assert secret_name(text) == name


def held(*headers: tuple[str, str], url: str = "https://x.test/") -> Ask:
    return hide(from_url(url).replace(headers=headers))


@pytest.mark.parametrize(
    ("headers", "kept", "kind"),
    [
        ((("Authorization", "Digest username=x, response=y"),), (), None),
        ((("Authorization", "Basic !!!!"),), (("Authorization", "Basic <API_TOKEN>"),), None),
        ((("Authorization", "opaque"),), (("Authorization", "<AUTHORIZATION>"),), None),
        ((("Authorization", "Bearer a-token"), ("X-API-Key", "a-key-x")), (("X-API-Key", "<API_KEY>"),), "bearer"),
        ((("X-API-Key", "abc"),), (("X-API-Key", "<API_KEY>"),), None),
        ((("X-Amz-Content-Sha256", "e3b0"),), (), None),
        ((("X-Trace", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),), (), "api-key"),
    ],
)
def test_headers(headers: tuple[tuple[str, str], ...], kept: tuple[tuple[str, str], ...], kind: str | None) -> None:
    """What `auth:` can say it does; what it cannot stays a header with a secret in it."""
    ask = held(*headers)
    assert tuple((name, shown(value)) for name, value in ask.headers) == kept
    assert (None if ask.auth is None else ask.auth.type) == kind


def test_a_signature_of_aws_is_made_anew() -> None:
    """Region and service come from the signature, the secret key from whoever knows it."""
    place = "Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request"
    signed = f"AWS4-HMAC-SHA256 {place}, SignedHeaders=host, Signature=5d67"
    ask = held(("Authorization", signed))
    assert ask.auth is not None
    assert {name: shown(value) for name, value in ask.auth.options.items()} == {
        "access_key": "<AWS_ACCESS_KEY_ID>",
        "secret_key": "<AWS_SECRET_ACCESS_KEY>",
        "region": "us-east-1",
        "service": "iam",
    }
    assert [it.value for it in ask.secrets] == ["AKIDEXAMPLE", None]


def test_a_secret_that_stands_elsewhere_too() -> None:
    """The same value in two places is one secret, and the same name for two values gets a number."""
    ask = held(("Authorization", "Bearer same-token-1"), ("X-Token", "same-token-1"), ("X-Other", "see same-token-1"))
    assert [it.name for it in ask.secrets] == ["API_TOKEN"]
    assert ask.headers == (("X-Token", mark("API_TOKEN")), ("X-Other", f"see {mark('API_TOKEN')}"))
    ask = held(("X-Token", "one-token-1"), ("X-Token", "two-token-2"))
    assert [it.name for it in ask.secrets] == ["TOKEN", "TOKEN_2"]


def test_a_user_in_the_address() -> None:
    """A name and a password before the host are a login; a variable of a shell there is a secret of its own."""
    ask = from_url("https://reader:p%40ss@x.test/a")
    assert ask.auth is not None
    assert (ask.url, ask.secrets[0].value) == ("https://x.test/a", "p@ss")
    ask = credentials.basic(Ask("https://x.test/"), f"{mark('USER')}:{mark('PASS')}", "the option -u")
    assert [it.name for it in ask.secrets] == ["USER", "PASS"]


def test_marks() -> None:
    """A mark is written as an expression, shown as a name, and sent as the value; nobody else can make one."""
    text = f"Bearer {mark('TOKEN')}"
    assert written(text) == "Bearer ${{ secrets.TOKEN }}"
    assert shown(text) == "Bearer <TOKEN>"
    assert revealed(text, {"TOKEN": "x"}) == "Bearer x"
    with pytest.raises(KeyError):
        revealed(text, {})
    assert clean(text) == "Bearer TOKEN"
    assert mapped({"a": [text, 1, None]}, shown) == {"a": ["Bearer <TOKEN>", 1, None]}
    assert repr(credentials.bearer(Ask("https://x.test/"), "t0ps3cret", "x").secrets) == "(Secret('API_TOKEN'),)"


@pytest.mark.parametrize("text", ["", "ftp://x/", "https://", "https://x:port/", "https://[x/", "javascript:alert(1)"])
def test_what_is_no_address(text: str) -> None:
    """Only http and https can be asked."""
    with pytest.raises(ValueError, match="is no address"):
        from_url(text)


def test_a_websocket_cannot_be_looked_at() -> None:
    """It says nothing by itself; the page about streams is where its configuration is shown."""
    with pytest.raises(ValueError, match="is a WebSocket, which tells nothing by itself"):
        from_url("wss://x.test/")
