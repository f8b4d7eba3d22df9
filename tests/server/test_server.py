"""The server's ports: which ones it takes, what clients are told to dial, TLS with or without clients' certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from headwater.core.errors import ServerError
from headwater.log import Log
from headwater.server import server as under_test
from headwater.server.server import Listen, Server, server_context
from server.clients import NEWEST, PYTHON, Stock
from server.peer import GoneError, Peer, Serving, fill, packed, serving
from stock.client import StockError

# The client asks the SPU for its certificate under the name of the SPU before that of the cluster.
DOMAIN = "headwater.example"
NAMES = (DOMAIN, f"spu-5001.{DOMAIN}", "127.0.0.1")
# Those with FluvioConfig, and so with TLS.
TLS = tuple(version for version in PYTHON if version != "0.16.0")


@dataclass(frozen=True, slots=True)
class Identity:
    """Certificates of an authority, as files: the server's own, a client's, and that of another authority's client."""

    directory: Path
    authority: trustme.CA

    def context(self, *, mutual: bool = True, names: tuple[str, ...] = NAMES) -> ssl.SSLContext:
        """Return the TLS of a server, which asks clients for certificates when it is mutual."""
        self.authority.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        self.write("server", *names)
        ours = [self.directory / name for name in ("server.pem", "server.key", "ca.pem")]
        return server_context(ours[0], ours[1], ours[2] if mutual else None)

    def write(self, name: str, *names: str, authority: trustme.CA | None = None) -> None:
        """Write a certificate with its key."""
        made = (authority or self.authority).issue_cert(*names)
        (self.directory / f"{name}.pem").write_bytes(b"".join(it.bytes() for it in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(self.directory / f"{name}.key"))

    def client(self, kind: str, name: str = "client") -> dict[str, str]:
        """Return how a stock client is told to speak TLS, by files or by their content."""
        files = {"key": f"{name}.key", "cert": f"{name}.pem", "ca_cert": "ca.pem"}
        paths = {option: self.directory / file for option, file in files.items()}
        said = {option: path.read_text() if kind == "inline" else str(path) for option, path in paths.items()}
        return {"kind": kind, "domain": DOMAIN, **said}

    def peer(self, *, certificate: bool = True) -> ssl.SSLContext:
        """Return the TLS of a client of ours."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        if certificate:
            context.load_cert_chain(self.directory / "client.pem", self.directory / "client.key")
        return context


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def identity(tmp_path: Path, authority: trustme.CA) -> Identity:
    made = Identity(tmp_path, authority)
    made.write("client", "client.example")
    made.write("stranger", "client.example", authority=trustme.CA())
    return made


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port that somebody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


async def test_usual_ports_that_are_taken(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fluvio's own ports are taken when they are free; any others when they are not."""
    monkeypatch.setattr(under_test, "SPU_PORT", taken)
    async with serving(tmp_path, sc_port=0, spu_port=None) as it:
        assert it.server.spu_port not in {0, taken}
        (spu,) = await (await it.sc()).listed("SPU")
        assert spu.spec.public.port == it.server.spu_port
        free = it.server.spu_port
    monkeypatch.setattr(under_test, "SPU_PORT", free)
    async with serving(tmp_path, sc_port=0, spu_port=None) as it:
        assert it.server.spu_port == free


@pytest.mark.parametrize("which", ["sc_port", "spu_port"])
async def test_a_port_that_must_be_and_is_taken(tmp_path: Path, taken: int, which: str) -> None:
    """A port that is asked for and taken is an error that says which, and what to do; nothing is left listening."""
    ports = {"sc_port": 0, "spu_port": 0, which: taken}
    async with Log.open(tmp_path) as log:
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{taken}: .*in use") as caught:
            async with Server(log, Listen(sc_port=ports["sc_port"], spu_port=ports["spu_port"])):
                pass
        assert "--sc-port" in caught.value.hint
        async with Server(log, Listen(sc_port=0, spu_port=0)):
            pass


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
async def test_addresses_that_are_not_ours(tmp_path: Path, host: str) -> None:
    """An address that this machine does not have is an error that names it."""
    async with Log.open(tmp_path) as log:
        with pytest.raises(ServerError, match=f"cannot listen on {host}:") as caught:
            async with Server(log, Listen(host)):
                pass
        assert caught.value.hint == "check --listen"


@pytest.mark.parametrize(
    ("listen", "endpoint", "host", "port"),
    [
        ({}, "127.0.0.1:{sc}", "127.0.0.1", None),
        ({"advertise": "cats.example"}, "cats.example:{sc}", "cats.example", None),
        ({"advertise": "cats.example", "advertise_port": 4711}, "cats.example:{sc}", "cats.example", 4711),
        ({"host": "::1"}, "[::1]:{sc}", "::1", None),
        ({"host": "0.0.0.0"}, "127.0.0.1:{sc}", "127.0.0.1", None),
        ({"host": "0.0.0.0", "advertise": "cats.example"}, "cats.example:{sc}", "cats.example", None),
    ],
)
async def test_what_clients_are_told_to_dial(
    tmp_path: Path, listen: dict[str, Any], endpoint: str, host: str, port: int | None
) -> None:
    """Clients are told an address that they can dial: the advertised one, or that by which they came."""
    async with serving(tmp_path, **listen) as it:
        assert it.server.endpoint == endpoint.format(sc=it.server.sc_port)
        async with await Peer.connect(it.server.sc_port, "::1" if host == "::1" else "127.0.0.1") as peer:
            (spu,) = await peer.listed("SPU")
            assert (spu.spec.public.host, spu.spec.public.port) == (host, port or it.server.spu_port)
            assert spu.spec.public_local is not None


def test_who_may_connect() -> None:
    """Only loopback addresses are out of others' reach."""
    assert [Listen(host).exposed for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2")] == [False] * 4
    assert [Listen(host).exposed for host in ("0.0.0.0", "::", "192.0.2.1", "")] == [True] * 4


@pytest.mark.parametrize(
    ("version", "kind"), [*((version, "files") for version in TLS), *((version, "inline") for version in NEWEST)]
)
async def test_clients_with_certificates(stock: Stock, tmp_path: Path, identity: Identity, kind: str) -> None:
    """Stock clients with a certificate do everything over TLS, on both ports."""
    async with serving(tmp_path / "data", "cats", tls=identity.context()) as it:
        await stock.to(it.server, tls=identity.client(kind))
        await stock.ask("create_topic", name="dogs")
        await stock.ask("produce", topic="cats", records=[["k", "v" * 100_000], ["", "w"]], method="send_all")
        await fill(it.log, "cats", [b"x" * 300_000])
        found = await stock.records("cats", partitions=[0], count=3)
        assert [len(record.value) for record in found] == [100_000, 1, 300_000]


async def connected(stock: Stock, it: Serving, tls: dict[str, str] | None) -> None:
    await stock.to(it.server, tls=tls)
    await stock.ask("list_topics", timeout=10)


@pytest.mark.parametrize("version", NEWEST)
async def test_clients_without_certificates(stock: Stock, tmp_path: Path, identity: Identity) -> None:
    """Without a certificate, or with that of a stranger, a client gets nothing; without TLS it gets nothing either."""
    async with serving(tmp_path / "data", "cats", tls=identity.context()) as it:
        for tls in (identity.client("files", "stranger"), None):
            with pytest.raises(StockError):
                await connected(stock, it, tls)
        for certificate in (False, True):
            context = identity.peer(certificate=certificate)
            peer = await it.peer(it.server.sc_port, tls=context)
            if certificate:
                assert await peer.names() == ["cats"]
            else:
                with pytest.raises((GoneError, OSError)):
                    await peer.names()


@pytest.mark.parametrize("version", NEWEST)
async def test_tls_for_the_server_alone(stock: Stock, tmp_path: Path, identity: Identity) -> None:
    """Without an authority for clients the server speaks TLS with everybody."""
    async with serving(tmp_path / "data", "cats", tls=identity.context(mutual=False)) as it:
        await stock.to(it.server, tls=identity.client("files"))
        assert await stock.ask("list_topics") == ["cats"]
        await stock.ask("produce", topic="cats", records=[["", "x"]])
        assert (await stock.records("cats", count=1))[0].value == b"x"


@pytest.mark.parametrize("version", [PYTHON[0]])
async def test_a_certificate_without_the_name_of_the_spu(stock: Stock, tmp_path: Path, identity: Identity) -> None:
    """Clients look for the SPU's own name in the certificate: without it they reach the controller and no records."""
    async with serving(tmp_path / "data", "cats", tls=identity.context(names=(DOMAIN,))) as it:
        await stock.to(it.server, tls=identity.client("files"))
        assert await stock.ask("list_topics") == ["cats"]
        with pytest.raises(StockError):
            await stock.records("cats", partitions=[0], offset=["absolute", 0], count=1)


async def test_the_wrong_protocol(tmp_path: Path, identity: Identity) -> None:
    """TLS on a plain port and plain requests on a TLS port end at once, and others are served."""
    async with serving(tmp_path / "plain") as plain, serving(tmp_path / "tls", tls=identity.context()) as tls:
        async with asyncio.timeout(5):
            for port in (plain.server.sc_port, plain.server.spu_port):
                with pytest.raises(OSError):  # noqa: PT011 - of any kind
                    await Peer.connect(port, tls=identity.peer())
            for port in (tls.server.sc_port, tls.server.spu_port):
                peer = await tls.peer(port)
                with pytest.raises(GoneError):
                    await peer.versions()
        assert await (await plain.sc()).versions()
        assert await (await tls.peer(tls.server.sc_port, identity.peer())).versions()


async def test_large_replies_over_tls(tmp_path: Path, identity: Identity) -> None:
    """Streams over TLS wait for slow clients as those without it do."""
    async with serving(tmp_path / "data", "cats", tls=identity.context()) as it:
        for _ in range(10):
            await fill(it.log, "cats", [bytes(900_000)])
        peer = await it.peer(it.server.spu_port, identity.peer())
        streams = [peer.stream("cats", max_bytes=2_000_000) for _ in range(8)]
        for stream in streams:
            assert len(await stream.take(10)) == 10
        assert not (await peer.produce("cats", packed(bytes(900_000)))).code


def test_certificates_that_cannot_be_used(tmp_path: Path, identity: Identity) -> None:
    """Files that are not what they should be are errors that name them, and say what to do."""
    identity.context()
    (tmp_path / "nonsense.pem").write_text("nonsense")
    path = {name: tmp_path / name for name in ("server.pem", "server.key", "client.key", "nonsense.pem", "none.pem")}
    for certificate, key in (
        ("nonsense.pem", "server.key"),
        ("server.pem", "nonsense.pem"),
        ("server.pem", "client.key"),
        ("none.pem", "server.key"),
        ("server.key", "server.pem"),
    ):
        with pytest.raises(ServerError, match=f"{path[certificate]} with the key {path[key]} cannot be used") as caught:
            server_context(path[certificate], path[key], None)
        assert "PEM" in caught.value.hint
    for authority in ("nonsense.pem", "none.pem", "server.key"):
        with pytest.raises(ServerError, match=f"the certificates of {path[authority]} cannot be used"):
            server_context(path["server.pem"], path["server.key"], path[authority])
