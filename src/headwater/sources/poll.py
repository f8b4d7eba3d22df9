"""Owns the polling source: its request, the judgement of the answer, the record, and what to remember.

Pure: it never waits, sends or stores. The engine does all three with what this returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.config import ConnectorConfig, HttpOptions, transport_of
from headwater.core.checkpoint import Checkpoint, Progress
from headwater.core.errors import FetchError
from headwater.core.extract import Extractor
from headwater.core.http import Headers, Request, Response
from headwater.core.memory import Nothing, Recall
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.core.secret import Masker
from headwater.sources.course import Course, Gleaning, Step
from headwater.sources.cursors import Cursors
from headwater.sources.items import About, Items
from headwater.sources.judge import Action, Attempt, Policy, Verdict, accept, judge, media_type, stored
from headwater.sources.output import render
from headwater.sources.pages import Pager
from headwater.sources.policy import policy_of
from headwater.sources.reaped import Reaped
from headwater.sources.reaping import ANOTHER, Given, Reaping, anew
from headwater.sources.request import build_request, fingerprint
from headwater.sources.requesting import Requester
from headwater.sources.rules import Rules
from headwater.sources.sifting import Sifting
from headwater.sources.split.resume import AnotherBodyError, Resumption
from headwater.sources.window import Windows

if TYPE_CHECKING:
    from headwater.sources.children import Children

# Members of an enum by name cost as much as five function calls in Python 3.11.
_STORE = Action.STORE
# Validators longer than this are not worth sending back, and a hostile server could fill the checkpoint with them.
_LONGEST_VALIDATOR = 1024


class Poll:
    """A polling source, made once per connector from its configuration. Holds no state: that is the checkpoint's.

    It remembers what the headers of the last response said, for answers repeat theirs. `plain`: each round is one
    exchange that needs nothing but the checkpoint. `simple`: it is plain, and an answer is one record. `remembers`:
    `reap` asks what is remembered of items, which is done in a thread.
    """

    __slots__ = (
        "_asked",
        "_conditional",
        "_course",
        "_fingerprint",
        "_full",
        "_headers",
        "_items",
        "_json",
        "_policy",
        "_purpose",
        "_request",
        "_said",
        "_sent",
        "_sifting",
        "_steady",
        "_stored",
        "_strict",
        "_usual",
        "_validated",
        "_values",
        "children",
        "plain",
        "remembers",
        "simple",
    )

    def __init__(self, config: ConnectorConfig) -> None:
        options = config.http
        self._policy = policy_of(options)
        # Rules know circumstances; what is judged without them then accepts nothing.
        self._usual = msgspec.structs.replace(self._policy, accepted=()) if self._policy.rules else self._policy
        self._request = build_request(options, transport_of(config))
        self._conditional = options.conditional and options.method in {"GET", "HEAD"}
        self._json = options.output_type == "json"
        self._full = options.output_parts == "full"
        self._sifting = Sifting(config)
        # Answers that served another purpose are to be had again.
        self._purpose = f"{config.topic.name}{self._sifting.purpose}"
        self._fingerprint = fingerprint(self._request, self._purpose)
        self._course = course_of(options, self._request, config.masker)
        self.children = children_of(config, self._request, self._policy)
        self._values = Extractor(self._course.pointers)
        self._items = (
            None
            if options.records is None
            else Items(options.records, self._course.pointers, formed=self._sifting.active)
        )
        self._strict = config.on_error == "fail"
        # What is asked at every poll is answered once.
        self._steady = self._course.plain
        self.plain = self._steady and self.children is None
        self.remembers = self._sifting.active
        self.simple = self.plain and self._items is None and not self.remembers
        self._sent = self._request
        self._asked = ""
        self._validated: tuple[str | None, str | None, Request] = (None, None, self._request)
        self._headers: Headers | None = None
        self._said: tuple[str | None, str | None, str] = (None, None, "")
        # A status with which an answer that has a body of the usual type is stored.
        self._stored = 0

    def scope(self, checkpoint: Checkpoint, moment: Moment) -> dict[str, Any]:
        """Return what expressions of requests about items see, beside the items."""
        return self._course.scope(checkpoint.progress or Progress(), moment)

    def request(self, checkpoint: Checkpoint, moment: Moment) -> Request:
        """Return the request of the next attempt, with the validators of the last answer to the same.

        Raises RequestError when a value for it is missing, and NothingDueError when there is nothing to ask for.
        """
        if self._steady:
            return self.same(checkpoint)
        self._sent = request = self._course.request(checkpoint.progress, moment)
        if self._conditional:
            progress = checkpoint.progress
            # Only an answer that was the whole of its round says by a 304 that nothing is new.
            self._asked = "" if progress and progress.page.get("n") else fingerprint(request, "")
        return _validating(request, checkpoint) if self.conditional(checkpoint) else request

    def same(self, checkpoint: Checkpoint) -> Request:
        """Return the request of the next attempt of a plain poll."""
        etag, last_modified = checkpoint.etag, checkpoint.last_modified
        if (etag is None and last_modified is None) or not self.conditional(checkpoint):
            return self._request
        known = self._validated
        if known[0] != etag or known[1] != last_modified:
            # The same request stays the same one: fetchers keep what they have set up for it.
            self._validated = known = (etag, last_modified, _validating(self._request, checkpoint))
        return known[2]

    def conditional(self, checkpoint: Checkpoint) -> bool:
        """Return whether `request` carries validators with this checkpoint."""
        # A body that was broken off is asked for as a whole.
        return (
            self._conditional
            and checkpoint.body is None
            and checkpoint.request == self._fingerprint
            and (self._steady or (checkpoint.progress is not None and self._asked == checkpoint.progress.asked))
            and (checkpoint.etag is not None or checkpoint.last_modified is not None)
        )

    def accept(self, response: Response, checkpoint: Checkpoint) -> Verdict | None:
        """Decide what a response means when no circumstances matter to it. See `headwater.sources.judge`."""
        usual = checkpoint.media_type if checkpoint.request == self._fingerprint else ""
        status = response.status
        kind = self._said[2] if response.headers is self._headers else self._heard(response)[2]
        if status == self._stored and kind == usual and response.body:
            # Most answers by far.
            return stored(status, len(response.body))
        verdict = accept(response, self._usual, usual_type=usual, kind=kind)
        if verdict is not None and verdict.action is _STORE and response.body and not self._usual.content_types:
            self._stored = status
        return verdict

    def judge(self, outcome: Response | FetchError, attempt: Attempt, checkpoint: Checkpoint) -> Verdict:
        """Decide what one attempt means. See `headwater.sources.judge`."""
        usual = checkpoint.media_type if checkpoint.request == self._fingerprint else ""
        return judge(outcome, attempt, self._policy, usual_type=usual)

    def cuts(self, head: Response, checkpoint: Checkpoint) -> bool:
        """Return whether a body that is too large to be held is cut into items while it comes, by its head.

        What a rule may be about is held, whatever its size: only the whole of it can be judged.
        """
        if self._items is None:
            return False
        usual = checkpoint.media_type if checkpoint.request == self._fingerprint else ""
        verdict = accept(msgspec.structs.replace(head, body=b" "), self._policy, usual_type=usual)
        rules = self._policy.rules
        return (
            verdict is not None
            and verdict.action is Action.STORE
            and (rules is None or not rules.may_match(head, self._items.buffer))
        )

    @property
    def holds(self) -> int | None:
        """How much of a body is to be held (bytes), where one is cut into items; None where it is taken as a whole."""
        return None if self._items is None or self.children is not None else self._items.buffer

    def reap(
        self,
        response: Response,
        checkpoint: Checkpoint,
        moment: Moment,
        recall: Callable[[], Recall] = Nothing,
        *,
        ignored: bool = False,
    ) -> Reaped:
        """Return what an accepted response comes to, in one step.

        `recall` returns what is remembered of items. `ignored`: there would be more in it, which is not looked at.
        Raises LogError, and only where `recall` is asked.
        """
        if self._items is None:
            reaped = self._whole(response, checkpoint, moment)
            return self._sifting.whole(reaped, response.body, checkpoint, moment, recall)
        note = ""
        while True:
            reaping = self.reaping(response, checkpoint, moment, recall, ignored=ignored)
            try:
                reaped = reaping.whole(response.body)
            except AnotherBodyError:
                checkpoint, note = anew(checkpoint), ANOTHER
            else:
                return msgspec.structs.replace(reaped, note=f"{note}; {reaped.note}") if note else reaped

    def reap_one(self, response: Response, checkpoint: Checkpoint, scheduled: int) -> tuple[bytes, Checkpoint]:
        """Return what an accepted response of a simple poll comes to: one record's value, and what commits with it."""
        value = render(response, json=self._json, full=self._full)
        return value, self._following(response, checkpoint, scheduled, 1)

    def reaping(
        self,
        response: Response,
        checkpoint: Checkpoint,
        moment: Moment,
        recall: Callable[[], Recall] = Nothing,
        *,
        ignored: bool = False,
    ) -> Reaping:
        """Return what takes in the body of an accepted response, of which this is the head, in any pieces."""
        items = self._items
        assert items is not None
        progress = checkpoint.progress
        page = progress.page.get("n", 0) + 1 if progress is not None else 1
        about = About(self._sent.shown_url, response.status, moment.now, page, dict(response.headers))
        resumption = Resumption(partial(fingerprint, self._sent, self._purpose), moment.scheduled, checkpoint.body)
        going_on = resumption.resuming or bool(progress and progress.round)
        return Reaping(
            Given(response, checkpoint, self._strict, ignored=ignored, going_on=going_on),
            items,
            items.splitter(response),
            items.making(about),
            gleaned := self._course.gleaning(progress, collect=self.children is not None),
            resumption,
            partial(self._concluded, response, checkpoint, moment, gleaned),
            self._sifting.sieves(checkpoint.remembered, moment, recall, going_on=going_on),
        )

    def _concluded(  # noqa: PLR0917 - the first four are given beforehand
        self,
        response: Response,
        checkpoint: Checkpoint,
        moment: Moment,
        gleaned: Gleaning,
        count: int,
        rest: bytes | None,
        records: Sequence[Record],
    ) -> Reaped:
        """Return what an answer comes to of which all items are taken, `count` of them anew."""
        following = self._following(response, checkpoint, moment.scheduled, count)
        parents = gleaned.items or ()
        if self._steady:
            return self._sifting.forgetting(Reaped(records, following, parents=parents), checkpoint)
        step = self._course.step(checkpoint.progress, moment, gleaned, rest, headers=response.headers, url=response.url)
        reaped = self._stepped(step, records, following, checkpoint)
        if parents and not reaped.failure:
            reaped = msgspec.structs.replace(reaped, parents=parents)
        return self._sifting.forgetting(reaped, checkpoint)

    def _whole(self, response: Response, checkpoint: Checkpoint, moment: Moment) -> Reaped:
        """Return what a response comes to as a whole: one record, with a null key, stamped at the append."""
        records: tuple[Record, ...] = (self._record(response),)
        following = self._following(response, checkpoint, moment.scheduled, len(records))
        if self._steady:
            return Reaped(records, following)
        if response.status == 204 or (self._policy.body_only and not response.body):
            records, following = (), msgspec.structs.replace(following, records=checkpoint.records)
        gleaned = self._course.gleaning(checkpoint.progress)
        document = _json_of(response)
        if document is not None:
            gleaned.take([response.body], [self._values(response.body)])
            gleaned.count = len(document) if isinstance(document, list) else 1
        step = self._course.step(
            checkpoint.progress,
            moment,
            gleaned,
            response.body if document is not None or not response.body else None,
            headers=response.headers,
            url=response.url,
        )
        return self._stepped(step, records, following, checkpoint)

    def _record(self, response: Response) -> Record:
        return Record(render(response, json=self._json, full=self._full))

    def _stepped(self, step: Step, records: Sequence[Record], following: Checkpoint, before: Checkpoint) -> Reaped:
        """Return what an accepted response comes to in a course with several."""
        progress = step.progress
        if step.failure:
            records, following = (), msgspec.structs.replace(following, records=before.records)
        if step.more or step.failure or (before.progress is not None and before.progress.page.get("n")):
            following = msgspec.structs.replace(following, etag=None, last_modified=None)
        else:
            progress = msgspec.structs.replace(progress, asked=self._asked)
        following = msgspec.structs.replace(following, progress=progress)
        return Reaped(records, following, step.more, note=step.note, failure=step.failure, unsure=step.unsure)

    def forgotten(self, response: Response, checkpoint: Checkpoint, moment: Moment) -> Reaped | None:
        """Return what follows when a refusal says that the page of a round which was broken off is not known any more.

        None for any other refusal.
        """
        step = self._course.forgotten(checkpoint.progress, moment, response.status)
        if step is None:
            return None
        return Reaped((), msgspec.structs.replace(checkpoint, progress=step.progress), step.more, note=step.note)

    def _following(self, response: Response, checkpoint: Checkpoint, scheduled: int, records: int) -> Checkpoint:
        etag, last_modified, kind = self._heard(response)
        return Checkpoint(
            checkpoint.exchanges + 1,
            checkpoint.records + records,
            scheduled,
            self._fingerprint,
            etag,
            last_modified,
            kind[:100],
        )

    def _heard(self, response: Response) -> tuple[str | None, str | None, str]:
        """Return the validators of a response, as far as they are sent back, and its media type."""
        # The fetch engine gives the same headers again while their lines are the same.
        if response.headers is not self._headers:
            etag = last_modified = None
            if self._conditional:
                for name, value in response.headers:
                    if name == "etag":
                        etag = _validator(value)
                    elif name == "last-modified":
                        last_modified = _validator(value)
            self._said = (etag, last_modified, media_type(response))
            self._headers = response.headers
        return self._said


