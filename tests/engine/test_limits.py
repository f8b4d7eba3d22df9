"""Limits at work: real requests to a real server, through the engine, on a clock turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.limited import LimitedBench, limited
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import LogFullError
from headwater.core.exchange import Decision
from headwater.core.http import Request, Response
from headwater.core.managed import Phase
from headwater.engine.connector import Connector
from headwater.engine.metrics import EngineCollector
from headwater.sources.poll import Poll
from headwater.testing import Answer, Received, ScriptedServer

OK = Answer(body=b"x")


def told(*headers: tuple[str, str], status: int = 200) -> Answer:
    return Answer(status, b"x", headers)


def spans(times: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in pairwise(times)]


def metrics(it: LimitedBench) -> dict[str, float]:
    """Return what a scrape shows of limits."""
    found = {}
    for family in EngineCollector(it.engine.figures, lambda: 0).collect():
        for sample in family.samples:
            labels = ",".join(value for value in sample.labels.values())
            found[f"{sample.name} {labels}".strip()] = sample.value
    return found


async def until(true: Callable[[], bool]) -> None:
    """Let everybody go on until something is true."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.0005)


# The rate, and requests at one time.


async def test_two_connectors_share_the_rate_of_a_host(tmp_path: Path) -> None:
    """They take turns, and together they never ask more often than the rate."""
    async with limited(tmp_path) as it:
        it.answer("/a", OK)
        it.answer("/b", OK)
        limits = "  limits: {rate: 1/2s}"
        async with it.running(it.config(limits, "/a", "a", "5s"), it.config(limits, "/b", "b", "5s")):
            await it.pass_time(24)
        assert it.asked[:4] == [(0, "/a"), (2, "/b"), (5, "/a"), (7, "/b")]
        assert min(spans([at for at, _ in it.asked])) >= 2
        assert len(it.times("/a")) == len(it.times("/b")) == 5
    assert {entry.decision for entry in it.ledger("b")} == {Decision.ACCEPTED}


async def test_too_small_a_rate_is_shared_evenly(tmp_path: Path) -> None:
    """Of six connectors with room for three, none goes without: each gets half of its polls, the others say why."""
    async with limited(tmp_path) as it:
        names = [f"c{number}" for number in range(6)]
        for name in names:
            it.answer(f"/{name}", OK)
        configs = [it.config("  limits: {rate: 1/3s}", f"/{name}", name, "9s") for name in names]
        async with it.running(*configs):
            await it.pass_time(180)
        polls = [len(it.times(f"/{name}")) for name in names]
        assert max(polls) - min(polls) <= 1
        assert sum(polls) == 61
        assert min(spans([at for at, _ in it.asked])) >= 3
        skipped = [entry for entry in it.ledger("c5") if entry.decision is Decision.SKIPPED]
        assert skipped[0].reason.startswith("host 127.0.0.1:")
        assert "asked as often as its rate allows, 1 request in 3s: its turn comes in " in skipped[0].reason
        assert skipped[0].attempts == 0
        held = metrics(it)
        assert held["headwater_held_polls_total c5,rate"] == len(skipped)
        assert held["headwater_polls_total c5,skipped"] >= len(skipped)
        assert held["headwater_requests_total c5"] == polls[5]


async def test_connectors_of_different_hosts_do_not_share(tmp_path: Path) -> None:
    """Each host has a rate of its own; a name brings them together."""
    async with ScriptedServer() as one, ScriptedServer() as other, limited(tmp_path, [one]) as it:
        for share, expected in (("host", [0, 0]), ("both", [0, 2])):
            came: list[float] = []

            def answer(_: Received, came: list[float] = came) -> Answer:
                came.append(it.clock.monotonic())
                return OK

            for server in (one, other):
                server.route(f"/{share}", answer)
            limits = f"  limits: {{rate: 1/2s, share: {share}}}"
            configs = [
                it.config(limits, f"{server.url}/{share}", name, "1h") for server, name in ((one, "a"), (other, "b"))
            ]
            began = it.clock.monotonic()
            async with it.running(*configs):
                await it.pass_time(5)
            assert [at - began for at in came] == expected


async def test_connectors_with_one_credential_share(tmp_path: Path) -> None:
    """Those with another one do not, on the same host; nothing that is shown has the credential in it."""
    async with limited(tmp_path) as it:
        configs = []
        for name, token in (("a", "s3cret-one"), ("b", "s3cret-one"), ("c", "s3cret-two")):
            it.answer(f"/{name}", OK)
            more = f"  headers: {{Authorization: Bearer {token}}}\n  limits: {{rate: 1/2s, share: credential}}"
            configs.append(it.config(more, f"/{name}", name, "1h"))
        async with it.running(*configs):
            await it.pass_time(5)
            assert sorted(it.asked) == [(0, "/a"), (0, "/c"), (2, "/b")]
            assert set(it.engine.figures.shares) == {"the credential of a", "the credential of c"}
        assert it.engine.figures.shares == {}


