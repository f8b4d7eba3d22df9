"""Requests that try to get inside: every way of naming this machine, by URL, redirect, name, proxy and socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

import fetch.egressworld as world
import worlds
from headwater.core.egress import Policy, place
from headwater.core.errors import ConnectError, DnsError, EgressError, FetchError, RedirectError, RequestError
from headwater.core.http import USUAL, Request, Response, Transport, ascii_url
from headwater.fetch import CurlFetcher
from headwater.testing import Answer, ScriptedServer

PUBLIC = Policy("public")
# The server is at {0}, a port of this machine; what stands around it may mislead whoever reads a URL otherwise.
SPELLINGS = (
    "http://127.0.0.1:{0}/",
    "http://127.1:{0}/",
    "http://127.0.1:{0}/",
    "http://127.255.255.254:{0}/",
    "http://2130706433:{0}/",
    "http://0x7f000001:{0}/",
    "http://0X7F.0x0.0x0.0x1:{0}/",
    "http://0x7f.1:{0}/",
    "http://017700000001:{0}/",
    "http://0177.0.0.1:{0}/",
    "http://0177.1:{0}/",
    "http://0000177.0.0.01:{0}/",
    "http://0x7f.0.0.01:{0}/",
    "http://127.0.0.1.:{0}/",
    "http://localhost:{0}/",
    "http://LocalHost.:{0}/",
    "http://a.b.localhost:{0}/",
    "http://0:{0}/",
    "http://0.0.0.0:{0}/",
    "http://0x0:{0}/",
    "http://[::1]:{0}/",
    "http://[0:0:0:0:0:0:0:1]:{0}/",
    "http://[::1%25lo]:{0}/",
    "http://[::]:{0}/",
    "http://[::ffff:127.0.0.1]:{0}/",
    "http://[::ffff:7f00:1]:{0}/",
    "http://[::ffff:0.0.0.0]:{0}/",
    "http://[0:0:0:0:0:FFFF:7F00:0001]:{0}/",
    "http://[::127.0.0.1]:{0}/",
    "http://[::ffff:0:127.0.0.1]:{0}/",
    "http://[64:ff9b::127.0.0.1]:{0}/",
    "http://[64:ff9b:1::127.0.0.1]:{0}/",
    "http://[2002:7f00:1::]:{0}/",
    "http://[2001:0:7f00:1::]:{0}/",
    "http://[fe80::1%25lo]:{0}/",
    "http://%31%32%37.0.0.1:{0}/",
    "http://127%2e0%2e0%2e1:{0}/",
    "http://%6c%6f%63%61%6chost:{0}/",
    "http://１２７.０.０.１:{0}/",  # noqa: RUF001 - digits of full width
    "http://①②⑦.⓪.⓪.①:{0}/",
    "http://127。0。0。1:{0}/",
    "http://127｡0｡0｡1:{0}/",
    "http://ⅼocalhost:{0}/",  # noqa: RUF001 - a numeral that becomes an l
    "http://LOCALHOST:{0}/",
    "http://public.invalid@127.0.0.1:{0}/",
    "http://public.invalid:80@127.0.0.1:{0}/",
    "http://public.invalid%00@127.0.0.1:{0}/",
    "http://public.invalid\\@127.0.0.1:{0}/",
    "http://public.invalid%2f@127.0.0.1:{0}/",
    "http://[::ffff:8.8.8.8]@127.0.0.1:{0}/",
    "http://127.0.0.1:{0}#@public.invalid/",
    "http://127.0.0.1:{0}?@public.invalid/",
    "http://127.0.0.1:{0}\\@public.invalid/",
    "http://127.0.0.1\\.public.invalid:{0}/",
    "http://127.0.0.1%00.public.invalid:{0}/",
    "http://127.0.0.1;public.invalid:{0}/",
    "http://127.0.0.1 :{0}/",
    "http://127.0.0.1\t:{0}/",
    "http:///127.0.0.1:{0}/",
    "http:/127.0.0.1:{0}/",
    "HTTP://127.0.0.1:{0}/",
    "http://@127.0.0.1:{0}/",
    "http://:@127.0.0.1:{0}/",
    "http://0x7f000001.:{0}/",
    "http://4294967297:{0}/",
    "http://0x100007f000001:{0}/",
    "http://127.0.0.1:80:{0}/",
    "http://[127.0.0.1]:{0}/",
    "http://[::1].example:{0}/",
    "http://[::ffff:127.0.0.1%25lo]:{0}/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]:{0}/",
    "http://[::0.0.0.1]:{0}/",
    "http://[::ffff:127.1]:{0}/",
    "http://loc\u00adalhost:{0}/",
    "http://loc\u200dalhost:{0}/",
    "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54:{0}/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{0}/",
    "http://localhost%2e:{0}/",
    "http://localhost%00:{0}/",
    "http://localhost..:{0}/",
    "http://127.0.0.1..:{0}/",
    "http://.127.0.0.1:{0}/",
    "http://127.0x0.0.01:{0}/",
    "http://127.000.000.001:{0}/",
    "http://public.invalid%40127.0.0.1:{0}/",
    "http://a@b@127.0.0.1:{0}/",
    "http://127.0.0.1:{0}@public.invalid/",
    "http://public.invalid%23@127.0.0.1:{0}/",
    "http://[::]%25:{0}/",
    "http://[::1%25]:{0}/",
    "http://[::127.0.0.1%25lo]:{0}/",
    "http://[2001:0:0:0:0:0:80ff:fffe]:{0}/",
    "http://[2a00:1450::5efe:127.0.0.1]:{0}/",
    "http://[2a00:1450::200:5efe:7f00:1]:{0}/",
    "http://[5f00::1]:{0}/",
    "http://[64:ff9b::]:{0}/",
    "http://[::2]:{0}/",
    "http://[::ffff:ffff:7f00:1]:{0}/",
    "http://[2002:a00:1::1]:{0}/",
    "http://0x0.0:{0}/",
    "http://00000000000:{0}/",
    "http://localhost:0{0}/",
    "http://localhost:+{0}/",
)
# What neither is an address nor resolves, but may be one for a proxy.
NO_ADDRESS = ("http://4294967297:{0}/", "http://0x100007f000001:{0}/", "http://.127.0.0.1:{0}/")
# Places that no test could connect to, and none may try.
ELSEWHERE = (
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "192.0.2.1",
    "240.0.0.1",
    "[fc00::1]",
    "[ff02::1]",
    "[2001:db8::1]",
)


def get(url: str, transport: Transport = USUAL, **settings: Any) -> Request:
    return msgspec.structs.replace(Request("GET", url, "http://shown/", transport=transport), **settings)


async def outcome(fetcher: CurlFetcher, request: Request) -> Response | FetchError:
    try:
        return await fetcher.fetch(request)
    except FetchError as error:
        return error


class Inside:
    """What nobody may reach, at one port of this machine for IPv4 and for IPv6."""

    def __init__(self, four: ScriptedServer, six: ScriptedServer) -> None:
        self.port = int(four.url.rpartition(":")[2])
        self._servers = (four, six)
        self.route("/", Answer(body=b"secret"))

    def route(self, path: str, answer: Answer) -> None:
        """Answer a path."""
        for server in self._servers:
            server.route(path, answer)

    @property
    def connections(self) -> int:
        """How many connections were made to either."""
        return sum(server.connections for server in self._servers)


@asynccontextmanager
async def inside() -> AsyncIterator[Inside]:
    async with (
        ScriptedServer(host="0.0.0.0") as four,
        ScriptedServer(host="::", port=int(four.url.rpartition(":")[2])) as six,
    ):
        yield Inside(four, six)


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_spellings_of_this_machine(spelling: str) -> None:
    """However it is written, the connection is refused before anything is sent; allowed, what is an address works."""
    async with inside() as server:
        url = spelling.format(server.port)
        try:
            wired = ascii_url(url)
        except ValueError:
            # Neither a configuration nor a redirect gets any further.
            return
        for transport, policy in ((Transport(egress=PUBLIC), None), (USUAL, PUBLIC)):
            async with CurlFetcher(egress=policy) as fetcher:
                for candidate in dict.fromkeys((wired, url if url.isascii() else wired)):
                    error = await outcome(fetcher, get(candidate, transport))
                    unknown = spelling.endswith("@public.invalid/") or spelling in NO_ADDRESS
                    elsewhere = isinstance(error, DnsError) and unknown
                    assert elsewhere or isinstance(error, EgressError | RequestError), candidate
                    assert isinstance(error, FetchError)
                    assert not error.sent
        # Nor is a proxy asked for it, which may read it in a way of its own.
        async with CurlFetcher() as fetcher:
            proxied = Transport(egress=PUBLIC, proxy=f"http://127.0.0.1:{server.port}")
            if not spelling.endswith("@public.invalid/"):
                assert isinstance(await outcome(fetcher, get(wired, proxied)), EgressError | RequestError)
        assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "a.localhost", "0", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("version", ["3", "3-only"])
async def test_over_http_3(version: Literal["3", "3-only"], host: str) -> None:
    """No datagram leaves either."""
    heard: list[bytes] = []

    class Inside(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    six, _ = await loop.create_datagram_endpoint(Inside, local_addr=("::", 0))
    port = six.get_extra_info("sockname")[1]
    async with CurlFetcher() as fetcher:
        url = f"https://{host}:{port}/"
        error = await outcome(fetcher, get(url, Transport(egress=PUBLIC, http_version=version), total_timeout=5))
        assert isinstance(error, EgressError)
        assert not heard
        # Without a policy they do.
        await outcome(fetcher, get(f"https://[::1]:{port}/", Transport(http_version="3-only"), total_timeout=0.3))
        assert heard
    six.close()


async def test_a_server_offers_another_place() -> None:
    """Neither Alt-Svc nor Refresh nor Link leads anywhere."""
    async with inside() as server, ScriptedServer() as allowed, CurlFetcher() as fetcher:
        there = f"127.0.0.1:{server.port}"
        offers = (
            ("alt-svc", f'h3="{there}", h2="{there}", http/1.1="{there}"'),
            ("refresh", f"0; url=http://{there}/"),
            ("link", f"<http://{there}/>; rel=preload"),
            ("content-location", f"http://{there}/"),
        )
        url = allowed.route("/x", Answer(headers=offers, body=b"x"))
        policy = Policy("public", (place(allowed.url.removeprefix("http://")),))
        for _ in range(3):
            assert (await fetcher.fetch(get(url, Transport(egress=policy)))).body == b"x"
        assert server.connections == 0


async def test_the_way_in_is_there() -> None:
    """The same server answers without a policy, and to whoever is allowed: what refuses is the policy."""
    async with inside() as server, CurlFetcher() as fetcher:
        port = server.port
        policy = Policy("public", (place(f"127.0.0.1:{port}"), place("::1"), place("0.0.0.0")))
        for url in (
            f"http://127.1:{port}/",
            f"http://2130706433:{port}/",
            f"http://[::1]:{port}/",
            f"http://0:{port}/",
        ):
            for transport in (USUAL, Transport(egress=policy)):
                response = await fetcher.fetch(get(url, transport))
                assert response.body == b"secret"
        other = Transport(egress=Policy("public", (place(f"127.0.0.1:{port + 1}"),)))
        assert isinstance(await outcome(fetcher, get(f"http://127.0.0.1:{port}/", other)), EgressError)


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_places_elsewhere(host: str, scheme: str) -> None:
    """Private networks, metadata services and what else is special, in all notations: refused at once."""
    async with CurlFetcher(egress=PUBLIC) as fetcher:
        error = await outcome(fetcher, get(f"{scheme}://{host}/", total_timeout=5))
        assert isinstance(error, EgressError)
        assert "`egress.allow`" in error.message
        assert error.slug == "egress"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{0}/",
        "//127.0.0.1:{0}/",
        "http://2130706433:{0}/",
        "http://localhost:{0}/",
        "http://[::1]:{0}/",
        "http://[::ffff:127.0.0.1]:{0}/",
        "http://public.invalid@127.1:{0}/",
        "http://127.0.0.1:{0}\\@public.invalid/",
        "http:\\\\127.0.0.1:{0}\\",
        "\\\\127.0.0.1:{0}/",
        "http://１２７.０.０.１:{0}/",  # noqa: RUF001 - digits of full width
        "https://127.0.0.1:{0}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{0}/_GET",
        "ftp://127.0.0.1:{0}/",
        "unix:///run/docker.sock",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
async def test_redirects_that_lead_inside(status: int, location: str) -> None:
    """A server that may be asked cannot send us on to one that may not."""
    async with inside() as server, ScriptedServer() as allowed, CurlFetcher() as fetcher:
        there = location.format(server.port).encode()
        raw = b"HTTP/1.1 %d Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, there)
        url = allowed.route("/x", Answer(raw=raw))
        policy = Policy("public", (place(allowed.url.removeprefix("http://")),))
        error = await outcome(fetcher, get(url, Transport(egress=policy)))
        # A backslash is no slash: then it is a path of the server that may be asked.
        stayed = isinstance(error, Response) and error.status == 404
        elsewhere = isinstance(error, DnsError) and location.endswith("@public.invalid/")
        assert stayed or elsewhere or isinstance(error, EgressError | RedirectError | RequestError), error
        assert server.connections == 0


async def test_a_redirect_to_another_allowed_place() -> None:
    """What is allowed stays allowed behind a redirect, and what follows that one is judged again."""
    async with inside() as server, ScriptedServer() as first, ScriptedServer() as second, CurlFetcher() as fetcher:
        policy = Policy("public", tuple(place(it.url.removeprefix("http://")) for it in (first, second)))
        url = first.route("/x", Answer(302, headers=(("location", second.route("/y", Answer(body=b"there"))),)))
        assert (await fetcher.fetch(get(url, Transport(egress=policy)))).body == b"there"
        second.route("/y", Answer(302, headers=(("location", f"http://127.0.0.1:{server.port}/"),)))
        error = await outcome(fetcher, get(url, Transport(egress=policy)))
        assert isinstance(error, EgressError)
        # An earlier hop has seen the request.
        assert error.sent
        assert server.connections == 0


async def test_a_connection_that_is_there_is_not_borrowed() -> None:
    """A request under a policy does not use the connection that one without has opened."""
    async with inside() as server, CurlFetcher() as fetcher:
        url = f"http://127.0.0.1:{server.port}/"
        await fetcher.fetch(get(url))
        allowing = Transport(egress=Policy("public", (place("127.0.0.1"),)))
        await fetcher.fetch(get(url, allowing))
        assert server.connections == 2
        await fetcher.fetch(get(url, allowing))
        await fetcher.fetch(get(url))
        assert server.connections == 2
        assert isinstance(await outcome(fetcher, get(url, Transport(egress=PUBLIC))), EgressError)


async def test_the_same_request_again() -> None:
    """A request that is repeated is judged each time, and what was refused before is forgotten."""
    async with CurlFetcher() as fetcher:
        async with inside() as server:
            url = f"http://localhost:{server.port}/"
            refused = get(url, Transport(egress=PUBLIC))
            allowed = get(url, Transport(egress=Policy("public", (place("localhost"),))))
            for _ in range(3):
                assert isinstance(await outcome(fetcher, refused), EgressError)
                assert (await fetcher.fetch(allowed)).body == b"secret"
            assert server.connections == 1
        # Nobody is there any more, which is no refusal.
        assert isinstance(await outcome(fetcher, allowed), ConnectError)


async def test_a_connector_only_narrows_what_its_server_allows() -> None:
    """Both policies must let a connection be made, and the message says whose option would."""
    async with inside() as server:
        port = server.port
        url = f"http://127.0.0.1:{port}/"
        generous = Transport(egress=Policy("public", (place("127.0.0.0/8"),)))
        async with CurlFetcher(egress=Policy("public", option="--egress-allow")) as fetcher:
            for transport in (USUAL, generous, Transport(egress=Policy("open"))):
                error = await outcome(fetcher, get(url, transport))
                assert isinstance(error, EgressError)
                assert "`--egress-allow` with 127.0.0.1 would allow it" in error.message
        async with CurlFetcher(egress=Policy("public", (place("127.0.0.0/8"),))) as fetcher:
            assert (await fetcher.fetch(get(url, generous))).body == b"secret"
            error = await outcome(
                fetcher, get(url, Transport(egress=Policy("open", deny=(place(f"127.0.0.1:{port}"),))))
            )
            assert isinstance(error, EgressError)
            assert "`egress.deny` says so" in error.message


async def test_unix_sockets(tmp_path: Path) -> None:
    """A socket of this machine is refused unless it is named, whatever the host of the URL is."""
    path = str(tmp_path / "s")
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path), CurlFetcher() as fetcher:
        refused = Transport(unix_socket=path, egress=PUBLIC)
        for url in ("http://127.0.0.1/", "http://8.8.8.8/", "http://public.invalid/"):
            error = await outcome(fetcher, get(url, refused))
            assert isinstance(error, EgressError)
            assert f"unix:{path}" in error.message
        assert asked == 0
        allowed = Transport(unix_socket=path, egress=Policy("public", (place(f"unix:{path}"),)))
        assert (await fetcher.fetch(get("http://public.invalid/", allowed))).body == b"hi"
    async with CurlFetcher(egress=PUBLIC) as fetcher:
        assert isinstance(await outcome(fetcher, get("http://a/", Transport(unix_socket=path))), EgressError)


@pytest.mark.parametrize("scheme", ["http", "socks4", "socks4a", "socks5", "socks5h"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "[::1]", "localhost", "a.localhost", "metadata.google.internal"]
)
async def test_through_a_proxy(scheme: str, host: str) -> None:
    """A proxy that a connector names itself may be anywhere, but is asked for nothing inside."""
    async with inside() as proxy, CurlFetcher() as fetcher:
        transport = Transport(proxy=f"{scheme}://127.0.0.1:{proxy.port}", egress=PUBLIC)
        assert isinstance(await outcome(fetcher, get(f"http://{host}:8080/", transport)), EgressError)
        assert proxy.connections == 0


async def test_proxies_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a proxy is trusted with it: a policy judges the proxies of others, not of those who made it."""
    async with inside() as proxy:
        proxy.route("http://public.invalid/", Answer(body=b"via"))
        url, named = "http://public.invalid/", f"http://127.0.0.1:{proxy.port}"
        # Named by the connector: its own policy says nothing, the server's refuses.
        async with CurlFetcher() as fetcher:
            response = await outcome(fetcher, get(url, Transport(proxy=named, egress=PUBLIC)))
            assert isinstance(response, Response)
        async with CurlFetcher(egress=PUBLIC) as fetcher:
            assert isinstance(await outcome(fetcher, get(url, Transport(proxy=named))), EgressError)
        # Named by the environment: the server's policy says nothing, the connector's refuses.
        monkeypatch.setenv("http_proxy", named)
        async with CurlFetcher(egress=PUBLIC) as fetcher:
            assert isinstance(await outcome(fetcher, get(url)), Response)
            assert isinstance(await outcome(fetcher, get(url, Transport(egress=PUBLIC))), EgressError)
            allowed = Policy("public", (place("127.0.0.1"),))
            assert isinstance(await outcome(fetcher, get(url, Transport(egress=allowed))), Response)
            # Whoever goes around the proxy is judged by address again.
            around = Transport(no_proxy=("127.0.0.1",))
            assert isinstance(await outcome(fetcher, get(f"{named}/", around)), EgressError)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what became of every request in a world with a resolver of its own."""
    return worlds.lived(world.__file__, tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", world.REFUSED)
def test_names_that_lead_inside(lived: dict[str, list[Any]], name: str) -> None:
    """What a resolver says is judged when the connection is made: nothing inside is reached by any name."""
    kind, connections = lived[name]
    assert kind == "EgressError"
    assert connections == 0


@pytest.mark.parametrize("name", world.ALLOWED)
def test_names_that_lead_outside(lived: dict[str, list[Any]], name: str) -> None:
    """Public addresses are reached, also where a resolver offers others beside them."""
    assert lived[name] == ["public", 0]


def test_rebinding(lived: dict[str, list[Any]]) -> None:
    """A name that was public a moment ago is refused as soon as it is not: no answer but the used one counts."""
    assert lived["rebinding"] == ["public", "EgressError", "EgressError", 0]
    assert lived["rebinding behind a redirect"] == ["EgressError", 0]
