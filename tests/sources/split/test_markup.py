"""Elements cut out of XML, in any chunks."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.selector import parse_selector
from headwater.sources.split.item import Bad, BrokenBodyError, Formed
from headwater.sources.split.markup import MarkupSplitter, declared_charset
from sources.split.cutting import cut, outcome

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
MANY = settings(max_examples=200, deadline=None)
WHOLE = 1 << 20
NAMES = st.sampled_from(["item", "a", "x:item", "b-c"])
TEXTS = st.sampled_from(["", "x", " é ", "&amp;&lt;", "<![CDATA[<item>]]>", "<!-- <item> -->", "<?pi <item> ?>", "\n"])


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    """Draw an element as text."""
    name = draw(NAMES)
    attributes = draw(st.sampled_from(["", ' k="v"', " k='>'", ' k = "/>&quot;" ']))
    if draw(st.booleans()):
        return f"<{name}{attributes}{draw(st.sampled_from(['', ' ']))}/>"
    inner = "".join(draw(TEXTS) + (draw(elements(depth - 1)) if depth else "") for _ in range(draw(st.integers(0, 2))))
    return f"<{name}{attributes}>{draw(TEXTS)}{inner}{draw(TEXTS)}</{name}{draw(st.sampled_from(['', ' ']))}>"


@MANY
@given(st.lists(elements(), max_size=5), SIZES, st.integers(1, 40), st.integers(5, 60))
def test_any_document_in_any_chunks(inner: list[str], sizes: list[int], window: int, most: int) -> None:
    """Elements come with their own bytes, whatever the chunks; the root's children are what was put in."""
    body = ('<?xml version="1.0"?><root>' + "\n".join(inner) + "</root>").encode()
    assert cut(MarkupSplitter(parse_selector("/root/*"), WHOLE), body) == [it.encode() for it in inner]
    for selector in ("item", "/root/*"):
        for form in (False, True):
            make = partial(MarkupSplitter, parse_selector(selector), most, form=form)
            whole = outcome(make, body)
            assert whole != "broken"
            assert outcome(partial(make, window=window), body, sizes) == whole


@MANY
@given(st.lists(elements(), max_size=3), st.data(), SIZES, st.integers(1, 40))
def test_damage_does_not_depend_on_chunks(inner: list[str], data: st.DataObject, sizes: list[int], window: int) -> None:
    """A document is XML or is not, in any chunks."""
    body = ("<root>" + "".join(inner) + "</root>").encode()
    at = data.draw(st.integers(0, len(body)))
    body = body[:at] + data.draw(st.sampled_from([b"<", b">", b"&", b"\xff", b"<a>", b"</a>", b'"'])) + body[at:]
    whole = outcome(lambda: MarkupSplitter(parse_selector("item"), WHOLE), body)
    assert outcome(lambda: MarkupSplitter(parse_selector("item"), WHOLE, window=window), body, sizes) == whole


def test_forms() -> None:
    """An element as JSON has its attributes, its children by name, and its text."""
    body = (
        b'<f xmlns:d="urn:d"><e a="1" xmlns:q="u"><t> x </t><t/><d:u v="2">y</d:u><n><m>1</m></n>z</e>'
        b"<e>only <![CDATA[<text>]]></e><e/></f>"
    )
    one, two, three = cut(MarkupSplitter(parse_selector("e"), WHOLE, form=True), body)
    assert isinstance(one, Formed)
    assert json.loads(one.form) == {
        "@a": "1",
        "t": ["x", ""],
        "d:u": {"@v": "2", "#text": "y"},
        "n": {"m": "1"},
        "#text": "z",
    }
    assert one.value.startswith(b'<e a="1" xmlns:q="u">')
    assert isinstance(two, Formed)
    assert json.loads(two.form) == "only <text>"
    assert three == Formed(b"<e/>", b'""')
    assert cut(MarkupSplitter(parse_selector("e"), WHOLE, as_json=True), body)[2] == b'""'


