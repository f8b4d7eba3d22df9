"""The group `records:`: what loads, and what is told of what does not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from headwater.config import InvalidConfigError, RecordsOptions, load_text


def load(records: Any, **options: Any) -> Any:
    given = {"endpoint": "https://example.com/", "records": records, **options}
    return load_text(yaml.safe_dump({"name": "a", "topic": "b", "parameters": given})).connectors[0].http.records


@pytest.mark.parametrize(
    ("records", "option", "value"),
    [
        ({"split": "$.data.items[*]"}, "split", "/data/items"),
        ({"split": "/"}, "split", ""),
        ({"split-required": True, "split": "/a"}, "split_required", "True"),
        ({"format": "csv", "delimiter": r"\t"}, "delimiter", "\t"),
        ({"format": "csv", "delimiter": "tab"}, "delimiter", "\t"),
        ({"format": "delimited", "delimiter": r"\x1e\n\\"}, "delimiter", "\x1e\n\\"),
        ({"format": "csv", "quote": "none"}, "quote", ""),
        ({"format": "csv", "quote": False}, "quote", ""),
        ({"format": "csv", "columns": "a, b"}, "columns", "('a', 'b')"),
        ({"charset": "Latin-1"}, "charset", "iso8859-1"),
        ({"metadata": True, "metadata_headers": ["ETag"]}, "metadata_headers", "('etag',)"),
        ({"max_item": "1 MiB"}, "max_item", "1048576"),
        ({"key": "a.b", "timestamp": "/t", "timestamp_format": "%d.%m.%Y"}, "timestamp_format", "%d.%m.%Y"),
    ],
)
def test_what_is_right_is_read(records: Any, option: str, value: str) -> None:
    """Both spellings, pointers of both kinds, escapes, words."""
    found = getattr(load(records), option)
    assert ("" if option == "split" and not found.steps else str(found)) == value


def test_an_element_is_shown_as_it_was_written() -> None:
    """A selector is printed in the form in which it is read."""
    for text in ("item", "channel/item", "/rss/channel/item", "{urn:x}item"):
        options = load({"format": "xml", "element": text})
        assert options.model_dump()["element"] == text
    assert RecordsOptions().model_dump()["element"] is None


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ({"split": "a..b"}, "'a..b' is no pointer"),
        ({"split": "/a", "format": "csv"}, "split is for format: json, and this is csv"),
        ({"split_required": True}, "split_required says more about split, which is missing"),
        ({"delimiter": ";"}, "delimiter is for format: csv or delimited, and this is json"),
        ({"format": "xml"}, "format: xml needs an element"),
        ({"format": "xml", "element": "a[1]"}, "'a[1]' names no element"),
        ({"element": "a"}, "element is for format: xml"),
        ({"as_json": True}, "as_json is for format: xml"),
        ({"format": "csv", "delimiter": ";;"}, "the delimiter of a csv is one character"),
        ({"format": "csv", "delimiter": r"\xff"}, "the delimiter of a csv is one character"),
        ({"format": "csv", "delimiter": '"'}, "the delimiter of a csv is one character"),
        ({"format": "csv", "quote": "ab"}, "the quote of a csv is one character"),
        ({"format": "csv", "quote": ","}, "the quote of a csv is one character"),
        ({"format": "csv", "columns": ["a", " "]}, "a column has no name"),
        ({"format": "delimited", "delimiter": ""}, "the delimiter is empty"),
        ({"format": "delimited", "delimiter": r"\q"}, "unknown escape"),
        ({"format": "delimited", "key": "/id"}, "key is for format: anything but delimited and text"),
        ({"format": "text", "timestamp": "/id"}, "timestamp is for format"),
        ({"numbers": True}, "numbers is for format: csv"),
        ({"key_required": True}, "key_required says more about key"),
        ({"timestamp_format": "s"}, "timestamp_format says more about timestamp"),
        ({"timestamp": "/t", "timestamp_format": "sometimes"}, "'sometimes' is no format of times"),
        ({"timestamp": "/t", "timestamp_zone": "Mars"}, "'Mars' is no time zone"),
        ({"metadata_headers": ["a"]}, "metadata_headers says more about metadata"),
        ({"charset": "zlib"}, "'zlib' is no charset"),
        ({"charset": "klingon"}, "'klingon' is no charset"),
        ({"buffer": "1 KiB"}, "buffer"),
        ({"max_item": 0}, "max_item"),
        ({"format": "yaml"}, "format"),
        ({"splt": "/a"}, "split"),
    ],
)
def test_what_is_wrong_is_told(records: Any, words: str) -> None:
    """A sentence that a person understands, with the option in it."""
    with pytest.raises(InvalidConfigError) as caught:
        load(records)
    assert words in str(caught.value.report())


@pytest.mark.parametrize("options", [{"output_type": "json"}, {"output_parts": "full"}])
def test_records_and_output_do_not_go_together(options: Any) -> None:
    """One makes a record of an answer, the other of each item."""
    with pytest.raises(InvalidConfigError) as caught:
        load({"split": "/"}, **options)
    assert "output_type and output_parts make one record of a whole answer" in caught.value.report()
    assert load({"split": "/"}, output_type="text", output_parts="body")


def test_there_are_dead_letters_for_items() -> None:
    """Also without transforms, unless bad items are left out or let the poll fail."""
    text = "name: a\ntopic: b\nparameters:\n  endpoint: https://x.example/\n"
    assert load_text(text).connectors[0].dead_letters is None
    assert load_text(text + "  records: {split: /}\n").connectors[0].dead_letters == "b-dead-letter"
    assert load_text(text + "  records: {split: /}\n  on_error: skip\n").connectors[0].dead_letters is None
    named = load_text(text + "  records: {split: /}\n  dead_letter_topic: bad\n").connectors[0]
    assert named.dead_letters == "bad"
