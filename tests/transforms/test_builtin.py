"""The transforms that come with Headwater, each on what users of Fluvio know it for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import SmartModuleError
from headwater.core.record import Record
from headwater.transforms.abi import Lookback, Parameters
from headwater.transforms.builtin import BUILTINS, find_builtin
from headwater.transforms.builtin.jolt import Jolt
from headwater.transforms.stage import Call, Stage
from headwater.transforms.store import parse_reference


def stage(
    name: str, parameters: dict[str, str] | None = None, lookback: Lookback | None = None, **given: object
) -> Stage:
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    made: Stage = find_builtin(parse_reference(name)).stage(Parameters(values | (parameters or {}), lookback))
    made.begin(None)
    return made


def call(stage: Stage, *values: bytes) -> Call:
    return stage.call([Record(value, b"k") for value in values], base_timestamp=1000)


def only(stage: Stage, value: object) -> Any:
    result = call(stage, value if isinstance(value, bytes) else json.dumps(value).encode())
    assert result.complaint is None, result.complaint
    (record,) = result.records
    return json.loads(record.value)


def test_names() -> None:
    """A group and a version may be given or not; other names are none of ours."""
    for name in BUILTINS:
        assert find_builtin(parse_reference(name)).kind
        assert find_builtin(parse_reference(f"{name}@0.1.0")).kind
        assert find_builtin(parse_reference(name.partition("/")[2])).kind
    assert find_builtin(parse_reference("somebody/jolt")) is None


def jolt(operation: str, spec: object, document: object) -> Any:
    return Jolt(json.dumps([{"operation": operation, "spec": spec}]))(document)


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        ({"items": ""}, {"items": [1, 2], "x": 3}, [1, 2]),
        (
            {"name": "data.name", "account": "data.account"},
            {"name": "J", "account": {"id": 1}},
            {"data": {"name": "J", "account": {"id": 1}}},
        ),
        ({"*": "data.&0"}, {"a": 1, "b": None}, {"data": {"a": 1, "b": None}}),
        (
            {"foo": {"bar": {"baz": "n.&(0).&(1).&(2)"}}},
            {"foo": {"bar": {"baz": "v"}}},
            {"n": {"baz": {"bar": {"foo": "v"}}}},
        ),
        (
            {"items": {"*": {"@guid.value": "[&1].guid", "@(2,built)": "[&1].built"}}},
            {"built": 7, "items": [{"guid": {"value": 1}}, {"guid": {"value": 2}}]},
            [{"guid": 1, "built": 7}, {"guid": 2, "built": 7}],
        ),
        (
            {"data": {"*": {"url": {"@1": "data[]"}}}},
            {"data": [{"url": "a"}, {"x": 1}, {"url": "b"}]},
            {"data": [{"url": "a"}, {"url": "b"}]},
        ),
        (
            {"photos": {"*": {"@(file)": "photos.@(id)"}}},
            {"photos": [{"id": "12", "file": "a.jpg"}, {"id": "9", "file": "b.jpg"}]},
            {"photos": {"12": "a.jpg", "9": "b.jpg"}},
        ),
        ({"tag-*": {"$(0,1)": "T.&(0,1).Id"}}, {"tag-Pro": {}}, {"T": {"Pro": {"Id": "Pro"}}}),
        (
            {"photos": {"*": {"id": "photo-&(1)-id"}}},
            {"photos": [{"id": 1}, {"id": 2}]},
            {"photo-0-id": 1, "photo-1-id": 2},
        ),
        ({"bar|baz": "a.d"}, {"bar": 2, "baz": 3}, {"a": {"d": [2, 3]}}),
        ({"a": "x", "tag-*": "t.&(0,1)", "*": None}, {"a": 1, "tag-b": 2, "c": 3}, {"x": 1, "t": {"b": 2}}),
        ({"flag": {"true": {"#yes": "on"}, "*": {"#no": "on"}}}, {"flag": True}, {"on": "yes"}),
        ({"a": ["x", "y.z"]}, {"a": 1}, {"x": 1, "y": {"z": 1}}),
        ({"a": "x[2]"}, {"a": 1}, {"x": [None, None, 1]}),
        ({"a\\.b": "x\\.y"}, {"a.b": 1}, {"x.y": 1}),
        ({"nothing": "x"}, {"a": 1}, None),
    ],
)
def test_jolt_shift(spec: object, document: object, expected: object) -> None:
    """Names, wildcards, references, indexes: as in Fluvio's port of Jolt."""
    assert jolt("shift", spec, document) == expected


