"""OpenAPI documents of each version: operations, what they ask for, what they answer, and who is let in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headwater.config.document import read_plain
from headwater.discover.asking import written
from headwater.discover.openapi import Document, OpenApiError, is_openapi
from headwater.discover.schema import Schemas, sample_of
from headwater.discover.vocabulary import words

THREE = """
openapi: 3.1.0
info: {title: Shop, version: "1"}
servers:
  - url: https://{region}.shop.test/v2
    variables: {region: {default: eu}}
security: [{token: []}]
paths:
  /orders:
    parameters: [{$ref: '#/components/parameters/Limit'}]
    get:
      operationId: listOrders
      summary: List the orders
      parameters:
        - {name: page, in: query, schema: {type: integer}}
        - name: updated_since
          in: query
          description: Only what changed since
          schema: {type: string, format: date-time}
        - {name: X-Tenant, in: header, required: true, schema: {type: string, example: acme}}
        - {name: status, in: query, required: true, schema: {enum: [open, closed]}}
      responses:
        "200":
          content:
            application/json:
              schema:
                type: object
                properties:
                  items: {type: array, items: {$ref: '#/components/schemas/Order'}}
                  total: {type: integer}
    post:
      operationId: createOrder
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}
      responses: {"201": {description: done}}
  /orders/{orderId}:
    get:
      operationId: getOrder
      security: [{}]
      parameters: [{name: orderId, in: path, required: true, schema: {type: string}}]
      responses: {"200": {content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}}
components:
  parameters:
    Limit: {name: limit, in: query, schema: {type: integer, maximum: 100}}
  securitySchemes:
    token: {type: http, scheme: bearer}
  schemas:
    Base: {type: object, properties: {id: {type: string, format: uuid}}}
    Order:
      allOf:
        - $ref: '#/components/schemas/Base'
        - type: object
          properties:
            updated_at: {type: string, format: date-time}
            price: {type: number}
            customer: {$ref: '#/components/schemas/Customer'}
    Customer:
      type: object
      properties: {name: {type: string}, orders: {type: array, items: {$ref: '#/components/schemas/Order'}}}
"""
TWO = """
swagger: "2.0"
host: api.test
basePath: /v1
schemes: [http, https]
securityDefinitions: {key: {type: apiKey, in: query, name: api_key}}
security: [{key: []}]
paths:
  /pets:
    get:
      responses: {"200": {schema: {type: array, items: {$ref: '#/definitions/Pet'}}}}
definitions:
  Pet: {type: object, properties: {petId: {type: integer}, createdAt: {type: string, format: date-time}}}
"""


def document(text: str, address: str = "") -> Document:
    return Document(read_plain(text), address)


def test_operations_that_list_come_first() -> None:
    """A person sees first what a connector is made for."""
    found = document(THREE).operations()
    assert [it.name for it in found if it.score > 0] == ["listOrders"]
    assert len(found) == 3
    assert found[0].sentence() == "GET    /orders  (listOrders)  List the orders"


@pytest.mark.parametrize("wanted", ["listOrders", "GET /orders", "get /orders", None])
def test_an_operation_is_chosen(wanted: str | None) -> None:
    """By its name, by method and path, or because no other lists anything."""
    assert document(THREE).choose(wanted).name == "listOrders"


def test_no_such_operation() -> None:
    """What is not there is told, and what there is too much of."""
    with pytest.raises(OpenApiError, match="no operation 'nothing'"):
        document(THREE).choose("nothing")
    with pytest.raises(OpenApiError, match="has 2 operations"):
        document(TWO.replace("paths:\n  /pets:", "paths:\n  /cats: {$ref: '#/paths/~1pets'}\n  /pets:")).choose(None)


def test_what_an_operation_asks_for() -> None:
    """Server, required parameters, the way in and a cursor's parameter come from the document."""
    ask, known = document(THREE).ask(document(THREE).choose("listOrders"))
    assert (ask.method, ask.url) == ("GET", "https://eu.shop.test/v2/orders")
    assert ask.params == (("status", "open"),)
    assert ask.headers == (("X-Tenant", "acme"),)
    assert ask.auth is not None
    assert (ask.auth.type, written(ask.auth.options["token"])) == ("bearer", "${{ secrets.API_TOKEN }}")
    assert ask.notes == ("parameters that it knows besides: limit, page, updated_since",)
    assert {it.name: it.spelling for it in known.parameters}["updated_since"] == "iso"
    assert known.answer is not None
    answer = msgspec.json.decode(known.answer.body)
    assert [item["id"][-1] for item in answer["items"]] == ["1", "2"]
    assert {it.option: it.value for it in known.findings} == {
        "pagination.type": "page",
        "pagination.param": "page",
        "pagination.start": 1,
        "pagination.size": 100,
        "pagination.size_param": "limit",
    }


