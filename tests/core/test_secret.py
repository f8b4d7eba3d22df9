"""Secrets are on the wire and nowhere else."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from headwater.core.secret import MASK, Masker, Text

PRINTABLE = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


def test_a_text_shows_its_mask() -> None:
    """`str` and `repr` are safe; `reveal` is not."""
    text = Text("Bearer s3cret", f"Bearer {MASK}", ("s3cret",))
    assert (str(text), repr(text), text.reveal()) == ("Bearer ***", "Text('Bearer ***')", "Bearer s3cret")
    assert text.secret
    assert not Text("open").secret
    assert text == Text("Bearer s3cret")
    assert len({text, Text("Bearer s3cret")}) == 1


@given(PRINTABLE, st.binary(max_size=10), st.binary(max_size=10))
def test_every_coat_is_masked(secret: str, before: bytes, after: bytes) -> None:
    """Plain, percent-encoded, JSON-escaped and inside base64: a secret is found in all of them."""
    masker = Masker([secret])
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    for shown in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert shown not in masker.mask(f"before {shown} after")
    inner = encoded[(len(before) * 4 + 2) // 3 + 1 : (len(before) + len(secret)) * 4 // 3 - 1]
    assert inner not in masker.mask(encoded)


def test_short_secrets_are_not_searched_for() -> None:
    """A secret of three letters would mask half of every sentence."""
    assert not Masker(["abc", ""])
    assert Masker(["abc"]).mask("abc") == "abc"
