"""Command lines of curl, typed and copied: what they ask for, and which credentials are in them."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.discover.asking import Ask, written
from headwater.discover.curlline import CurlError, read_line, read_words

# As the developer tools of browsers copy them; written by ourselves.
LINES = Path(__file__).parent / "lines"


def plain(ask: Ask) -> dict[str, Any]:
    """Return what was read, without what is empty; marks as they are written."""
    found: dict[str, Any] = {
        "url": written(ask.url),
        "params": [(name, written(value)) for name, value in ask.params],
        "headers": [(name, written(value)) for name, value in ask.headers],
        "body": ask.mapped(written).body,
        "auth": None if ask.auth is None else {"type": ask.auth.type, **ask.mapped(written).auth.options},  # type: ignore[union-attr]
        "secrets": {secret.name: secret.value for secret in ask.secrets},
        "options": {name: value for name, value, _ in ask.options},
    }
    found = {name: value for name, value in found.items() if value}
    return found if ask.method == "GET" else {**found, "method": ask.method}


def test_a_line_of_chrome() -> None:
    """The browser's own headers go, the token and the cookie become secrets, what the API needs stays."""
    ask = read_line((LINES / "chrome.txt").read_text())
    assert plain(ask) == {
        "url": "https://shop.example.test/api/v2/orders",
        "params": [("page", "1"), ("per_page", "50")],
        "headers": [
            ("accept", "application/json, text/plain, */*"),
            ("x-tenant", "acme"),
            ("Cookie", "${{ secrets.COOKIE }}"),
        ],
        "auth": {"type": "bearer", "token": "${{ secrets.API_TOKEN }}"},
        "secrets": {
            "API_TOKEN": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
            "COOKIE": "_ga=GA1.1.1234; sid=s%3Aabcdef0123456789",
        },
    }
    told = "left out, as of a browser: accept-language, origin, priority, referer, sec-ch-ua, sec-ch-ua-mobile"
    assert ask.notes == (f"{told} and 5 more",)


