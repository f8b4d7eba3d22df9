"""Courses for tests: made from the options of a connector, and walked against a server that is a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Raw

from headwater.config import load_text
from headwater.config.secrets import SecretSource
from headwater.core.checkpoint import Checkpoint, Progress, decode_checkpoint, encode_checkpoint
from headwater.core.extract import Extractor, extract
from headwater.core.http import Headers, Request
from headwater.core.moment import Moment
from headwater.core.pointer import Pointer, parse_pointer
from headwater.sources.course import Course, Step
from headwater.sources.poll import course_of
from headwater.sources.request import build_request

_ELEMENTS = msgspec.json.Decoder(list[Raw])


class Reply(msgspec.Struct, frozen=True):
    """What the server of a test answers: JSON, and headers (lower case)."""

    body: Any
    headers: Headers = ()


Server = Callable[[Request], Reply]


def course(http: Mapping[str, Any], secrets: Mapping[str, str] | None = None) -> Course:
    """Return the course of a connector with these options of `http:`."""
    meta: dict[str, Any] = {"name": "a", "topic": "b"}
    if secrets:
        meta["secrets"] = [{"name": name} for name in secrets]
    text = msgspec.json.encode({"apiVersion": "0.1.0", "meta": meta, "http": http}).decode()
    (config,) = load_text(text, secrets=SecretSource(dict(secrets or {}), "a test")).connectors
    return course_of(config.http, build_request(config.http), config.masker)


def query(request: Request) -> dict[str, str]:
    """Return the parameters of a request."""
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))


def items_of(body: bytes, split: str) -> list[Raw]:
    """Return the items of a body at a pointer."""
    found = extract(parse_pointer(split), body)
    return [] if found is None or bytes(found) == b"null" else _ELEMENTS.decode(found)


def stepped(
    course: Course, progress: Progress | None, moment: Moment, reply: Reply, split: str, url: str
) -> tuple[Step, list[Any]]:
    """Return what a course makes of a reply, and the items that are stored with it."""
    body = msgspec.json.encode(reply.body)
    items = items_of(body, split)
    extractor = Extractor(course.pointers)
    gleaned = course.gleaning(progress)
    gleaned.take(items, [extractor(item) for item in items])
    step = course.step(progress, moment, gleaned, body, headers=reply.headers, url=url)
    return step, [] if step.failure else [msgspec.json.decode(item) for item in items]


class Crash(Enum):
    """Where a round is broken off: nowhere, before an answer is stored, or right after that."""

    NONE = auto()
    BEFORE = auto()
    AFTER = auto()


class Walk:
    """Rounds of a course against a server. Every commit goes through a checkpoint's encoding."""

    def __init__(self, course: Course, server: Server, split: str = "/items") -> None:
        self.course = course
        self.server = server
        self.split = split
        self.progress: Progress | None = None
        self.stored: list[Any] = []
        self.requests: list[Request] = []
        self.notes: list[str] = []
        self.failures: list[str] = []

    def round(self, scheduled: int = 1_700_000_000_000, crashes: Sequence[Crash] = ()) -> None:
        """Do a round. With each answer it may crash: then it goes on from the last commit."""
        dying = iter(crashes)
        first = True
        for _ in range(10_000):
            begun = self.progress.round if self.progress is not None and self.progress.round else scheduled
            moment = Moment(begun, begun, first)
            request = self.course.request(self.progress, moment)
            self.requests.append(request)
            reply = self.server(request)
            crash = next(dying, Crash.NONE)
            if crash is Crash.BEFORE:
                first = True
                continue
            step, items = stepped(self.course, self.progress, moment, reply, self.split, request.url)
            self.stored += items
            self.notes.append(step.note)
            if step.failure:
                self.failures.append(step.failure)
            self.progress = decode_checkpoint(encode_checkpoint(Checkpoint(progress=step.progress))).progress
            first = crash is Crash.AFTER
            if not step.more:
                return
        raise AssertionError("the round does not end")


def pointers(*texts: str) -> tuple[Pointer, ...]:
    """Return pointers."""
    return tuple(parse_pointer(text) for text in texts)
