"""Owns the kinds whose credential is the same in every request: put into the request once, or left to libcurl. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec

from headwater.config.auth import (
    ApiKeyAuth,
    AuthOptions,
    BasicAuth,
    BearerAuth,
    DigestAuth,
    NegotiateAuth,
    SigV4Auth,
)
from headwater.core.http import Login, Request
from headwater.sources.auth.token import Place, placed

# Where AWS's own tools look, and what for.
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_SESSION = "AWS_SESSION_TOKEN"
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def renewable(auth: AuthOptions | None) -> bool:
    """Return whether requests carry a token that is got, and got again, at run time."""
    return not (
        auth is None
        or isinstance(auth, BasicAuth | DigestAuth | SigV4Auth | NegotiateAuth)
        or (isinstance(auth, BearerAuth) and auth.token is not None)
        or (isinstance(auth, ApiKeyAuth) and auth.value is not None)
    )


def authorized(request: Request, auth: AuthOptions | None, environment: Mapping[str, str]) -> Request:
    """Return the request with a credential that never changes; of any other kind as it is.

    What the environment should have and has not is empty: see `missing`.
    """
    if auth is None or renewable(auth):
        return request
    if isinstance(auth, BasicAuth):
        return placed(request, Place("header", "Authorization", "Basic"), _pair(auth))
    if isinstance(auth, BearerAuth) and auth.token is not None:
        return placed(request, Place("header", auth.header, auth.prefix), auth.token.reveal())
    if isinstance(auth, ApiKeyAuth) and auth.value is not None:
        return placed(request, Place(auth.in_, auth.name, auth.prefix), auth.value.reveal())
    transport = msgspec.structs.replace(request.transport, login=_login(auth, environment))
    return msgspec.structs.replace(request, transport=transport)


def _login(auth: AuthOptions, environment: Mapping[str, str]) -> Login:
    """Return the login that libcurl carries out."""
    if isinstance(auth, DigestAuth):
        return Login("digest", auth.username.reveal(), "" if auth.password is None else auth.password.reveal())
    if isinstance(auth, NegotiateAuth):
        return Login("negotiate")
    assert isinstance(auth, SigV4Auth)
    if auth.environment:
        user, password = (environment.get(name, "") for name in _KEYS)
        session = environment.get(_SESSION, "")
    else:
        assert auth.access_key is not None
        assert auth.secret_key is not None
        user, password = auth.access_key.reveal(), auth.secret_key.reveal()
        session = "" if auth.session_token is None else auth.session_token.reveal()
    region = auth.region or next((environment[name] for name in _REGIONS if environment.get(name)), "")
    return Login("sigv4", user, password, f"aws:amz:{region}:{auth.service}", session)


def missing(auth: AuthOptions | None, environment: Mapping[str, str]) -> str:
    """Return which variable of the environment is looked for and not there, in a sentence; empty when none is."""
    if not isinstance(auth, SigV4Auth) or not auth.environment:
        return ""
    for name in _KEYS:
        if not environment.get(name):
            return f"environment: true looks for {name}, which is not set"
    if auth.region is None and not any(environment.get(name) for name in _REGIONS):
        return f"environment: true without a region looks for {' or '.join(_REGIONS)}, and neither is set"
    return ""


def found_secrets(auth: AuthOptions | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets that requests carry and the configuration does not name, to be masked."""
    if isinstance(auth, SigV4Auth) and auth.environment:
        return tuple(value for name in (_KEYS[1], _SESSION) if (value := environment.get(name)))
    if isinstance(auth, BasicAuth):
        return (_pair(auth),)
    return ()


def _pair(auth: BasicAuth) -> str:
    password = "" if auth.password is None else auth.password.reveal()
    return base64.b64encode(f"{auth.username.reveal()}:{password}".encode()).decode()
