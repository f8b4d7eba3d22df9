"""Owns the OpenAPI document of the control API, made from its table of operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater.control.api import ALWAYS, DRY_RUN, OPERATIONS, REFUSALS, Api, Operation
from headwater.control.messages import Refusal
from headwater.version import __version__


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the control API."""
    types = [it for operation in OPERATIONS for it in (operation.takes, operation.gives) if isinstance(it, type)]
    schemas, components = msgspec.json.schema_components(
        [*dict.fromkeys(types), Refusal], ref_template="#/components/schemas/{name}"
    )
    known = dict(zip([*dict.fromkeys(types), Refusal], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headwater",
            "version": __version__,
            "description": "The managed connectors of one machine: everything that `headwater connector` does.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _described(operation: Operation, known: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    text = getattr(Api, operation.does).__doc__.partition("\n")[0]
    good: dict[str, Any] = {"description": text}
    if isinstance(operation.gives, str):
        good["content"] = {operation.gives: {"schema": {"type": "string"}}}
    elif operation.gives is not None:
        good["content"] = {"application/json": {"schema": known[operation.gives]}}
    responses: dict[str, Any] = {str(operation.status): good}
    if DRY_RUN in operation.parameters and operation.status != 200:
        responses["200"] = {**good, "description": "What would be done, with dry_run."}
    refusal = {"application/json": {"schema": known[Refusal]}}
    for status in sorted({*ALWAYS, *operation.refusals}):
        responses[str(status)] = {"description": REFUSALS[status], "content": refusal}
    described: dict[str, Any] = {"operationId": operation.does, "summary": text, "responses": responses}
    if operation.parameters:
        described["parameters"] = [
            {
                "name": it.name,
                "in": it.place,
                "required": it.place == "path",
                "description": it.text,
                "schema": it.schema,
            }
            for it in operation.parameters
        ]
    if operation.takes is not None:
        content = {"application/json": {"schema": known[operation.takes]}}
        described["requestBody"] = {"required": True, "content": content}
    return described
