"""Owns the reading of curl's command lines: what a person typed, or copied from a browser or from an API's pages.

What asks for something else than curl's own output is taken over; what is not possible here is said, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from headwater.discover import credentials, shell
from headwater.discover.asking import Ask, Auth, clean, marks, query_pairs
from headwater.discover.browser import without_browser
from headwater.discover.curltable import (
    BEFORE_CURL,
    LETTERS,
    METHODS,
    QUIET,
    SHORT_WITH_ARGUMENT,
    WITH_ARGUMENT,
)
from headwater.discover.vocabulary import number_of


class CurlError(ValueError):
    """The line is no command of curl's that could be taken over."""


def read_line(text: str, read: Callable[[str], bytes] | None = None) -> Ask:
    """Return what a pasted command line asks for. `read` gives the contents of the files that it names.

    Raises CurlError.
    """
    try:
        line, rest = shell.words(text)
    except shell.ShellError as error:
        raise CurlError(str(error)) from None
    ask = read_words(line, read)
    return ask.noting(rest) if rest else ask


def read_words(given: Sequence[str], read: Callable[[str], bytes] | None = None) -> Ask:
    """Return what the words of a command line ask for. Raises CurlError."""
    line = [word if marks(word) else clean(word) for word in given]
    while line and (line[0] in BEFORE_CURL or re.fullmatch(r"[A-Za-z_]\w*=.*", line[0], re.DOTALL)):
        line = line[1:]
    if not line or not re.fullmatch(r"(?:.*[/\\])?curl(?:\.exe)?", line[0]):
        if line and line[0].lower() in {"invoke-webrequest", "invoke-restmethod", "fetch("}:
            raise CurlError("this is no command of curl's; copy it as cURL")
        raise CurlError("a command line begins with curl")
    reading = _Reading(read)
    reading.options(line[1:])
    return reading.ask()


