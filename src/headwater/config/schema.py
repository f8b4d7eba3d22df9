"""Owns the JSON Schema of connect.yml, made from the fields of the model. What a file means is load's to say."""

from __future__ import annotations

from typing import Any

from headwater.config.dialect import TOPIC_SETTINGS
from headwater.config.model import CHAIN_OPTIONS, ConnectorConfig

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one document of a connect.yml, in either dialect."""
    connector = ConnectorConfig.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = connector["$defs"]
    fields: dict[str, Any] = connector["properties"]
    for definition in (*definitions.values(), connector):
        _both_spellings(definition)
    options = definitions["HttpOptions"]
    options["properties"] |= {name: fields[name] for name in CHAIN_OPTIONS}
    options["additionalProperties"] = False
    topics = definitions["TopicOptions"]["properties"]
    definitions["Topic"] = {"anyOf": [topics["name"], _topic_object(topics)]}
    shared = {
        "name": fields["name"],
        "type": fields["type"],
        "version": {"type": ["string", "number"], "description": fields["version"]["description"]},
        "topic": {"$ref": "#/$defs/Topic"},
        "create_topic": topics["create"],
        "create-topic": topics["create"],
        "direction": {"const": "source"},
        "producer": {"$ref": "#/$defs/ProducerOptions"},
        "consumer": {"type": "object"},
    }
    origin = {
        "file": {"type": "string", "description": "The file that holds it, read at the start."},
        "env": {"type": "string", "description": "The variable that holds it."},
        "command": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "description": "The command that prints it, with its arguments; no shell reads it.",
        },
    }
    names = {"type": "array", "items": _object({"name": {"type": "string"}, **origin}, ("name",))}
    value = {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, _object(origin)]}
    values = {"type": "object", "additionalProperties": value}
    page = {
        **shared,
        "api_version": {"type": "string", "description": "v1, or none at all."},
        "connector_version": shared["version"],
        "parameters": {"$ref": "#/$defs/HttpOptions"},
        "secrets": {"anyOf": [values, names], "description": "Names of secrets, with values or to be looked up."},
        "transforms": fields["transforms"],
    }
    today = {
        "apiVersion": {"enum": ["0.0.0", "0.1.0", "0.2.0"]},
        "meta": _object({**shared, "secrets": names}, ("name", "topic")),
        "http": {"$ref": "#/$defs/HttpOptions"},
        "transforms": fields["transforms"],
    }
    del definitions["TopicOptions"]
    return {
        "$schema": _DRAFT,
        "title": "connect.yml of Headwater",
        "if": {"anyOf": [{"required": [key]} for key in ("apiVersion", "meta", "http")]},
        "then": _object(today, ("meta", "http")),
        "else": _object(page, ("name", "topic", "parameters")),
        "$defs": definitions,
    }


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _topic_object(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a topic that is an object, as in apiVersion 0.2.0."""
    groups: dict[str, dict[str, Any]] = {}
    for (group, name), field in TOPIC_SETTINGS.items():
        groups.setdefault(group, {})[name.replace("_", "-")] = fields[field]
    meta = _object({"name": fields["name"]}, ("name",))
    below = {group: _object(properties) for group, properties in groups.items()}
    return _object({"version": {"type": "string"}, "meta": meta, **below}, ("meta",))


def _both_spellings(definition: dict[str, Any]) -> None:
    properties: dict[str, Any] = definition.get("properties", {})
    for name in list(properties):
        properties[name].pop("title", None)
        if "_" in name:
            properties[name.replace("_", "-")] = properties[name]
