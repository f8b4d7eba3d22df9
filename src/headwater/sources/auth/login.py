"""Owns the request that logs in, what its answer gives, and the request that logs out. Pure."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import msgspec

from headwater.config.auth import LoginAuth
from headwater.core.http import Request, Response, ascii_url
from headwater.core.secret import Text
from headwater.sources.auth.answer import document, lifetime, passes, said, what
from headwater.sources.auth.claims import revealed
from headwater.sources.auth.token import LONGEST_TOKEN, Failure, Place, Token, placed, unfit
from headwater.sources.retry import retry_after
from headwater.version import __version__

_MOST_BODY = 1024 * 1024
_MOST_COOKIES = 50
_REFUSED = frozenset({400, 401, 403, 422})


def login_request(auth: LoginAuth, base: Request) -> Request:
    """Return the request that logs in. `base` has the time-outs and the transport."""
    body: bytes | None = None
    headers = [("Accept", "*/*"), ("User-Agent", f"headwater/{__version__}")]
    if auth.form:
        body = urlencode([(name, value.reveal()) for name, value in auth.form]).encode()
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    elif isinstance(auth.body, Text):
        body = auth.body.reveal().encode()
    elif auth.body is not None:
        body = msgspec.json.encode(revealed(auth.body))
        headers.append(("Content-Type", "application/json"))
    elif auth.method != "GET":
        body = b""
    if auth.username is not None:
        password = "" if auth.password is None else auth.password.reveal()
        pair = f"{auth.username.reveal()}:{password}"
        headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    given = {name.lower() for name, _ in auth.headers}
    sent = [(name, value) for name, value in headers if name.lower() not in given]
    return msgspec.structs.replace(
        base,
        method=auth.method,
        url=ascii_url(auth.endpoint.reveal()),
        shown_url=str(auth.endpoint),
        headers=(*sent, *((name, value.reveal()) for name, value in auth.headers)),
        body=body,
        max_body=_MOST_BODY,
        # Forms answer with a redirect and the cookies beside it: that is the answer.
        max_redirects=-1,
    )


def login_place(auth: LoginAuth) -> Place:
    """Return where what a login gives goes."""
    if auth.cookies:
        return Place("cookie", "", whole=True)
    return Place(auth.in_, auth.name, auth.before)


def read_login(auth: LoginAuth, request: Request, response: Response, *, now: float) -> Token | Failure:
    """Return what the answer to a login gives, or why it gives nothing. `now` is Unix time."""
    told = what(request, response)
    good = 200 <= response.status < (400 if auth.cookies else 300)
    if not good:
        passing, wait = passes(response, now=now)
        hint = "check what the login sends: user, password, headers" if response.status in _REFUSED else ""
        return Failure(f"{told}: the login is refused", hint, passing=passing, wait=wait)
    lasts = None if auth.lifetime is None else auth.lifetime.total_seconds()
    if auth.expires is not None:
        lasts = lifetime(auth.expires.find(document(response)), now=now) or lasts
    if auth.cookies:
        cookies, ends = _cookies(response, now=now)
        if not cookies:
            return Failure(f"{told}, but the answer sets no cookie", "check the login in a browser's network view")
        return Token(cookies, ends if lasts is None else lasts)
    if auth.token_header is not None:
        value: object = response.header(auth.token_header.lower())
        where = f"the header {auth.token_header}"
    else:
        assert auth.token is not None
        value, where = auth.token.find(document(response)), str(auth.token) or "the answer"
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
    if fault := unfit(value):
        kind = said(response.header("content-type")) or "no Content-Type"
        return Failure(f"{told} ({kind}), but {where} {fault}", "check where the answer has its token")
    assert isinstance(value, str)
    return Token(value, lasts)


def logout_request(auth: LoginAuth, base: Request, token: str) -> Request | None:
    """Return the request that logs out, None when there is none."""
    if auth.logout is None:
        return None
    request = msgspec.structs.replace(
        base,
        method=auth.logout_method,
        url=ascii_url(auth.logout.reveal()),
        shown_url=str(auth.logout),
        headers=(("Accept", "*/*"), ("User-Agent", f"headwater/{__version__}")),
        body=None if auth.logout_method == "GET" else b"",
        max_body=_MOST_BODY,
        max_redirects=-1,
    )
    return placed(request, login_place(auth), token)


def _cookies(response: Response, *, now: float) -> tuple[str, float | None]:
    """Return the cookies of an answer as they are sent back, and for how many seconds the first of them to end is good.

    Which of them log in is not known, so all go back; those that are deleted do not.
    """
    pairs: dict[str, str] = {}
    ends: float | None = None
    for name, value in response.headers:
        if name != "set-cookie" or len(pairs) >= _MOST_COOKIES:
            continue
        pair, *attributes = value.split(";")
        cookie, equals, content = pair.strip().partition("=")
        if not equals or not cookie or unfit(f"{cookie}={content}"):
            continue
        age = _age(attributes, now=now)
        if age is not None and age <= 0:
            pairs.pop(cookie, None)
            continue
        pairs[cookie] = content
        if age is not None:
            ends = age if ends is None else min(ends, age)
    joined = "; ".join(f"{name}={value}" for name, value in pairs.items())
    return ("" if len(joined) > LONGEST_TOKEN else joined), ends


def _age(attributes: list[str], *, now: float) -> float | None:
    """Return for how many seconds a cookie is good, None for as long as a session; Max-Age counts over Expires."""
    age: float | None = None
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        key, text = name.strip().lower(), value.strip()
        if key == "max-age":
            return float(text[:12]) if text.isascii() and text.isdigit() else 0.0
        if key == "expires":
            age = retry_after(text, now=now)
    return age
