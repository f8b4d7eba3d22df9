"""Owns the transform of an RSS feed into JSON, with the names of fields that Fluvio's module has."""

from __future__ import annotations

from typing import Any

import msgspec
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from headwater.core.record import Record
from headwater.transforms.python import smartmodule

_CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"
_CREATOR = "{http://purl.org/dc/elements/1.1/}creator"
# Element -> field, of the channel and of an item. What is missing or empty is left out, as in Fluvio.
_CHANNEL = {
    "title": "title",
    "link": "link",
    "description": "description",
    "language": "language",
    "copyright": "copyright",
    "managingEditor": "managing_editor",
    "webMaster": "webmaster",
    "pubDate": "pub_date",
    "lastBuildDate": "last_build_date",
    "generator": "generator",
    "docs": "docs",
    "rating": "rating",
    "ttl": "ttl",
}
_ITEM = {
    "title": "title",
    "link": "link",
    "description": "description",
    "author": "author",
    "comments": "comments",
    "pubDate": "pub_date",
}


@smartmodule
def rss_json(record: Record) -> Record:
    """Replace an RSS document by JSON: the channel, with its `items`. Refuses what is no RSS, and XML that unfolds."""
    try:
        root = ElementTree.fromstring(record.value)
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not XML: {error}") from error
    except DefusedXmlException as error:
        raise ValueError("it is XML with entities or a DTD, which are not read") from error
    channel = root.find("channel")
    if channel is None:
        raise ValueError(f"it is not an RSS feed: its root is {root.tag.rpartition('}')[2]}")
    made = _fields(channel, _CHANNEL)
    made["categories"] = _categories(channel)
    made["image"] = None
    if (image := channel.find("image")) is not None:
        made["image"] = _fields(image, {"url": "url", "title": "title", "link": "link"})
    # RSS 1.0 has its items beside the channel.
    made["items"] = [_item(item) for item in (*channel.findall("item"), *root.findall("item"))]
    return Record(msgspec.json.encode(_pruned(made), order="sorted"), record.key)


def _pruned(value: Any) -> Any:
    """Leave out the members that are null, or empty maps or lists."""
    if isinstance(value, dict):
        return {key: _pruned(member) for key, member in value.items() if member not in (None, {}, [])}
    return [_pruned(member) for member in value] if isinstance(value, list) else value


def _fields(element: Any, names: dict[str, str]) -> dict[str, Any]:
    return {field: element.findtext(name) for name, field in names.items()}


def _categories(element: Any) -> list[dict[str, str | None]]:
    return [{"domain": it.get("domain"), "name": it.text or ""} for it in element.findall("category")]


def _item(item: Any) -> dict[str, Any]:
    made = _fields(item, _ITEM)
    made["categories"] = _categories(item)
    made["content"] = item.findtext(_CONTENT)
    made["dublin_core_ext"] = {"creators": [it.text or "" for it in item.findall(_CREATOR)]}
    if not made["dublin_core_ext"]["creators"]:
        del made["dublin_core_ext"]
    enclosure, guid, source = item.find("enclosure"), item.find("guid"), item.find("source")
    made["enclosure"] = None
    if enclosure is not None:
        made["enclosure"] = {
            "length": enclosure.get("length", ""),
            "mime_type": enclosure.get("type", ""),
            "url": enclosure.get("url", ""),
        }
    made["guid"] = None
    if guid is not None:
        made["guid"] = {"permalink": guid.get("isPermaLink", "true") == "true", "value": guid.text or ""}
    made["source"] = None if source is None else {"title": source.text, "url": source.get("url", "")}
    return made
