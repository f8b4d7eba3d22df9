"""Owns TLS towards a cluster: the context and the server name that the settings of a profile mean.

Opens the files that a profile names, and no socket.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from headwater.core.errors import ProfileError
from headwater.core.secret import Text
from headwater.profile.model import Policy, Tls

# Bytes of one file: a thousand certificates.
MOST_BYTES: Final = 2 * 1024 * 1024

_CERTIFICATES = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)


def client_context(tls: Tls) -> ssl.SSLContext | None:
    """Return the context of a client's connections, None when they are plain. TLS 1.2 at least.

    `verified` trusts the profile's authority alone, shows the client's certificate, and checks the server's name: give
    `server_name()` to the handshake. Reads files, so it may block. Raises ProfileError that says which of key, cert and
    ca_cert is wrong.
    """
    if tls.policy is Policy.DISABLED:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.policy is Policy.ANONYMOUS:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    authority = _Part("ca_cert", tls.ca_cert, tls.inline)
    _trust(context, authority, authority.certificates())
    # What Fluvio's clients are given as an authority they trust as it is, also when another one signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _identify(context, _Part("cert", tls.cert, tls.inline), _Part("key", tls.key, tls.inline))
    return context


def server_name(tls: Tls, prefix: str | None = None) -> str | None:
    """Return the name that the handshake asks for and verifies: the domain for the SC, `<prefix>.<domain>` for an SPU.

    `prefix` is the key of the SPU. None where nothing is verified.
    """
    if tls.policy is not Policy.VERIFIED:
        return None
    return tls.domain if prefix is None else f"{prefix}.{tls.domain}"


def inlined(tls: Tls) -> Tls:
    """Return settings that hold what the files of others say, and need them no more. Raises ProfileError as above."""
    key, cert, ca_cert = (
        _Part(field, text, tls.inline)
        for field, text in (("key", tls.key), ("cert", tls.cert), ("ca_cert", tls.ca_cert))
    )
    return Tls.verified(tls.domain, key.key(), cert.certificates(), ca_cert.certificates(), inline=True)


class _Part(msgspec.Struct, frozen=True):
    """One of the three PEM texts of a profile, and what messages call it."""

    field: str
    text: Text
    inline: bool

    def __str__(self) -> str:
        return f"the profile's inline {self.field}" if self.inline else f"the profile's {self.field} {self.text}"

    def read(self) -> str:
        """Return the PEM text. Raises ProfileError when its file cannot be read."""
        if self.inline:
            return self.text.reveal()
        try:
            with Path(self.text.reveal()).open("rb") as file:
                data = file.read(MOST_BYTES)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no path"
            raise ProfileError(
                f"{self} cannot be read: {said}", hint="the profile in Fluvio's file says where it should be"
            ) from error
        return data.decode("ascii", errors="replace").replace("\r\n", "\n")

    def certificates(self) -> str:
        """Return the certificates alone: PEM files may say anything between them. Raises ProfileError."""
        found = _CERTIFICATES.findall(self.read())
        if not found:
            raise ProfileError(f"{self} holds no certificate in PEM form")
        return "\n".join((*found, ""))

    def key(self) -> str:
        """Return the private key alone. Raises ProfileError when there is none, or a passphrase is needed."""
        found = _KEY.search(self.read())
        if found is None:
            raise ProfileError(f"{self} holds no private key in PEM form")
        if "ENCRYPTED" in found[0]:
            # OpenSSL would ask for the passphrase on the terminal, in the middle of whatever runs.
            raise ProfileError(
                f"{self} is encrypted, and a profile has no place for a passphrase",
                hint="take the passphrase off: openssl pkey -in KEY -out NEW",
            )
        return f"{found[0]}\n"


def _trust(context: ssl.SSLContext, part: _Part, certificates: str) -> None:
    try:
        context.load_verify_locations(cadata=certificates)
    except ssl.SSLError as error:
        raise ProfileError(f"{part} holds a damaged certificate: {error.reason}") from error


def _identify(context: ssl.SSLContext, cert: _Part, key: _Part) -> None:
    """Give the client's certificate and its key to the context."""
    chain, secret = cert.certificates(), key.key()
    # Only to learn which of the two is damaged: OpenSSL does not say.
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert, chain)
    try:
        with _in_memory(chain) as chain_path, _in_memory(secret) as key_path:
            context.load_cert_chain(chain_path, key_path)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ProfileError(f"{key} is not the key of {cert}", hint="give the two that belong together") from error
        raise ProfileError(f"{key} holds a damaged private key") from error


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Lend a path to a text: Python's ssl reads keys from files only, and an inline key must never be on a disk."""
    descriptor = os.memfd_create("pem")
    try:
        with os.fdopen(os.dup(descriptor), "w") as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
