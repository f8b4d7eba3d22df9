"""Headwater: any HTTP API becomes a durable stream of records.

From Python::

    import asyncio
    import headwater

    async def main() -> None:
        config = headwater.from_options(
            name="cats", topic="cats", options={"endpoint": "https://catfact.ninja/fact", "interval": "10s"}
        )
        async with headwater.running([config], "data") as log:
            topic = await log.topic("cats")
            async for record in topic.follow():
                print(record.offset, record.value)

    asyncio.run(main())

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from headwater.version import __version__

if TYPE_CHECKING:
    from headwater.config import ConnectorConfig, InvalidConfigError, Problem, from_options, load_files, load_text
    from headwater.core.errors import (
        ConfigError,
        FetchError,
        HeadwaterError,
        LogError,
        SmartModuleError,
        TopicError,
        UnavailableError,
    )
    from headwater.core.exchange import Decision, Exchange
    from headwater.core.record import Record, StoredRecord
    from headwater.engine import Engine, running
    from headwater.fetch import CurlFetcher
    from headwater.log import Log, LogReader, Offset, Receipt, Topic, TopicInfo, TopicSpec
    from headwater.transforms.python import smartmodule

__all__ = [
    "ConfigError",
    "ConnectorConfig",
    "CurlFetcher",
    "Decision",
    "Engine",
    "Exchange",
    "FetchError",
    "HeadwaterError",
    "InvalidConfigError",
    "Log",
    "LogError",
    "LogReader",
    "Offset",
    "Problem",
    "Receipt",
    "Record",
    "SmartModuleError",
    "StoredRecord",
    "Topic",
    "TopicError",
    "TopicInfo",
    "TopicSpec",
    "UnavailableError",
    "__version__",
    "from_options",
    "load_files",
    "load_text",
    "running",
    "smartmodule",
]

_MODULES = {
    "headwater.config": ("ConnectorConfig", "InvalidConfigError", "Problem", "from_options", "load_files", "load_text"),
    "headwater.core.errors": (
        *(
            "ConfigError",
            "FetchError",
            "HeadwaterError",
            "LogError",
            "SmartModuleError",
            "TopicError",
            "UnavailableError",
        ),
    ),
    "headwater.core.exchange": ("Decision", "Exchange"),
    "headwater.core.record": ("Record", "StoredRecord"),
    "headwater.engine": ("Engine", "running"),
    "headwater.fetch": ("CurlFetcher",),
    "headwater.transforms.python": ("smartmodule",),
    "headwater.log": ("Log", "LogReader", "Offset", "Receipt", "Topic", "TopicInfo", "TopicSpec"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from the module that has it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'headwater' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
