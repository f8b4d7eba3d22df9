"""How requests name SmartModules, for tests."""

from __future__ import annotations

from typing import Any

from headwater.fluvio import invocation as wire
from headwater.fluvio import objects
from headwater.server.modules import zipped
from server.peer import (
    Serving,
    Streaming,
)


def ad_hoc(wasm: bytes, kind: wire.ModuleKind | None = None, **parameters: Any) -> wire.Invocation:
    return wire.Invocation(wire.AdHoc(zipped(wasm)), kind or wire.AsAny(), wire.Parameters(**parameters))


def named(name: str, kind: wire.ModuleKind | None = None, **parameters: Any) -> wire.Invocation:
    return wire.Invocation(wire.Predefined(name), kind or wire.AsAny(), wire.Parameters(**parameters))


def spec(wasm: bytes, metadata: objects.ModuleMetadata | None = None) -> objects.ModuleSpec:
    return objects.ModuleSpec(metadata, None, 0, zipped(wasm))


async def follow(it: Serving, *modules: wire.Invocation, offset: int = 0, version: int = 25) -> Streaming:
    return (await it.spu()).stream("cats", offset, version=version, modules=modules)