def test_a_line_of_firefox() -> None:
    """A body of JSON is a value, whatever it was quoted with."""
    ask = read_line((LINES / "firefox.txt").read_text())
    assert plain(ask) == {
        "url": "https://shop.example.test/graphql",
        "method": "POST",
        "headers": [("Cookie", "${{ secrets.COOKIE }}")],
        "body": {
            "query": "query($after: String) { orders(first: 20, after: $after) { nodes { id updatedAt } pageInfo "
            "{ hasNextPage endCursor } } }",
            "variables": {"after": None, "note": "it's café"},
        },
        "auth": {"type": "api-key", "in": "header", "name": "X-CSRF-Token", "key": "${{ secrets.CSRF_TOKEN }}"},
        "secrets": {"CSRF_TOKEN": "9f86d081884c7d65", "COOKIE": "session=0123456789abcdef"},
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("curl x.test", {"url": "http://x.test/"}),
        ("$ curl -sSLk x.test/a -o out", {"url": "http://x.test/a", "options": {"tls.verify": "insecure"}}),
        ("curl.exe -XPUT x.test -d a=1", {
            "url": "http://x.test/", "method": "PUT", "body": "a=1",
            "headers": [("Content-Type", "application/x-www-form-urlencoded")],
        }),
        ("curl -G x.test -d a=1 -d b=2 --data-urlencode 'q=x y&z'", {
            "url": "http://x.test/", "params": [("a", "1"), ("b", "2"), ("q", "x y&z")],
        }),
        ("curl x.test --json '{\"a\": [1]}'", {
            "url": "http://x.test/", "method": "POST", "body": {"a": [1]}, "headers": [("Accept", "application/json")],
        }),
        ("curl x.test -d '{\"a\": 1}'", {"url": "http://x.test/", "method": "POST", "body": {"a": 1}}),
        ("curl x.test -d @body.json", {
            "url": "http://x.test/", "method": "POST", "body": "from body.json",
            "headers": [("Content-Type", "application/x-www-form-urlencoded")],
        }),
        ("curl -I x.test", {"url": "http://x.test/", "method": "HEAD"}),
        ("curl -u reader:s3cret x.test", {
            "url": "http://x.test/", "secrets": {"PASSWORD": "s3cret"},
            "auth": {"type": "basic", "username": "reader", "password": "${{ secrets.PASSWORD }}"},
        }),
        ("curl --digest -u reader:s3cret x.test", {
            "url": "http://x.test/", "secrets": {"PASSWORD": "s3cret"},
            "auth": {"type": "digest", "username": "reader", "password": "${{ secrets.PASSWORD }}"},
        }),
        ("curl -u sk_test_4eC39HqLyjWDarjtT1zdp7dc: x.test", {
            "url": "http://x.test/", "secrets": {"API_KEY": "sk_test_4eC39HqLyjWDarjtT1zdp7dc"},
            "auth": {"type": "basic", "username": "${{ secrets.API_KEY }}", "password": ""},
        }),
        ("curl https://reader:s3%20cret@x.test/a", {
            "url": "https://x.test/a", "secrets": {"PASSWORD": "s3 cret"},
            "auth": {"type": "basic", "username": "reader", "password": "${{ secrets.PASSWORD }}"},
        }),
        ("curl x.test -H 'Authorization: Basic cmVhZGVyOnMzY3JldA=='", {
            "url": "http://x.test/", "secrets": {"PASSWORD": "s3cret"},
            "auth": {"type": "basic", "username": "reader", "password": "${{ secrets.PASSWORD }}"},
        }),
        ('curl x.test -H "Authorization: Bearer $GITHUB_TOKEN"', {
            "url": "http://x.test/", "secrets": {"GITHUB_TOKEN": None},
            "auth": {"type": "bearer", "token": "${{ secrets.GITHUB_TOKEN }}"},
        }),
        ("curl x.test -H 'Authorization: Token s3cret-token'", {
            "url": "http://x.test/", "secrets": {"API_TOKEN": "s3cret-token"},
            "headers": [("Authorization", "Token ${{ secrets.API_TOKEN }}")],
        }),
        ("curl x.test -H 'X-API-Key: s3cret-key' -H 'X-Empty;' -H 'Accept:'", {
            "url": "http://x.test/", "secrets": {"API_KEY": "s3cret-key"}, "headers": [("X-Empty", "")],
            "auth": {"type": "api-key", "in": "header", "name": "X-API-Key", "key": "${{ secrets.API_KEY }}"},
        }),
        ("curl 'https://x.test/v1?appid=s3cret-id&q=London&page_token=abc'", {
            "url": "https://x.test/v1", "params": [("q", "London"), ("page_token", "abc")],
            "secrets": {"APPID": "s3cret-id"},
            "auth": {"type": "api-key", "in": "query", "name": "appid", "key": "${{ secrets.APPID }}"},
        }),
        ("curl https://api.test/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1/getUpdates", {
            "url": "https://api.test/bot${{ secrets.PATH_TOKEN }}/getUpdates",
            "secrets": {"PATH_TOKEN": "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"},
        }),
        ("curl --oauth2-bearer s3cret-token x.test", {
            "url": "http://x.test/", "secrets": {"API_TOKEN": "s3cret-token"},
            "auth": {"type": "bearer", "token": "${{ secrets.API_TOKEN }}"},
        }),
        ("curl --aws-sigv4 aws:amz:eu-west-1:execute-api -u AKIAIOSFODNN7EXAMPLE:s3cret x.test", {
            "url": "http://x.test/",
            "secrets": {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cret"},
            "auth": {
                "type": "sigv4", "access_key": "${{ secrets.AWS_ACCESS_KEY_ID }}",
                "secret_key": "${{ secrets.AWS_SECRET_ACCESS_KEY }}", "region": "eu-west-1", "service": "execute-api",
            },
        }),
        ("curl x.test -d grant=x -d client_secret=s3cret%21 -d q=1", {
            "url": "http://x.test/", "method": "POST",
            "body": "grant=x&client_secret=${{ secrets.CLIENT_SECRET }}&q=1",
            "headers": [("Content-Type", "application/x-www-form-urlencoded")],
            "secrets": {"CLIENT_SECRET": "s3cret%21"},
        }),
        ('curl x.test --json \'{"user": "a", "password": "s3cret", "key": "open"}\'', {
            "url": "http://x.test/", "method": "POST",
            "body": {"user": "a", "password": "${{ secrets.PASSWORD }}", "key": "open"},
            "headers": [("Accept", "application/json")], "secrets": {"PASSWORD": "s3cret"},
        }),
        ("curl x.test -H 'Content-Type: text/xml' -d '<a><Password>s3cret</Password></a>'", {
            "url": "http://x.test/", "method": "POST", "body": "<a><Password>${{ secrets.PASSWORD }}</Password></a>",
            "headers": [("Content-Type", "text/xml")], "secrets": {"PASSWORD": "s3cret"},
        }),
        ("curl -x socks5h://p.test:1080 --noproxy a,b --cacert ca.pem -m 5 --connect-timeout 2.5 x.test", {
            "url": "http://x.test/",
            "options": {
                "proxy": "socks5h://p.test:1080", "no_proxy": ["a", "b"], "tls.ca_file": "ca.pem", "timeout": "5s",
                "connect_timeout": "2.5s",
            },
        }),
        ("curl --max-redirs 0 --retry 3 --http2 --unix-socket /run/x.sock --tlsv1.3 -E c.pem x.test", {
            "url": "http://x.test/",
            "options": {
                "max_redirects": 0, "retry.attempts": 4, "http_version": "2",
                "unix_socket": "/run/x.sock", "tls.min_version": "1.3", "tls.cert_file": "c.pem",
            },
        }),
        ("curl x.test --url-query 'a=1 2' -A agent/1 -e https://r.test/", {
            "url": "http://x.test/", "params": [("a", "1 2")],
            "headers": [("Referer", "https://r.test/"), ("User-Agent", "agent/1")],
        }),
        ("curl --url=https://x.test/ --request=DELETE", {"url": "https://x.test/", "method": "DELETE"}),
        ("curl 'https://x.test/?q=${{ github.x }}'", {
            "url": "https://x.test/", "params": [("q", "${{ secrets.LITERAL }}")],
            "secrets": {"LITERAL": "${{ github.x }}"},
        }),
    ],
)  # fmt: skip
def test_options(line: str, expected: dict[str, Any]) -> None:
    """Each option of curl comes to what a connector has for it."""
    assert plain(read_line(line, lambda path: f"from\n {path}".encode())) == expected


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("curl x.test -F file=@a.png", "a form with files (-F) cannot be sent"),
        ("curl x.test -T a.png", "an upload (-T) cannot be sent"),
        ("curl x.test --ntlm -u a:b", "NTLM is not possible here"),
        ("curl x.test -K file", "the file of options that -K names"),
        ("curl x.test --frobnicate", "not taken over: --frobnicate"),
        ("curl x.test y.test", "only the first of 2 addresses was read"),
        ("curl x.test --next y.test", "what follows --next"),
        ("curl x.test -X OPTIONS", "the method OPTIONS cannot be sent"),
        ("curl x.test -d @-", "the body comes from standard input"),
        ("curl x.test -d @missing", "the body is in the file missing, which cannot be read: No such file"),
        ("curl x.test -b jar.txt", "the file of cookies jar.txt"),
        ("curl x.test -x http://u:s3cret@p.test", "the proxy's user was left out"),
        ("curl x.test -H 'X-Amz-Date: 20150830T123600Z'", "left out: X-Amz-Date"),
    ],
)  # fmt: skip
def test_what_is_not_taken_over_is_said(line: str, note: str) -> None:
    """Nothing is passed over in silence, and no note has a secret."""

    def read(path: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory", path)

    notes = " | ".join(read_line(line, read).notes)
    assert note in notes
    assert "s3cret" not in notes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("wget x.test", "a command line begins with curl"),
        ("", "a command line begins with curl"),
        ("Invoke-WebRequest -Uri x", "copy it as cURL"),
        ("curl", "the line has no URL"),
        ("curl -H", "the option -H has no value"),
        ("curl ftp://x.test/", "asks for ftp://"),
        ("curl 'http://a b/'", "has no host"),
        ("curl http://x.test:port/", "is none"),
        ("curl 'x.test", "a quote ' is not closed"),
    ],
)
def test_what_is_no_line(line: str, message: str) -> None:
    """What cannot be taken over is told in a sentence."""
    with pytest.raises(CurlError, match=message.replace("(", r"\(")):
        read_line(line)


SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~", min_size=10, max_size=40)


@given(SECRETS, st.integers(0, 9))
def test_no_credential_stays(secret: str, form: int) -> None:
    """Wherever a line carries a credential, it is a secret of the draft, and nothing else shows it."""
    user = base64.b64encode(f"user:{secret}".encode()).decode()
    words = [
        ["-H", f"Authorization: Bearer {secret}"],
        ["-H", f"Authorization: Basic {user}"],
        ["-H", f"authorization: Zoho-oauthtoken {secret}"],
        ["-u", f"user:{secret}"],
        ["-H", f"X-Auth-Token: {secret}"],
        ["-b", f"SESSION={secret}"],
        ["-d", f"user=a&password={secret}"],
        ["--json", f'{{"auth": {{"apiKey": "{secret}"}}}}'],
        ["--url-query", f"access_token={secret}"],
        ["-H", f"Referer: https://x.test/?token={secret}", "-H", f"X-Secret: {secret}"],
    ][form]
    ask = read_words(["curl", "https://x.test/a", *words])
    held = [it.value for it in ask.secrets]
    assert any(secret in (it or "") for it in held)
    shown = str([ask.url, ask.params, ask.headers, ask.body, ask.auth, ask.notes, ask.options])
    assert secret not in shown
    assert user not in shown


@given(st.lists(st.text()))
def test_any_words_end(words: list[str]) -> None:
    """Whatever stands behind curl is read, or refused with a sentence."""
    with suppress(CurlError):
        read_words(["curl", *words])


@pytest.mark.parametrize(
    ("line", "harmless"),
    [
        ("curl x.test", True),
        ("curl -I x.test", True),
        ("curl -X DELETE x.test", False),
        ("curl x.test -d a=1", False),
        ("curl x.test/logs/_search -d '{}'", True),
        ("curl x.test/v1/query --json '{\"a\": 1}'", True),
        ("curl x.test/research -d a=1", False),
        ('curl x.test --json \'{"query": "query { a }"}\'', True),
        ('curl x.test --json \'{"query": "mutation { a }"}\'', False),
    ],
)
def test_what_may_be_sent_again(line: str, *, harmless: bool) -> None:
    """Only what reads is sent without being asked."""
    assert read_line(line).harmless is harmless