def test_jolt_default_and_remove() -> None:
    """Defaults go where nothing is, null being something; what is removed is gone, and its parent stays."""
    phones = {"phones": {"mobile": 1, "country": "US", "fax": None}}
    spec = {"phones": {"mobile": 0, "code": "+1", "fax": 2}, "x": {"y": 1}}
    assert jolt("default", spec, phones) == {
        "phones": {"mobile": 1, "country": "US", "fax": None, "code": "+1"},
        "x": {"y": 1},
    }
    assert phones == {"phones": {"mobile": 1, "country": "US", "fax": None}}
    assert jolt("remove", {"a": {"b": ""}, "c": "", "none": ""}, {"a": {"b": 1}, "c": 2, "d": 3}) == {"a": {}, "d": 3}
    chain = stage(
        "infinyon/jolt",
        spec=[
            {"operation": "remove", "spec": {"id": ""}},
            {"operation": "shift", "spec": {"*": "data.&0"}},
            {"operation": "default", "spec": {"data": {"source": "http-connector"}}},
        ],
    )
    assert only(chain, {"id": 1}) == {"data": {"source": "http-connector"}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{", "it is not JSON"),
        ([1], "operation 1 is not a map"),
        ([{"operation": "sort", "spec": {}}], "operation 1 is 'sort'; there are shift, default, remove"),
        ([{"operation": "shift"}], "has no map `spec`"),
        ([{"operation": "shift", "spec": {"a": 1}}], "must have a path"),
        ([{"operation": "shift", "spec": {"a": "x[1"}}], "without its ]"),
    ],
)
def test_jolt_refuses_specifications(spec: object, said: str) -> None:
    """A wrong specification is told when the chain begins."""
    with pytest.raises(SmartModuleError, match=r"infinyon/jolt cannot use the value of 'spec'") as caught:
        stage("infinyon/jolt", spec=spec)
    assert said in caught.value.message


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab*&.@$#[]()|", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab*&.@$#[]()|1,", max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(["shift", "default", "remove"]),
    st.dictionaries(st.text("ab*&.@$#[]()|1,", max_size=6), _json),
    _json,
)
def test_jolt_on_anything(operation: str, spec: object, document: object) -> None:
    """Whatever the specification and the document: a result that is JSON, or a ValueError."""
    try:
        json.dumps(jolt(operation, spec, document))
    except ValueError:
        return


def test_regex_filter() -> None:
    """It searches, in the syntax of Rust; bytes that are no text refuse the record; a wild pattern stays fast."""
    keep = stage("infinyon/regex-filter", regex="[Cc]at")
    assert [it.value for it in call(keep, b"a cat", b"dog", "Cätcat".encode()).records] == [b"a cat", "Cätcat".encode()]
    assert "UnicodeDecodeError" in str(call(keep, b"\xff").complaint)
    for bad in ("(", "(?=a)", r"(a)\1"):
        with pytest.raises(SmartModuleError, match="cannot use the value of 'regex'"):
            stage("regex-filter", regex=bad)
    assert call(stage("regex-filter", regex="(a*)*$x"), b"a" * 50_000).records == []
    with pytest.raises(SmartModuleError, match="needs the parameter 'regex'"):
        stage("regex-filter")


def test_jaq() -> None:
    """One result is itself, none or many are an array."""
    assert only(stage("infinyon/jaq", filter=".x + .y"), {"x": 5, "y": 10}) == 15
    assert only(stage("jaq", filter=".[]"), ["zero", "one"]) == ["zero", "one"]
    assert only(stage("jaq", filter="empty"), 1) == []
    assert only(stage("jaq", filter=".[7]"), [1]) is None
    assert call(stage("jaq", filter=".a"), b"[1]").complaint
    assert call(stage("jaq", filter=".a"), b"{").complaint
    with pytest.raises(SmartModuleError, match="cannot use the value of 'filter'"):
        stage("jaq", filter=".[")


def test_array_map_json() -> None:
    """Each element is a record without a key, its own bytes less the blanks: no number changes."""
    split = stage("infinyon-labs/array-map-json")
    made = call(split, b' [ {"one" : 1.10}, "a b",\n 12345678901234567890123, [] ] ').records
    assert [(it.value, it.key) for it in made] == [
        (b'{"one":1.10}', None),
        (b'"a b"', None),
        (b"12345678901234567890123", None),
        (b"[]", None),
    ]
    assert call(split, b"[]").records == []
    for bad in (b"{}", b"[1", b"", b"\xff"):
        assert call(split, bad).complaint


