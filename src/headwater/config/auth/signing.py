"""Owns what tokens that are signed here are made of: names of algorithms, and which key fits which. Signs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from headwater.config.auth.parts import one_of
from headwater.config.fields import as_text, without_expressions
from headwater.core.secret import STAND_IN, Text
from headwater.core.template import Template

Check: TypeAlias = Callable[[Text], Text]
Algorithm = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
]
# A key for HS256 and its kin is to be as long as the hash (RFC 7518, section 3.2); shorter ones are guessed in minutes.
_SHORTEST_SECRET = 16


def claims(value: object) -> dict[str, Any]:
    """Read a map of claims: JSON values, whose texts may hold secrets."""
    return _map(value, without_expressions)


def claims_of_requests(value: object) -> dict[str, Any]:
    """Read a map of claims whose texts may also say something of the request that they are sent with."""
    return _map(value, _about_request)


def _map(value: object, check: Check) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("expected a map of claims")
    return {str(name): _claim(given, check) for name, given in value.items()}


def _claim(value: object, check: Check) -> Any:
    if isinstance(value, dict):
        return _map(value, check)
    if isinstance(value, list | tuple):
        return [_claim(item, check) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return check(as_text(value))


def _about_request(text: Text) -> Text:
    if text.spans:
        for expression in Template.parse(text).expressions:
            if expression.space != "request":
                raise ValueError(f"${{{{ {expression.source} }}}} cannot stand here; claims know the request alone")
    return text


def check_key(group: Any, algorithm: str) -> None:
    """Raise ValueError unless there is exactly one key, and its form fits the algorithm."""
    one_of(group, "key", "key_file")
    key: Text | None = group.key
    if key is None or key.reveal().startswith(STAND_IN):
        return
    pem = "-----BEGIN" in key.reveal()
    if algorithm.startswith("HS"):
        if pem:
            raise ValueError(f"{algorithm} signs with a shared secret, and the key is a PEM; write algorithm: RS256")
        if len(key.reveal().encode()) < _SHORTEST_SECRET:
            raise ValueError(f"a key for {algorithm} has at least {_SHORTEST_SECRET} bytes (RFC 7518)")
    elif not pem:
        raise ValueError(f"the key for {algorithm} is a private key in PEM, with its BEGIN and END lines")
