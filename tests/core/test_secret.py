"""Secrets are on the wire and nowhere else."""

from __future__ import annotations

import base64
import html
import json
import secrets as random_secrets
import threading
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.core.disguise import readings
from headwater.core.secret import MASK, Masker, Text

# Nothing that stands around a secret by chance, and nothing that an encoding leaves alone by itself.
SECRETS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x1F9FF, exclude_categories=("Cs", "Cn", "Co", "Cc")),
    min_size=8,
    max_size=40,
).filter(lambda text: len(text.strip()) >= 6 and len(set(text)) > 3)
AROUND = st.text(alphabet="xyz.,;:", max_size=12)


def _lower_percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _all_escaped(text: str) -> str:
    """JSON with every character escaped, as some servers write it to be safe everywhere."""
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _slashes(text: str) -> str:
    """JSON as PHP writes it."""
    return json.dumps(text)[1:-1].replace("/", "\\/")


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda text: quote(text, safe=""),
    "percent, path": quote,
    "percent, all, lower case": _lower_percent,
    "form": quote_plus,
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of PHP": _slashes,
    "JSON, all escaped": _all_escaped,
    "JSON, upper case": lambda text: _all_escaped(text).upper().replace("\\U", "\\u"),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[1:-1],
    "JSON of a URL": lambda text: json.dumps(f"https://x/?q={quote_plus(text)}").replace("/", "\\/"),
    "a URL with JSON": lambda text: quote(json.dumps({"token": text})),
    "HTML": html.escape,
    "HTML, numbers": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(character):X};" for character in text),
    "repr": lambda text: repr(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper(),
    "UTF-8 read as Latin-1": lambda text: text.encode().decode("latin-1"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "basic authentication": lambda text: base64.b64encode(b"user:" + text.encode()).decode(),
    "base64, further on": lambda text: base64.b64encode(b"my-user:" + text.encode() + b":end").decode(),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
}


def test_a_text_shows_its_mask() -> None:
    """`str` and `repr` are safe; `reveal` is not."""
    text = Text("Bearer s3cret", f"Bearer {MASK}", ("s3cret",))
    assert (str(text), repr(text), text.reveal()) == ("Bearer ***", "Text('Bearer ***')", "Bearer s3cret")
    assert text.secret
    assert not Text("open").secret
    assert text == Text("Bearer s3cret")
    assert len({text, Text("Bearer s3cret")}) == 1


@pytest.mark.parametrize("name", DISGUISES)
@given(secret=SECRETS, before=AROUND, after=AROUND)
@example(secret="a%20b\\c\"d'e/f&g=h+i", before="x", after="")
@example(secret="\\\\\\\\\\\\x\\n", before="", after=".")
@example(secret="00000+ 1", before="", after="")
@example(secret="0000012\U0001bca0", before="", after="")
def test_every_disguise_is_masked(name: str, secret: str, before: str, after: str) -> None:
    """However a secret is written down, what is left does not hold it, nor most of it; what is around it stays."""
    masked = Masker([secret]).mask(f"<{before}={DISGUISES[name](secret)}={after}>")
    assert MASK in masked
    for reading in readings(masked, forms=True):
        assert secret not in reading.text
    rest = masked.replace(MASK, "")
    assert rest.startswith("<")
    assert rest.endswith(">")
    # What may stay is what the disguise brings besides, such as the user's name.
    assert len(rest) <= len(before) + len(after) + 40


@given(SECRETS, st.binary(max_size=10), st.binary(max_size=10))
def test_no_bit_is_left_in_base64(secret: str, before: bytes, after: bytes) -> None:
    """Wherever in base64 a secret begins and ends, no character with bits of it stays."""
    data = secret.encode()
    whole = base64.b64encode(before + data + after).decode()
    masked = Masker([secret]).mask(whole)
    head, _, tail = masked.partition(MASK)
    assert len(head) <= len(before) * 8 // 6
    assert len(tail) <= (len(whole) + 1) - (len(before) + len(data)) * 8 // 6


@given(st.text(), st.lists(SECRETS, max_size=3))
def test_what_is_no_secret_stays(text: str, others: list[str]) -> None:
    """A text without a secret comes back as it is."""
    if not any(other in reading.text for other in others for reading in readings(text)):
        assert Masker(others).mask(text) == text


@pytest.mark.parametrize("secret", ["s3cr3t-Value/+42", "a b+c d", "pässwörd %41"])
@pytest.mark.parametrize("safe", ["", " "])
def test_percent_encoded_within_other_codes(secret: str, safe: str) -> None:
    """As the login of a client of OAuth 2 is, and a URL that a server dumps."""
    written = quote_plus(secret, safe=safe) if safe else quote(secret, safe="")
    for data in (written, f"GET /x?key={written} HTTP/1.1", f"client:{written}"):
        for said in (base64.b64encode(data.encode()).decode(), data.encode().hex(), data):
            assert MASK in Masker([secret]).mask(f"it said {said}")


def test_a_plus_in_a_form() -> None:
    """It is a blank there, beside one that is meant."""
    assert Masker(["00000+ 1"]).mask("<00000%2B+1>") == f"<{MASK}>"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    """One secret that begins another leaves nothing of it."""
    assert Masker(["abcd", "abcd efgh"]).mask("(abcd%20efgh) (abcd efgh) (abcd)") == "(***) (***) (***)"


def test_short_secrets_are_not_searched_for() -> None:
    """A secret of three letters would mask half of every sentence."""
    assert not Masker(["abc", ""])
    assert Masker(["abc"]).mask("abc") == "abc"


def test_lines_of_a_secret() -> None:
    """A key of several lines is masked whole, folded, and by each of its longer lines; not by what every key has."""
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    masker = Masker([key])
    assert masker.mask(f"<{key}>") == "<***>"
    assert masker.mask(json.dumps({"key": key})) == '{"key": "***"}'
    assert masker.mask("line 3: hkiG9w0BAQEFAASC?") == "line 3: ***?"
    assert masker.mask(key.replace("\n", "\r\n")).count("MIIE") == 0
    assert masker.mask("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_many_secrets_at_once() -> None:
    """A thousand secrets, many of which begin alike, are all found, each in each disguise."""
    many = [f"eyJhbGciOi.{random_secrets.token_urlsafe(24)}" for _ in range(1000)]
    masker = Masker(many)
    text = " ".join(disguise(secret) for secret in many[::97] for disguise in DISGUISES.values())
    masked = masker.mask(text)
    assert not any(secret in reading.text for reading in readings(masked) for secret in many)
    assert masker.mask("nothing of that") == "nothing of that"
    # Short texts are looked through in another way, which finds the same.
    for secret in many[::97]:
        for disguise in DISGUISES.values():
            short = f"said: {disguise(secret)} twice {disguise(secret)}"
            assert len(short) < 4096
            padding = " " * 5000
            assert masker.mask(short) == masker.mask(short + padding).removesuffix(padding)
            assert masker.mask(short).count("***") == 2


def test_hostile_texts_end() -> None:
    """What is made of escapes in escapes is read in bounded time and depth."""
    masker = Masker(["s3cret & more", *(f"secret-{number}" for number in range(50))])
    for text in ("\\" * 20_000, "%25" * 20_000, "&amp;" * 20_000, "\\u0025&#37;%25" * 5_000, "secret-" * 10_000):
        assert masker.mask(text + "s3cret & more").endswith(MASK)


def test_lone_surrogates_are_masked() -> None:
    """What is no Unicode, as in a variable that is not UTF-8, is masked like any other."""
    assert Masker(["ab\udc80cdef"]).mask("x ab\udc80cdef \ud800") == "x *** \ud800"


def test_a_secret_that_is_learned_later() -> None:
    """A token that was fetched is masked from then on; the oldest are forgotten, those of the configuration never."""
    masker = Masker(["configured"])
    assert masker.mask("fetched-0 configured") == "fetched-0 ***"
    masker.learn("fetched-0")
    assert masker.mask("fetched-0 configured") == "*** ***"
    for number in range(1, 300):
        masker.learn(f"fetched-{number:03}-x")
    assert masker.mask("fetched-0 configured fetched-299-x") == "fetched-0 *** ***"
    learning = Masker()
    learning.learn("abc")
    assert not learning
    learning.learn("abcd")
    assert learning
    assert learning.mask("abcd") == MASK


def test_several_threads_learn_and_mask() -> None:
    """Whoever has learned a secret never sees it again, whatever others learn meanwhile."""
    masker = Masker(["configured"])
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(50):
            own = f"token-{number}-{turn}"
            masker.learn(own)
            wrong.extend(it for it in (masker.mask(f"a {own} b configured"),) if it != "a *** b ***")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
