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


def test_a_masker_learns() -> None:
    """A secret that is learned is masked in all its coats; of very many the oldest are forgotten."""
    masker = Masker(["known-secret"])
    masker.learn("token/1+x")
    masker.learn("token/1+x")
    assert masker.mask("known-secret token/1+x token%2F1%2Bx") == "*** *** ***"
    bare = Masker()
    assert not bare
    bare.learn("first-token")
    assert bare
    for number in range(100):
        bare.learn(f"token-{number}")
    assert bare.mask("first-token token-0 token-99") == "first-token *** ***"
    bare.learn("abc")
    assert bare.mask("abc") == "abc"
