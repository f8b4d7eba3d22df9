"""Owns the reading of OpenAPI documents (2.0, 3.0, 3.1): their operations, and what each of them asks for and answers.

References are followed within the document, and not without end. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import msgspec

from headwater.core.http import Response
from headwater.discover.asking import Ask, Auth, Scheme, clean, from_url
from headwater.discover.finding import Certainty, Finding
from headwater.discover.schema import Schemas, sample_of
from headwater.discover.since import Parameter
from headwater.discover.survey import Known
from headwater.discover.vocabulary import OFFSETS, PAGES, SIZES, pieces

_METHODS: Final = ("get", "post", "put", "patch", "delete", "head")
_MOST_OPERATIONS: Final = 20_000


class OpenApiError(ValueError):
    """The document is none, or has no such operation."""


class Operation(msgspec.Struct, frozen=True):
    """An operation of the document: how it is named, and how likely it lists something."""

    method: str
    path: str
    name: str
    text: str
    score: float

    def sentence(self) -> str:
        """Say in a line what it is."""
        said = f"  {self.text}" if self.text else ""
        return (
            f"{self.method.upper():6} {self.path}  ({self.name}){said}"
            if self.name
            else f"{self.method.upper():6} {self.path}{said}"
        )


def is_openapi(document: Any) -> bool:
    """Return whether a value is an OpenAPI document."""
    return isinstance(document, dict) and bool({"openapi", "swagger"} & document.keys()) and "paths" in document


class Document:
    """An OpenAPI document. `address` is where it came from, "" when that is no address."""

    def __init__(self, document: Any, address: str = "") -> None:
        if not is_openapi(document):
            raise OpenApiError("this is no OpenAPI document: it has no openapi or swagger, or no paths")
        self._document = document
        self._address = address
        self._schemas = Schemas(document)

    def operations(self) -> list[Operation]:
        """Return the operations, those first that list something."""
        found = []
        for method, path, item, operation in self._all():
            name = clean(str(operation.get("operationId") or ""))[:100]
            text = " ".join(clean(str(operation.get("summary") or "")).split())[:80]
            found.append(Operation(method, clean(path), name, text, self._score(method, path, item, operation)))
            if len(found) >= _MOST_OPERATIONS:
                break
        if not found:
            raise OpenApiError("the document has no operation")
        return sorted(found, key=lambda it: -it.score)

    def choose(self, wanted: str | None) -> Operation:
        """Return the operation of a name, of `GET /path` or of `/path`; without one the only that lists something.

        Raises OpenApiError.
        """
        operations = self.operations()
        if wanted is None:
            listing = [it for it in operations if it.score > 0]
            if len(listing) == 1 or len(operations) == 1:
                return operations[0]
            raise OpenApiError(f"the document has {len(operations)} operations")
        method, _, path = wanted.rpartition(" ")
        for it in operations:
            if wanted == it.name or (path == it.path and method.lower() in {"", it.method}):
                return it
        near = [it for it in operations if wanted.lower() in {it.name.lower(), it.path.lower().strip("/")}]
        if len(near) == 1:
            return near[0]
        raise OpenApiError(f"the document has no operation {wanted!r}")

    def ask(self, chosen: Operation) -> tuple[Ask, Known]:
        """Return what an operation asks for, and what the document says of it."""
        item, operation = next(
            (item, operation)
            for method, path, item, operation in self._all()
            if (method, clean(path)) == (chosen.method, chosen.path)
        )
        parameters = self._parameters(item, operation)
        url = self._server(item, operation).rstrip("/") + chosen.path
        notes: list[str] = []
        for given in parameters:
            if given["in"] == "path":
                value = _example(given)
                if value is not None:
                    url = url.replace("{" + given["name"] + "}", str(value))
                said = "its example " + str(value) if value is not None else "nothing"
                notes.append(f"the path has {given['name']}: {said} is written there; put in what you want")
        try:
            ask = from_url(url.replace("{", "%7B").replace("}", "%7D"), "the OpenAPI document")
        except ValueError:
            ask = from_url(
                "https://example.com" + (chosen.path if chosen.path.startswith("/") else "/"), "the OpenAPI document"
            )
            notes.append("the document names no server; write the address")
        ask = ask.replace(url=ask.url.replace("%7B", "{").replace("%7D", "}"), method=chosen.method.upper())
        ask = ask.replace(name=chosen.name if re.search(r"[A-Za-z]{3}", chosen.name) else "").noting(*notes)
        ask = self._with_parameters(ask, parameters)
        ask = self._with_body(ask, operation)
        ask = self._with_security(ask, operation)
        return ask, self._known(ask, parameters, operation)

    # What the document has.

    def _all(self) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
        paths = self._document.get("paths")
        for path, given in (paths if isinstance(paths, dict) else {}).items():
            item = self._schemas.follow(given)
            if not isinstance(item, dict) or not isinstance(path, str):
                continue
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield method, path, item, item[method]

    def _score(self, method: str, path: str, item: dict[str, Any], operation: dict[str, Any]) -> float:
        score = 3.0 if method == "get" else -2.0
        if path.rstrip("/").endswith("}"):
            score -= 3.0
        score -= path.count("{") * 0.5
        names = {str(it["name"]) for it in self._parameters(item, operation)}
        if names & {*SIZES, *PAGES, *OFFSETS, "cursor"}:
            score += 2.0
        sample = self._answer(operation)
        if isinstance(sample, list) or (
            isinstance(sample, dict) and any(isinstance(it, list) for it in sample.values())
        ):
            score += 2.0
        elif method == "get":
            score -= 3.5
        if operation.get("deprecated") is True:
            score -= 2.0
        return score

    def _parameters(self, item: dict[str, Any], operation: dict[str, Any]) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for source in (item, operation):
            listed = source.get("parameters")
            for given in listed if isinstance(listed, list) else ():
                parameter = self._schemas.follow(given)
                if (
                    isinstance(parameter, dict)
                    and isinstance(parameter.get("name"), str)
                    and isinstance(parameter.get("in"), str)
                ):
                    found[parameter["name"], parameter["in"]] = parameter
        return list(found.values())

    def _server(self, item: dict[str, Any], operation: dict[str, Any]) -> str:
        for source in (operation, item, self._document):
            servers = source.get("servers")
            if isinstance(servers, list) and servers and isinstance(servers[0], dict):
                url = str(servers[0].get("url", ""))
                variables = servers[0].get("variables")
                for name, variable in (variables if isinstance(variables, dict) else {}).items():
                    if isinstance(variable, dict):
                        url = url.replace("{" + str(name) + "}", str(variable.get("default", "")))
                return urljoin(self._address, url) if self._address else url
        if "swagger" in self._document:
            schemes = self._document.get("schemes")
            scheme = "https" if not isinstance(schemes, list) or "https" in schemes else str(schemes[0])
            host = self._document.get("host") or urlsplit(self._address).netloc
            return f"{scheme}://{host}{self._document.get('basePath', '')}" if host else ""
        return urljoin(self._address, "/") if self._address else ""

    def _with_parameters(self, ask: Ask, parameters: Sequence[dict[str, Any]]) -> Ask:
        """Put in what is required, with its example or default; what could be asked for is a note."""
        params, headers, others = list(ask.params), list(ask.headers), []
        for given in parameters:
            name, place = clean(given["name"]), given["in"]
            if place not in {"query", "header"}:
                continue
            if given.get("required") is not True:
                others += [name] if place == "query" else []
                continue
            value = _example(given)
            text = clean(str(value)) if value is not None else "VALUE"
            (params if place == "query" else headers).append((name, text))
            if value is None:
                ask = ask.noting(
                    f"{name} is required, and the document has no example: VALUE is written; put in what you want"
                )
        if others:
            more = f" and {len(others) - 12} more" if len(others) > 12 else ""
            ask = ask.noting(f"parameters that it knows besides: {', '.join(others[:12])}{more}")
        return ask.replace(params=tuple(params), headers=tuple(headers))

    def _with_body(self, ask: Ask, operation: dict[str, Any]) -> Ask:
        body = self._schemas.follow(operation.get("requestBody"))
        schema, example = None, None
        if isinstance(body, dict):
            schema, example = self._media(body.get("content"))
        else:
            for given in operation.get("parameters") or ():
                parameter = self._schemas.follow(given)
                if isinstance(parameter, dict) and parameter.get("in") == "body":
                    schema = parameter.get("schema")
        if schema is None and example is None:
            return ask
        value = example if example is not None else sample_of(schema, self._schemas, count=1)
        return ask.replace(body=value if isinstance(value, dict | list) and value else None)

    def _with_security(self, ask: Ask, operation: dict[str, Any]) -> Ask:
        required = operation.get("security", self._document.get("security"))
        if not isinstance(required, list) or {} in required:
            return ask
        components = self._document.get("components")
        schemes = (
            components.get("securitySchemes")
            if isinstance(components, dict)
            else self._document.get("securityDefinitions")
        )
        for alternative in required:
            if not isinstance(alternative, dict):
                continue
            for name in alternative:
                scheme = self._schemas.follow(schemes.get(name)) if isinstance(schemes, dict) else None
                if isinstance(scheme, dict) and (secured := _secured(ask, str(name), scheme)) is not None:
                    return secured
        return ask

    def _known(self, ask: Ask, parameters: Sequence[dict[str, Any]], operation: dict[str, Any]) -> Known:
        documented = [
            Parameter(clean(it["name"]), _spelling(it), " ".join(clean(str(it.get("description") or "")).split())[:80])
            for it in parameters
            if it["in"] == "query"
        ]
        sample = self._answer(operation)
        answer = None
        if sample is not None:
            body = msgspec.json.encode(sample)
            headers = (("content-type", "application/json"),)
            answer = Response(200, "HTTP/1.1", headers, body, ask.url, elapsed=0.0, received=len(body))
        return Known(documented, answer, findings=_paging(parameters))

    def _answer(self, operation: dict[str, Any]) -> Any:
        """Return an answer as the document describes it, None when it does not."""
        responses = operation.get("responses")
        if not isinstance(responses, dict):
            return None
        for status in ("200", "2XX", "2xx", "201", "default", 200):
            response = self._schemas.follow(responses.get(status))
            if isinstance(response, dict):
                schema, example = self._media(response.get("content"))
                if schema is None and example is None and "schema" in response:
                    schema = response["schema"]
                if isinstance(example, dict | list) and example:
                    return example
                if schema is not None:
                    return sample_of(schema, self._schemas, count=2)
        return None

    def _media(self, content: Any) -> tuple[Any, Any]:
        """Return the schema and the example of JSON among media types."""
        for kind, given in (content if isinstance(content, dict) else {}).items():
            if "json" in str(kind) and isinstance(given, dict):
                example = given.get("example")
                examples = given.get("examples")
                if example is None and isinstance(examples, dict):
                    first = self._schemas.follow(next(iter(examples.values()), None))
                    example = first.get("value") if isinstance(first, dict) else None
                return given.get("schema"), example
        return None, None


def _example(parameter: dict[str, Any]) -> Any:
    schema = parameter.get("schema")
    for source in (parameter, schema if isinstance(schema, dict) else {}):
        for name in ("example", "default", "x-example"):
            if isinstance(source.get(name), str | int | float | bool):
                return source[name] if not isinstance(source[name], bool) else str(source[name]).lower()
        choices = source.get("enum")
        if isinstance(choices, list) and choices and isinstance(choices[0], str | int):
            return choices[0]
    return None


def _spelling(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema")
    given = schema if isinstance(schema, dict) else parameter
    if given.get("type") in {"integer", "number"}:
        text = str(parameter.get("description") or "").lower()
        return "unix_ms" if "millisecond" in text else "unix"
    return "date" if given.get("format") == "date" else "iso"


def _secured(ask: Ask, name: str, scheme: dict[str, Any]) -> Ask | None:
    """Return what is asked for with a security scheme in it, None for one that is not known here."""
    kind = str(scheme.get("type", "")).lower()
    why = f"the document's security scheme {clean(name)[:60]}"
    if kind == "basic" or (kind == "http" and str(scheme.get("scheme", "")).lower() in {"basic", "digest"}):
        ask, user = ask.keeping("USERNAME", None, "the user")
        ask, password = ask.keeping("PASSWORD", None, "the password")
        word: Scheme = "digest" if str(scheme.get("scheme", "")).lower() == "digest" else "basic"
        return ask.replace(auth=Auth(word, {"username": user, "password": password}, why))
    if kind == "http" or kind in {"oauth2", "openidconnect"}:
        ask, token = ask.keeping("API_TOKEN", None, "the token")
        ask = ask.replace(auth=Auth("bearer", {"token": token}, why))
        if kind == "oauth2" and (url := _token_url(scheme)):
            ask = ask.noting(
                f"the token comes from {clean(url)[:200]}: auth: {{type: oauth2, token_url: ..., client_id: ..., "
                "client_secret: ...} gets it by itself"
            )
        return ask
    place = str(scheme.get("in", ""))
    if kind == "apikey" and place in {"header", "query", "cookie"} and isinstance(scheme.get("name"), str):
        ask, key = ask.keeping("API_KEY", None, f"the key that goes into {clean(scheme['name'])[:60]}")
        return ask.replace(auth=Auth("api-key", {"in": place, "name": clean(scheme["name"]), "key": key}, why))
    return None


def _token_url(scheme: dict[str, Any]) -> str:
    flows = scheme.get("flows")
    for flow in [scheme, *(flows.values() if isinstance(flows, dict) else ())]:
        if isinstance(flow, dict) and isinstance(flow.get("tokenUrl"), str):
            return str(flow["tokenUrl"])
    return ""


def _paging(parameters: Sequence[dict[str, Any]]) -> tuple[Finding, ...]:
    """Return what parameters tell of pages: which one takes the number or the offset, and which one the size."""
    names = [clean(it["name"]) for it in parameters if it["in"] == "query"]
    size = next((name for name in SIZES if name in names), None)
    most = next((_most(it) for it in parameters if it["name"] == size), None)
    for kind, known, start in (("page", PAGES, 1), ("offset", OFFSETS, 0)):
        param = next((name for name in names if name in known), None)
        if param is None:
            continue
        why = f"the document has the parameter {param}"
        found = [
            Finding("pagination.type", kind, why, Certainty.LIKELY),
            Finding("pagination.param", param, "the parameter that names it", Certainty.LIKELY),
            Finding("pagination.start", start, "as usual", Certainty.LIKELY),
        ]
        if size is not None and most is not None:
            found += [
                Finding("pagination.size", most, "the most, or the default, that the document says", Certainty.LIKELY),
                Finding("pagination.size_param", size, "the parameter that says so", Certainty.LIKELY),
            ]
        return tuple(found)
    return ()


def _most(parameter: dict[str, Any]) -> int | None:
    schema = parameter.get("schema")
    given = schema if isinstance(schema, dict) else parameter
    for name in ("maximum", "default", "example"):
        value = given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1000:
            return value
    return None


def names_of(operations: Sequence[Operation]) -> set[str]:
    """Return the words of the operations' names, for a hint."""
    return {word for it in operations for word in pieces(it.name)}
