"""The opening handshake: what is asked, and which answers are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ProtocolError
from headwater.core.http import Response
from headwater.sources.websocket.deflate import Deflate
from headwater.sources.websocket.handshake import Agreed, accept_of, agree, key_of, offer

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": ACCEPT}


def head(*more: tuple[str, str], status: int = 101, **changed: str | None) -> Response:
    """Return the head of an answer like the specification's, with some headers changed, or left out."""
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    kept = tuple((name, value) for name, value in headers.items() if value is not None)
    return Response(status, "HTTP/1.1", kept + more, b"", "https://x/", 0.1, 0)


def agreed(answer: Response, *, compression: bool = True, subprotocols: tuple[str, ...] = ("chat", "v2")) -> Agreed:
    """Return what comes of an answer to the key of the specification."""
    return agree(answer, key=KEY, compression=compression, subprotocols=subprotocols)


def test_the_key_of_the_specification() -> None:
    """RFC 6455, 1.3."""
    assert key_of(b"the sample nonce") == KEY
    assert accept_of(KEY) == ACCEPT


def test_what_is_asked() -> None:
    """Compression and subprotocols only when they are wanted."""
    plain = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    )
    assert offer(compression=False, subprotocols=(), key=KEY) == plain
    assert offer(compression=True, subprotocols=("a", "b"), key=KEY) == (
        *plain,
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Sec-WebSocket-Protocol", "a, b"),
    )


def test_an_answer_that_is_one() -> None:
    """Names of protocols and tokens are compared without case, and may be among others."""
    assert agreed(head()) == Agreed()
    assert agreed(head(upgrade="WebSocket", connection="keep-alive, UPGRADE")) == Agreed()
    assert agreed(head(("connection", "close"), connection="upgrade")) == Agreed()


def test_a_subprotocol() -> None:
    """One of those that were offered, exactly so; none is allowed too."""
    assert agreed(head(sec_websocket_protocol="v2")) == Agreed(subprotocol="v2")
    assert agreed(head(sec_websocket_protocol="")) == Agreed()


def test_no_extension() -> None:
    """An empty list of them is none."""
    for value in ("", " ", ", ,"):
        assert agreed(head(sec_websocket_extensions=value)) == Agreed()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (head(status=200), "the status is 200 instead of 101"),
        (head(upgrade=None), "the header Upgrade is not websocket"),
        (head(upgrade="h2c"), "the header Upgrade is not websocket"),
        (head(connection=None), "the header Connection does not say Upgrade"),
        (head(connection="keep-alive"), "the header Connection does not say Upgrade"),
        (head(sec_websocket_accept=None), "Sec-WebSocket-Accept is not what the key"),
        (head(sec_websocket_accept=ACCEPT.lower()), "Sec-WebSocket-Accept is not what the key"),
        (head(sec_websocket_accept="ü"), "Sec-WebSocket-Accept is not what the key"),
        (head(("sec-websocket-accept", ACCEPT)), "Sec-WebSocket-Accept is not what the key"),
        (head(sec_websocket_protocol="V2"), "it chose the subprotocol 'V2', which was not offered"),
        (head(sec_websocket_protocol="chat, v2"), "it chose more than one subprotocol"),
        (head(("sec-websocket-protocol", "v2"), sec_websocket_protocol="v2"), "it chose more than one subprotocol"),
        (head(sec_websocket_extensions="x-webkit-deflate-frame"), "it uses the extension 'x-webkit-deflate-frame'"),
    ],
)
def test_answers_that_are_none(answer: Response, why: str) -> None:
    """Each is a ProtocolError that says why."""
    with pytest.raises(ProtocolError) as caught:
        agreed(answer)
    assert why in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("permessage-deflate", Deflate()),
        (" permessage-deflate ,", Deflate()),
        (", permessage-deflate,, ", Deflate()),
        ("permessage-deflate;server_no_context_takeover", Deflate(server_no_context_takeover=True)),
        ("permessage-deflate; client_no_context_takeover", Deflate(client_no_context_takeover=True)),
        ("permessage-deflate; server_max_window_bits=10", Deflate(server_max_window_bits=10)),
        ('permessage-deflate; server_max_window_bits = "9"', Deflate(server_max_window_bits=9)),
        (r'permessage-deflate; server_max_window_bits="1\5"', Deflate()),
        (
            "permessage-deflate; client_max_window_bits=8 ; server_max_window_bits=8;server_no_context_takeover",
            Deflate(server_no_context_takeover=True, server_max_window_bits=8, client_max_window_bits=8),
        ),
    ],
)
def test_compression_that_is_agreed(value: str, wanted: Deflate) -> None:
    """RFC 7692, 7.1: all parameters, in any order."""
    assert agreed(head(sec_websocket_extensions=value)) == Agreed(deflate=wanted)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("permessage-deflate; server_no_context_takeover=1", "the parameter 'server_no_context_takeover=1'"),
        ("permessage-deflate; client_max_window_bits", "the parameter 'client_max_window_bits'"),
        ("permessage-deflate; server_max_window_bits=7", "the parameter 'server_max_window_bits=7'"),
        ("permessage-deflate; server_max_window_bits=16", "the parameter 'server_max_window_bits=16'"),
        ("permessage-deflate; server_max_window_bits=08", "the parameter 'server_max_window_bits=08'"),
        ("permessage-deflate; server_max_window_bits=٩", "cannot be read"),
        ("permessage-deflate; unknown", "the parameter 'unknown', which means nothing"),
        (
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "has the parameter server_max_window_bits twice",
        ),
        ("permessage-deflate, permessage-deflate", "it uses permessage-deflate more than once"),
        ("permessage-deflate; ", "cannot be read"),
        ("permessage-deflate;", "cannot be read"),
        ("permessage-deflate=1", "cannot be read"),
        ("permessage-deflate foo", "cannot be read"),
        ('permessage-deflate; server_max_window_bits="9', "cannot be read"),
        ("Permessage-Deflate", "it uses the extension 'Permessage-Deflate'"),
        ("permessage-deflate, foo", "it uses the extension 'foo'"),
    ],
)
def test_compression_that_is_not_to_be_had(value: str, why: str) -> None:
    """What is unknown, repeated, out of range or no list of extensions fails (RFC 6455, 9.1; RFC 7692, 5.1 and 7.1)."""
    with pytest.raises(ProtocolError) as caught:
        agreed(head(sec_websocket_extensions=value))
    assert why in caught.value.message


def test_compression_that_was_not_offered() -> None:
    """It fails, however right it is."""
    with pytest.raises(ProtocolError, match="which was not offered"):
        agreed(head(sec_websocket_extensions="permessage-deflate"), compression=False)


@given(st.text(st.sampled_from('permessage-deflate;,= "\\\t9x_ü'), max_size=60))
def test_any_list_of_extensions(value: str) -> None:
    """It is agreed on, or refused in a sentence."""
    try:
        assert agreed(head(sec_websocket_extensions=value)).deflate in {None, Deflate()}
    except ProtocolError as error:
        assert error.hint  # noqa: PT017 - one of two outcomes
