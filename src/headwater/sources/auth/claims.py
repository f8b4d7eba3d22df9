"""Owns what a JWT says that is signed here: header and claims, of a bearer or of an assertion. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from headwater.config.auth import JwtAuth, OAuth2Auth
from headwater.core.http import Request
from headwater.core.secret import Text
from headwater.core.template import json_template

# Claims that are put in by themselves, unless they are said to be left out with a null.
_BY_THEMSELVES = ("iat", "exp", "jti")
# So much earlier a token is said to be signed: the other side's clock may be behind (seconds).
_BEHIND = 5


def bearer_claims(auth: JwtAuth, *, now: float, nonce: str, request: Request | None = None) -> dict[str, Any]:
    """Return the claims of a token that is sent as it is. `now` is Unix time; `nonce` is another one each time.

    With a `request` they may say something of it. Raises RequestError for what cannot be said.
    """
    named = {"iss": auth.issuer, "sub": auth.subject, "aud": auth.audience}
    given = {name: text.reveal() for name, text in named.items() if text is not None}
    further = revealed(auth.claims) if request is None else _of_request(auth, request)
    return _claims(given | further, now=now, lifetime=auth.lifetime.total_seconds(), nonce=nonce)


def _of_request(auth: JwtAuth, request: Request) -> dict[str, Any]:
    parts = urlsplit(request.url)
    scope = {
        "request": {
            "method": request.method,
            "url": urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
            "host": parts.netloc.rpartition("@")[2],
            "path": parts.path,
        }
    }
    rendered = json_template(auth.claims).render(scope, "json").reveal()
    return msgspec.json.decode(rendered, type=dict[str, Any])


def assertion_claims(auth: OAuth2Auth, *, client: bool, now: float, nonce: str) -> dict[str, Any]:
    """Return the claims of an assertion (RFC 7523): of the client itself, or of the grant.

    Assertions have a `jti` always: servers keep them to refuse one that comes again.
    """
    issuer = auth.client_id if client or auth.issuer is None else auth.issuer
    subject = issuer if client or auth.subject is None else auth.subject
    assert issuer is not None
    assert subject is not None
    audience = auth.token_url if auth.assertion_audience is None else auth.assertion_audience
    given = {"iss": issuer.reveal(), "sub": subject.reveal(), "aud": audience.reveal(), "jti": "auto"}
    lifetime = auth.assertion_lifetime.total_seconds()
    return _claims(given | revealed(auth.claims), now=now, lifetime=lifetime, nonce=nonce)


def key_header(key_id: Text | None) -> dict[str, Any]:
    """Return the header fields beside `alg` and `typ`."""
    return {} if key_id is None else {"kid": key_id.reveal()}


def revealed(value: Any) -> Any:
    """Return JSON values with the real texts in them."""
    if isinstance(value, Text):
        return value.reveal()
    if isinstance(value, dict):
        return {name: revealed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [revealed(inner) for inner in value]
    return value


def _claims(given: dict[str, Any], *, now: float, lifetime: float, nonce: str) -> dict[str, Any]:
    issued = int(now) - _BEHIND
    # Servers bound the time between both: App Store Connect at 20 minutes, Google at an hour.
    claims = {"iat": issued, "exp": issued + int(lifetime), **given}
    if claims.get("jti") == "auto":
        claims["jti"] = nonce
    return {name: value for name, value in claims.items() if value is not None or name not in _BY_THEMSELVES}
