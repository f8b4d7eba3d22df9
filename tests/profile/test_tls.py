"""TLS towards a cluster: real certificates, real handshakes on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from headwater.core.errors import ProfileError
from headwater.profile.model import Policy, Tls
from headwater.profile.tls import client_context, inlined, server_name

DOMAIN = "fluvio.test"


class Cluster:
    """The certificates of a cluster and of its client, as texts and as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert(DOMAIN, f"*.{DOMAIN}")
        client = self.authority.issue_cert(common_name="me")
        self.ca_cert = self.authority.cert_pem.bytes().decode()
        self.cert = client.cert_chain_pems[0].bytes().decode()
        self.key = client.private_key_pem.bytes().decode()

    def file(self, name: str, text: str | bytes) -> str:
        """Return the path of a file with a text."""
        path = self.directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def tls(
        self,
        *,
        inline: bool,
        key: str | None = None,
        cert: str | None = None,
        ca_cert: str | None = None,
        domain: str = DOMAIN,
    ) -> Tls:
        """Return the settings of a profile, some of them other than they should be."""
        texts = [key or self.key, cert or self.cert, ca_cert or self.ca_cert]
        if not inline:
            names = ("key.pem", "cert.pem", "ca.pem")
            texts = [self.file(name, text) for name, text in zip(names, texts, strict=True)]
        return Tls.verified(domain, *texts, inline=inline)

    def server_context(self) -> ssl.SSLContext:
        """Return the cluster's side, which wants to know its client."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return a cluster's certificates."""
    return Cluster(tmp_path)


@asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve who the client is and which server it asked for; yield the port."""
    asked: list[str | None] = []

    def remember(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        asked.append(name)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert") or {}
        names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
        version = writer.get_extra_info("ssl_object").version()
        writer.write(f"{''.join(names) or 'nobody'} {asked[-1]} {version}\n".encode())
        writer.close()

    context.sni_callback = remember
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(port: int, tls: Tls, prefix: str | None = None) -> str:
    """Return what a server says to a client with these settings."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_context(tls), server_hostname=server_name(tls, prefix)
    )
    try:
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


