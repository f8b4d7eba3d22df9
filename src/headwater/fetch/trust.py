"""Owns which certificate authorities are trusted: the environment's choice, the system's, else certifi's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import certifi

# Debian, Red Hat, SUSE, Alpine, BSD; the pycurl wheel carries no path that exists everywhere.
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def ca_bundle(environment: Mapping[str, str] = os.environ, exists: Callable[[str], bool] = os.path.isfile) -> str:
    """Return the file of trusted authorities: $SSL_CERT_FILE, $CURL_CA_BUNDLE, a usual place, else certifi's own."""
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        # A file that is named but missing must fail loudly in the handshake, not be replaced in silence.
        if environment.get(name):
            return environment[name]
    for path in _SYSTEM:
        if exists(path):
            return path
    return certifi.where()
