"""Owns which connectors keep limits together: those of a host, of a credential, of a name.

Keeping them is the engine's.
What stands for a credential never shows what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel

from headwater.core.secret import Text

# These headers carry a credential whatever their value looks like.
CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"})
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Sharing(msgspec.Struct, frozen=True):
    """Who keeps limits together: a kind, and what tells one such group from another.

    `key` of a credential is its slow hash, for lists of keys are seen by more people than credentials.
    """

    kind: Literal["host", "credential", "connector", "name"]
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


def host_of(url: str) -> str:
    """Return host and port of a URL, as a key; what stands before them is left out."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return ""
    host = parts.hostname or ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def credential_of(options: Any) -> bytes | None:
    """Return the digest of all that says who asks, in options of `http:`; None when nothing does.

    It is for this process only: whoever sees it could try what is behind it.
    """
    digest = hashlib.blake2b(digest_size=16)
    found = False
    for text in _credentials(options):
        found = True
        digest.update(text.encode(errors="surrogatepass") + b"\0")
    return digest.digest() if found else None


def _credentials(options: Any) -> Iterator[str]:
    for name, value in options.headers:
        if value.secret or name.lower() in CREDENTIAL_HEADERS:
            yield f"{name.lower()}: {value.reveal()}"
    for name, value in options.params:
        if value.secret:
            yield f"{name}={value.reveal()}"
    if options.endpoint.secret:
        # It may be in the path, which differs between connectors all the same.
        yield from options.endpoint.parts
    yield from _texts(getattr(options, "auth", None))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a group of options, secrets included."""
    if isinstance(value, Text):
        yield value.reveal()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield name
            yield from _texts(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


@lru_cache(maxsize=1024)
def slow_key(credential: bytes) -> str:
    """Return the key of a credential that may be seen. Takes tens of milliseconds the first time."""
    return hashlib.scrypt(credential, salt=b"headwater limits", n=2**14, r=8, p=1, dklen=8).hex()