class _Reading:
    """Gathers what the options of a line say."""

    def __init__(self, read: Callable[[str], bytes] | None) -> None:
        self._read = read
        self._urls: list[str] = []
        self._method = ""
        self._headers: list[tuple[str, str]] = []
        self._data: list[str] = []
        self._query: list[tuple[str, str]] = []
        self._get = self._head = self._json = self._unbuffered = False
        self._user = self._cookie = self._token = ""
        self._scheme: Any = "basic"
        self._sigv4: str | None = None
        self._agent = self._referer = ""
        self._options: dict[str, tuple[Any, str]] = {}
        self._ignored: list[str] = []
        self._notes: list[str] = []

    def options(self, line: Sequence[str]) -> None:
        rest = list(line)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self._urls += rest
                return
            if word.startswith("--") and len(word) > 2:
                if word == "--next":
                    self._notes.append("only the first request was read; left out: what follows --next")
                    return
                name, equals, value = word[2:].partition("=")
                if equals and name in WITH_ARGUMENT:
                    self._option(name, value)
                elif word[2:] in WITH_ARGUMENT:
                    self._option(word[2:], self._argument(word, rest))
                else:
                    self._option(word[2:], "")
            elif word.startswith("-") and len(word) > 1:
                self._letters(word[1:], rest)
            elif word:
                self._urls.append(word)

    def _argument(self, word: str, rest: list[str]) -> str:
        if not rest:
            raise CurlError(f"the option {word} has no value")
        return rest.pop(0)

    def _letters(self, letters: str, rest: list[str]) -> None:
        for place, letter in enumerate(letters):
            name = LETTERS.get(letter, letter)
            if letter in SHORT_WITH_ARGUMENT:
                self._option(name, letters[place + 1 :] or self._argument(f"-{letter}", rest))
                return
            self._option(name, "")

    def _option(self, name: str, value: str) -> None:
        if name in _HANDLERS:
            _HANDLERS[name](self, value)
        elif name.removeprefix("no-") not in QUIET and len(name) > 1:
            self._ignored.append(f"--{name}")

    # What the options say.

    def header(self, value: str) -> None:
        if value.startswith("@"):
            for line in self._file(value[1:], "the headers").splitlines():
                self.header(line)
            return
        name, colon, given = value.partition(":")
        if not colon:
            name, _, given = value.partition(";")  # an empty one
        name, given = name.strip(), given.strip()
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            if not name.startswith(":"):
                self._notes.append("left out: a header without a proper name")
            return
        if colon and not given:
            return  # curl leaves that header out
        self._headers.append((name, re.sub(r"[\r\n\0]+", " ", given)))

    def unbuffered(self, value: str) -> None:  # noqa: ARG002 - all that options say has one form
        self._unbuffered = True

    def data(self, value: str) -> None:
        if value.startswith("@"):
            # As curl does: without line breaks.
            value = re.sub(r"[\r\n]", "", self._file(value[1:], "the body"))
        self._data.append(value)

    def data_raw(self, value: str) -> None:
        self._data.append(value)

    def data_binary(self, value: str) -> None:
        self._data.append(self._file(value[1:], "the body") if value.startswith("@") else value)

    def json(self, value: str) -> None:
        self._json = True
        text = self._file(value[1:], "the body") if value.startswith("@") else value
        self._data = ["".join([*self._data, text])]

    def data_urlencode(self, value: str) -> None:
        self._data.append(self._encoded(value))

    def url_query(self, value: str) -> None:
        if value.startswith("+"):
            self._query += query_pairs(value[1:])
        else:
            self._query += query_pairs(self._encoded(value))

    def _encoded(self, value: str) -> str:
        """Return `content`, `=content`, `name=content`, `@file` or `name@file` as curl encodes it."""
        found = re.match(r"([^=@]*)([=@])", value)
        if found is None:
            return _form_quoted(value)
        name, sign, rest = found[1], found[2], value[found.end() :]
        if sign == "@":
            rest = self._file(rest, "the body")
        return f"{name}={_form_quoted(rest)}" if name else _form_quoted(rest)

    def _file(self, path: str, what: str) -> str:
        if path == "-":
            self._notes.append(f"{what} comes from standard input: put it in")
            return ""
        if self._read is None:
            self._notes.append(f"{what} is in the file {path}: put it in")
            return ""
        try:
            return clean(self._read(path).decode())
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            self._notes.append(f"{what} is in the file {path}, which cannot be read: {said}")
            return ""

    def request(self, value: str) -> None:
        self._method = value.upper()

    def get(self, value: str) -> None:  # noqa: ARG002 - as all of them
        self._get = True

    def head(self, value: str) -> None:  # noqa: ARG002 - as all of them
        self._head = True

    def url(self, value: str) -> None:
        self._urls.append(value)

    def user(self, value: str) -> None:
        self._user = value

    def bearer(self, value: str) -> None:
        self._token = value

    def cookie(self, value: str) -> None:
        if "=" in value or marks(value):
            self._cookie = f"{self._cookie}; {value}" if self._cookie else value
        else:
            self._notes.append(f"left out: the file of cookies {value}; put them in as a header Cookie")

    def agent(self, value: str) -> None:
        self._agent = value

    def referer(self, value: str) -> None:
        self._referer = value.partition(";")[0]

    def aws(self, value: str) -> None:
        self._sigv4 = value

    def scheme(self, word: str) -> Callable[[str], None]:
        def chosen(value: str) -> None:  # noqa: ARG001 - as all of them
            self._scheme = word

        return chosen

    def set(self, option: str, value: Any, given: str) -> None:
        """Take over an option of `http:` that curl's option `given` means."""
        self._options[option] = (value, f"--{given} of the line")

    def ignore(self, sentence: str) -> None:
        self._notes.append(sentence)

    # What all that comes to.

    def ask(self) -> Ask:
        """Return what the line asks for. Raises CurlError."""
        if not self._urls:
            raise CurlError("the line has no URL")
        if len(self._urls) > 1:
            self._notes.append(f"only the first of {len(self._urls)} addresses was read")
        url, params, user = _address(self._urls[0])
        params = (*params, *self._query)
        body: str | None = "&".join(self._data) if self._data else None
        if body is not None and (self._get or self._head):
            params, body = (*params, *query_pairs(body)), None
        method = self._method or ("HEAD" if self._head else "GET" if body is None else "POST")
        if method not in METHODS:
            self._notes.append(f"the method {method} cannot be sent by a connector; GET is written")
            method = "GET"
        if self._ignored:
            self._notes.append(f"not taken over: {', '.join(dict.fromkeys(self._ignored))}")
        ask = Ask(
            url,
            method,
            params,
            self._all_headers(body),
            body,
            options=tuple((name, value, why) for name, (value, why) in self._options.items()),
            notes=tuple(self._notes),
            unbuffered=self._unbuffered,
            source="the curl line",
        )
        return credentials.hide(self._authorized(without_browser(as_value(ask)), user))

    def _all_headers(self, body: str | None) -> tuple[tuple[str, str], ...]:
        """Return the headers of the line, and those that other options mean."""
        headers = list(self._headers)
        named = {name.lower() for name, _ in headers}
        if body is not None and "content-type" not in named:
            kind = "application/json" if self._json else "application/x-www-form-urlencoded"
            headers.append(("Content-Type", kind))
        if self._json and "accept" not in named:
            headers.append(("Accept", "application/json"))
        for name, value in (("Cookie", self._cookie), ("Referer", self._referer), ("User-Agent", self._agent)):
            if value:
                headers.append((name, value))
        return tuple(headers)

    def _authorized(self, ask: Ask, user: str) -> Ask:
        given = self._user or user
        where = "the option -u" if self._user else "the address"
        if self._sigv4 is not None:
            return _sigv4(ask, self._sigv4, given)
        if self._token:
            return credentials.bearer(ask, self._token, "the option --oauth2-bearer")
        if self._scheme == "negotiate":
            return ask.replace(auth=Auth("negotiate", {}, "the option --negotiate"))
        if given:
            return credentials.basic(ask, given, where, encoded=not self._user, scheme=self._scheme)
        return ask