async def test_so_many_requests_at_one_time(tmp_path: Path) -> None:
    """A third waits until one of two has ended."""
    async with limited(tmp_path) as it:
        release = asyncio.Event()
        under_way: list[int] = []
        now = 0

        async def slow(_: Received) -> Answer:
            nonlocal now
            now += 1
            under_way.append(now)
            await release.wait()
            now -= 1
            return OK

        for name in "abc":
            it.server.route(f"/{name}", slow)
        configs = [it.config("  limits: {concurrent: 2}", f"/{name}", name, "10s") for name in "abc"]
        async with it.running(*configs):
            await until(lambda: len(under_way) == 2)
            shares = it.engine.figures.shares
            (figures,) = shares.values()
            await until(lambda: figures.waiting == 1)
            assert (figures.under_way, figures.waiting) == (2, 1)
            release.set()
            await it.pass_time(1)
        assert under_way[:3] == [1, 2, 2] or under_way[:3] == [1, 2, 1]
        assert max(under_way) == 2


async def test_who_has_waited_in_vain_does_not_miss_the_next_round(tmp_path: Path) -> None:
    """A poll that gives up does so just before the next one is due, which waits in its place."""
    async with limited(tmp_path) as it:
        release = asyncio.Event()

        async def slow(_: Received) -> Answer:
            await release.wait()
            return OK

        it.server.route("/a", slow)
        it.answer("/b", OK)
        limits = "  limits: {concurrent: 1}"
        configs = [it.config(limits, "/a", "a", "1h"), it.config(limits, "/b", "b", "10s")]
        async with it.running(*configs):
            await until(lambda: len(it.server.received) == 1)
            it.busy.count -= 1  # time goes on while it is under way
            await it.pass_time(34)
            it.busy.count += 1
            release.set()
            await it.pass_time(10)
        assert it.times("/b") == [34, 40]
    entries = [entry for entry in it.ledger("b") if entry.decision is Decision.SKIPPED]
    assert [entry.scheduled % 100_000 for entry in entries] == [0, 10_000, 20_000]
    assert entries[0].reason.startswith("its turn at host 127.0.0.1:")
    assert entries[0].reason.endswith(" did not come in time: 1 request is under way, and no more are allowed")
    assert [entry.skipped for entry in it.ledger("b")] == [0] * 5


async def test_the_strictest_counts_and_that_is_said(tmp_path: Path) -> None:
    """Once, with what they do not agree on; when one of them goes, the other one's words hold."""
    async with limited(tmp_path) as it:
        it.answer("/a", OK)
        it.answer("/b", OK)
        configs = [
            it.config("  limits: {rate: 1/s, share: api, breaker_failures: 0}", "/a", "a", "4s"),
            it.config("  limits: {rate: 1/8s, share: api}", "/b", "b", "4s"),
        ]
        with capture_logs() as lines:
            async with it.running(*configs):
                await it.pass_time(31)
                assert spans([at for at, _ in it.asked]) == [8, 8, 8]
                await it.engine.end(["b"])
                it.asked.clear()
                await it.pass_time(20)
                assert spans(it.times("/a")) == [4, 4, 4, 4]
        (line,) = [line for line in lines if line["log_level"] == "warning"]
        assert line["event"] == "connectors that share limits say different things; the strictest counts"
        assert (line["share"], line["options"], line["connectors"]) == ("limits api", "rate", "a, b")


