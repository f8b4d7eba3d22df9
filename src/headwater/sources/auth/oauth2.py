"""Owns token requests of OAuth 2 and what their answers mean (RFC 6749, 7521, 7523). Pure."""

from __future__ import annotations

import base64
from urllib.parse import quote, urlencode

import msgspec

from headwater.config.auth import OAuth2Auth
from headwater.core.http import Request, Response, ascii_url
from headwater.sources.auth.answer import fields, lifetime, passes, said, what
from headwater.sources.auth.token import Failure, Token, unfit
from headwater.version import __version__

_MOST_BODY = 1024 * 1024
_GRANTS = {
    "client-credentials": "client_credentials",
    "refresh-token": "refresh_token",
    "password": "password",
    "jwt-bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
}
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Kinds of tokens that are no bearers: they need a proof with each request (RFC 9449, and an old draft).
_NO_BEARERS = frozenset({"dpop", "pop", "mac"})
# What the errors of RFC 6749, section 5.2, mean to whoever wrote the configuration.
_MEANINGS = {
    "invalid_request": "the endpoint misses a parameter, or does not know one",
    "invalid_client": "the client is unknown, or its secret is wrong",
    "unauthorized_client": "this client may not use this grant",
    "unsupported_grant_type": "the endpoint does not know this grant",
    "invalid_scope": "a scope is unknown, or more than the client may have",
    "access_denied": "the server denies access",
}
_HINTS = {
    "invalid_request": "see what the server's documentation wants; params adds parameters",
    "invalid_client": "check client_id and client_secret, and whether the server wants client_auth: body",
    "unauthorized_client": "allow the grant for the client, or use another one",
    "unsupported_grant_type": "check token_url and grant",
    "invalid_scope": "check scope",
    "access_denied": "check the rights of the client and the user",
}
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_OVER = {
    "client-credentials": ("the server accepts the client no more", "check the client at the server"),
    "refresh-token": (
        "the refresh token is expired or revoked, or was used by somebody else",
        "authorise anew and put the new refresh token into the configuration",
    ),
    "password": ("the user or the password is wrong, or the account is locked", "check username and password"),
    "jwt-bearer": (
        "the assertion is not accepted",
        "check the key, issuer, subject and assertion_audience, and this machine's clock",
    ),
}


def token_request(
    auth: OAuth2Auth,
    base: Request,
    *,
    refresh_token: str | None = None,
    assertion: str | None = None,
    client_assertion: str | None = None,
) -> Request:
    """Return the request for a token. `base` has the time-outs and the transport.

    With a refresh token that is the grant. Of the assertions, the one is what the token is given for, the other is how
    the client shows who it is.
    """
    grant = auth.grant if refresh_token is None else "refresh-token"
    form: list[tuple[str, str]] = [("grant_type", _GRANTS[grant])]
    if grant == "refresh-token":
        form.append(("refresh_token", refresh_token or ""))
    elif grant == "password":
        assert auth.username is not None
        assert auth.password is not None
        form += [("username", auth.username.reveal()), ("password", auth.password.reveal())]
    elif grant == "jwt-bearer":
        form.append(("assertion", assertion or ""))
    if auth.scope:
        form.append(("scope", " ".join(auth.scope)))
    if auth.audience is not None:
        form.append(("audience", auth.audience.reveal()))
    headers: list[tuple[str, str]] = []
    form += _client(auth, headers, client_assertion)
    form += [(name, value.reveal()) for name, value in auth.params]
    given = {name.lower() for name, _ in auth.headers}
    headers += [("Accept", "application/json"), ("Content-Type", "application/x-www-form-urlencoded")]
    headers.append(("User-Agent", f"headwater/{__version__}"))
    sent = [(name, value) for name, value in headers if name.lower() not in given]
    return msgspec.structs.replace(
        base,
        method="POST",
        url=ascii_url(auth.token_url.reveal()),
        shown_url=str(auth.token_url),
        headers=(*sent, *((name, value.reveal()) for name, value in auth.headers)),
        body=urlencode(form).encode(),
        max_body=_MOST_BODY,
        # A redirect is no answer that has a token, and nothing of the request may go elsewhere.
        max_redirects=-1,
    )


def _client(auth: OAuth2Auth, headers: list[tuple[str, str]], assertion: str | None) -> list[tuple[str, str]]:
    """Return the parameters by which the client shows who it is; add the header that it may need."""
    if auth.client_id is None:
        return []
    name = auth.client_id.reveal()
    if auth.client_auth == "private-key-jwt":
        return [("client_id", name), ("client_assertion_type", _ASSERTION_TYPE), ("client_assertion", assertion or "")]
    if auth.client_secret is None:
        return [("client_id", name)]
    secret = auth.client_secret.reveal()
    if auth.client_auth == "body":
        return [("client_id", name), ("client_secret", secret)]
    # Both are form-encoded first (RFC 6749, section 2.3.1), which a colon in one of them needs.
    pair = ":".join(quote(text, safe="") for text in (name, secret))
    headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    return []


def read_answer(
    auth: OAuth2Auth, request: Request, response: Response, *, now: float, refreshed: bool = False
) -> Token | Failure:
    """Return the token of an answer, or why there is none. `now` is Unix time; `refreshed`: for a refresh token."""
    found = fields(response) or {}
    if response.status != 200 or "error" in found or "access_token" not in found:
        grant = "refresh-token" if refreshed else auth.grant
        return _refused(request, response, found, grant, now=now)
    token, kind, refresh = found["access_token"], found.get("token_type"), found.get("refresh_token")
    if fault := unfit(token):
        return Failure(f"{what(request, response)}, but its access_token {fault}", "check token_url")
    if isinstance(kind, str) and kind.lower() in _NO_BEARERS:
        hint = "have the server give bearer tokens to this client"
        return Failure(f"{what(request, response)}, but the token is of type {said(kind)}, not a bearer", hint)
    usual = None if auth.lifetime is None else auth.lifetime.total_seconds()
    lasts = lifetime(found.get("expires_in"), now=now)
    return Token(token, usual if lasts is None else lasts, None if unfit(refresh) else refresh)


def _refused(request: Request, response: Response, found: dict[str, object], grant: str, *, now: float) -> Failure:
    told = what(request, response)
    passing, wait = passes(response, now=now)
    error = said(found.get("error"))
    if not error:
        if 200 <= response.status < 300:
            kind = said(response.header("content-type")) or "no Content-Type"
            return Failure(f"{told}, but the answer has no access_token ({kind})", "check token_url")
        hint = "check token_url" if not passing else "it is asked again; see the server's own state"
        return Failure(told, hint, passing=passing, wait=wait)
    description = said(found.get("error_description"))
    more = f" ({description})" if description else ""
    if error == "invalid_grant":
        meaning, hint = _OVER[grant]
        return Failure(f"{told}, {error}{more}: {meaning}", hint, over=True)
    meaning = _MEANINGS.get(error, "")
    reason = f"{told}, {error}{more}" + (f": {meaning}" if meaning else "")
    return Failure(reason, _HINTS.get(error, ""), passing=passing or error in _PASSING, wait=wait)
