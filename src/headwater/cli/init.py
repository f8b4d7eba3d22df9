"""Owns `headwater init`: the reading of what somebody brings, the few requests, and the writing of files.

What all of it means is `headwater.discover`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from headwater.config import load_text, secret_source
from headwater.config.document import read_plain
from headwater.config.secrets import SecretSource
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError, HeadwaterError
from headwater.core.http import Request, Response
from headwater.core.moment import Moment
from headwater.core.names import is_name, suggest_name
from headwater.core.secret import Masker
from headwater.discover import credentials
from headwater.discover.asking import Ask, from_url, shown, with_query
from headwater.discover.body import mended as whole_of
from headwater.discover.curlline import CurlError, read_line, read_words
from headwater.discover.finding import Certainty, Draft, remark
from headwater.discover.har import HarError, choose, is_har, read_har
from headwater.discover.openapi import Document, OpenApiError, is_openapi
from headwater.discover.streaming import Unending, enough, framing_of, is_events
from headwater.discover.survey import Known, Outcome, Probe, survey
from headwater.discover.write import Written, write
from headwater.fetch import CurlFetcher
from headwater.sources.poll import Poll

# A file that somebody brings, and an answer, may have so much (bytes); a request may take so long (seconds).
_MOST_FILE = 256 * 1024 * 1024
_MOST_BODY = 4 * 1024 * 1024
# Of events so much is enough, however few they are (bytes).
_MOST_EVENTS = 256 * 1024
_PATIENCE = 30.0
# For how long an answer that looks like a stream is listened to (seconds).
_LISTENED = 5.0
_MOST_REQUESTS = 20
_MOST_LISTED = 40
_LONGEST_SHOWN = 100


class InitCommand(click.Command):
    """A command whose arguments may be a command line of curl: what stands behind `curl` are no options of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `--` before a word `curl` that is an argument."""
        place = next((at for at, word in enumerate(args) if re.fullmatch(r"(?:\S*/)?curl(?:\.exe)?", word)), None)
        if place is not None and "--" not in args[:place]:
            args = [*args[:place], "--", *args[place:]]
        return super().parse_args(ctx, args)


@click.command(cls=InitCommand)
@click.argument("source", nargs=-1, required=True, metavar="URL | 'curl ...' | FILE | -")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option(
    "--requests", type=click.IntRange(0, _MOST_REQUESTS), default=4, show_default=True, help="Send at most so many."
)
@click.option("--offline", is_flag=True, help="Send nothing.")
@click.option("--send-any", is_flag=True, help="Also send what may change something: POST, PUT, PATCH and DELETE.")
@click.option("--operation", metavar="NAME", help="Of an OpenAPI document: the operation, by name or as 'GET /path'.")
@click.option("--entry", metavar="NUMBER|TEXT", help="Of a HAR file: which exchange, by number or a part of its URL.")
@click.option("--name", help="The connector's name.  [default: from what it is about]")
@click.option("--topic", help="Where its records go.  [default: its name]")
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, exists=True),
    help="A file of NAME=VALUE lines, or a directory, for secrets that are only named.  [default: the environment]",
)
@click.option(
    "--save-secrets",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the credentials that were found into this file, for --secrets; only you may read it.",
)
def command(
    source: tuple[str, ...],
    output: Path | None,
    force: bool,  # noqa: FBT001 - click passes every option as an argument
    requests: int,
    offline: bool,  # noqa: FBT001 - the same
    send_any: bool,  # noqa: FBT001 - the same
    operation: str | None,
    entry: str | None,
    name: str | None,
    topic: str | None,
    secrets: Path | None,
    save_secrets: Path | None,
) -> int:
    """Write a commented connect.yml for an endpoint, and say why it is as it is.

    What to look at is an address, a command line of curl (in quotes, or behind --), a HAR file, an OpenAPI document (a
    file or its address), or - for any of these on standard input. A handful of requests find the list of items, ids,
    times, pages, validators, quotas and the way in. Credentials become secrets; they are not written into the file.
    """
    for path in (output, save_secrets):
        if path is not None and path.exists() and not force:
            raise click.UsageError(f"{path} is there already; --force writes over it")
    for given in (name, topic):
        if given is not None and not is_name(given):
            raise click.UsageError(
                f"{given!r} is no name of a connector or topic; write {suggest_name(given) or 'orders'}"
            )
    try:
        begun = _begin(source, operation, entry)
    except (CurlError, HarError, OpenApiError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    driver = _Driver(secret_source(secrets), 0 if offline else requests, operation, send_any=send_any)
    draft = driver.drive(begun)
    made = write(_masked(draft, driver.masker), name=name or "", topic=topic or "")
    _save(made, output)
    _tell(made, driver, output, save_secrets)
    return 0


class Begun(msgspec.Struct, frozen=True):
    """What there is before anything is asked."""

    ask: Ask
    known: Known = Known()
    said: tuple[str, ...] = ()


def _begin(source: Sequence[str], operation: str | None, entry: str | None) -> Begun:
    """Return what somebody brings. Raises ValueError and its kinds."""
    first = source[0]
    if len(source) > 1:
        return Begun(read_words(source, _read_bounded))
    if first == "-":
        return _of_text(sys.stdin.read(_MOST_FILE), "standard input", operation, entry)
    if re.match(r"\s*(?:[$%#>]\s+|[A-Za-z_]\w*=\S*\s+)*(?:\S*/)?curl(?:\.exe)?\s", first):
        return Begun(read_line(first, _read_bounded))
    if not first.startswith(("http://", "https://")) and Path(first).is_file():
        return _of_text(_read_bounded(first).decode("utf-8-sig", "replace"), first, operation, entry)
    if first.endswith((".har", ".yml", ".yaml", ".json")) and "://" not in first:
        raise ValueError(f"there is no file {first}")
    return Begun(credentials.hide(from_url(first)))


def _read_bounded(path: str) -> bytes:
    with Path(path).expanduser().open("rb") as opened:
        return opened.read(_MOST_FILE)


def _of_text(text: str, name: str, operation: str | None, entry: str | None) -> Begun:
    bare = text.strip()
    if bare.startswith(("http://", "https://")) and "\n" not in bare:
        return Begun(credentials.hide(from_url(bare)))
    if re.match(r"(?:[$%#>]\s+|[A-Za-z_]\w*=\S*\s+)*(?:\S*/)?curl(?:\.exe)?\s", bare):
        return Begun(read_line(bare, _read_bounded))
    document = _document_of(text)
    if is_har(document):
        found = read_har(document)
        chosen = choose(found, entry)
        others = [it.sentence() for it in found if it.number != chosen.number and it.score > 0][:5]
        said = (f"exchange {chosen.sentence()}", *(f"another is {it}  (--entry)" for it in others))
        return Begun(chosen.ask, Known(answer=chosen.response, recorded=chosen.response is not None), said)
    if is_openapi(document):
        return _of_document(Document(document), operation)
    raise ValueError(f"{name} is neither a command line of curl nor a HAR file nor an OpenAPI document")


def _document_of(text: str) -> Any:
    with suppress(ValueError, RecursionError, msgspec.DecodeError):
        return msgspec.json.decode(text)
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return read_plain(text)


def _of_document(document: Document, operation: str | None) -> Begun:
    try:
        chosen = document.choose(operation)
    except OpenApiError as error:
        listed = [it.sentence() for it in document.operations()]
        more = [f"... and {len(listed) - _MOST_LISTED} more"] if len(listed) > _MOST_LISTED else []
        shown_ones = "\n  ".join([*listed[:_MOST_LISTED], *more])
        raise OpenApiError(f"{error}; name one with --operation:\n  {shown_ones}") from None
    ask, known = document.ask(chosen)
    return Begun(ask, known, (f"operation {chosen.sentence()}",))


class _Driver:
    """Sends what the survey asks for, as long as it may, and notes what came."""

    def __init__(self, source: SecretSource, requests: int, operation: str | None, *, send_any: bool) -> None:
        self._source = source
        self._send_any = send_any
        self._left = requests
        self._operation = operation
        self.lines: list[str] = []
        self.values: dict[str, str] = {}
        self.masker = Masker()

    def drive(self, begun: Begun) -> Draft:
        """Find out what there is to be found. Raises FetchError when the endpoint cannot be reached at all."""
        return uvloop.run(self._drive(begun))

    async def _drive(self, begun: Begun) -> Draft:
        self.lines += begun.said
        async with CurlFetcher() as fetcher:
            running = survey(begun.ask, begun.known, time.time())
            probe = next(running)
            first = True
            while True:
                outcome = await self._outcome(fetcher, probe)
                if first and isinstance(outcome, FetchError) and begun.known.answer is None:
                    raise outcome
                if first and isinstance(outcome, Response) and (document := self._described(outcome, begun)):
                    begun = _or_usage(document, self._operation)
                    self.lines += begun.said
                    running = survey(begun.ask, begun.known, time.time())
                    probe = next(running)
                    continue
                first = False
                try:
                    probe = running.send(outcome)
                except StopIteration as ended:
                    draft: Draft = ended.value
                    return draft

    @staticmethod
    def _described(response: Response, begun: Begun) -> Document | None:
        """Return the OpenAPI document that an address leads to, None when it leads to something else."""
        if begun.known.answer is not None or not re.search(
            rb"[\"']?(?:openapi|swagger)[\"']?\s*:", response.body[:4096]
        ):
            return None
        try:
            document = _document_of(response.body.decode("utf-8-sig", "replace"))
        except ValueError:
            return None
        return Document(document, response.url) if is_openapi(document) else None

    async def _outcome(self, fetcher: CurlFetcher, probe: Probe) -> Outcome:
        unknown = self._learn(probe.ask)
        if self._left <= 0:
            return None
        if unknown:
            self.lines.append(
                f"nothing was sent: {', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not known"
            )
            self._left = 0
            return None
        if not self._send_any and not probe.ask.harmless:
            said = f"nothing was sent: a {probe.ask.method} may change something; --send-any sends it all the same"
            self.lines.append(said)
            self._left = 0
            return None
        if "{" in probe.ask.url or any(value == "VALUE" for _, value in probe.ask.params):
            self.lines.append("nothing was sent: the address is not complete")
            self._left = 0
            return None
        self._left -= 1
        asked = f"{probe.ask.method} {shown(with_query(probe.ask.url, probe.ask.params))}"
        said = f"asked {self.masker.mask(asked)}: {probe.purpose}"
        glance = _Glance()
        try:
            response = await self._listen(fetcher, _request(probe, self.values), glance)
        except _StreamError as stream:
            self.lines.append(f"{said} -> {self._shown(stream.found.response)}, and it goes on")
            return stream.found
        except _EnoughError:
            response = glance.response(mended=True)
            self.lines.append(f"only the first {_MOST_BODY // 1024 // 1024} MiB of the answer were looked at")
        except FetchError as error:
            self.lines.append(f"{said} -> {self.masker.mask(str(error))}")
            return error
        else:
            response = msgspec.structs.replace(response, body=glance.body)
        self.lines.append(f"{said} -> {self._shown(response)}")
        return response

    def _shown(self, response: Response) -> str:
        kind = (response.header("content-type") or "no Content-Type").partition(";")[0]
        return f"{response.status}, {self.masker.mask(kind)[:60]}, {len(response.body)} B"

    @staticmethod
    async def _listen(fetcher: CurlFetcher, request: Request, glance: _Glance) -> Response:
        """Return the answer. Raises _StreamError when it is one that has no end, and FetchError."""
        begun = time.monotonic()
        fetching = asyncio.ensure_future(fetcher.fetch(msgspec.structs.replace(request, open=glance.open)))
        try:
            await asyncio.wait((fetching,), timeout=_LISTENED)
            if fetching.done() or not glance.goes_on:
                return await fetching
        except _EnoughError:
            if not glance.enough:
                raise
        finally:
            fetching.cancel()
        raise _StreamError(Unending(glance.response(mended=False), round(time.monotonic() - begun, 1)))

    def _learn(self, ask: Ask) -> list[str]:
        """Look the secrets up; return the names of those that are not known."""
        unknown = []
        for secret in ask.secrets:
            value = secret.value or self._source.get(secret.name)
            if value is None:
                unknown.append(secret.name)
            else:
                self.values[secret.name] = value
                self.masker.learn(value)
        return unknown


class _EnoughError(FetchError):
    """So much of a body has come that what it is can be told."""


class _StreamError(Exception):
    """An answer has no end: there is what came of it."""

    def __init__(self, found: Unending) -> None:
        super().__init__("it goes on")
        self.found = found


class _Glance:
    """Takes the beginning of a body in."""

    def __init__(self) -> None:
        self._head: Response | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def open(self, head: Response) -> _Glance:
        """Take the head of the answer."""
        self._head = head
        return self

    def write(self, chunk: bytes) -> bool:
        """Take the next bytes. Raises _EnoughError."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > _MOST_BODY or self.enough:
            raise _EnoughError("it is enough")
        return True

    @property
    def _kind(self) -> str:
        return "" if self._head is None else self._head.header("content-type") or ""

    @property
    def enough(self) -> bool:
        """Whether it is a stream of which enough has come."""
        if self._size > _MOST_BODY or not is_events(self._kind):
            return False
        return self._size > _MOST_EVENTS or enough(self.body)

    @property
    def goes_on(self) -> bool:
        """Whether what has come looks like a stream."""
        return self._head is not None and bool(framing_of(self.body, self._kind))

    @property
    def body(self) -> bytes:
        """What has come."""
        return b"".join(self._pieces)

    def response(self, *, mended: bool) -> Response:
        """Return the answer as far as it has come, as if that were all of it."""
        assert self._head is not None
        return msgspec.structs.replace(self._head, body=whole_of(self.body) if mended else self.body)


