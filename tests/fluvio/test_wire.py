"""Fluvio's messages: bytes that stock clients really sent, and every message of every version there and back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluvio.messages import messages
from headwater.core.errors import HeadwaterError, WireError
from headwater.fluvio import admin, frame, invocation, objects, records
from headwater.fluvio.errorcode import ErrorCode, as_code, code
from headwater.fluvio.wire import I16, I32, MOST_ELEMENTS, Message, Reader, decode, encode

REQUESTS_AND_REPLIES: list[tuple[type[Message], range]] = [
    (frame.Header, range(1)),
    (frame.ApiVersions, range(3)),
    (frame.ApiVersionsReply, range(3)),
    *((kind, range(1, 20)) for kind in (objects.Topic, objects.Partition, objects.Spu)),
    (objects.Module, range(10, 20)),
    *((kind, range(1, 20)) for kind in (admin.Common, admin.DeleteKey, admin.Filters, admin.Watch, admin.Status)),
    (admin.UpdateTopic, range(19, 20)),
    *((kind, range(7, 26)) for kind in (records.Produce, records.Produced, records.StreamFetch)),
    *((kind, range(26)) for kind in (records.FetchOffsets, records.Offsets, records.Fetch, records.Fetched)),
    (records.StreamFetched, range(10, 26)),
    *((kind, range(1)) for kind in (records.UpdateOffsets, records.OffsetsUpdated)),
    *((kind, range(23, 26)) for kind in (records.UpdateConsumerOffset, records.ConsumerOffsetUpdated)),
    *((kind, range(23, 26)) for kind in (records.DeleteConsumerOffset, records.ConsumerOffsetDeleted)),
    *((kind, range(23, 26)) for kind in (records.FetchConsumerOffsets, records.ConsumerOffsets)),
]
KINDS = [(kind, version) for kind, versions in REQUESTS_AND_REPLIES for version in versions]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_there_and_back(data: st.DataObject) -> None:
    """Every message of every version is read as it was written, and nothing is left over."""
    kind, version = data.draw(st.sampled_from(KINDS))
    message = data.draw(messages(kind, version))
    reader = Reader(encode(message, version))
    assert decode(kind, reader, version) == message
    assert reader.position == reader.end


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_hostile_bytes(data: st.DataObject) -> None:
    """Random, cut and changed bytes are a message or a WireError, never anything else."""
    kind, version = data.draw(st.sampled_from(KINDS))
    whole = encode(data.draw(messages(kind, version)), version)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    place = data.draw(st.integers(0, max(0, len(cut) - 1)))
    changed = cut[:place] + data.draw(st.binary(max_size=6)) + cut[place + 2 :]
    for hostile in (cut, changed, data.draw(st.binary(max_size=60))):
        with suppress(HeadwaterError):
            decode(kind, hostile, version)


def test_the_request_that_begins_a_connection() -> None:
    """As the client of fluvio 0.21.0 sent it."""
    sent = "0000002700120002000000010006666c7576696f0006302e31352e3200056c696e757800067838365f3634"
    header = frame.Header(frame.API_VERSIONS, 2, 1, "fluvio")
    body = encode(frame.ApiVersions("0.15.2", "linux", "x86_64"), 2)
    assert frame.request(header, body).hex() == sent
    data = bytes.fromhex(sent)
    assert frame.frame_length(data[:4]) == len(data) - 4
    reader = Reader(data, 4)
    assert frame.decode_header(reader) == header
    assert decode(frame.ApiVersions, reader, 2) == frame.ApiVersions("0.15.2", "linux", "x86_64")


def test_the_request_to_create_a_topic() -> None:
    """As the client of fluvio 0.21.0 sent it."""
    sent = "0005546f70696300000018000568656c6c6f0000010000000100000001010000040000"
    spec = objects.TopicSpec(objects.Computed(1, 1, ignore_rack=True))
    create = admin.Create("Topic", admin.Common("hello"), spec)
    assert admin.encode_create(create, 19).hex() == sent
    assert admin.decode_create(Reader(bytes.fromhex(sent)), 19) == create


def test_the_request_to_watch() -> None:
    """As the client of fluvio 0.21.0 sent it."""
    sent = "000353505500000009000000000000000000"
    assert admin.encode_request("SPU", admin.Watch(), 19).hex() == sent
    reader = Reader(bytes.fromhex(sent))
    assert admin.decode_label(reader, 19) == "SPU"
    assert decode(admin.Watch, reader, 19) == admin.Watch()


@pytest.mark.parametrize("version", [1, 6, 9, 10])
def test_requests_before_bodies_had_lengths(version: int) -> None:
    """The kind of an object to be created stood behind the name, as a number."""
    spec = objects.TopicSpec(objects.Computed(2, 1))
    create = admin.Create("Topic", admin.Common("cats"), spec)
    body = admin.encode_create(create, version)
    assert body.startswith(b"\0\4cats\0")
    assert admin.decode_create(Reader(body), version) == create
    listed = admin.encode_request("Topic", admin.Filters(("cats",)), version)
    assert listed.startswith(b"\0\5Topic\0\0\0\1\0\4cats")
    with pytest.raises(WireError, match="kind 9"):
        admin.decode_create(Reader(encode(admin.Common("cats"), version) + b"\x09"), version)


@given(st.data(), st.integers(10, 19))
@settings(max_examples=50, deadline=None)
def test_objects_and_updates(data: st.DataObject, version: int) -> None:
    """Lists of objects and what watches tell are read as they were written."""
    label, kind = data.draw(st.sampled_from(sorted(objects.OBJECTS.items())))
    found = tuple(data.draw(st.lists(messages(kind, version), max_size=3)))
    assert admin.decode_objects(Reader(admin.encode_objects(label, found, version)), version) == found
    update = admin.Update(7, tuple(admin.Changed(deleted=True, object=it) for it in found), found)
    assert admin.decode_update(Reader(admin.encode_update(label, update, version)), version) == update


def test_a_stream_with_a_module() -> None:
    """The bytes are those of Fluvio's own test of the request in version 18."""
    sent = "00036f6e65000000030000000000000000000000000000000000000000000000010100000004deadbeef000000"
    request = decode(records.StreamFetch, bytes.fromhex(sent), 18)
    module = invocation.Invocation(invocation.AdHoc(b"\xde\xad\xbe\xef"), invocation.AsFilter())
    assert request == records.StreamFetch("one", 3, 0, 0, modules=(module,))
    assert encode(request, 18).hex() == sent