async def test_a_stop_does_not_wait_for_turns(tmp_path: Path) -> None:
    """Whoever waits for a turn, a quota or a breaker ends at once, and leaves nothing behind."""
    async with limited(tmp_path) as it:
        for path in ("/a", "/b"):
            it.answer(path, OK)
        it.answer("/c", told(("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "600")))
        configs = [
            it.config("  limits: {rate: 1/5m, share: api}", "/a", "a", "1h"),
            it.config("  limits: {rate: 1/5m, share: api}", "/b", "b", "1h"),
            it.config("  limits: {share: other}", "/c", "c", "700s"),
        ]
        async with it.running(*configs):
            await it.pass_time(1)
            async with asyncio.timeout(4):
                await it.engine.end(["a", "b", "c"])
        assert it.asked == [(0, "/a"), (0, "/c")]
    assert it.ledger("b") == []


async def test_a_connector_that_is_cut_off_gives_its_turn_back(tmp_path: Path) -> None:
    """With one request at a time, one that hangs and is cut off lets the next one go."""
    async with limited(tmp_path) as it:
        it.server.route("/hang", Answer(hang=True))
        it.answer("/b", OK)
        configs = [
            it.config("  limits: {concurrent: 1}", "/hang", "a", "1h"),
            it.config("  limits: {concurrent: 1}", "/b", "b", "1h"),
        ]
        async with it.running(*configs):
            await until(lambda: it.server.connections == 1)
            it.busy.count -= 1  # nobody hears of the one that hangs
            await it.pass_time(1)
            assert it.asked == []
            await it.engine.end(["a"], grace=0)
            await it.pass_time(1)
            assert it.times("/b") == [1]


# What servers say of their quotas.


async def test_a_quota_that_is_used_up_skips_polls_until_its_reset(tmp_path: Path) -> None:
    """For all that ask the host with the same credential; the ledger says why, and the metrics what is left."""
    async with limited(tmp_path) as it:
        left = count(2, -1)

        def answer(_: Received) -> Answer:
            now = it.clock.monotonic()
            remaining = next(left) if now < 35 else 50
            reset = f"{max(0, 35 - now):g}"
            return told(
                ("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", str(remaining)), ("x-ratelimit-reset", reset)
            )

        it.answer("/a", answer)
        it.answer("/b", answer)
        limits = "  limits: {quota_reserve: 0}"
        with capture_logs() as lines:
            async with it.running(it.config(limits, "/a", "a"), it.config(limits, "/b", "b")):
                await it.pass_time(9)
                assert metrics(it)["headwater_quota_remaining " + f"host {it.server.url[7:]},"] == 1
                assert metrics(it)["headwater_quota_limit " + f"host {it.server.url[7:]},"] == 60
                await it.pass_time(41)
        assert it.times("/a") == [0, 10, 35, 40, 50] or it.times("/a") == [0, 35, 40, 50]
        assert it.times("/b") == [0, 35, 40, 50] or it.times("/b") == [0, 10, 35, 40, 50]
        assert lines == []
    entries = it.ledger("b")
    assert [entry.decision for entry in entries][:3] == [Decision.ACCEPTED, Decision.SKIPPED, Decision.ACCEPTED]
    assert entries[1].reason.startswith("the quota of the server is used up: 0 of 60 left; host 127.0.0.1:")
    assert entries[1].reason.endswith(" is asked again in 25s")
    assert entries[2].skipped == 1
    assert "1 before it skipped: the quota of the server is used up" in entries[2].reason


async def test_polls_wait_for_a_quota_within_their_interval(tmp_path: Path) -> None:
    """A reset before the next poll makes this one late, and nothing is skipped."""
    async with limited(tmp_path) as it:
        it.answer("/x", told(("ratelimit", '"a";r=0;t=13')))
        async with it.running(it.config("  limits: {}", interval="10s")):
            await it.pass_time(39)
        assert it.times() == [0, 13, 26, 39]
    assert [(entry.decision, entry.skipped) for entry in it.ledger()] == [(Decision.ACCEPTED, 0)] * 4


async def test_a_share_of_the_quota_is_left_for_others(tmp_path: Path) -> None:
    """At five in a hundred nothing is asked any more."""
    async with limited(tmp_path) as it:
        left = count(8, -1)
        it.answer("/x", lambda _: told(("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", str(next(left)))))
        async with it.running(it.config("  limits: {}", interval="1s")):
            await it.pass_time(20)
        assert it.times() == [0, 1, 2, 3]
    assert "5 of 100 left, 5 of them kept for others" in it.ledger()[-1].reason


async def test_retry_after_is_heard_by_all_that_share(tmp_path: Path) -> None:
    """One is refused, and the other one does not ask in vain."""
    async with limited(tmp_path) as it:
        it.answer("/a", told(("retry-after", "25"), status=429))
        it.answer("/b", OK)
        configs = [it.config("  limits: {}", "/a", "a"), it.config("  limits: {}", "/b", "b")]
        async with it.running(*configs):
            await it.pass_time(1)
            it.answer("/a", OK)
            await it.pass_time(39)
        assert it.times("/a") == [0, 30, 40]
        assert it.times("/b") == [0, 25, 30, 40]
    reasons = [entry.reason for entry in it.ledger("b") if entry.decision is Decision.SKIPPED]
    assert len(reasons) == 1
    assert reasons[0].endswith("has asked to be left alone for 15s more")


async def test_no_server_stops_a_connector_for_ever(tmp_path: Path) -> None:
    """A reset in the year 3000 is believed for `quota_longest`; then one request asks again."""
    async with limited(tmp_path) as it:
        it.answer("/x", told(("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "32503680000")))
        with capture_logs() as lines:
            async with it.running(it.config("  limits: {quota_longest: 5m}", interval="1m")):
                await it.pass_time(905)
        assert it.times() == [0, 300, 600, 900]
        (line,) = [line for line in lines if line["event"] == "limits hold requests back"]
        assert (line["log_level"], line["lasts"]) == ("info", "4m")


async def test_names_of_ones_own_and_quotas_that_are_off(tmp_path: Path) -> None:
    """Further headers count; `quota: off` reads none."""
    async with limited(tmp_path) as it:
        it.answer("/a", told(("x-calls-left", "0"), ("x-calls-reset", "25000")))
        it.answer("/b", told(("x-ratelimit-remaining", "0"), ("retry-after", "100")))
        mine = "  limits: {share: a, quota_headers: {remaining: X-Calls-Left, reset: X-Calls-Reset, unit: ms}}"
        off = "  limits: {share: b, quota: off}"
        async with it.running(it.config(mine, "/a", "a"), it.config(off, "/b", "b")):
            await it.pass_time(30)
        assert it.times("/a") == [0, 30] or it.times("/a") == [0, 25]
        assert it.times("/b") == [0, 10, 20, 30]


async def test_quotas_of_one_resource_hold_nobody_else(tmp_path: Path) -> None:
    """Search has a quota of its own: when it is used up, those who ask for something else go on."""
    async with limited(tmp_path) as it:

        def resource(name: str, remaining: int) -> Answer:
            left = (("x-ratelimit-remaining", str(remaining)), ("x-ratelimit-reset", "60"))
            return told(*left, ("x-ratelimit-resource", name))

        it.answer("/core", resource("core", 4000))
        it.answer("/search", resource("search", 0))
        configs = [it.config("  limits: {}", "/core", "a"), it.config("  limits: {}", "/search", "b")]
        async with it.running(*configs):
            await it.pass_time(30)
        assert it.times("/core") == [0, 10, 20, 30]
        assert it.times("/search") == [0]


# The breaker.


async def test_a_breaker_opens_tries_and_closes(tmp_path: Path) -> None:
    """Five failures in a row; then one request after 30 s, the next after 60; an answer closes it. It is told once."""
    async with limited(tmp_path) as it:
        answers = iter([Answer(500)] * 6)
        it.answer("/x", lambda _: next(answers, OK))
        with capture_logs() as lines:
            async with it.running(it.config("  limits: {}\n  retry: {attempts: 1}")):
                await it.pass_time(41)
                assert metrics(it)[f"headwater_breaker_state host {it.server.url[7:]},open"] == 1
                trouble = it.engine.figures.of("cats").trouble
                await it.pass_time(129)
                assert metrics(it)[f"headwater_breaker_state host {it.server.url[7:]},closed"] == 1
                assert metrics(it)[f"headwater_breaker_openings_total host {it.server.url[7:]}"] == 1
        assert it.times() == [0, 10, 20, 30, 40, 70, 130, 140, 150, 160, 170]
        assert trouble is not None
        assert trouble.slug == "status"
        events = [line["event"] for line in lines]
        assert events == [
            "connector is failing",
            "circuit breaker opened",
            "circuit breaker closed",
            "connector recovered",
        ]
    entries = it.ledger()
    skipped = [entry for entry in entries if entry.decision is Decision.FAILED and entry.attempts == 0]
    assert len(skipped) == 2
    assert skipped[0].reason.startswith("the circuit breaker of host 127.0.0.1:")
    assert "is open after 5 failures in a row, the last: 500 Internal Server Error; nothing is sent before" in (
        skipped[0].reason
    )


async def test_a_breaker_is_shared_and_shown(tmp_path: Path) -> None:
    """A connector that has not failed itself is failing when the breaker holds it, with the reason of the other."""
    async with limited(tmp_path) as it:
        it.answer("/a", lambda _: OK if it.clock.monotonic() >= 40 else Answer(500))
        it.answer("/b", OK)
        more = "  limits: {breaker_failures: 2}\n  retry: {attempts: 1}"
        with capture_logs() as lines:
            async with it.running(it.config(more, "/a", "a", "5s"), it.config(more, "/b", "b", "12s")):
                await it.pass_time(13)
                trouble = it.engine.figures.of("b").trouble
                assert it.engine.standing("b", it.clock.time_ms())[:2] == (Phase.FAILED, trouble and trouble.reason)
                await it.pass_time(27.5)
                assert it.engine.figures.of("b").trouble is None
        assert trouble is not None
        assert "circuit breaker of host" in trouble.reason
        assert "500 Internal Server Error" in trouble.reason
        assert it.times("/a")[:4] == [0, 5, 10, 40]
        assert it.times("/b") == [0, 40]
        said = [line["event"] for line in lines if line.get("connector") == "b"]
        assert said == ["connector is failing", "connector recovered"]


async def test_retries_stop_when_the_breaker_opens(tmp_path: Path) -> None:
    """Inside an interval as well: the attempt after the last failure waits, and only one goes."""
    async with limited(tmp_path) as it:
        it.answer("/x", Answer(cut=-1, reset=True))
        more = "  limits: {breaker_failures: 3, breaker_pause: 10s}\n  retry: {attempts: 10, initial: 1s}"
        async with it.running(it.config(more, interval="1h")):
            await it.pass_time(120)
        assert len(it.times()) < 7
        assert it.times()[3] >= it.times()[2] + 10


async def test_good_answers_in_between_keep_it_closed(tmp_path: Path) -> None:
    """Not found is an answer as well."""
    async with limited(tmp_path) as it:
        answers = iter([Answer(500), Answer(500), Answer(404)] * 100)
        it.answer("/x", lambda _: next(answers))
        async with it.running(it.config("  limits: {breaker_failures: 3}\n  retry: {attempts: 1}")):
            await it.pass_time(200)
        assert len(it.times()) == 21


# Budgets.


async def test_a_budget_ends_at_midnight(tmp_path: Path) -> None:
    """Three requests a day in Berlin; the rest is skipped, with one entry that says until when."""
    async with limited(tmp_path) as it:
        it.clock.set_wall(1_711_839_600)  # 2024-03-30 23:00 UTC, midnight of the day with 23 hours
        it.answer("/x", OK)
        limits = "  limits: {requests_per_day: 3, timezone: Europe/Berlin}"
        with capture_logs() as lines:
            async with it.running(it.config(limits, interval="1h")):
                await it.pass_time(26 * 3600)
                assert metrics(it)[f"headwater_budget_remaining host {it.server.url[7:]},day"] == 0
        assert [at / 3600 for at in it.times()] == [0, 1, 2, 23, 24, 25]
        assert [line["event"] for line in lines] == ["limits hold requests back"] * 2
    entries = it.ledger()
    assert [entry.decision for entry in entries[:5]] == [
        Decision.ACCEPTED, Decision.ACCEPTED, Decision.ACCEPTED, Decision.SKIPPED, Decision.ACCEPTED,
    ]  # fmt: skip
    assert entries[3].reason.startswith("the budget of 3 requests a day for host 127.0.0.1:")
    assert entries[3].reason.endswith(" is used up until 2024-04-01 00:00 Europe/Berlin")
    assert entries[4].skipped == 19


async def test_a_budget_is_counted_over_restarts(tmp_path: Path) -> None:
    """Also over that of the whole process: the count is with the checkpoints."""
    for expected in (4, 7, 10, 10):
        async with limited(tmp_path) as it:
            it.answer("/x", OK)
            config = it.config("  limits: {share: api, requests_per_day: 10}", interval="1m")
            async with it.running(config):
                await it.pass_time(125 if expected > 4 else 190)
            stored = await it.log.checkpoint("@limits/name/api")
        assert stored is not None
        assert b'"count":%d' % expected in stored


async def test_retries_are_requests(tmp_path: Path) -> None:
    """Each attempt counts; a round that runs out in the middle ends there."""
    async with limited(tmp_path) as it:
        it.answer("/x", Answer(500))
        more = "  limits: {requests_per_hour: 4, breaker_failures: 0}\n  retry: {attempts: 10}"
        it.clock.set_wall(1_700_000_000 // 3600 * 3600)
        async with it.running(it.config(more, interval="2m")):
            await it.pass_time(3500)
        assert len(it.times()) == 4
    first = it.ledger()[0]
    assert (first.decision, first.attempts) == (Decision.SKIPPED, 4)
    assert first.reason.startswith("the budget of 4 requests an hour for host 127.0.0.1:")


async def test_a_count_that_cannot_be_stored_sends_nothing(tmp_path: Path) -> None:
    """No more requests go than the budget allows, whatever the disk does; that is a trouble."""
    async with limited(tmp_path) as it:
        it.answer("/x", OK)
        it.log.refusing = LogFullError("there is no space left")
        with capture_logs() as lines:
            async with it.running(it.config("  limits: {requests_per_day: 10}")):
                await it.pass_time(15)
                assert it.times() == []
                it.log.refusing = None
                await it.pass_time(10)
                assert it.times() == [20]
        assert [line["event"] for line in lines] == ["connector is failing", "connector recovered"]
        assert "the count of the budget for host" in lines[0]["reason"]
        assert "cannot be kept: there is no space left" in lines[0]["reason"]


async def test_a_count_that_cannot_be_read_sends_nothing(tmp_path: Path) -> None:
    """Until it can be read."""
    async with limited(tmp_path) as it:
        it.answer("/x", OK)
        it.log.unreadable = "@limits/"
        async with it.running(it.config("  limits: {requests_per_month: 100}")):
            await it.pass_time(15)
            assert it.times() == []
            it.log.unreadable = ""
            await it.pass_time(10)
            assert it.times() == [20]
    assert it.ledger()[0].reason.endswith(" cannot be kept: the server is away")
    assert it.ledger()[0].decision is Decision.FAILED


async def test_a_stop_while_a_count_is_stored_loses_nothing(tmp_path: Path) -> None:
    """What was counted and not sent is not counted."""
    async with limited(tmp_path) as it:
        it.answer("/x", OK)
        held = it.log.hold()
        it.answer("/other", Answer(204))
        limits = "  limits: {share: api, requests_per_month: 10}"
        async with it.running(it.config(limits), it.config("", "/other", "other")):
            await until(lambda: len(it.log.appends) == 1)
            ending = asyncio.create_task(it.engine.end(["cats"], grace=0))
            await asyncio.sleep(0)
            held.set()
            await ending
        assert it.times() == []
        stored = await it.log.checkpoint("@limits/name/api")
    assert stored is not None
    assert b'"count":0' in stored


async def test_a_budget_is_stored_a_lot_ahead(tmp_path: Path) -> None:
    """Of ten thousand requests a hundredth waits for the disk."""
    async with limited(tmp_path) as it:
        it.answer("/x", OK)
        async with it.running(it.config("  limits: {requests_per_day: 10000}", interval="1s")):
            await it.pass_time(250)
        counts = [append.checkpoint for append in it.log.appends if append.topic is None]
        assert len(it.times()) == 251
        assert len(counts) == 4  # 100, 200, 300, and the exact one
        assert counts[-1] is not None
        assert b'"count":251' in counts[-1][1]


async def test_where_nobody_may_keep_a_count_it_is_this_processs_alone(tmp_path: Path) -> None:
    """A pod of a group says so once, and counts from its start."""
    async with limited(tmp_path) as it:
        it.answer("/x", OK)
        it.log.foreign = "@limits/"
        with capture_logs() as lines:
            async with it.running(it.config("  limits: {requests_per_month: 3}")):
                await it.pass_time(60)
        assert it.times() == [0, 10, 20]
        assert lines[0]["event"] == "a budget is counted from now on and for this process alone"
        assert [append.checkpoint for append in it.log.appends if append.topic is None] == []


# An interval that follows the changes.


async def test_the_interval_follows_the_changes(tmp_path: Path) -> None:
    """It doubles its pace while the body changes, and slows down while it does not."""
    async with limited(tmp_path) as it:
        bodies = iter(b"aabcdeffffff")
        it.answer("/x", lambda _: Answer(body=bytes([next(bodies, 0)])))
        async with it.running(it.config("  adaptive: {fastest: 2s, slowest: 20s, slower: 2}")):
            await it.pass_time(60)
        assert spans(it.times()) == [10, 20, 10, 5, 2.5, 2, 2, 4]
    assert {entry.skipped for entry in it.ledger()} == {0}


async def test_the_pace_is_remembered(tmp_path: Path) -> None:
    """Over a restart it goes on, also where nothing but 304 has come."""
    async with ScriptedServer() as server:
        for began in (0, 1):
            async with limited(tmp_path, [server]) as it:

                def answer(request: Received) -> Answer:
                    known = request.header("if-none-match") == '"1"'
                    return Answer(304 if known else 200, b"v", (("etag", '"1"'),))

                it.answer("/x", answer)
                async with it.running(it.config("  adaptive: {slowest: 80s, slower: 2}")):
                    await it.pass_time(200)
                expected = [[10, 20, 40, 80], [80, 80]][began]
                assert spans(it.times()) == expected


async def test_answers_without_content_slow_it_down(tmp_path: Path) -> None:
    """So does what a rule ignores; a failure changes nothing."""
    async with limited(tmp_path) as it:
        answers = iter([Answer(204), Answer(404), Answer(500), Answer(204)])
        it.answer("/x", lambda _: next(answers, OK))
        more = "  adaptive: {slowest: 1h, slower: 2}\n  rules: [{status: 404, do: ignore}]\n  retry: {attempts: 1}"
        async with it.running(it.config(more)):
            await it.pass_time(200)
        assert spans(it.times())[:4] == [20, 40, 40, 80]


async def test_nothing_is_asked_for_that_is_fresh(tmp_path: Path) -> None:
    """Cache-Control counts when that is wanted, less the answer's age, up to the slowest pace."""
    async with limited(tmp_path) as it:
        ages = iter(["5", "50", "0"])
        it.answer("/x", lambda _: told(("cache-control", "max-age=60"), ("age", next(ages, "999"))))
        more = "  adaptive: {cache_control: true, slower: 1, slowest: 58s}"
        async with it.running(it.config(more)):
            await it.pass_time(150)
        assert spans(it.times())[:4] == [55, 10, 58, 10]


async def test_a_fixed_interval_keeps_its_phase(tmp_path: Path) -> None:
    """Limits make polls late, and move none of them."""
    async with limited(tmp_path) as it:
        it.answer("/a", OK)
        it.answer("/b", OK)
        limits = "  limits: {rate: 1/3s}"
        async with it.running(it.config(limits, "/a", "a"), it.config(limits, "/b", "b")):
            await it.pass_time(50)
        assert it.times("/b") == [3, 13, 23, 33, 43]
    assert [entry.scheduled % 10_000 for entry in it.ledger("b")] == [0] * 5


# Rules at work.


async def test_rules_decide_what_is_stored(tmp_path: Path) -> None:
    """A rate limit in a friendly answer is waited for, a login page is refused, an error is a record on demand."""
    async with limited(tmp_path) as it:
        answers: list[Answer | Callable[[], Answer]] = [
            Answer.json({"ok": False, "error": "ratelimited", "wait": 4}),
            Answer.json({"ok": True}),
            Answer(200, b"<html>please log in", (("content-type", "text/html"),)),
            Answer(404, b"gone"),
            Answer(410, b"gone for good"),
        ]
        queue = iter(answers)
        it.answer("/x", lambda _: next(queue, OK))  # type: ignore[arg-type,return-value]
        rules = """  rules:
    - {body: {/error: ratelimited}, do: retry, wait: {body: /wait}, reason: it says so}
    - {body: 'log in', do: fail, reason: a login page}
    - {status: 404, do: ignore}
    - {status: 410, do: record}"""
        async with it.running(it.config(rules)):
            await it.pass_time(35)
        assert it.times() == [0, 4, 10, 20, 30]
        values = [record.value for record in await (await it.log.topic("cats")).read()]
        assert values == [b'{"ok":true}', b"gone for good"]
    assert [(entry.decision, entry.attempts) for entry in it.ledger()] == [
        (Decision.ACCEPTED, 2), (Decision.FAILED, 1), (Decision.EMPTY, 1), (Decision.ACCEPTED, 1),
    ]  # fmt: skip
    assert it.ledger()[1].reason == "200 OK; rule 2: a login page"
    assert it.ledger()[2].reason == "404 Not Found; rule 3; ignored: no record"


@pytest.mark.parametrize("rule", ["{body: {/ok: false}, do: fail}", "{body: 'log in', do: fail}"])
async def test_large_bodies_are_cut_into_items_beside_rules(tmp_path: Path, rule: str) -> None:
    """While they come where no rule can be about them, and as a whole where one can."""
    async with limited(tmp_path) as it:
        items = [{"id": number, "text": "x" * 100} for number in range(2000)]
        it.answer("/x", Answer.json({"items": items}))
        it.answer("/y", Answer.json({"ok": False, "why": "log in"}))
        more = f"  records: {{split: /items, buffer: 64 KiB}}\n  rules: [{rule}]\n  adaptive: {{}}"
        async with it.running(it.config(more), it.config(more, "/y", "bad")):
            # Threads work on it, which nobody counts.
            await until(lambda: it.engine.figures.of("cats").decisions[Decision.ACCEPTED] == 1)
            await it.pass_time(1)
            stored = await (await it.log.topic("cats")).read(limit=5000)
        assert len(stored) == 2000
        head = Response(200, "HTTP/1.1", (("content-type", "application/json"),), b"", "", 0.1, 0)
        assert Poll(it.config(more)).cuts(head, Checkpoint()) is ("/ok" in rule)
    (entry,) = it.ledger("bad")
    assert (entry.decision, entry.reason) == (Decision.FAILED, "200 OK; rule 1")


async def test_a_rule_renews_what_a_login_page_does_not_accept(tmp_path: Path) -> None:
    """A session that ends with a friendly page is begun anew, once, and the poll goes on."""
    async with limited(tmp_path) as it:
        tokens = count()
        url = it.server.route("/login", lambda _: Answer.json({"token": f"t{next(tokens)}"}))

        def answer(request: Received) -> Answer:
            old = request.header("authorization") == "Bearer t0" and it.clock.monotonic() > 5
            return Answer(200, b"<html>your session has expired" if old else b"data", (("content-type", "text/plain"),))

        it.answer("/x", answer)
        more = f"  auth: {{type: login, endpoint: '{url}', username: a, password: secret, token: /token}}\n"
        rule = "  rules: [{body: 'session has expired', do: reauthenticate}]\n  limits: {rate: 10/s}"
        async with it.running(it.config(more + rule)):
            await it.pass_time(25)
        assert it.times() == [0, 10, 10.1, 20]
        values = [record.value for record in await (await it.log.topic("cats")).read()]
        assert values == [b"data", b"data", b"data"]
    assert [entry.attempts for entry in it.ledger()] == [1, 2, 1]


async def test_an_ignored_page_ends_its_round(tmp_path: Path) -> None:
    """What is beyond the last page is not found, and that is no failure: the round is whole."""
    async with limited(tmp_path) as it:

        def answer(request: Received) -> Answer:
            number = int(request.query.get("page", "1"))
            return Answer.json([number]) if number < 4 else Answer(404, b'[{"message":"no such page"}]')

        it.answer("/x", answer)
        more = "  pagination: {type: page, param: page}\n  rules: [{status: 404, do: ignore}]\n  limits: {}"
        split = f"{more}\n  records: {{split: /}}"
        async with it.running(it.config(more), it.config(split, name="items")):
            await it.pass_time(15)
        values = [record.value for record in await (await it.log.topic("cats")).read()]
        assert values == [b"[1]", b"[2]", b"[3]"] * 2
        values = [record.value for record in await (await it.log.topic("items")).read()]
        assert values == [b"1", b"2", b"3"] * 2
    decisions = [entry.decision for entry in it.ledger()]
    assert decisions == [Decision.ACCEPTED, Decision.ACCEPTED, Decision.ACCEPTED, Decision.EMPTY] * 2


async def test_pages_are_requests_like_others(tmp_path: Path) -> None:
    """A round that is held in the middle goes on there, and nothing comes twice."""
    async with limited(tmp_path) as it:
        it.clock.set_wall(1_700_000_000 // 3600 * 3600)

        def answer(request: Received) -> Answer:
            number = int(request.query.get("page", "1"))
            return Answer.json([number] if number < 6 else [])

        it.answer("/x", answer)
        more = "  pagination: {type: page, param: page}\n  limits: {requests_per_hour: 4, rate: 1/2s}"
        async with it.running(it.config(more, interval="30m")):
            await it.pass_time(3500)
            assert it.times() == [0, 2, 4, 6]
            await it.pass_time(1000)
        values = [record.value for record in await (await it.log.topic("cats")).read()]
        assert values[:5] == [b"[1]", b"[2]", b"[3]", b"[4]", b"[5]"]
    assert [entry.decision for entry in it.ledger()][4] is Decision.SKIPPED


async def test_ever_new_hosts_fill_nothing(tmp_path: Path) -> None:
    """A connector that asks wherever answers say has a share for each of the first hosts, and one for the rest."""
    async with limited(tmp_path) as it:
        gate = it.engine._limits.gate(it.config("  limits: {concurrent: 1}"))
        assert gate is not None
        for number in range(200):
            request = Request("GET", f"http://h{number}.example/", "shown")
            assert await gate.admit(request, 1.0) is request
            gate.heard(request, Response(200, "HTTP/1.1", (), b"", "", 0.1, 0))
        assert len(gate.shares) == 65
        assert ("host", "other hosts") in gate.shares
        await it.engine._limits.leave(["cats"])
        assert it.engine._limits._shares == {}


async def test_connectors_without_limits_have_no_gate(tmp_path: Path) -> None:
    """Plain polls are plain: nothing of all this is in their way."""
    async with limited(tmp_path) as it:
        assert it.engine._limits.gate(it.config("")) is None
        assert it.engine._limits.gate(it.config("  limits: {}")) is not None


@pytest.mark.parametrize("more", ["  rules: [{status: 404, do: ignore}]", ""])
async def test_rules_alone_leave_polls_to_callbacks(tmp_path: Path, more: str) -> None:
    """Only what has to wait needs a task."""
    async with limited(tmp_path) as it:
        it.answer("/x", OK)
        async with it.running(it.config(more)):
            await it.pass_time(5)
            (run,) = it.engine.runs().values()
            assert isinstance(run.connector, Connector)
            assert run.connector._plain
