"""What stays behind when a redirect leads to another origin."""

from __future__ import annotations

import pytest

from headwater.core.egress import Policy
from headwater.core.http import USUAL, Login, Request, Response, Transport
from headwater.core.origin import anonymous
from headwater.fetch.redirect import follow

OWN = Transport(
    http_version="2",
    proxy="http://u:p@proxy:1",
    no_proxy=("a",),
    unix_socket="",
    ca_file="/ca",
    cert_file="/cert",
    key_file="/key",
    key_password="s3cret",
    min_version="1.3",
    verify=False,
    server_name="name",
    cookies="me",
    egress=Policy("public"),
    login=Login("basic", "u", "s3cret"),
)


def redirected(request: Request, location: str, status: int = 302) -> Request:
    found = follow(request, Response(status, "HTTP/1.1", (("location", location),), b"", request.url, 0, 0), followed=0)
    assert found is not None
    return found


@pytest.mark.parametrize("location", ["/b", "//h/b", "https://h:443/b", "https://H/b"])
def test_the_same_origin(location: str) -> None:
    """Within one scheme, host and port everything goes along."""
    request = Request("GET", "https://h/a", "", (("Authorization", "x"),), transport=OWN)
    found = redirected(request, location)
    assert found.transport is OWN
    assert found.headers == request.headers


@pytest.mark.parametrize("location", ["http://h/b", "https://h:444/b", "https://other/b", "https://h.other/b"])
def test_another_origin(location: str) -> None:
    """Logins, client certificates and the name that is asked for stay behind; how requests travel does not."""
    found = redirected(Request("GET", "https://h/a", "", transport=OWN), location).transport
    assert (found.login, found.cert_file, found.key_file, found.key_password, found.server_name) == (
        None,
        "",
        "",
        "",
        "",
    )
    assert (found.proxy, found.ca_file, found.verify, found.egress, found.cookies) == (
        *(OWN.proxy, OWN.ca_file, OWN.verify, OWN.egress, OWN.cookies),
    )
    assert anonymous(USUAL) is USUAL


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b?key=s3%20cret&a=1", "https://h/b?key=s3%20cret&a=1"),
        ("https://other/b?key=s3%20cret&a=1", "https://other/b?a=1"),
        ("https://other/b?a=1&renamed=s3+cret", "https://other/b?a=1"),
        ("https://other/b?k%65y=other", "https://other/b"),
        ("https://other/b?open=1&flag", "https://other/b?open=1&flag"),
        ("https://other/b", "https://other/b"),
    ],
)
def test_secret_parameters(location: str, url: str) -> None:
    """A server that repeats a secret parameter, under whichever name, does not get it to another origin."""
    request = Request("GET", "https://h/a?key=s3%20cret&open=1", "", secret_params=frozenset({"key"}), transport=USUAL)
    assert redirected(request, location).url == url


def test_nothing_of_a_login_is_shown() -> None:
    """Neither the text of a transport nor that of a login says what is in it."""
    for text in (repr(OWN), str(OWN.login), f"{Request('GET', 'https://h/', '', transport=OWN)}"):
        assert "s3cret" not in text
