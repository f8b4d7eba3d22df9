"""Owns the words of a command line that somebody has copied: of a POSIX shell, or of Windows' cmd. Runs nothing.

Variables become marks of secrets of their names: what a shell would put in is not known here.
"""

from __future__ import annotations

import re

from headwater.discover.asking import clean, mark

# What a pasted line may have at most (characters).
LONGEST = 4 * 1024 * 1024
_SIMPLE = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    "'": "'",
}
_CODE = re.compile(r"x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?::?[-=?+][^}]*)?\})")


class ShellError(ValueError):
    """The line is none: a quote is not closed."""


def words(text: str) -> tuple[list[str], str]:
    """Return the words of the first command in a text, and what is worth a note of the rest. Raises ShellError."""
    if len(text) > LONGEST:
        raise ShellError(f"the command line has more than {LONGEST} characters")
    text = clean(text).replace("\r\n", "\n")
    if re.search(r'\^"|\^\n', text):
        # As Chrome copies it for Windows: ^ before whatever means something to cmd.
        text = re.sub(r"\^(\n[ \t]*|.)", lambda found: " " if found[1][0] == "\n" else found[1], text)
        return _Reading(text, variables=False).words()
    return _Reading(text, variables=True).words()


class _Reading:
    """Reads one command, character by character, as a shell would (POSIX 2.2 and 2.6.2, and ANSI-C quotes)."""

    def __init__(self, text: str, *, variables: bool) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._words: list[str] = []
        self._word: list[str] | None = None

    def words(self) -> tuple[list[str], str]:
        text = self._text
        while self._at < len(text):
            sign = text[self._at]
            self._at += 1
            if sign in " \t":
                self._end()
            elif sign in "\n;|&<>()":
                self._end()
                if sign == "\n" and not self._words:
                    continue
                if rest := self._left():
                    return self._words, rest
            elif sign == "#" and self._word is None:
                self._skip_comment()
            else:
                self._take(sign)
        self._end()
        return self._words, ""

    def _left(self) -> str:
        """Return a note of what follows the command, empty when nothing does."""
        rest = self._text[self._at :].strip("; \t\n&|<>()").split(maxsplit=1)
        # Its first word alone: the rest may hold a secret.
        return f"only the first command was read; left out: {rest[0][:40]} ..." if rest else ""

    def _skip_comment(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end

    def _add(self, piece: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(piece)

    def _end(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None

    def _take(self, sign: str) -> None:
        text = self._text
        if sign == "\\":
            following = text[self._at : self._at + 1]
            self._at += 1
            if following != "\n":
                self._add(following)
        elif sign == "'":
            self._add(self._until("'"))
        elif sign == '"':
            self._double()
        elif sign == "$" and text[self._at : self._at + 1] == "'":
            self._at += 1
            self._ansi()
        elif sign == "$" and text[self._at : self._at + 1] == '"':
            pass  # a text to be translated: the quote follows
        elif sign in "$`" and self._variables:
            self._expansion(sign)
        else:
            self._add(sign)

    def _until(self, sign: str) -> str:
        end = self._text.find(sign, self._at)
        if end < 0:
            raise ShellError(f"a quote {sign} is not closed")
        piece = self._text[self._at : end]
        self._at = end + 1
        return piece

    def _double(self) -> None:
        self._add("")
        text = self._text
        while True:
            if self._at >= len(text):
                raise ShellError('a quote " is not closed')
            sign = text[self._at]
            self._at += 1
            if sign == '"':
                return
            if sign == "\\" and text[self._at : self._at + 1] in {"$", "`", '"', "\\", "\n"}:
                self._add("" if text[self._at] == "\n" else text[self._at])
                self._at += 1
            elif sign in "$`" and self._variables:
                self._expansion(sign)
            else:
                self._add(sign)

    def _ansi(self) -> None:
        """Read $'...' (POSIX.1-2024), as browsers copy what is not ASCII."""
        self._add("")
        text = self._text
        codes: list[int] = []
        while True:
            if self._at >= len(text):
                raise ShellError("a quote $' is not closed")
            sign = text[self._at]
            self._at += 1
            code = _CODE.match(text, self._at) if sign == "\\" else None
            if code is not None:
                self._at = code.end()
                codes.append(int(code[1] or code[2] or code[3] or code[4], 8 if code[4] else 16))
                continue
            self._add(_characters(codes))
            codes = []
            if sign == "'":
                return
            if sign == "\\":
                following = text[self._at : self._at + 1]
                self._at += 1
                self._add(_SIMPLE.get(following, f"\\{following}"))
            else:
                self._add(sign)

    def _expansion(self, sign: str) -> None:
        found = _VARIABLE.match(self._text, self._at - 1)
        if found is not None:
            self._at = found.end()
            self._add(mark(found[1] or found[2]))
        elif sign == "`":
            self._until("`")
            self._add(mark("COMMAND"))
        elif self._text[self._at : self._at + 1] == "(":
            depth = 0
            while self._at < len(self._text):
                inner = self._text[self._at]
                self._at += 1
                depth += (inner == "(") - (inner == ")")
                if not depth:
                    break
            self._add(mark("COMMAND"))
        else:
            self._add(sign)


def _characters(codes: list[int]) -> str:
    """Return the characters of escapes: code points, or pairs of surrogates, or bytes of UTF-8."""
    if not codes:
        return ""
    if all(code < 256 for code in codes) and any(code > 127 for code in codes):
        try:
            return bytes(codes).decode()
        except UnicodeDecodeError:
            pass
    units = "".join(chr(code) if code < 0x110000 else "\ufffd" for code in codes)
    return clean(units.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