def test_a_path_with_a_parameter() -> None:
    """What the document cannot know is left to be put in, and said."""
    ask, _ = document(THREE).ask(document(THREE).choose("getOrder"))
    assert ask.url == "https://eu.shop.test/v2/orders/{orderId}"
    assert ask.auth is None
    assert ask.notes == ("the path has orderId: nothing is written there; put in what you want",)


def test_a_body() -> None:
    """The body of a POST is made from its schema."""
    ask, _ = document(THREE).ask(document(THREE).choose("createOrder"))
    assert ask.method == "POST"
    assert set(ask.body) >= {"id", "updated_at", "price"}


def test_version_two() -> None:
    """Swagger's own fields are read as well."""
    ask, known = document(TWO).ask(document(TWO).choose(None))
    assert ask.url == "https://api.test/v1/pets"
    assert ask.auth is not None
    assert {name: written(it) for name, it in ask.auth.options.items()} == {
        "in": "query", "name": "api_key", "key": "${{ secrets.API_KEY }}",
    }  # fmt: skip
    assert known.answer is not None


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        ("servers: [{url: /v9}]", "https://docs.test/v9/a"),
        ("servers: [{url: 'https://other.test'}]", "https://other.test/a"),
        ("servers: []", "https://docs.test/a"),
        ("x: y", "https://docs.test/a"),
    ],
)
def test_servers_begin_where_the_document_is(servers: str, url: str) -> None:
    """A relative server is that of the document's address."""
    text = f"openapi: 3.0.0\n{servers}\npaths: {{/a: {{get: {{}}}}}}"
    found = document(text, "https://docs.test/openapi.json")
    assert found.ask(found.choose(None))[0].url == url


def test_circles_end() -> None:
    """References that lead in circles, or to nowhere, are followed as far as that makes sense."""
    text = """
openapi: 3.0.0
paths:
  /a: {get: {responses: {"200": {content: {application/json: {schema: {$ref: '#/components/schemas/A'}}}}}}}
  /b: {$ref: '#/paths/~1b'}
components:
  schemas:
    A:
      allOf: [{$ref: '#/components/schemas/A'}, {$ref: '#/nothing'}]
      properties: {a: {$ref: '#/components/schemas/A'}}
"""
    found = document(text)
    ask, known = found.ask(found.choose(None))
    assert known.answer is None or len(known.answer.body) < 100_000
    assert ask.notes[0].startswith("the document names no server")


@pytest.mark.parametrize("value", [{}, [], None, {"openapi": "3.0.0"}, {"paths": {}}])
def test_what_is_no_document(value: Any) -> None:
    """What lacks the marks of one is none."""
    assert not is_openapi(value)
    with pytest.raises(OpenApiError):
        Document(value)


