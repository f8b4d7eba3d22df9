"""Owns which names of charsets are text encodings that somebody may mean. Decodes nothing."""

from __future__ import annotations

import codecs

# Text encodings that Python knows and no server means; idna takes quadratic time.
_NOT_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})


def text_codec(name: str) -> str | None:
    """Return Python's name of the codec for a charset, None for what is none."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # `_is_text_encoding` is how CPython itself keeps hex, zlib and the like out of bytes.decode().
    if not codec._is_text_encoding or codec.name.replace("-", "_") in _NOT_CHARSETS:  # noqa: SLF001 - see above
        return None
    return codec.name
