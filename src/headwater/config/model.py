"""Owns the one typed model of a connector that both dialects load into. Knows no dialect and no file format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator

from headwater.config.fields import Duration, Options, Size, plain_text, share_names
from headwater.config.http import HttpOptions
from headwater.config.problem import Problem
from headwater.core.names import is_name, suggest_name
from headwater.core.secret import Masker, Text
from headwater.core.window import MOST_REMEMBERED

# The options of the `http:` section that are about the transforms, not about the request.
CHAIN_OPTIONS = ("filter", "map", "arraymap", "on_error", "dead_letter_topic", "transform_timeout", "transform_memory")
DEAD_LETTER_SUFFIX = "-dead-letter"
# Longer parameters decode as empty on the other side: the interface reads their length as 16 bits, signed.
LONGEST_PARAMETER = 32_767
# How long the records of a poll wait for others where nothing is said.
LINGER = timedelta(milliseconds=5)


def _name(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, str) and not is_name(value):
        near = suggest_name(value)
        raise ValueError(
            f"{value!r} is no name; use lower-case letters, digits and inner hyphens, at most 63"
            + (f", such as {near!r}" if near else "")
        )
    return value


Name = Annotated[str, BeforeValidator(_name)]


class ProducerOptions(Options):
    """How records are put together for the topic."""

    linger: Duration | None = Field(
        None,
        description="How long records may wait for others to share their commit. Default: 5 ms of polls; those of a "
        "stream wait for the commit before them, for 100 ms at most.",
        examples=["1ms"],
    )
    batch_size: Size = Field(16_384, ge=1, description="The size of a batch.", examples=["44.0 MB"])
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] | None = Field(
        None, description="How batches are compressed. Default: as the topic says, else not at all.", examples=["gzip"]
    )


def names_file(uses: str) -> bool:
    """Return whether `uses` names a file of WebAssembly, or code in Python, instead of a module that is kept."""
    return names_python(uses) or uses.endswith(".wasm")


def names_python(uses: str) -> bool:
    """Return whether `uses` names a function in Python: python:module:function, or file.py:function."""
    return uses.startswith("python:") or uses.partition(":")[0].endswith(".py")


class Lookback(Options):
    """Which earlier records a SmartModule is shown when it starts."""

    last: int = Field(0, ge=0, description="How many records.", examples=[10])
    age: Duration | None = Field(None, description="How old they may be.", examples=["12s"])


def _parameters(value: object) -> dict[str, Text]:
    if not isinstance(value, dict):
        raise ValueError("expected a map of parameters")
    parameters = {}
    for name, given in value.items():
        if isinstance(given, bool | int | float) or given is None:
            raise ValueError(f"the value of {name!r} is {_yaml(given)}; a parameter is a text: put it into quotes")
        parameters[str(name)] = _parameter(given)
        if len(parameters[str(name)].reveal().encode()) > LONGEST_PARAMETER:
            raise ValueError(
                f"the value of {name!r} is longer than {LONGEST_PARAMETER} bytes, which SmartModules cannot read"
            )
    return parameters


def _yaml(value: object) -> str:
    return json.dumps(value)


def _parameter(given: Any) -> Text:
    if isinstance(given, Text):
        return given
    if isinstance(given, str):
        return Text(given)
    # Fluvio passes lists and maps as one compact JSON text with sorted keys.
    return Text(_compact(given, Text.reveal), _compact(given, str))


def _compact(value: object, show: Callable[[Text], str]) -> str:
    def text(item: object) -> str:
        assert isinstance(item, Text)
        return show(item)

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=text)


class TransformOptions(Options):
    """One step of the chain of SmartModules."""

    uses: Annotated[str, BeforeValidator(plain_text)] = Field(
        min_length=1,
        description="The module: name, group/name or group/name@version, a path to a .wasm file, "
        "python:module:function, or ./file.py:function.",
        examples=["infinyon/jolt@0.4.1"],
    )
    with_: Annotated[dict[str, Any], BeforeValidator(_parameters)] = Field(
        default_factory=dict,
        validation_alias="with",
        description="Its parameters: texts; lists and maps become JSON.",
        examples=[{"regex": "[Cc]at"}],
    )
    lookback: Lookback | None = Field(None, description="Which earlier records it is shown when it starts.")


class DeduplicationBounds(Options):
    """How much is remembered to tell repeats."""

    count: int = Field(ge=1, le=MOST_REMEMBERED, description="How many records.", examples=[100])
    age: Duration | None = Field(None, description="Remember longer what is not yet this old.", examples=["60s"])


class DeduplicationFilter(Options):
    """What tells repeats."""

    transform: TransformOptions = Field(description="Fluvio's module for it, which the log knows by itself.")


class Deduplication(Options):
    """How a topic drops repeats."""

    bounds: DeduplicationBounds = Field(description="How much is remembered.")
    filter: DeduplicationFilter = Field(description="What tells repeats.")


class TopicOptions(Options):
    """The topic that the records go to, and how it is made if it is not there."""

    name: Name = Field(description="The topic.", examples=["cat-facts"])
    create: bool = Field(True, description="Create the topic if there is none.", examples=[False])
    partitions: int = Field(1, ge=1, le=10_000, description="How many partitions a new topic has.", examples=[3])
    retention_time: Duration = Field(timedelta(days=7), description="Older records are deleted.", examples=["30d"])
    max_partition_size: Size | None = Field(None, description="The oldest beyond this are deleted.", examples=["1 GB"])
    segment_size: Size | None = Field(None, description="Read for Fluvio's sake; the log has no segments.")
    replication: int = Field(1, ge=1, description="Copies of each partition on a cluster.", examples=[2])
    ignore_rack_assignment: bool = Field(False, description="Of a cluster: place copies without regard to racks.")
    compression: Literal["any", "none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "any", description="Which compression producers may use.", examples=["gzip"]
    )
    deduplication: Deduplication | None = Field(
        None,
        description="Drop records whose key, or whose value without one, was there within the bounds.",
        examples=[{"bounds": {"count": 100, "age": "60s"}, "filter": {"transform": {"uses": "dedup-filter"}}}],
    )


class Place:
    """Where the parts of a connector stand in the user's file: key path of the model -> (line, column, user's path)."""

    __slots__ = ("column", "file", "line", "places")

    def __init__(
        self, file: str, line: int, column: int, places: Mapping[tuple[str, ...], tuple[int, int, str]]
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.places = places

    def problem(self, key_path: tuple[str, ...], message: str, suggestion: str = "") -> Problem:
        """Return a problem at the nearest known place of a key path."""
        for length in range(len(key_path), 0, -1):
            if found := self.places.get(key_path[:length]):
                line, column, path = found
                return Problem(self.file, line, column, path, message, suggestion)
        return Problem(self.file, self.line, self.column, ".".join(key_path), message, suggestion)


class ChainLink(NamedTuple):
    """One transform as the user wrote it: where, and with `option` which of the page's three says what it is to be."""

    key_path: tuple[str, ...]
    option: str | None
    transform: TransformOptions


