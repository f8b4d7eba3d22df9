"""Owns how requests travel, as a configuration says it: proxies, versions, sockets, files of certificates.

What is declared here are the types and the checks; the fields stand in `http`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

from pydantic import BeforeValidator, WithJsonSchema

from headwater.config.fields import as_text, paths_in, plain_text
from headwater.core.egress import refused_socket
from headwater.core.http import USUAL, HttpVersion, Transport
from headwater.core.proxy import check_proxy, shown_proxy
from headwater.core.secret import Text

if TYPE_CHECKING:
    from headwater.config.http import HttpOptions
    from headwater.config.model import ConnectorConfig
    from headwater.config.tls import TlsOptions

NO_PROXY = "none"
_KNOWN = {"1": "1.1", "2.0": "2", "3.0": "3"}


def _version(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return _KNOWN.get(value, value) if isinstance(value, str) else value


def _proxy(value: object) -> Text:
    text = as_text(value)
    url = text.reveal().strip()
    if url.lower() == NO_PROXY:
        return Text(NO_PROXY)
    password = check_proxy(url)
    parts = (*text.parts, password, unquote(password)) if password else text.parts
    return Text(url, shown_proxy(str(text).strip()), parts)


Version = Annotated[HttpVersion, BeforeValidator(_version), WithJsonSchema({"type": ["string", "number"]})]
Proxy = Annotated[Text, BeforeValidator(_proxy), WithJsonSchema({"type": "string"})]


def check(options: HttpOptions) -> None:
    """Raise ValueError for options that do not go together."""
    proxied = options.proxy is not None and options.proxy.reveal() != NO_PROXY
    if options.unix_socket is not None and proxied:
        raise ValueError("name either unix_socket or proxy: over a unix socket there is none")
    if options.http_version in {"3", "3-only"}:
        if options.endpoint.reveal().lower().startswith("http:"):
            raise ValueError("HTTP/3 is spoken over https:// alone; this endpoint begins with http://")
        if options.http_version == "3-only" and (proxied or options.unix_socket is not None):
            raise ValueError("`http_version: 3-only` goes through no proxy and no unix socket; write 3 to fall back")
    if options.http_version == "2-prior-knowledge" and options.endpoint.reveal().lower().startswith("https:"):
        raise ValueError("`2-prior-knowledge` is for http://; over https:// write 2, which is agreed in the handshake")
    if options.unix_socket is not None and options.egress is not None:
        refusal = refused_socket(options.egress.made(), options.unix_socket)
        if refusal is not None:
            raise ValueError(f"the egress policy refuses the unix socket; {refusal.remedy}")


def transport_of(config: ConnectorConfig) -> Transport:
    """Return how the requests of a connector travel; the usual way is always the same value."""
    options, tls = config.http, config.http.tls
    base = Path(config.place.file).parent

    def path(given: str | None) -> str:
        return "" if given is None else str(base / Path(given).expanduser())

    proxy = None if options.proxy is None else options.proxy.reveal()
    made = Transport(
        http_version=options.http_version,
        proxy="" if proxy == NO_PROXY else proxy,
        no_proxy=options.no_proxy,
        unix_socket=path(options.unix_socket),
        ca_file=path(tls.ca_file),
        cert_file=path(tls.cert_file),
        key_file=path(tls.key_file),
        key_password="" if tls.key_password is None else tls.key_password.reveal(),
        min_version=tls.min_version,
        verify=tls.verify,
        server_name=tls.server_name or "",
        cookies=config.name if options.cookies else "",
        egress=None if options.egress is None else options.egress.made(),
    )
    return USUAL if made == USUAL else made


def doubts(config: ConnectorConfig) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield what is worth a warning: where, what, and what would be better."""
    if not config.http.tls.verify:
        yield (
            ("http", "tls", "verify"),
            "the server's certificate is not checked: whoever is on the way can read and change everything",
            "name its authority in `ca_file`",
        )
    if config.http.tls.min_version in {"1.0", "1.1"}:
        yield (
            ("http", "tls", "min_version"),
            f"TLS {config.http.tls.min_version} is broken: whoever is on the way may read and change what it carries",
            "write 1.2 as soon as the server can",
        )


def local_paths(config: ConnectorConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a configuration names on the machine that it runs on: where, and the path as it is written."""
    return paths_in(config.http, ("http",))


def wrong_files(config: ConnectorConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the files of a configuration, on this machine: where, and what."""
    tls, transport = config.http.tls, transport_of(config)
    files = {"ca_file": transport.ca_file, "cert_file": transport.cert_file, "key_file": transport.key_file}
    readable = True
    for name, file in files.items():
        if file and (trouble := _unreadable(file)):
            readable = False
            yield ("http", "tls", name), trouble
    if readable:
        yield from _wrong_certificates(transport, tls)


def _unreadable(file: str) -> str:
    try:
        with open(file, "rb"):  # noqa: PTH123 - it is only looked at
            return ""
    except OSError as error:
        return f"{file} cannot be read: {(error.strerror or str(error)).lower()}"


def _wrong_certificates(transport: Transport, tls: TlsOptions) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what OpenSSL does not like about files that can be read."""
    import ssl  # noqa: PLC0415 - few configurations have certificates

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if transport.ca_file:
        try:
            context.load_verify_locations(transport.ca_file)
        except (ssl.SSLError, OSError):
            yield ("http", "tls", "ca_file"), f"{transport.ca_file} holds no certificate in the form of PEM"
    if not transport.cert_file or transport.cert_file.lower().endswith((".p12", ".pfx")):
        return
    try:
        # Without a function for the password OpenSSL would ask for it on the terminal.
        context.load_cert_chain(transport.cert_file, transport.key_file or None, lambda: transport.key_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        yield _wrong_pair(transport, tls, str(error))


def _wrong_pair(transport: Transport, tls: TlsOptions, said: str) -> tuple[tuple[str, ...], str]:
    key = transport.key_file or transport.cert_file
    name = "key_file" if transport.key_file else "cert_file"
    if "KEY_VALUES_MISMATCH" in said or "key values mismatch" in said:
        return ("http", "tls", name), f"the key in {key} is not the one of the certificate in {transport.cert_file}"
    try:
        certificate = Path(transport.cert_file).read_bytes()
        keys = Path(key).read_bytes()
    except OSError as error:
        return ("http", "tls", name), str(error)
    if b"-----BEGIN CERTIFICATE" not in certificate:
        return ("http", "tls", "cert_file"), f"{transport.cert_file} holds no certificate in the form of PEM"
    if b"PRIVATE KEY-----" not in keys:
        more = "" if transport.key_file else "; name its file in `key_file`"
        return ("http", "tls", name), f"{key} holds no private key in the form of PEM{more}"
    if b"ENCRYPTED" in keys:
        if tls.key_password is None:
            return ("http", "tls", name), f"the key in {key} is encrypted; its password goes into `key_password`"
        return ("http", "tls", "key_password"), f"it is not the password of the key in {key}"
    return ("http", "tls", name), f"{transport.cert_file} and {key} cannot be used: {said}"