@pytest.mark.parametrize("inline", [True, False])
async def test_mutual_tls(cluster: Cluster, inline: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The client shows its certificate; SC and SPU are asked for by their own names."""
    tls = cluster.tls(inline=inline)
    async with listening(cluster.server_context()) as port:
        assert await said(port, tls) == f"me {DOMAIN} TLSv1.3"
        assert await said(port, tls, "spu-5001") == f"me spu-5001.{DOMAIN} TLSv1.3"


async def test_a_server_of_another_name(cluster: Cluster) -> None:
    """A certificate that is not for the domain ends the handshake."""
    async with listening(cluster.server_context()) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await said(port, cluster.tls(inline=True, domain="other.test"))


async def test_a_server_of_another_authority(cluster: Cluster, tmp_path: Path) -> None:
    """Nobody else's certificates are trusted."""
    (tmp_path / "other").mkdir()
    async with listening(Cluster(tmp_path / "other").server_context()) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
            await said(port, cluster.tls(inline=True))


async def test_an_authority_that_another_one_signed(cluster: Cluster) -> None:
    """What the profile gives as its authority is trusted without the one above it."""
    between = cluster.authority.create_child_ca()
    cluster.server = between.issue_cert(DOMAIN)
    tls = cluster.tls(inline=True, ca_cert=between.cert_pem.bytes().decode())
    async with listening(cluster.server_context()) as port:
        assert await said(port, tls) == f"me {DOMAIN} TLSv1.3"


async def test_anonymous(cluster: Cluster) -> None:
    """The connection is encrypted; neither side is known to the other."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cluster.server.configure_cert(context)
    tls = Tls(Policy.ANONYMOUS)
    async with listening(context) as port:
        assert await said(port, tls) == "nobody None TLSv1.3"


async def test_an_old_protocol_is_refused(cluster: Cluster) -> None:
    """Below TLS 1.2 there is no connection."""
    context = cluster.server_context()
    context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_2
    async with listening(context) as port:
        assert await said(port, cluster.tls(inline=True)) == f"me {DOMAIN} TLSv1.2"
    for tls in (cluster.tls(inline=True), Tls(Policy.ANONYMOUS)):
        made = client_context(tls)
        assert made is not None
        assert made.minimum_version is ssl.TLSVersion.TLSv1_2


def test_plain() -> None:
    """Without TLS there is no context, and no name to ask for."""
    assert client_context(Tls()) is None
    assert server_name(Tls()) is None
    assert server_name(Tls(Policy.ANONYMOUS), "main") is None


def test_an_inline_key_leaves_nothing_behind(cluster: Cluster, tmp_path: Path) -> None:
    """No file is made, no descriptor stays open."""
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    assert client_context(cluster.tls(inline=True)) is not None
    assert len(list(descriptors.iterdir())) == before
    assert list(tmp_path.iterdir()) == []


def test_pem_files_with_other_things_in_them(cluster: Cluster) -> None:
    """Text around the certificates, and key and certificate in one file, are no harm."""
    both = f"Bag Attributes: Jürgen\n{cluster.cert}\n{cluster.key}"
    assert client_context(cluster.tls(inline=False, key=both, cert=both)) is not None
    assert client_context(cluster.tls(inline=True, key=both, cert=both)) is not None


def test_files_become_texts(cluster: Cluster) -> None:
    """What is kept is the certificates and the key, and nothing else that the files say."""
    both = f"Bag Attributes: Jürgen\r\n{cluster.cert}{cluster.key}".replace("\n", "\r\n").replace("\r\r", "\r")
    tls = inlined(cluster.tls(inline=False, key=both, cert=both))
    assert tls == cluster.tls(inline=True)
    assert cluster.key.splitlines()[1] not in repr(tls)


def refused(tls: Tls) -> str:
    """Return what settings that cannot be used say."""
    with pytest.raises(ProfileError) as caught:
        client_context(tls)
    assert caught.value.exit_code == 3
    return caught.value.report()


@pytest.mark.parametrize("name", ["key", "cert", "ca"])
def test_a_missing_file(cluster: Cluster, name: str) -> None:
    """Which one it is is said."""
    tls = cluster.tls(inline=False)
    path = cluster.directory / f"{name}.pem"
    path.unlink()
    field = {"ca": "ca_cert"}.get(name, name)
    assert refused(tls) == (
        f"headwater: the profile's {field} {path} cannot be read: No such file or directory\n"
        "  hint: the profile in Fluvio's file says where it should be"
    )


def test_what_is_no_path(cluster: Cluster) -> None:
    """A path that no file can have is told like a missing file."""
    assert refused(Tls.verified(DOMAIN, "k", "c", "\0", inline=False)).startswith(
        "headwater: the profile's ca_cert \0 cannot be read: it is no path\n"
    )


def damaged(pem: str) -> str:
    """Return a PEM text whose inside is cut."""
    head, *body, foot = pem.strip().splitlines()
    return "\n".join((head, *body[: len(body) // 2], foot, ""))


@pytest.mark.parametrize("field", ["key", "cert", "ca_cert"])
def test_what_is_not_pem(cluster: Cluster, field: str) -> None:
    """Each part is named, inline or by its path; a damaged one is told from a missing one."""
    what = "private key" if field == "key" else "certificate"
    name = {"key": "key.pem", "cert": "cert.pem", "ca_cert": "ca.pem"}[field]
    path = cluster.directory / name
    right = getattr(cluster, field)
    assert refused(cluster.tls(inline=True, **{field: "x"})) == (
        f"headwater: the profile's inline {field} holds no {what} in PEM form"
    )
    assert refused(cluster.tls(inline=False, **{field: "x"})) == (
        f"headwater: the profile's {field} {path} holds no {what} in PEM form"
    )
    said = refused(cluster.tls(inline=True, **{field: damaged(right)}))
    assert said.startswith(f"headwater: the profile's inline {field} holds a damaged {what}")
    assert right.splitlines()[1] not in said


def test_a_key_of_another_certificate(cluster: Cluster) -> None:
    """What does not belong together is said, with both names."""
    other = trustme.CA().issue_cert("x").private_key_pem.bytes().decode()
    assert refused(cluster.tls(inline=True, key=other)) == (
        "headwater: the profile's inline key is not the key of the profile's inline cert\n"
        "  hint: give the two that belong together"
    )


def test_an_encrypted_key(cluster: Cluster) -> None:
    """Nobody is asked for a passphrase, in either form of such keys."""
    key = load_pem_private_key(cluster.key.encode(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        text = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x")).decode()
        assert refused(cluster.tls(inline=True, key=text)) == (
            "headwater: the profile's inline key is encrypted, and a profile has no place for a passphrase\n"
            "  hint: take the passphrase off: openssl pkey -in KEY -out NEW"
        )


def test_both_forms_of_keys(cluster: Cluster) -> None:
    """PKCS #8 and the older form, which Fluvio's own documentation shows."""
    key = load_pem_private_key(cluster.key.encode(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        text = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
        assert client_context(cluster.tls(inline=True, key=text)) is not None
