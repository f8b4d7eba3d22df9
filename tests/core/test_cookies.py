"""Cookies: what is kept, for how long, and to whom it goes back (RFC 6265)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.cookies import LARGEST, MOST, MOST_OF_AN_ORIGIN, Jar

NOW = 1_700_000_000.0
URL = "https://api.example.com/v1/items"


def jar(*cookies: str, url: str = URL) -> Jar:
    """Return a jar after a response that set these."""
    made = Jar()
    made.take(url, [("content-type", "a/b"), *(("set-cookie", cookie) for cookie in cookies)], NOW)
    return made


@pytest.mark.parametrize(
    ("cookie", "sent"),
    [
        ("a=1", "a=1"),
        ("a=1; Path=/; HttpOnly; SameSite=Strict", "a=1"),
        (" a = 1 2 ;secure", "a=1 2"),
        ('a="q"', 'a="q"'),
        ("a=", "a="),
        ("lone", "lone"),
        ("=v", "v"),
        ("", ""),
        (";", ""),
        ("a=b=c", "a=b=c"),
        ("a=1; Max-Age=60", "a=1"),
        ("a=1; Max-Age=0", ""),
        ("a=1; Max-Age=-5", ""),
        ("a=1; Max-Age=x", "a=1"),
        ("a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT", ""),
        ("a=1; Expires=Wednesday, 21-Oct-15 07:28:00 GMT", ""),
        ("a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", "a=1"),
        ("a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Max-Age=60", "a=1"),
        ("a=1; Expires=some day", "a=1"),
        ("a=1; Domain=example.com", "a=1"),
        ("a=1; Domain=.API.example.com", "a=1"),
        ("a=1; Domain=other.example", ""),
        ("a=1; Domain=b.api.example.com", ""),
        ("a=1; Path=/v1", "a=1"),
        ("a=1; Path=/v1/", "a=1"),
        ("a=1; Path=/v2", ""),
        ("a=1; Path=/v", ""),
        ("a=1; Path=v2", "a=1"),
        ("a\x01=1", ""),
        ("a=1\r\nX: y", ""),
        ("__Host-a=1; Secure; Path=/", "__Host-a=1"),
        ("__Host-a=1; Secure", ""),
        ("__Host-a=1; Secure; Path=/; Domain=example.com", ""),
        ("__Secure-a=1", ""),
        (f"a={'x' * LARGEST}", ""),
        (f"a=1; Path=/{'x' * LARGEST}", ""),
    ],
)
def test_one_cookie(cookie: str, sent: str) -> None:
    """What is set goes back to the same path, unless it is broken, over, or not this server's to set."""
    assert jar(cookie).header(URL, NOW + 1) == sent


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1/items",
        "https://api.example.com:8443/v1/items",
        "https://example.com/v1/items",
        "https://b.api.example.com/v1/items",
        "https://other.example/v1/items",
        "https://user@other.example/v1/items",
    ],
)
def test_another_origin_gets_nothing(url: str) -> None:
    """Scheme, host and port must be those that it came from, whatever its Domain."""
    made = jar("a=1; Domain=example.com; Path=/")
    assert made.header(url, NOW) == ""
    assert made.header("https://api.example.com:443/", NOW) == "a=1"


def test_secure_needs_tls() -> None:
    """Over plain HTTP nothing Secure is taken."""
    assert len(jar("a=1; Secure", url="http://api.example.com/")) == 0


def test_order_change_and_end() -> None:
    """Longer paths come first; a cookie set again is another; one that is over is gone."""
    made = jar("a=1; Path=/", "b=2; Path=/v1", "c=3; Path=/; Max-Age=10")
    assert made.header(URL, NOW) == "b=2; a=1; c=3"
    made.take(URL, [("set-cookie", "a=5; Path=/")], NOW)
    assert made.header(URL, NOW + 10) == "b=2; a=5"
    assert len(made) == 2
    made.take(URL, [("set-cookie", "a=; Path=/; Max-Age=0")], NOW)
    assert made.header(URL, NOW + 10) == "b=2"


def test_a_jar_is_bounded() -> None:
    """A server that sets cookies without end loses its oldest, and many servers those of each other."""
    made = jar(*(f"c{number}={number}" for number in range(1000)))
    assert len(made) == MOST_OF_AN_ORIGIN
    assert made.header(URL, NOW).endswith("c999=999")
    for number in range(MOST):
        made.take(f"https://h{number}.example/", [("set-cookie", "a=1"), ("set-cookie", "b=1")], NOW)
    assert len(made) == MOST


@given(st.lists(st.text(max_size=80)), st.floats(0, 4e9))
def test_any_cookies(cookies: list[str], now: float) -> None:
    """No header makes it fail, and what goes back is one line."""
    made = Jar()
    made.take(URL, [("set-cookie", cookie) for cookie in cookies], now)
    header = made.header(URL, now)
    assert header.isprintable()


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_expiry(age: str, date: str) -> None:
    """No Max-Age and no Expires makes it fail."""
    jar(f"a=1; Max-Age={age}; Expires={date}").header(URL, NOW)