_NOWHERE = Place("", 0, 0, {})


class ConnectorConfig(Options):
    """One connector: a source, its transforms, a topic."""

    # With the module: threads may load configurations at the same time.
    model_config = ConfigDict(defer_build=False)

    name: Name = Field(description="The connector's name.", examples=["cat-facts"])
    type: Literal["http", "http-source"] = Field("http", description="What it connects: http.", examples=["http"])
    version: str | None = Field(
        None, description="Fluvio's version of the connector; read and kept.", examples=["0.3.0"]
    )
    topic: TopicOptions = Field(description="The topic that the records go to.")
    http: HttpOptions = Field(description="What to request, and when.")
    producer: ProducerOptions = Field(ProducerOptions(), description="How records are put together.")
    transforms: tuple[TransformOptions, ...] = Field((), description="The chain of SmartModules.")
    filter: str | None = Field(
        None, description="The name of a SmartModule to use as a filter.", examples=["my-filter"]
    )
    map: str | None = Field(None, description="The name of a SmartModule to use as a map.", examples=["my-map"])
    arraymap: str | None = Field(
        None, description="The name of a SmartModule to use as an arraymap.", examples=["split"]
    )
    on_error: Literal["dead-letter", "skip", "fail"] = Field(
        "dead-letter",
        description="What becomes of a bad item, and of a record that a transform refuses or crashes on: it goes to "
        "the dead-letter topic, is left out, or the whole poll fails, or the connection of a stream.",
        examples=["skip"],
    )
    dead_letter_topic: Name | None = Field(
        None,
        description="Where bad items and refused records go. Default: the topic's name with -dead-letter.",
        examples=["bad"],
    )
    transform_timeout: Duration = Field(
        timedelta(seconds=5), description="How long one call of a transform may take.", examples=["500ms"]
    )
    transform_memory: Size = Field(
        1_000_000_000, ge=65_536, description="How much memory a WebAssembly transform may use.", examples=["64 MiB"]
    )
    default_interval: Duration = Field(
        timedelta(seconds=300), description="The interval when none is given.", exclude=True
    )

    _place: Place = PrivateAttr(default=_NOWHERE)
    _masker: Masker = PrivateAttr(default_factory=Masker)
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("type", mode="before")
    @classmethod
    def _plain_type(cls, value: object) -> object:
        return plain_text(value)

    @property
    def interval(self) -> timedelta:
        """The time between polls: the given one, else the dialect's."""
        return self.default_interval if self.http.interval is None else self.http.interval

    @property
    def linger(self) -> timedelta:
        """How long an append may wait for others to share its commit: what a stream lets gather has waited already."""
        return LINGER if self.producer.linger is None or self.http.source != "poll" else self.producer.linger

    @property
    def chain(self) -> tuple[ChainLink, ...]:
        """The transforms in the order in which they run: the page's three, then the list."""
        page = [
            ChainLink((name,), name, TransformOptions(uses=uses))
            for name in ("filter", "map", "arraymap")
            if (uses := getattr(self, name)) is not None
        ]
        listed = [ChainLink(("transforms", str(place)), None, options) for place, options in enumerate(self.transforms)]
        return (*page, *listed)

    @property
    def dead_letters(self) -> str | None:
        """The topic for items that are bad and records that a transform refuses, None when there is no use for one."""
        if self.on_error != "dead-letter":
            return None
        if self.http.source == "poll" and self.http.records is None and not self.chain:
            return None
        return self.dead_letter_topic or f"{self.topic.name}{DEAD_LETTER_SUFFIX}"

    @property
    def masker(self) -> Masker:
        """Masks every secret that went into this configuration."""
        return self._masker

    @property
    def place(self) -> Place:
        """Where this connector stands in its file."""
        return self._place

    @property
    def secret_origins(self) -> Mapping[str, str]:
        """How the declared secrets come that say so themselves, by their names: `file`, `env` or `command`."""
        return self._origins

    def located(self, place: Place, masker: Masker, origins: Mapping[str, str]) -> ConnectorConfig:
        """Return this configuration, knowing where it came from, what to mask, and where secrets come from."""
        self._place = place
        self._masker = masker
        self._origins = origins
        for options in (self, *self.__dict__.values(), *self.http.__dict__.values()):
            if isinstance(options, Options):
                share_names(options)
        return self

    def problem(self, key_path: tuple[str, ...], message: str, suggestion: str = "") -> Problem:
        """Return a problem at a key path of the model, in the words and the place of the user's file."""
        return self._place.problem(key_path, message, suggestion)
