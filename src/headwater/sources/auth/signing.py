"""Owns signatures of JWTs in the compact form (RFC 7515): reading a key, checking that it fits, signing. Pure.

Signing is little more than naming a hash; a library for JWTs would mostly add the verification that is not done here.
`cryptography` is imported only where something is signed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

# Bytes of r and s, and the curve, of each algorithm with elliptic curves (RFC 7518, section 3.4).
_CURVES = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}
_EDWARDS = {"EdDSA": "Ed25519 or Ed448", "Ed25519": "Ed25519"}
_SMALLEST_RSA = 2048
_SHORTEST_SECRET = 16

Sign = Callable[[bytes], bytes]


def load_key(algorithm: str, data: bytes, *, password: bytes | None = None, encoded: bool = False) -> Sign:
    """Return what signs with a key: a shared secret for HS, `encoded` in base64; a private key in PEM for the others.

    Raises ValueError, with a sentence that shows nothing of the key.
    """
    if algorithm.startswith("HS"):
        return _hmac(algorithm, _secret(data, encoded=encoded))
    return _asymmetric(algorithm, _private(data, password))


def jwt(header: Mapping[str, Any], claims: Mapping[str, Any], algorithm: str, sign: Sign) -> str:
    """Return a signed JWT. Header and claims are JSON values."""
    head = _text(msgspec.json.encode({"alg": algorithm, "typ": "JWT", **header}))
    signed = f"{head}.{_text(msgspec.json.encode(claims))}"
    return f"{signed}.{_text(sign(signed.encode('ascii')))}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _secret(data: bytes, *, encoded: bool) -> bytes:
    if encoded:
        plain = b"".join(data.split()).replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        try:
            data = base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
        except binascii.Error:
            raise ValueError("the key is not base64") from None
    if len(data) < _SHORTEST_SECRET:
        raise ValueError(f"the key has {len(data)} bytes; a shared secret has at least {_SHORTEST_SECRET} (RFC 7518)")
    return data


def _hmac(algorithm: str, key: bytes) -> Sign:
    name = f"sha{algorithm[2:]}"
    return lambda message: hmac.digest(key, message, name)


def _private(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only signatures pay for it
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    try:
        return load_pem_private_key(data, password)
    except TypeError:
        said = "is encrypted: give key_password" if password is None else "is not encrypted: leave key_password out"
        raise ValueError(f"the key {said}") from None
    except (ValueError, UnsupportedAlgorithm):
        if b"PUBLIC KEY-----" in data or b"CERTIFICATE-----" in data:
            raise ValueError("that is a public key or a certificate; signing needs the private key") from None
        why = "" if password is None else ", or key_password is wrong"
        raise ValueError(f"the key is no private key in PEM that can be read{why}") from None


def _asymmetric(algorithm: str, key: PrivateKeyTypes) -> Sign:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - only signatures pay for it
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils  # noqa: PLC0415

    if algorithm in _EDWARDS:
        # The older name means both curves, RFC 9864's each its own.
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign
        if algorithm == "EdDSA" and isinstance(key, ed448.Ed448PrivateKey):
            return key.sign
        raise ValueError(f"{algorithm} needs a key of {_EDWARDS[algorithm]}")
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[2:]]
    if algorithm in _CURVES:
        curve, size = _CURVES[algorithm]
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve:
            raise ValueError(f"{algorithm} needs a key on the curve {curve} (RFC 7518)")
        private = key

        def sign(message: bytes) -> bytes:
            r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")

        return sign
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{algorithm} needs an RSA key")
    if key.key_size < _SMALLEST_RSA:
        raise ValueError(f"the RSA key has {key.key_size} bits; {algorithm} needs {_SMALLEST_RSA} at least (RFC 7518)")
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return lambda message: key.sign(message, scheme, digest)