def _sigv4(ask: Ask, said: str, user: str) -> Ask:
    """Return what is asked for with AWS's signature: `aws:amz:region:service`, and `key:secret` as the user."""
    _, _, region, service = [*said.split(":"), "", "", "", ""][:4]
    key, _, secret = user.partition(":")
    where = "the option -u"
    options: dict[str, str] = {}
    for name, value in (("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)):
        held = value
        if not marks(value):
            ask, held = ask.keeping(name, value or None, where)
        options["access_key" if name == "AWS_ACCESS_KEY_ID" else "secret_key"] = held
    host = ask.host.split(".")
    if not service and len(host) > 2 and host[-2:] == ["amazonaws", "com"]:
        service, region = host[0], region or host[1]
    options |= {name: value for name, value in (("region", region), ("service", service)) if value}
    return ask.replace(auth=Auth("sigv4", options, "the option --aws-sigv4"))


def _address(text: str) -> tuple[str, tuple[tuple[str, str], ...], str]:
    """Return a URL without query and user, its parameters, and the user."""
    if "://" not in text:
        text = f"http://{text}"  # as curl guesses
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - asked for its ValueError
    except ValueError as error:
        raise CurlError(f"the line's URL is none: {error}") from None
    if parts.scheme.lower() not in {"http", "https"}:
        raise CurlError(f"the line asks for {parts.scheme}://, and a connector for http or https")
    user, _, host = parts.netloc.rpartition("@")
    if not host or re.search(r"[\s\\]", host) or not parts.hostname:
        raise CurlError("the line's URL has no host")
    # curl leaves out what cannot go into a request line; a browser's copy has it encoded.
    path = re.sub(r"[\r\n\t\0]", "", parts.path) or "/"
    return urlunsplit((parts.scheme.lower(), host, path, "", "")), query_pairs(parts.query), user


def as_value(ask: Ask) -> Ask:
    """Return what is asked for with a body of JSON as a value: it is written as a map then."""
    if not isinstance(ask.body, str) or not ask.body.strip():
        return ask.replace(body=ask.body or None)
    kind = (ask.header("content-type") or "").lower()
    # Whoever gives JSON to -d and says nothing more means JSON, whatever curl says then.
    if "json" not in kind and ask.body.lstrip()[:1] not in {"{", "["}:
        return ask
    try:
        value = msgspec.json.decode(ask.body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return ask
    if not isinstance(value, dict | list) or not value:
        return ask
    kept = tuple(it for it in ask.headers if it[0].lower() != "content-type" or "+json" in it[1])
    return ask.replace(body=value, headers=kept)


def _form_quoted(text: str) -> str:
    """Return a text percent-encoded, marks of secrets as they are."""
    return re.sub("[^\ue000\ue001]+", lambda found: quote(found[0], safe=""), text)


def _plain(option: str, name: str, value: Any = None) -> Callable[[_Reading, str], None]:
    """Return what an option does that means an option of `http:`; without `value` it takes its argument over."""

    def taken(reading: _Reading, given: str) -> None:
        reading.set(option, given if value is None else value, name)

    return taken


def _seconds(option: str, name: str) -> Callable[[_Reading, str], None]:
    def taken(reading: _Reading, given: str) -> None:
        if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", given) and float(given) > 0:
            reading.set(option, f"{given}s", name)

    return taken


def _number(option: str, name: str, plus: int = 0) -> Callable[[_Reading, str], None]:
    def taken(reading: _Reading, given: str) -> None:
        number = number_of(given)
        if number is not None and number + plus <= 100:
            reading.set(option, number + plus, name)

    return taken


def _proxy(kind: str = "") -> Callable[[_Reading, str], None]:
    def taken(reading: _Reading, given: str) -> None:
        if not given:
            reading.set("proxy", "none", "proxy")
            return
        address = given if "://" in given else f"{kind or 'http'}://{given}"
        user, _, host = address.partition("://")[2].rpartition("@")
        if user:
            reading.ignore("the proxy's user was left out: put it into the address as ${{ secrets.PROXY_USER }}")
        reading.set("proxy", f"{address.partition('://')[0]}://{host}", "proxy")

    return taken


def _said(sentence: str) -> Callable[[_Reading, str], None]:
    def taken(reading: _Reading, given: str) -> None:  # noqa: ARG001 - as all of them
        reading.ignore(sentence)

    return taken


def _scheme(word: str) -> Callable[[_Reading, str], None]:
    return lambda reading, given: reading.scheme(word)(given)


_HANDLERS: dict[str, Callable[[_Reading, str], None]] = {
    "header": _Reading.header,
    "data": _Reading.data,
    "data-ascii": _Reading.data,
    "data-raw": _Reading.data_raw,
    "data-binary": _Reading.data_binary,
    "data-urlencode": _Reading.data_urlencode,
    "json": _Reading.json,
    "url-query": _Reading.url_query,
    "request": _Reading.request,
    "get": _Reading.get,
    "head": _Reading.head,
    "no-buffer": _Reading.unbuffered,
    "url": _Reading.url,
    "user": _Reading.user,
    "oauth2-bearer": _Reading.bearer,
    "cookie": _Reading.cookie,
    "user-agent": _Reading.agent,
    "referer": _Reading.referer,
    "aws-sigv4": _Reading.aws,
    "digest": _scheme("digest"),
    "negotiate": _scheme("negotiate"),
    "ntlm": _said("NTLM is not possible here; the server may offer negotiate or digest"),
    "insecure": _plain("tls.verify", "insecure", "insecure"),
    "cacert": _plain("tls.ca_file", "cacert"),
    "cert": _plain("tls.cert_file", "cert"),
    "key": _plain("tls.key_file", "key"),
    "pass": _said("the password of the key was left out: write tls: key_password: ${{ secrets.KEY_PASSWORD }}"),
    "tlsv1.2": _plain("tls.min_version", "tlsv1.2", "1.2"),
    "tlsv1.3": _plain("tls.min_version", "tlsv1.3", "1.3"),
    "proxy": _proxy(),
    "socks4": _proxy("socks4"),
    "socks4a": _proxy("socks4a"),
    "socks5": _proxy("socks5"),
    "socks5-hostname": _proxy("socks5h"),
    "proxy-user": _said("the proxy's user was left out: put it into the address as ${{ secrets.PROXY_USER }}"),
    "noproxy": lambda reading, given: reading.set("no_proxy", [it.strip() for it in given.split(",") if it], "noproxy"),
    "unix-socket": _plain("unix_socket", "unix-socket"),
    "http1.0": _plain("http_version", "http1.0", "1.0"),
    "http2": _plain("http_version", "http2", "2"),
    "http2-prior-knowledge": _plain("http_version", "http2-prior-knowledge", "2-prior-knowledge"),
    "http3": _plain("http_version", "http3", "3"),
    "http3-only": _plain("http_version", "http3-only", "3-only"),
    "max-time": _seconds("timeout", "max-time"),
    "connect-timeout": _seconds("connect_timeout", "connect-timeout"),
    "max-redirs": _number("max_redirects", "max-redirs"),
    "retry": _number("retry.attempts", "retry", plus=1),
    "form": _said("a form with files (-F) cannot be sent by a connector: the body was left out"),
    "form-string": _said("a form with files (-F) cannot be sent by a connector: the body was left out"),
    "upload-file": _said("an upload (-T) cannot be sent by a connector: the body was left out"),
    "config": _said("left out: the file of options that -K names"),
    "netrc": _said("left out: ~/.netrc; put the user into auth: type: basic"),
    "range": _said("left out: the range (-r); a connector takes the whole answer"),
    "resolve": _said("left out: --resolve; the name is looked up as always"),
    "connect-to": _said("left out: --connect-to; the name is looked up as always"),
}
