"""Owns throw-away certificates for servers of tests: good, expired, for another host."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headwater.core.errors import HeadwaterError


class Certificates:
    """An authority of its own. `bundle` is the file by which a client trusts it, written into `directory`.

    Raises HeadwaterError when the extra `testing` is not installed.
    """

    def __init__(self, directory: Path) -> None:
        try:
            import trustme  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise HeadwaterError(
                "certificates for tests need trustme", hint="pip install 'headwater[testing]'"
            ) from error
        self._authority = trustme.CA()
        self.bundle = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.bundle))
        self._directory = directory

    def context(self, *hosts: str, expired: bool = False, clients: bool = False) -> ssl.SSLContext:
        """Return a server's TLS context for the hosts, 127.0.0.1 and localhost when none are named.

        With `clients` nobody gets in without a certificate of the same authority.
        """
        names = hosts or ("127.0.0.1", "localhost", "::1")
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        certificate = self._authority.issue_cert(*names, not_after=until)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context

    def files(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """Write a certificate for the hosts, and its key; return both files, which are called after `name`.

        Without hosts it is one for this machine.
        """
        made = self._authority.issue_cert(*(hosts or ("127.0.0.1", "localhost", "::1")))
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key

    def client_context(self, name: str | None = None) -> ssl.SSLContext:
        """Return a client's TLS context that trusts the authority; with a `name` it shows a certificate for that."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        if name is not None:
            self._authority.issue_cert(name).configure_cert(context)
        return context