def test_a_list_in_a_list_is_one() -> None:
    """Repeated children are a list, also when each is one."""
    (found,) = cut(MarkupSplitter(parse_selector("e"), WHOLE, as_json=True), b"<e><a><b/></a><a/><a>1</a></e>")
    assert json.loads(found) == {"a": [{"b": ""}, "", "1"]} if isinstance(found, bytes) else False


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("item", [b"<item>1</item>", b"<x:item>2</x:item>", b"<item>3</item>"]),
        ("x:item", [b"<x:item>2</x:item>"]),
        ("{urn:x}item", [b"<x:item>2</x:item>", b"<item>3</item>"]),
        ("{}item", [b"<item>1</item>"]),
        ("a/item", [b"<x:item>2</x:item>"]),
        ("/root/item", [b"<item>1</item>"]),
        ("/root/*/item", [b"<x:item>2</x:item>", b"<item>3</item>"]),
        ("nothing", []),
    ],
)
def test_selectors(selector: str, found: list[bytes]) -> None:
    """Names, paths, prefixes and namespaces."""
    body = b'<root><item>1</item><a xmlns:x="urn:x"><x:item>2</x:item></a><b xmlns="urn:x"><item>3</item></b></root>'
    assert cut(MarkupSplitter(parse_selector(selector), WHOLE), body, [5]) == found


@pytest.mark.parametrize("text", ["", "/", "a b", "a[1]", "//a", "a//b", "<a>", "@a"])
def test_what_names_no_element_is_refused(text: str) -> None:
    """A selector is names and slashes."""
    with pytest.raises(ValueError, match="names no element"):
        parse_selector(text)


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE x [<!ENTITY a "1">]><x>&a;</x>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        b'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://x.test/">%a;]><x/>',
        b'<!DOCTYPE x [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><x>&c;</x>',
    ],
)
def test_entities_are_refused(body: bytes) -> None:
    """Neither bombs nor other documents."""
    with pytest.raises(BrokenBodyError, match="refused"):
        cut(MarkupSplitter(parse_selector("x"), WHOLE), body)


def test_a_document_type_alone_is_no_harm() -> None:
    """Old feeds have one."""
    body = b'<!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://x.test/rss.dtd"><rss><item>1</item></rss>'
    assert cut(MarkupSplitter(parse_selector("item"), WHOLE), body) == [b"<item>1</item>"]


@pytest.mark.parametrize("body", [b"", b"<a>", b"{}", b"<a></b>", b"<a/>x", b"<a>" * 300, b"<a>\xff</a>"])
def test_what_is_no_xml_says_so(body: bytes) -> None:
    """An error has expat's words."""
    with pytest.raises(BrokenBodyError, match=r"not XML|nested"):
        cut(MarkupSplitter(parse_selector("a"), WHOLE), body)


def test_a_large_element_is_shown_by_its_beginning() -> None:
    """Memory is bounded by the largest element that is allowed, not by the largest that comes."""
    large = b"<a>" + b"<b>x</b>" * 400_000 + b"</a>"
    for size in (4096, 10_000_000):
        one, bad, two = cut(
            MarkupSplitter(parse_selector("a"), 1000, form=True), b"<r><a/>" + large + b"<a>2</a></r>", [size]
        )
        assert isinstance(one, Formed)
        assert isinstance(two, Formed)
        assert isinstance(bad, Bad)
        assert (bad.data, bad.size, bad.digest) == (large[:1024], len(large), sha256(large).hexdigest())


def test_a_tag_without_end_is_broken() -> None:
    """A hostile tag takes no more memory than an element may."""
    with pytest.raises(BrokenBodyError, match="without an end"):
        cut(MarkupSplitter(parse_selector("a"), 1000), b"<r><a " + b'x="y' + b"y" * 4_000_000, [100_000])


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>', "iso-8859-1"),
        (b"<?xml version='1.0' encoding = 'utf-8' ?>", "utf-8"),
        ("<a/>".encode("utf-16-be"), "utf-16-be"),
        ("<a/>".encode("utf-16-le"), "utf-16-le"),
        (b"<a/>", ""),
    ],
)
def test_declared_charsets(head: bytes, codec: str) -> None:
    """A document says by itself what it is in."""
    assert declared_charset(head) == codec