def test_a_list_that_lies_about_its_length() -> None:
    with pytest.raises(WireError, match="claims 2147483647 elements"):
        decode(records.FetchOffsets, b"\x7f\xff\xff\xff" + bytes(100), 25)
    many = encode(records.UpdateOffsets((records.OffsetUpdate(0, 0),) * 50), 0)
    with pytest.raises(WireError, match="claims 50 elements"):
        decode(records.UpdateOffsets, Reader(many, budget=49), 0)
    assert MOST_ELEMENTS >= 50


def test_values_that_do_not_fit() -> None:
    with pytest.raises(WireError, match="does not fit into 4 bytes"):
        encode(records.OffsetUpdate(0, 2**32), 0)
    with pytest.raises(WireError, match="40000 bytes is longer"):
        encode(objects.SpuMirror(1, "x" * 40_000, ""), 19)
    with pytest.raises(WireError, match="only 0 and 1"):
        decode(admin.Filters, b"\0\0\0\0\2", 19)
    with pytest.raises(WireError, match="not UTF-8"):
        decode(frame.Header, bytes(8) + b"\0\2\xff\xff", 0)
    with pytest.raises(WireError, match="the tag 9"):
        decode(objects.TopicSpec, b"\x09", 19)
    with pytest.raises(WireError, match="no Algorithm"):
        decode(objects.TopicSpec, bytes.fromhex("01000000010000000101000063"), 19)
    with pytest.raises(TypeError, match="no encoding"):
        decode(float, b"", 0)


def test_frames_have_bounds() -> None:
    assert frame.frame_length(b"\0\0\0\4") == 4
    for prefix in (b"\0\0\0\3", b"\xff\xff\xff\xff", (frame.MOST_FRAME + 1).to_bytes(4)):
        with pytest.raises(WireError, match="a frame of"):
            frame.frame_length(prefix)
    assert b"".join(frame.reply(7, [b"ab", b"c"])).hex() == "0000000700000007616263"


def test_the_agreement_on_versions() -> None:
    theirs = frame.ranges_of(frame.ApiVersionsReply(apis=frame.announced({1001: (9, 19), 0: (7, 24)})))
    assert frame.agreed_version(1001, (10, 18), theirs) == 18
    assert frame.agreed_version(0, (7, 25), theirs) == 24
    with pytest.raises(WireError, match="speaks versions 9 to 19 of API 1001, and this client 20 to 25"):
        frame.agreed_version(1001, (20, 25), theirs)
    with pytest.raises(WireError, match="does not know API 1003"):
        frame.agreed_version(1003, (1, 2), theirs)


def test_error_codes_in_words() -> None:
    assert code("TopicNotFound").number == 2001
    assert code("OffsetEvicted", 3, 9).sentence == "Offset 3 is evicted. The next available is 9"
    assert ErrorCode(4711).sentence == "error code 4711"
    assert ErrorCode(4711).name == "Unknown4711"
    assert not ErrorCode()
    assert as_code(HeadwaterError("no such luck")) == code("Other", "no such luck")


def test_numbers_by_themselves() -> None:
    assert decode(I16, b"\xff\xfe", 0) == -2
    assert decode(I32, b"\0\0\1\0", 0) == 256


def test_what_a_client_refuses_of_a_server() -> None:
    with pytest.raises(WireError, match="'Nonsense' are not known"):
        admin.decode_objects(Reader(admin.encode_labelled("Nonsense", bytes(4), 19)), 19)
    lie = admin.encode_labelled("Topic", bytes(8) + b"\x7f\xff\xff\xff" + bytes(8), 19)
    with pytest.raises(WireError, match="claims 2147483647 changes"):
        admin.decode_update(Reader(lie), 19)