KEYS = st.sampled_from(
    sorted(
        words(
            "/a get parameters responses 200 content application/json schema properties items allOf $ref name in "
            "required enum type security servers url example requestBody"
        )
    )
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["#/paths/~1a", "query", "path", "object", "array", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=40,
)


@given(st.dictionaries(st.sampled_from(["/a", "/b/{c}"]), JSON, min_size=1), JSON, JSON)
def test_any_document_is_read(paths: Any, servers: Any, security: Any) -> None:
    """Whatever a document says, it is read, or refused with a sentence."""
    with suppress(OpenApiError):
        found = Document({"openapi": "3.0.0", "paths": paths, "servers": servers, "security": security})
        for operation in found.operations():
            found.ask(operation)


def test_aliases_that_unfold_cost_nothing() -> None:
    """YAML whose aliases stand for billions of values is read as what it is."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    value = read_plain("\n".join(lines))
    assert value["a59"][0] is value["a59"][1]
    assert read_plain("a: 1.5\nb: no\nc: null\n") == {"a": 1.5, "b": "no", "c": None}
    assert read_plain(yaml.safe_dump({"a": [1, {"b": True}]})) == {"a": [1, {"b": True}]}
    with pytest.raises(ValueError, match="neither JSON nor YAML"):
        read_plain("a: [")
    with pytest.raises(ValueError, match="more than"):
        read_plain("[" * 500 + "]" * 500)


@pytest.mark.parametrize(
    ("scheme", "kind", "secrets"),
    [
        ({"type": "http", "scheme": "basic"}, "basic", ["USERNAME", "PASSWORD"]),
        ({"type": "http", "scheme": "digest"}, "digest", ["USERNAME", "PASSWORD"]),
        ({"type": "basic"}, "basic", ["USERNAME", "PASSWORD"]),
        ({"type": "apiKey", "in": "cookie", "name": "sid"}, "api-key", ["API_KEY"]),
        (
            {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://x.test/token"}}},
            "bearer",
            ["API_TOKEN"],
        ),
        ({"type": "openIdConnect"}, "bearer", ["API_TOKEN"]),
        ({"type": "mutualTLS"}, None, []),
        ({"type": "apiKey", "in": "nowhere", "name": "x"}, None, []),
    ],
)
def test_security_schemes(scheme: dict[str, Any], kind: str | None, secrets: list[str]) -> None:
    """Each kind of scheme becomes the kind of `auth:` that is meant, with secrets that have no value."""
    found = Document(
        {
            "openapi": "3.0.0",
            "servers": [{"url": "https://x.test"}],
            "security": [{"it": []}],
            "paths": {"/a": {"get": {}}},
            "components": {"securitySchemes": {"it": scheme}},
        }
    )
    ask, _ = found.ask(found.choose(None))
    assert (None if ask.auth is None else ask.auth.type) == kind
    assert [it.name for it in ask.secrets] == secrets
    assert any("https://x.test/token" in note for note in ask.notes) == (scheme["type"] == "oauth2")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "enum": ["a", "b"]}, "a"),
        ({"type": "integer", "example": 7}, 7),
        ({"type": ["null", "boolean"]}, False),
        ({"type": "string", "examples": ["x"]}, "x"),
        ({"oneOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "string"}]}, {"a": "a"}),
        ({"type": "array", "example": [1, 2], "items": {"type": "integer"}}, [1, 2]),
        ({"type": "object", "properties": {"a": {"$ref": "https://elsewhere.test/a"}}}, {}),
        ({"type": "object", "properties": {"at": {"type": "string", "format": "date"}}}, {"at": "2024-01-01"}),
        (True, None),
    ],
)
def test_examples_of_schemas(schema: Any, expected: Any) -> None:
    """An answer is made after its schema, with the document's own examples where it has some."""
    assert sample_of(schema, Schemas({}), count=2) == expected


def test_an_example_of_an_answer() -> None:
    """What the document shows as an answer is looked at instead of one that is made."""
    media = {"examples": {"one": {"$ref": "#/components/examples/one"}}}
    found = Document(
        {
            "openapi": "3.0.0",
            "paths": {
                "/a": {"get": {"responses": {"default": {"content": {"application/problem+json": media}}}}},
                "/b/{id}": {"get": {"parameters": [{"name": "id", "in": "path", "example": 5}], "deprecated": True}},
            },
            "components": {"examples": {"one": {"value": [{"id": 1}]}}},
        },
        "https://x.test/",
    )
    _, known = found.ask(found.choose("/a"))
    assert known.answer is not None
    assert msgspec.json.decode(known.answer.body) == [{"id": 1}]
    ask, _ = found.ask(found.choose("/b/{id}"))
    assert ask.url == "https://x.test/b/5"
