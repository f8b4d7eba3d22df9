"""Which proxy a request goes through, as the environment and lists of exceptions say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.proxy import any_proxy, bypassed, check_proxy, proxy_of_environment, shown_proxy


@pytest.mark.parametrize(
    ("environment", "scheme", "proxy"),
    [
        ({}, "http", ""),
        ({"http_proxy": "http://a:1"}, "http", "http://a:1"),
        ({"http_proxy": "http://a:1"}, "https", ""),
        ({"HTTP_PROXY": "http://a:1"}, "http", ""),
        ({"HTTPS_PROXY": "http://a:1"}, "https", "http://a:1"),
        ({"https_proxy": "http://b:1", "HTTPS_PROXY": "http://a:1"}, "https", "http://b:1"),
        ({"ALL_PROXY": "socks5://a"}, "http", "socks5://a"),
        ({"all_proxy": "http://b:1", "https_proxy": ""}, "https", "http://b:1"),
        ({"http_proxy": "http://a:1", "no_proxy": "other.example, api.example.com"}, "http", ""),
        ({"http_proxy": "http://a:1", "NO_PROXY": "*"}, "http", ""),
        ({"http_proxy": "http://a:1", "no_proxy": "ample.com"}, "http", "http://a:1"),
    ],
)
def test_the_environment(environment: dict[str, str], scheme: str, proxy: str) -> None:
    """The variables that curl knows, lower case first; HTTP_PROXY is none of them, for anybody may send that header."""
    assert proxy_of_environment(environment, scheme, "api.example.com", 443) == proxy
    assert any_proxy(environment) == any(
        value for name, value in environment.items() if name not in {"no_proxy", "NO_PROXY", "HTTP_PROXY"}
    )


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "expected"),
    [
        (["example.com"], "example.com", 80, True),
        (["example.com"], "EXAMPLE.com.", 80, True),
        (["example.com"], "api.example.com", 80, True),
        (["example.com"], "badexample.com", 80, False),
        ([".example.com"], "example.com", 80, True),
        (["*.example.com"], "api.example.com", 80, True),
        (["example.com:8080"], "example.com", 80, False),
        (["example.com:8080"], "example.com", 8080, True),
        (["10.0.0.0/8"], "10.1.2.3", 80, True),
        (["10.1.2.3/8"], "10.9.9.9", 80, True),
        (["10.0.0.0/8"], "11.1.2.3", 80, False),
        (["10.0.0.0/8"], "ten.example", 80, False),
        (["::1"], "[::1]", 80, True),
        (["[::1]:80"], "[::1]", 80, True),
        (["[::1]:80"], "[::1]", 81, False),
        (["fd00::/8"], "[fd00::5]", 80, True),
        (["*"], "anything.example", 80, True),
        (["", " ", ","], "a.example", 80, False),
        (["bücher.example"], "xn--bcher-kva.example", 80, True),
    ],
)
def test_exceptions(exceptions: list[str], host: str, port: int, *, expected: bool) -> None:
    """Names with all below them, networks, ports, everything."""
    assert bypassed(exceptions, host, port) == expected


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=30))
def test_any_lists(exceptions: list[str], host: str) -> None:
    """No text makes deciding fail."""
    bypassed(exceptions, host, 80)


def test_urls_of_proxies() -> None:
    """What is none is said with what would be; the password is found, and never shown."""
    assert check_proxy("http://proxy:3128") == ""
    assert check_proxy("socks5h://user:s%40cret@[::1]:1080/") == "s%40cret"
    for url, said in (
        ("proxy:3128", "write http://proxy:3128"),
        ("user:s3cret@proxy", r"write http://\*\*\*@proxy"),
        ("ftp://u:s3cret@proxy", r"'ftp://\*\*\*@proxy' does not begin with one of http://"),
        ("http://", "no host"),
        ("http://a b", "no host"),
        ("http://a:0", "port 0"),
        ("http://a:x", "no URL"),
        ("http://u:s3cret@a/path", "something behind its host"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            check_proxy(url)
        assert "s3cret" not in str(caught.value)
    assert shown_proxy("http://u:p@ss@host:1") == "http://***@host:1"
    assert shown_proxy("host:1") == "host:1"