def _or_usage(document: Document, operation: str | None) -> Begun:
    try:
        return _of_document(document, operation)
    except OpenApiError as error:
        raise click.UsageError(str(error)) from None


def _request(probe: Probe, values: Mapping[str, str]) -> Any:
    """Return the request that a connector would send."""
    made = write(Draft(probe.ask), name="init", topic="init")
    config = load_text(made.text, secrets=SecretSource(values, "init", closed=True)).connectors[0]
    now = round(time.time() * 1000)
    request = Poll(config).request(Checkpoint(), Moment(now, now))
    headers = (*request.headers, *probe.headers)
    return msgspec.structs.replace(request, headers=headers, max_body=2**62, total_timeout=_PATIENCE)


def _masked(draft: Draft, masker: Masker) -> Draft:
    """Return a draft whose words show no secret, whatever a server has put into them."""
    findings = tuple(
        msgspec.structs.replace(it, reason=masker.mask(it.reason))
        if masker.mask(str(it.value)) == str(it.value)
        else remark(f"{it.option} cannot be written: it would show a secret")
        for it in draft.findings
    )
    ask = draft.ask.replace(notes=tuple(masker.mask(it) for it in draft.ask.notes))
    return msgspec.structs.replace(draft, ask=ask, findings=findings)


def _save(made: Written, output: Path | None) -> None:
    if output is None:
        click.echo(made.text, nl=False)
        return
    _write(output, made.text, 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole, or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as opened:  # noqa: PTH123 - with a mode from the start
            opened.write(text)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise HeadwaterError(f"{path} cannot be written: {error.strerror}", hint="name another file with -o") from error


def _tell(made: Written, driver: _Driver, output: Path | None, save_secrets: Path | None) -> None:
    """Say on standard error what was found, and what to do next."""
    lines = list(driver.lines)
    ask = made.draft.ask
    if ask.auth is not None:
        lines.append(f"  + auth: {ask.auth.type}: {ask.auth.reason}")
    for finding in made.draft.chosen().values():
        sign = {Certainty.SURE: "+", Certainty.LIKELY: "+", Certainty.GUESS: "?"}[finding.certainty]
        value = finding.value if isinstance(finding.value, str) else json.dumps(finding.value, ensure_ascii=False)
        lines.append(f"  {sign} {finding.option}: {value[:_LONGEST_SHOWN]} - {finding.reason}")
    lines += [f"  - {it}" for it in made.draft.remarks()]
    if ask.secrets and save_secrets is not None:
        # A line cannot hold a value with line breaks; such a one is left to be put in.
        values = {it.name: it.value or "" for it in ask.secrets}
        text = "".join(f"{name}={value if value.splitlines() == [value] else ''}\n" for name, value in values.items())
        _write(save_secrets, text, 0o600)
        lines.append(f"{save_secrets} has the secrets")
    elif ask.secrets:
        lines.append("secrets, one line each in a file for --secrets (--save-secrets FILE writes it):")
        lines += [f"  {it.name}=...   {it.origin}" for it in ask.secrets]
    place = output or "connect.yml"
    named = f" --secrets {save_secrets or 'FILE'}" if ask.secrets else ""
    lines.append(f"{'written to' if output else 'put it into'} {place}; then: headwater test {place}{named}")
    for line in lines:
        said = driver.masker.mask(" ".join(shown(line).split(" ")))
        # Names and values come from an answer: none of them may speak to the terminal, or begin a line.
        click.echo("".join(it if it.isprintable() else " " for it in said), err=True)
