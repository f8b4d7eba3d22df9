"""Owns refresh tokens that replace each other: what is kept of them, sealed, and which is to be used. Pure.

Whoever reads the place where they are kept, but not the configuration, can do nothing with them: they are encrypted
with a key that is made from the first of them, which only the configuration has.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import msgspec

from headwater.config.auth import OAuth2Auth

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_KEY = b"headwater kept token"
_NAME = b"headwater credential"
PREFIX = "@credential/"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a credential: the newest refresh token, sealed; how many came before it; and since when (ms)."""

    sealed: str
    rotations: int = 0
    since: int = 0


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Kept)


def chain_name(auth: OAuth2Auth) -> str:
    """Return the name under which the refresh tokens of a configuration are kept.

    Another first token is another chain, and so is another client or endpoint. It says nothing of what it is made from:
    refresh tokens cannot be guessed (RFC 6749, section 10.10).
    """
    assert auth.refresh_token is not None
    client = "" if auth.client_id is None else auth.client_id.reveal()
    told = hashlib.blake2b(digest_size=16, key=_NAME)
    for part in (auth.token_url.reveal(), client, auth.refresh_token.reveal()):
        told.update(part.encode() + b"\0")
    return PREFIX + told.hexdigest()


def seal(auth: OAuth2Auth, token: str, *, rotations: int, since: int) -> bytes:
    """Return what is kept of a refresh token."""
    return _ENCODER.encode(Kept(_cipher(auth).encrypt(token.encode()).decode(), rotations, since))


def unseal(auth: OAuth2Auth, data: bytes) -> tuple[str, int]:
    """Return the refresh token that was kept, and how many came before it. Raises ValueError for what is none."""
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 - only refresh tokens pay for it

    try:
        kept = _DECODER.decode(data)
        return _cipher(auth).decrypt(kept.sealed).decode(), kept.rotations
    except (msgspec.DecodeError, InvalidToken, UnicodeDecodeError) as error:
        raise ValueError(f"what is kept of the refresh token cannot be read: {type(error).__name__}") from None


def _cipher(auth: OAuth2Auth) -> Fernet:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - only refresh tokens pay for it

    assert auth.refresh_token is not None
    key = hashlib.blake2b(auth.refresh_token.reveal().encode(), digest_size=32, key=_KEY).digest()
    return Fernet(base64.urlsafe_b64encode(key))
