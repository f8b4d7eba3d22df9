"""Owns the control API: HTTP and JSON over whoever manages connectors. It only translates.

One table has every operation; the routes and the OpenAPI document are made from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from headwater.config import InvalidConfigError, define_text, load_definition, local_paths
from headwater.config.auth import reads_this_machine
from headwater.config.model import names_file
from headwater.config.secrets import SecretSource
from headwater.control.messages import Connectors, Entries, Given, Refusal, Standing
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
    HeadwaterError,
    LogError,
    SmartModuleError,
    TopicError,
)
from headwater.core.exchange import Exchange
from headwater.core.managed import Definition, ManagedConnector, Manager, Plan
from headwater.core.names import is_name
from headwater.version import __version__

# The largest body of a request, the longest log that is asked for, and the most ledger entries.
MOST_BODY = 8 * 1024 * 1024
_MOST_LINES = 100_000
_MOST_ENTRIES = 10_000
# How long a body may take to come (seconds).
_BODY_PATIENCE = 30.0
# Whoever has more of them begins with these.
_MOST_PROBLEMS = 100

logger = structlog.get_logger("headwater.control")


class Answer(Exception):  # noqa: N818 - it is an answer
    """An answer other than the usual one."""

    def __init__(self, status: int, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.status = status
        self.refusal = refusal


class Api:
    """The operations of the control API.

    `manager` does what is asked; `ledger` returns the last entries of a connector; `data` says where all is kept.
    """

    def __init__(self, manager: Manager, ledger: Callable[[str, int], list[Exchange]], data: str) -> None:
        self._manager = manager
        self._ledger = ledger
        self._data = data

    async def standing(self, request: Request) -> Standing:  # noqa: ARG002 - an operation's signature
        """Say what serves here."""
        return Standing(__version__, len(await self._manager.list()), self._data)

    async def list(self, request: Request) -> Connectors:  # noqa: ARG002 - an operation's signature
        """List the connectors."""
        return Connectors(await self._manager.list())

    async def get(self, request: Request) -> ManagedConnector:
        """Return one connector."""
        return await self._manager.get(_name(request))

    async def create(self, request: Request) -> Plan:
        """Create a connector and start it."""
        return await self._manager.create(await _definition(request), dry_run=_flag(request, "dry_run"))

    async def update(self, request: Request) -> Plan:
        """Run a connector by another definition from now on."""
        name, definition = _name(request), await _definition(request)
        if definition.name != name:
            raise _malformed(f"the text names the connector {definition.name}, not {name}")
        return await self._manager.update(definition, dry_run=_flag(request, "dry_run"))

    async def delete(self, request: Request) -> Plan:
        """End a connector and forget it; its topic stays."""
        return await self._manager.delete(_name(request), dry_run=_flag(request, "dry_run"))

    async def config(self, request: Request) -> str:
        """Return the connect.yml of a connector, without the values of secrets."""
        return await self._manager.config(_name(request))

    async def logs(self, request: Request) -> AsyncIterator[str]:
        """Return the log of a connector; with `follow`, and what comes."""
        name, follow = _name(request), _flag(request, "follow")
        tail = _number(request, "tail", _MOST_LINES)
        await self._manager.get(name)
        return self._manager.logs(name, follow=follow, tail=tail)

    async def ledger(self, request: Request) -> Entries:
        """Return the last entries of a connector's ledger."""
        name, last = _name(request), _number(request, "last", _MOST_ENTRIES)
        await self._manager.get(name)
        return Entries(self._ledger(name, 20 if last is None else last))

    async def pause(self, request: Request) -> None:
        """Poll no more until it is resumed, over restarts too."""
        await self._manager.pause(_name(request))

    async def resume(self, request: Request) -> None:
        """Poll again."""
        await self._manager.resume(_name(request))

    async def restart(self, request: Request) -> None:
        """End a connector and start it anew at once."""
        await self._manager.restart(_name(request))


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of an operation: where it stands, what it is, and its JSON Schema."""

    name: str
    place: str
    text: str
    schema: dict[str, Any]


_NAME = Parameter(
    "name", "path", "The connector's name.", {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
)
_BOOLEAN = {"type": "boolean", "default": False}
DRY_RUN = Parameter("dry_run", "query", "Change nothing, and say what would change.", _BOOLEAN)
_FOLLOW = Parameter("follow", "query", "Go on with what comes.", _BOOLEAN)
_TAIL = Parameter("tail", "query", "The last lines only.", {"type": "integer", "minimum": 0, "maximum": _MOST_LINES})
_LAST = Parameter("last", "query", "How many entries.", {"type": "integer", "minimum": 0, "maximum": _MOST_ENTRIES})


class Operation(msgspec.Struct, frozen=True):
    """One operation: where it is, which method of Api does it, what goes in, what comes out, which refusals there are.

    `gives` is a type for JSON, or the media type of a text; None gives nothing (204).
    """

    method: str
    path: str
    does: str
    parameters: tuple[Parameter, ...] = ()
    takes: type | None = None
    gives: type | str | None = None
    status: int = 200
    refusals: tuple[int, ...] = ()


_CONNECTOR = "/v1/connectors/{name}"
OPERATIONS = (
    Operation("GET", "/v1", "standing", gives=Standing),
    Operation("GET", "/v1/connectors", "list", gives=Connectors),
    Operation("POST", "/v1/connectors", "create", (DRY_RUN,), Given, Plan, 201, (409, 413, 422)),
    Operation("GET", _CONNECTOR, "get", (_NAME,), gives=ManagedConnector, refusals=(404,)),
    Operation("PUT", _CONNECTOR, "update", (_NAME, DRY_RUN), Given, Plan, refusals=(404, 409, 413, 422)),
    Operation("DELETE", _CONNECTOR, "delete", (_NAME, DRY_RUN), gives=Plan, refusals=(404, 409)),
    Operation("GET", f"{_CONNECTOR}/config", "config", (_NAME,), gives="application/yaml", refusals=(404,)),
    Operation("GET", f"{_CONNECTOR}/logs", "logs", (_NAME, _FOLLOW, _TAIL), gives="text/plain", refusals=(404,)),
    Operation("GET", f"{_CONNECTOR}/ledger", "ledger", (_NAME, _LAST), gives=Entries, refusals=(404,)),
    Operation("POST", f"{_CONNECTOR}/pause", "pause", (_NAME,), status=204, refusals=(404,)),
    Operation("POST", f"{_CONNECTOR}/resume", "resume", (_NAME,), status=204, refusals=(404, 422)),
    Operation("POST", f"{_CONNECTOR}/restart", "restart", (_NAME,), status=204, refusals=(404, 409, 422)),
)
REFUSALS = {
    400: "The request makes no sense.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another origin, or asks for another host.",
    404: "There is no such connector.",
    409: "The connector cannot be changed like that: it exists, is paused, or is kept in a file.",
    413: "The request is too large.",
    422: "The connector cannot run: `problems` says where its text is wrong.",
    503: "The log refuses; try again later.",
}
ALWAYS = (400, 401, 403, 503)


def application(api: Api) -> ASGIApp:
    """Return the control API as an ASGI application."""
    routes = [
        Route(it.path, _endpoint(getattr(api, it.does), it), methods=[it.method], name=it.does) for it in OPERATIONS
    ]
    routes.append(Route("/openapi.json", _document, methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={404: _no_such_path, 405: _no_such_method})


async def _document(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
    from headwater.control.document import openapi  # noqa: PLC0415 - it is made from what stands here

    return Response(msgspec.json.encode(openapi()), media_type="application/json")


def _endpoint(
    does: Callable[[Request], Awaitable[Any]], operation: Operation
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            _check_query(request, operation)
            found = await does(request)
        except Answer as answer:
            return refused(answer.status, answer.refusal)
        except HeadwaterError as error:
            return refused(*_translated(error))
        except Exception:
            logger.exception("a request to the control API ran into a defect", path=request.url.path)
            return refused(500, Refusal("defect", "this is a defect of the server; its log says more"))
        if isinstance(operation.gives, str):
            if isinstance(found, str):
                return Response(found, media_type=operation.gives)
            return StreamingResponse(_lines(found), media_type=operation.gives)
        if operation.gives is None:
            return Response(status_code=operation.status)
        status = 200 if _dry(request) else operation.status
        return Response(msgspec.json.encode(found), status, media_type="application/json")

    return endpoint


def _dry(request: Request) -> bool:
    return request.query_params.get("dry_run") == "true"


async def _lines(found: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async with aclosing(cast("Any", found)) as lines:
        async for line in lines:
            yield f"{line}\n".encode(errors="replace")


# What comes in.


def _check_query(request: Request, operation: Operation) -> None:
    known = [it.name for it in operation.parameters if it.place == "query"]
    for name in request.query_params:
        if name not in known:
            raise _malformed(f"there is no parameter {name!r} here", f"known: {', '.join(known) or 'none'}")


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not is_name(name):
        raise ConnectorNotFoundError(f"Connector not found: {name}", hint="no connector can have that name")
    return name


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in {"true", "false"}:
        raise _malformed(f"{name}={value!r} is neither true nor false")
    return value == "true"


def _number(request: Request, name: str, most: int) -> int | None:
    value = request.query_params.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > len(str(most)) or int(value) > most:
        raise _malformed(f"{name}={value!r} is no number from 0 to {most}")
    return int(value)


async def _definition(request: Request) -> Definition:
    given = await _body(request)
    # In a thread: a text may be as long as somebody likes, and polls are not to wait for it.
    secrets = SecretSource(given.secrets, "`secrets`", closed=True)
    defined = await asyncio.to_thread(define_text, given.text, given.file or "connect.yml", secrets=secrets)
    if len(defined.definitions) != 1:
        raise _malformed(f"the text defines {len(defined.definitions)} connectors", "send them one by one")
    definition = msgspec.structs.replace(defined.definitions[0], file=given.file)
    if request.scope.get("headwater.remote"):
        _check_remote(definition)
    return definition


def _check_remote(definition: Definition) -> None:
    """Refuse what would read files or run code of this machine: over the network comes configuration, nothing else."""
    config = load_definition(definition, here=False)
    for name, kind in config.secret_origins.items():
        if kind != "env":
            raise _malformed(
                f"the secret {name} comes from a {kind} of the server's machine",
                f"leave the {kind} out, and send the value in `secrets`",
            )
    if option := reads_this_machine(config.http.auth):
        raise _malformed(
            f"auth: {option} has a file or the environment of the server's machine read",
            "write the credential into the configuration as a secret, or create the connector on that machine",
        )
    for link in config.chain:
        uses = link.transform.uses
        if names_file(uses):
            raise _malformed(
                f"{uses!r} is a file or a function of the server's machine",
                "load it there with: headwater smartmodule load",
            )
    for key_path, path in local_paths(config):
        raise _malformed(
            f"`{'.'.join(key_path[1:])}` names {path!r} on the server's machine",
            "create the connector there, or have it in a file of --connectors",
        )


async def _body(request: Request) -> Given:
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_PATIENCE):
            async for piece in request.stream():
                data += piece
                if len(data) > MOST_BODY:
                    raise Answer(413, Refusal("too-large", f"the request has more than {MOST_BODY} bytes"))
        return msgspec.json.decode(bytes(data), type=Given)
    except ClientDisconnect as error:
        raise _malformed("the request ended early") from error
    except TimeoutError as error:
        raise _malformed(f"the request was not whole within {_BODY_PATIENCE:g} s") from error
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise _malformed(f"the body is not what is expected: {error}", 'send {"text": "name: ..."} as JSON') from error


def _malformed(message: str, hint: str = "") -> Answer:
    return Answer(400, Refusal("malformed", message, hint))


# What goes out.


def _translated(error: HeadwaterError) -> tuple[int, Refusal]:
    """Return the status and the refusal that an error is."""
    if isinstance(error, InvalidConfigError):
        told = InvalidConfigError(error.problems[:_MOST_PROBLEMS])
        return 422, Refusal("invalid", told.message, problems=list(told.problems))
    kinds: Sequence[tuple[type[HeadwaterError], int, str]] = (
        (ConnectorNotFoundError, 404, "not-found"),
        (ConnectorExistsError, 409, "exists"),
        (ConnectorOwnedError, 409, "owned"),
        (ConnectorError, 409, "conflict"),
        (SmartModuleError, 409, "conflict"),
        (TopicError, 409, "conflict"),
        (LogError, 503, "log"),
    )
    for kind, status, word in kinds:
        if isinstance(error, kind):
            return status, Refusal(word, error.message, error.hint)
    return 503, Refusal("unavailable", error.message, error.hint)


def refused(status: int, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as a response."""
    return Response(msgspec.json.encode(refusal), status, headers=headers, media_type="application/json")


async def _no_such_path(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    return refused(404, Refusal("no-path", f"there is nothing at {request.url.path}", "/openapi.json says what is"))


async def _no_such_method(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None)
    return refused(405, Refusal("no-method", f"{request.method} is not possible at {request.url.path}"), headers)