def _validating(request: Request, checkpoint: Checkpoint) -> Request:
    """Return a request with the validators of the last answer to the same."""
    headers = list(request.headers)
    if checkpoint.etag is not None:
        headers.append(("If-None-Match", checkpoint.etag))
    if checkpoint.last_modified is not None:
        headers.append(("If-Modified-Since", checkpoint.last_modified))
    return msgspec.structs.replace(request, headers=tuple(headers))


def _json_of(response: Response) -> Any:
    """Return the body's JSON with its members as they are, None for what is none."""
    if not response.body:
        return None
    try:
        return _DOCUMENT.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_DOCUMENT = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw] | None)


def course_of(options: HttpOptions, request: Request, masker: Masker, spaces: frozenset[str] = frozenset()) -> Course:
    """Return the course that the options describe; `request` has what all its requests have in common.

    `spaces` are what expressions beside those of requests see.
    """
    requester = Requester(options.parts, request, masker)
    cursors = Cursors(options.cursor)
    pagination = options.pagination
    pager = Pager(pagination, requester.asked, requester.origin, templated="page" in requester.spaces)
    windows = None if options.window is None else Windows(options.window)
    if pagination is None:
        return Course(requester, pager, cursors, windows, spaces=spaces)
    return Course(
        requester,
        pager,
        cursors,
        windows,
        most=pagination.max_pages,
        ignores_beyond=pagination.beyond == "ignore",
        stop_at=pagination.stop_at,
    )


def children_of(config: ConnectorConfig, request: Request, policy: Policy) -> Children | None:
    """Return the children that the configuration wants, None when it wants none."""
    options = config.http.children
    if options is None:
        return None
    from headwater.sources.children import Children  # noqa: PLC0415 - only connectors with children pay for the import

    rules = Rules(options.rules) if options.rules else None
    usual = msgspec.structs.replace(policy, accepted=((200, 299),), content_types=(), rules=rules)
    return Children(options, request, usual, config.masker)


def _validator(value: str) -> str | None:
    return value if value and len(value) <= _LONGEST_VALIDATOR and value.isprintable() else None
