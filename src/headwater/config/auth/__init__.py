"""Owns the group `auth:`: how requests show who sends them, one kind of it for each way. Sends and signs nothing.

The word of `type:` tells the kinds apart. Client certificates are of `tls:`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from headwater.config.auth.basic import BasicAuth, DigestAuth
from headwater.config.auth.jwt import JwtAuth
from headwater.config.auth.login import LoginAuth
from headwater.config.auth.negotiate import NegotiateAuth
from headwater.config.auth.oauth2 import OAuth2Auth
from headwater.config.auth.sigv4 import SigV4Auth
from headwater.config.auth.token import ApiKeyAuth, BearerAuth

AuthOptions: TypeAlias = (
    BasicAuth | DigestAuth | BearerAuth | ApiKeyAuth | OAuth2Auth | JwtAuth | SigV4Auth | NegotiateAuth | LoginAuth
)
Auth = Annotated[AuthOptions, Field(discriminator="type")]
# Options that are paths.
_FILES = frozenset({"token_file", "value_file", "key_file", "assertion_file", "config_file", "keytab"})


def reads_this_machine(auth: AuthOptions | None) -> str:
    """Return which option has a file or the environment of this machine read, empty when none has.

    What comes over the network must not: it would have the machine's own secrets sent wherever it says.
    """
    if auth is None:
        return ""
    if isinstance(auth, NegotiateAuth):
        return "type: negotiate"
    if isinstance(auth, SigV4Auth) and auth.environment:
        return "environment"
    return next((name for name in type(auth).model_fields if name in _FILES and getattr(auth, name) is not None), "")


def located(auth: AuthOptions | None, directory: Path) -> AuthOptions | None:
    """Return a group with the paths of files as they are from a directory: that of the file that it stands in."""
    if auth is None:
        return None
    found = {name: path for name in type(auth).model_fields if name in _FILES and (path := getattr(auth, name))}
    return auth.model_copy(update={name: str(directory / Path(path).expanduser()) for name, path in found.items()})


def header_of(auth: AuthOptions | None) -> str:
    """Return the header that a group fills, in lower case; empty when it fills none that is known here."""
    if isinstance(auth, BearerAuth | JwtAuth | OAuth2Auth):
        return auth.header.lower()
    if isinstance(auth, LoginAuth) and auth.cookies:
        return "cookie"
    if isinstance(auth, ApiKeyAuth | LoginAuth):
        return {"header": auth.name.lower(), "cookie": "cookie"}.get(auth.in_, "")
    return "authorization" if isinstance(auth, BasicAuth | DigestAuth | SigV4Auth | NegotiateAuth) else ""


__all__ = [
    "ApiKeyAuth",
    "Auth",
    "AuthOptions",
    "BasicAuth",
    "BearerAuth",
    "DigestAuth",
    "JwtAuth",
    "LoginAuth",
    "NegotiateAuth",
    "OAuth2Auth",
    "SigV4Auth",
    "header_of",
    "located",
    "reads_this_machine",
]
