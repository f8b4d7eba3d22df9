"""Owns the file of a recording: YAML that people read and change. Bodies are texts as they came, or base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from headwater.config.document import read_plain
from headwater.core.errors import ConfigError
from headwater.core.http import Headers
from headwater.core.yamltext import block_lines, scalar_text
from headwater.recording.tape import Answered, Asked, Round, Take, Tape

VERSION: Final = 1


def write_tape(tape: Tape) -> str:
    """Return the file's text."""
    lines = [
        "# Recorded by `headwater record`; replayed by `headwater test --replay`. Secrets are masked.",
        f"recording: {VERSION}",
        f"connector: {scalar_text(tape.connector)}",
        "rounds:" if tape.rounds else "rounds: []",
    ]
    for one in tape.rounds:
        at = datetime.fromtimestamp(one.scheduled / 1000, UTC).isoformat(timespec="milliseconds")
        lines += [f"  - scheduled: {scalar_text(at.replace('+00:00', 'Z'))}", "    exchanges:"]
        for take in one.takes:
            lines += _take(take)
    return "\n".join(lines) + "\n"


def _take(take: Take) -> Iterator[str]:
    asked, answered = take.asked, take.answered
    yield "      - request:"
    yield f"          method: {asked.method}"
    yield f"          url: {scalar_text(asked.url)}"
    yield from _headers(asked.headers)
    if asked.body is not None:
        yield from _block("body", asked.body)
    if answered.failure:
        yield "        failure:"
        yield f"          kind: {answered.failure}"
        yield f"          message: {scalar_text(answered.message)}"
        if answered.hint:
            yield f"          hint: {scalar_text(answered.hint)}"
        return
    yield "        response:"
    yield f"          status: {answered.status}"
    yield f"          version: {scalar_text(answered.version)}"
    if answered.url != asked.url:
        yield f"          url: {scalar_text(answered.url)}"
    if answered.redirects:
        yield f"          redirects: {answered.redirects}"
    yield f"          seconds: {answered.seconds:g}"
    yield from _headers(answered.headers)
    if answered.body:
        try:
            yield from _block("body", answered.body.decode())
        except UnicodeDecodeError:
            yield f"          base64: {base64.b64encode(answered.body).decode()}"


def _headers(headers: Headers) -> Iterator[str]:
    if headers:
        yield "          headers:"
        for name, value in headers:
            yield f"            - {scalar_text(f'{name}: {value}')}"


def _block(key: str, text: str) -> Iterator[str]:
    first, *rest = block_lines(text, 5)
    yield f"          {key}:{first}"
    yield from rest


def read_tape(text: str, name: str) -> Tape:
    """Read a file's text; `name` is what errors call it. Raises ConfigError."""
    try:
        document = read_plain(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}", hint="make it with: headwater record") from error
    if not isinstance(document, dict) or document.get("recording") != VERSION:
        raise ConfigError(f"{name} is no recording of version {VERSION}", hint="make it with: headwater record")
    rounds = []
    for number, one in enumerate(_list(document, "rounds", name), start=1):
        where = f"{name}: round {number}"
        takes = [
            _read_take(it, f"{where}, exchange {count}")
            for count, it in enumerate(_list(one, "exchanges", where), start=1)
        ]
        rounds.append(Round(_time(_text(one, "scheduled", where), where), takes))
    return Tape(_text(document, "connector", name), rounds)


def _read_take(given: Any, where: str) -> Take:
    request, response, failure = (_map(given, key, where) for key in ("request", "response", "failure"))
    if request is None or (response is None) == (failure is None):
        raise ConfigError(f"{where}: it needs a request, and either a response or a failure")
    body = request.get("body")
    asked = Asked(
        _text(request, "method", where),
        _text(request, "url", where),
        _read_headers(request, where),
        None if body is None else str(body),
    )
    if failure is not None:
        return Take(
            asked,
            Answered(
                failure=_text(failure, "kind", where),
                message=_text(failure, "message", where),
                hint=str(failure.get("hint", "")),
            ),
        )
    assert response is not None
    status = response.get("status")
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise ConfigError(f"{where}: its status is {status!r}, which is none")
    seconds, redirects = response.get("seconds", 0), response.get("redirects", 0)
    answered = Answered(
        status,
        str(response.get("version", "HTTP/1.1")),
        tuple((key.lower(), value) for key, value in _read_headers(response, where)),
        _body(response, where),
        str(response.get("url", asked.url)),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
        redirects if isinstance(redirects, int) else 0,
    )
    return Take(asked, answered)


def _body(response: dict[str, Any], where: str) -> bytes:
    if "base64" in response:
        try:
            return base64.b64decode(str(response["base64"]), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"{where}: its base64 is none: {error}") from error
    body = response.get("body")
    return b"" if body is None else str(body).encode()


def _read_headers(given: dict[str, Any], where: str) -> Headers:
    listed = given.get("headers", [])
    if not isinstance(listed, list):
        raise ConfigError(f"{where}: its headers are no list of `name: value`")
    pairs = []
    for item in listed:
        name, colon, value = str(item).partition(":")
        if not colon:
            raise ConfigError(f"{where}: the header {str(item)[:60]!r} has no colon")
        pairs.append((name.strip(), value.strip()))
    return tuple(pairs)


def _list(given: Any, key: str, where: str) -> list[Any]:
    value = given.get(key) if isinstance(given, dict) else None
    if not isinstance(value, list):
        raise ConfigError(f"{where}: there is no list {key}")
    return value


def _map(given: Any, key: str, where: str) -> dict[str, Any] | None:
    value = given.get(key) if isinstance(given, dict) else None
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{where}: its {key} is no map")
    return value


def _text(given: Any, key: str, where: str) -> str:
    value = given.get(key) if isinstance(given, dict) else None
    if value is None or isinstance(value, dict | list):
        raise ConfigError(f"{where}: it needs a text {key}")
    return str(value)


def _time(text: str, where: str) -> int:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r} is no time", hint="write 2024-01-01T00:00:00.000Z") from error
