"""SmartModules as objects of clients: made, listed, watched, deleted, and what is refused."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from headwater.fluvio import admin, objects
from headwater.fluvio import invocation as wire
from headwater.fluvio.errorcode import OK, code
from headwater.fluvio.wire import Reader
from headwater.server.modules import unzipped
from headwater.transforms.wasm import MOST_CODE
from server.invocations import follow, named, spec
from server.peer import (
    GoneError,
    Peer,
    fill,
    packed,
    serving,
    stored,
    values,
)
from transforms import guests


@pytest.mark.parametrize("version", range(10, 20))
async def test_a_module_in_every_version(tmp_path: Path, version: int) -> None:
    """A module is made, listed with and without its code, watched, and deleted."""
    async with serving(tmp_path) as it:
        peer, watcher = await it.sc(), await it.sc()
        watch = watcher.watch("SmartModule", version)
        assert admin.decode_update(Reader(await watch.raw()), version).all == ()
        wasm = guests.plain_filter()
        assert await peer.create("only-a", spec(wasm), version) == admin.Status("only-a")
        (full,) = await peer.listed("SmartModule", version=version)
        assert unzipped(full.spec.wasm) == wasm
        (short,) = await peer.listed("SmartModule", "only", version=version, summary=True)
        assert (short.name, short.spec.wasm, short.spec.summary) == ("only-a", b"", objects.ModuleSummary(len(wasm)))
        assert await peer.listed("SmartModule", "other", version=version) == ()
        assert not (await peer.delete("SmartModule", "only-a", version)).code
        assert (await peer.delete("SmartModule", "only-a", version)).code == code("SmartModuleNotFound", "only-a")
        assert await peer.listed("SmartModule", version=version) == ()


async def test_modules_are_told_to_watchers(tmp_path: Path) -> None:
    """Who watches SmartModules hears of one that is made, and of its end."""
    async with serving(tmp_path) as it:
        peer, watcher = await it.sc(), await it.sc()
        watch = watcher.watch("SmartModule")
        await watch.raw()
        await peer.create("only-a", spec(guests.plain_filter()))
        (made,) = admin.decode_update(Reader(await watch.raw()), 19).changes
        assert (made.deleted, made.object.name) == (False, "only-a")
        await peer.delete("SmartModule", "only-a")
        (gone,) = admin.decode_update(Reader(await watch.raw()), 19).changes
        assert (gone.deleted, gone.object.name) == (True, "only-a")


async def test_code_as_it_is(tmp_path: Path) -> None:
    """Code may come without gzip too, as the client for Python sends it."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.sc()
        assert not (await peer.create("only-a", objects.ModuleSpec(None, None, 0, guests.plain_filter()))).code
        (found,) = await peer.listed("SmartModule")
        assert unzipped(found.spec.wasm) == guests.plain_filter()


async def test_a_module_of_a_package(tmp_path: Path) -> None:
    """What the package says of itself is the name, kept over a restart; any form of the name finds it."""
    package = objects.Package("only-a", "me", "1.2.3", "0.1.0", "keeps a")
    async with serving(tmp_path, "cats") as it:
        metadata = objects.ModuleMetadata(package, {"x": objects.Parameter("what", optional=True)})
        status = await (await it.sc()).create("anything", spec(guests.plain_filter(), metadata))
        assert (status.name, status.code) == ("me/only-a@1.2.3", OK)
        await fill(it.log, "cats", [b"a", b"b"])
    async with serving(tmp_path) as it:
        (found,) = await (await it.sc()).listed("SmartModule")
        assert (found.name, found.spec.metadata.package.version) == ("me/only-a@1.2.3", "1.2.3")
        assert found.spec.metadata.package.description == "keeps a"
        for name in ("only-a", "me/only-a", "me/only-a@1.2.3"):
            assert values(await (await follow(it, named(name))).take(1)) == [b"a"]
        assert not (await (await it.sc()).delete("SmartModule", "me/only-a@1.2.3")).code


# Quickly made: each process of tests imports this.
BOMB = zlib.compressobj(1, wbits=31)
_BOMB = BOMB.compress(bytes(MOST_CODE + 10_000_000)) + BOMB.flush()
BAD_CODE = {
    "not under gzip": b"x" + guests.plain_filter(),
    "half, as it is": guests.plain_filter()[:200],
    "nothing": b"",
    "gzip of nothing": gzip.compress(b""),
    "garbage": gzip.compress(bytes(range(256)) * 100),
    "a header and garbage": gzip.compress(b"\0asm\1\0\0\0" + b"\x55" * 1000),
    "half a module": gzip.compress(guests.plain_filter()[:200]),
    "half of the gzip": gzip.compress(guests.plain_filter())[:100],
    "a bomb": _BOMB,
    "no function": gzip.compress(guests.compiled("(module)")),
    "other imports": gzip.compress(guests.bare('(import "os" "exit" (func))')),
}


@pytest.mark.parametrize("kind", BAD_CODE)
async def test_code_that_is_none(tmp_path: Path, kind: str) -> None:
    """Code that cannot be a SmartModule is refused with a sentence wherever it comes; nothing is kept."""
    async with serving(tmp_path, "cats") as it:
        peer, unit = await it.sc(), await it.spu()
        status = await peer.create("bad", objects.ModuleSpec(None, None, 0, BAD_CODE[kind]))
        assert status.code.name == "SmartModuleInvalid"
        assert await peer.listed("SmartModule") == ()
        module = wire.Invocation(wire.AdHoc(BAD_CODE[kind]), wire.AsFilter())
        assert (await unit.produce("cats", packed(b"a"), modules=(module,))).code.name == "SmartModuleInvalid"
        assert (await unit.stream("cats", modules=(module,)).next()).partition.code.name == "SmartModuleInvalid"
        assert stored(it.log, "cats") == []


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/passwd", "a b", "x" * 300, "mod.py:function", "ä", "a@b@c"]
)
async def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """A name from the network is never a path; bad ones are refused everywhere."""
    async with serving(tmp_path, "cats") as it:
        peer, unit = await it.sc(), await it.spu()
        assert (await peer.create(name, spec(guests.plain_filter()))).code.name == "SmartModuleInvalid"
        assert (await peer.delete("SmartModule", name)).code.name == "SmartModuleInvalid"
        answer = (await unit.stream("cats", modules=(named(name),)).next()).partition.code
        assert answer.name == "SmartModuleInvalid"
        package = objects.ModuleMetadata(objects.Package(name, "me", "1.0.0", "0.1.0"), {})
        assert (await peer.create("good", spec(guests.plain_filter(), package))).code.name == "SmartModuleInvalid"


async def test_dry_runs_of_modules(tmp_path: Path) -> None:
    """A dry run looks at the code, and keeps nothing."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        assert not (await peer.create("only-a", spec(guests.plain_filter()), dry_run=True)).code
        assert await peer.listed("SmartModule") == ()


def damage(directory: Path) -> None:
    (path,) = directory.rglob("*.wasm")
    path.write_bytes(b"damaged")


async def test_a_damaged_store(tmp_path: Path) -> None:
    """A module whose files are damaged costs those who ask for it, and nobody else."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.sc()
        await peer.create("only-a", spec(guests.plain_filter()))
        damage(tmp_path)
        reply = await (await follow(it, named("only-a"))).next()
        assert reply.partition.code.name == "SmartModuleInvalid"
        with pytest.raises(GoneError):
            await peer.listed("SmartModule")
        again: Peer = await it.sc()
        assert await again.names() == ["cats"]