def test_json_sql() -> None:
    """The model of the SQL sinks: texts with types, defaults before what is required."""
    mapping = {
        "table": "topic_message",
        "map-columns": {
            "device_id": {"json-key": "device.device_id", "value": {"type": "int", "default": "0", "required": True}},
            "record": {"json-key": "$", "value": {"type": "jsonb", "required": True}},
        },
    }
    document = {"device": {"device_id": 1}}
    values = [
        {"column": "device_id", "raw_value": "1", "type": "Int"},
        {"column": "record", "raw_value": '{"device":{"device_id":1}}', "type": "Json"},
    ]
    assert only(stage("infinyon/json-sql", mapping=mapping), document) == {
        "Insert": {"table": "topic_message", "values": values}
    }
    made = only(stage("json-sql", mapping=mapping), {})["Insert"]["values"]
    assert made[0] == {"column": "device_id", "raw_value": "0", "type": "Int"}
    columns = {
        "a": {"json_key": ".m.0"},
        "b": {"json-key": "no"},
        "c": {"json-key": "n", "value": {"type": "float8", "default": 4.5}},
    }
    made = only(stage("json-sql", mapping={"table": "t", "columns": columns}), {"m": ["x"], "n": None})["Insert"][
        "values"
    ]
    assert [it["raw_value"] for it in made] == ["x", "", "null"]
    upsert = {"table": "t", "operation": "upsert", "unique-columns": ["a"], "columns": columns}
    assert only(stage("json-sql", mapping=upsert), {})["Upsert"]["uniq_idx"] == "a"
    needed = {"table": "t", "columns": {"a": {"json-key": "x.y", "value": {"required": True}}}}
    assert "there is no 'x.y' for the column a" in str(call(stage("json-sql", mapping=needed), b"{}").complaint)
    for wrong, said in (
        ({"table": "t", "columns": {"a": {"json-key": "x", "value": {"type": "blob"}}}}, "there is no type 'blob'"),
        ({"table": "t", "columns": {"a": {}}}, "needs a json-key"),
        ({"table": "t", "colums": {}}, "colums"),
        ({"table": "t", "operation": "upsert"}, "needs unique-columns"),
    ):
        with pytest.raises(SmartModuleError, match=said):
            stage("json-sql", mapping=wrong)


RSS = b"""<?xml version="1.0"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>
<title>News</title><link>https://n.example/</link><description>Newest</description>
<lastBuildDate>Tue, 02 May 2023 18:37:30 +0000</lastBuildDate>
<item><title>A &amp; B</title><link>https://n.example/1</link><guid isPermaLink="false">g1</guid>
<dc:creator>ann</dc:creator><category domain="d">x</category>
<enclosure url="https://n.example/a.mp3" length="5" type="audio/mpeg"/></item><item><title>C</title></item>
</channel></rss>"""


def test_rss_json() -> None:
    """The channel with its items, in Fluvio's names; what is missing is left out."""
    made = only(stage("infinyon-labs/rss-json"), RSS)
    assert made == {
        "title": "News",
        "link": "https://n.example/",
        "description": "Newest",
        "last_build_date": "Tue, 02 May 2023 18:37:30 +0000",
        "items": [
            {
                "title": "A & B",
                "link": "https://n.example/1",
                "guid": {"permalink": False, "value": "g1"},
                "categories": [{"domain": "d", "name": "x"}],
                "dublin_core_ext": {"creators": ["ann"]},
                "enclosure": {"length": "5", "mime_type": "audio/mpeg", "url": "https://n.example/a.mp3"},
            },
            {"title": "C"},
        ],
    }
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><rss><channel><title>&b;</title></channel></rss>'
    for bad, said in ((b"{}", "it is not XML"), (b"<feed/>", "its root is feed"), (bomb, "entities or a DTD")):
        assert said in str(call(stage("rss-json"), bad).complaint)


def test_dedup_drops_repeats_by_key() -> None:
    """A record whose key was there goes; without a key its value counts; the oldest is forgotten beyond `count`."""
    drop = stage("infinyon-labs/dedup-filter", count="2")
    given = [Record(b"2", b"1"), Record(b"3", b"1"), Record(b"5", b"2"), Record(b"x"), Record(b"x"), Record(b"2", b"1")]
    assert list(drop.call(given).origins) == [0, 2, 3, 5]


def test_dedup_remembers_what_is_not_old() -> None:
    """With an age it remembers longer than `count`; the state goes on in a new stage."""
    drop = stage("dedup-filter", count="1", age="10s")
    times = [(b"a", 0), (b"b", 1000), (b"a", 9000), (b"a", 12_000)]
    assert [list(drop.call([Record(key, None, time)]).origins) for key, time in times] == [[0], [0], [], [0]]
    again = stage("dedup-filter", count="1", age="10000")
    again.begin(drop.state)
    assert list(again.call([Record(b"a", None, 13_000)]).origins) == []


def test_dedup_looks_back() -> None:
    """Earlier records count as seen."""
    drop = stage("dedup-filter", lookback=Lookback(5), count="5")
    assert drop.lookback == Lookback(5)
    drop.look_back([Record(b"old", None, 1)])
    assert [it.value for it in call(drop, b"old").records] == [b"old"]  # with a key it is another record
    assert drop.call([Record(b"old")]).records == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "needs a count"),
        ({"count": "0"}, "got '0'"),
        ({"count": "many"}, "got 'many'"),
        ({"count": "1000000"}, "from 1 to 100000"),
        ({"count": "5", "age": "long"}, "cannot use the age"),
        ({"count": "5", "size": "3"}, "has no parameter 'size'"),
    ],
)
def test_dedup_refuses_parameters(parameters: dict[str, str], said: str) -> None:
    """What is wrong is told when the chain begins."""
    with pytest.raises(SmartModuleError, match=said):
        stage("dedup-filter", parameters)
