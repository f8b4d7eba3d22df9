"""Requests about the items of an answer through the engine: a real server, a real log, a clock turned by hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from engine.test_connector import Bench, bench, ledger
from headwater.config import ConnectorConfig, InvalidConfigError, load_text
from headwater.core.checkpoint import decode_checkpoint
from headwater.core.exchange import Decision
from headwater.testing import Answer, Received

ORDERS = [{"id": 1, "n": 2}, {"id": 2, "n": 0}, {"id": "a/b", "n": 1}]


def config(it: Bench, children: dict[str, Any], **http: Any) -> ConnectorConfig:
    """Return a connector of the server's orders, with children."""
    document = {
        "apiVersion": "0.1.0",
        "meta": {"name": "cats", "topic": "cats"},
        "http": {
            "endpoint": f"{it.server.url}/orders",
            "interval": "10s",
            "records": {"split": "/", "key": "/id"},
            "retry": {"attempts": 2, "initial": "1s"},
            "children": {
                "endpoint": "/orders/${{ item./id }}/lines",
                "records": {"split": "/lines", "key": "/line"},
                **children,
            },
            **http,
        },
    }
    return load_text(json.dumps(document)).connectors[0]


def lines(*numbers: str) -> Answer:
    return Answer.json({"lines": [{"line": it} for it in numbers]})


def serve(it: Bench) -> None:
    """Let the server have orders with lines."""
    it.server.route("/orders", Answer.json(ORDERS))
    it.server.route("/orders/1/lines", lines("1a", "1b"))
    it.server.route("/orders/2/lines", lines())
    it.server.route("/orders/a%2Fb/lines", lines("ab"))


async def stored(it: Bench) -> list[tuple[str, Any]]:
    """Return keys and values in the topic."""
    records = await (await it.log.topic("cats")).read()
    return [((record.key or b"").decode(), json.loads(record.value)) for record in records]


async def test_children_are_records_in_the_order_of_their_items(tmp_path: Path) -> None:
    """Whatever the order in which they come; all of an answer in one step, with one entry."""
    async with bench(tmp_path) as it:
        serve(it)
        first = asyncio.Event()

        async def slow() -> None:
            await first.wait()

        def last(_: Received) -> Answer:
            first.set()
            return lines("ab")

        it.server.route("/orders/1/lines", Answer.json({"lines": [{"line": "1a"}, {"line": "1b"}]}, wait=slow))
        it.server.route("/orders/a%2Fb/lines", last)
        async with it.running(config(it, {})):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "1b", "ab"]
            data = await it.log.checkpoint("cats")
    (entry,) = ledger(tmp_path)
    assert entry.records == 3
    assert "3 records with the children of 3 items" in entry.reason
    assert data is not None
    assert decode_checkpoint(data).records == 3


async def test_items_may_be_records_too_or_stand_in_those_of_their_children(tmp_path: Path) -> None:
    """`keep` puts them before their children, `embed` into them."""
    async with bench(tmp_path) as it:
        serve(it)
        async with it.running(config(it, {"parent": "keep"})):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1", "1a", "1b", "2", "a/b", "ab"]
    async with bench(tmp_path / "embedded") as it:
        serve(it)
        async with it.running(config(it, {"parent": "embed"})):
            await it.clock.sleeping()
            assert (await stored(it))[0] == ("1a", {"parent": {"id": 1, "n": 2}, "child": {"line": "1a"}})


async def test_only_items_that_have_some_are_asked_about(tmp_path: Path) -> None:
    """`only_if` spares the requests that would come to nothing."""
    async with bench(tmp_path) as it:
        serve(it)
        async with it.running(config(it, {"only_if": "/n"})):
            await it.clock.sleeping()
        assert [request.path for request in it.server.received] == [
            "/orders",
            "/orders/1/lines",
            "/orders/a%2Fb/lines",
        ]


async def test_no_more_requests_are_under_way_than_allowed(tmp_path: Path) -> None:
    """`concurrency` bounds them, and all of them are used."""
    async with bench(tmp_path) as it:
        it.server.route("/orders", Answer.json([{"id": number} for number in range(12)]))
        under_way = most = 0
        full = asyncio.Event()

        async def enter() -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == 3:
                full.set()
            await full.wait()
            under_way -= 1

        for number in range(12):
            it.server.route(f"/orders/{number}/lines", Answer.json({"lines": [{"line": number}]}, wait=enter))
        async with it.running(config(it, {"concurrency": 3})):
            await it.clock.sleeping()
            assert len(await stored(it)) == 12
        assert most == 3


async def test_what_is_gone_has_no_children(tmp_path: Path) -> None:
    """An item may be deleted between both requests; rules may say more."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/1/lines", Answer(404))
        it.server.route("/orders/2/lines", Answer(403))
        async with it.running(config(it, {"rules": [{"status": 403, "do": "ignore"}]})):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["ab"]


async def test_children_that_cannot_be_had_keep_the_answer_from_being_stored(tmp_path: Path) -> None:
    """Nothing of it is there, the reason names the item, and the next poll tries again."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/2/lines", Answer(403), lines("2a"))
        async with it.running(config(it, {})):
            await it.clock.sleeping()
            assert await stored(it) == []
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "1b", "2a", "ab"]
    entries = ledger(tmp_path)
    assert [entry.decision for entry in entries] == [Decision.FAILED, Decision.ACCEPTED]
    assert f"the children of item 2 (GET {it.server.url}/orders/2/lines): 403 Forbidden" in entries[0].reason


async def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    """Within the interval, as of any request."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/1/lines", Answer(503), lines("1a"))
        async with it.running(config(it, {"concurrency": 1})):
            assert await it.clock.next_wake() < 2
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "ab"]


async def test_children_have_pages(tmp_path: Path) -> None:
    """Each item's its own; more than max_pages is a failure, for nothing would go on with them."""
    pagination = {"type": "next-url", "next": "/next"}
    async with bench(tmp_path) as it:
        serve(it)
        more = {"lines": [{"line": "1a"}], "next": "?page=2"}
        it.server.route("/orders/1/lines", lambda request: lines("1b") if request.query else Answer.json(more))
        async with it.running(config(it, {"pagination": pagination})):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "1b", "ab"]
    async with bench(tmp_path / "bounded") as it:
        serve(it)
        it.server.route("/orders/1/lines", Answer.json({**more, "next": "?page=2"}))
        async with it.running(config(it, {"pagination": {**pagination, "max_pages": 1}})):
            await it.clock.sleeping()
            assert await stored(it) == []
    assert "the children of item 1 have more than 1 pages" in ledger(tmp_path / "bounded")[0].reason


async def test_the_pages_of_the_items_themselves_go_on(tmp_path: Path) -> None:
    """Each page is stored with the children of its items, and with the page that follows."""
    async with bench(tmp_path) as it:
        serve(it)

        def page(request: Received) -> Answer:
            number = int(request.query["page"])
            return Answer.json(ORDERS[number - 1 : number])

        it.server.route("/orders", page)
        made = config(it, {}, pagination={"type": "page", "size": 1}, cursor={"id": {"from": "/n"}})
        async with it.running(made):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "1b", "ab"]
            data = await it.log.checkpoint("cats")
    assert [entry.records for entry in ledger(tmp_path)] == [2, 0, 1, 0]
    assert data is not None
    progress = decode_checkpoint(data).progress
    assert progress is not None
    assert progress.cursors == {"id": 2}


async def test_an_item_may_name_the_url_of_its_children(tmp_path: Path) -> None:
    """As long as it is of the connector's origin; credentials go along, and to no other origin."""
    async with bench(tmp_path) as it:
        it.server.route("/orders", Answer.json([{"lines_url": "/l/1?x=1"}, {"lines_url": f"{it.server.url}/l/2"}]))
        it.server.route("/l/1", lines("1"))
        it.server.route("/l/2", lines("2"))
        made = config(it, {"endpoint": "${{ item./lines_url }}"}, headers={"Authorization": "Bearer x"})
        async with it.running(made):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1", "2"]
        assert {request.header("authorization") for request in it.server.received} == {"Bearer x"}
        assert it.server.received[1].target == "/l/1?x=1"
    async with bench(tmp_path / "evil") as it:
        it.server.route("/orders", Answer.json([{"lines_url": "http://evil.test/"}]))
        async with it.running(config(it, {"endpoint": "${{ item./lines_url }}"})):
            await it.clock.sleeping()
    assert "the URL of the item is at http://evil.test" in ledger(tmp_path / "evil")[0].reason


async def test_children_at_another_host_get_their_own_credentials_alone(tmp_path: Path) -> None:
    """Those of the connector stay with it."""
    async with bench(tmp_path) as it, bench(tmp_path / "other") as other:
        serve(it)
        serve(other)
        children = {"endpoint": f"{other.server.url}/orders/${{{{ item./id }}}}/lines", "headers": {"X-Own": "mine"}}
        made = config(it, children, headers={"Authorization": "Bearer x", "X-Plain": "1"})
        async with it.running(made):
            await it.clock.sleeping()
            assert len(await stored(it)) == 3
        sent = other.server.received[0]
        assert (sent.header("authorization"), sent.header("x-own"), sent.header("x-plain")) == (None, "mine", "1")


async def test_an_item_without_what_is_asked_is_told(tmp_path: Path) -> None:
    """The failure names the item and the expression."""
    async with bench(tmp_path) as it:
        it.server.route("/orders", Answer.json([{"id": 1}, {"x": 1}]))
        it.server.route("/orders/1/lines", lines("1"))
        async with it.running(config(it, {})):
            await it.clock.sleeping()
    reason = ledger(tmp_path)[0].reason
    assert "the children of item 2: ${{ item./id }} has no value: the item has none" in reason


async def test_too_many_children_are_a_failure(tmp_path: Path) -> None:
    """Before any is asked for."""
    async with bench(tmp_path) as it:
        serve(it)
        async with it.running(config(it, {"max": 2})):
            await it.clock.sleeping()
        assert len(it.server.received) == 1
    assert "3 items have children, and children.max is 2" in ledger(tmp_path)[0].reason


async def test_bad_items_of_children_go_to_the_dead_letters(tmp_path: Path) -> None:
    """With the item that they belong to; the good ones are stored."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/1/lines", Answer(200, b'{"lines":[{"line":"1a"},{"line":{}}]}'))
        children = {"records": {"split": "/lines", "key": "/line", "key_required": True}}
        async with it.running(config(it, children)):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "ab"]
            letters = await (await it.log.topic("cats-dead-letter")).read()
    assert b"of the children of item 1" in letters[0].value


async def test_a_stop_ends_children_under_way(tmp_path: Path) -> None:
    """Nothing of the answer is stored then."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/2/lines", Answer(hang=True))
        it.engine._grace = 0
        async with it.running(config(it, {})):
            while len(it.server.received) < 4:  # noqa: ASYNC110 - a server tells nobody in its own loop
                await asyncio.sleep(0)
        assert await stored(it) == []


async def test_credentials_are_renewed_for_children_too(tmp_path: Path) -> None:
    """A token that is refused is got again; where there is no other one it is a failure."""
    async with bench(tmp_path) as it:
        serve(it)
        token = tmp_path / "token"
        token.write_text("old-token")

        def guarded(request: Received) -> Answer:
            if request.header("authorization") == "Bearer old-token":
                token.write_text("new-token")
                return Answer(401)
            return lines("1a")

        it.server.route("/orders/1/lines", guarded)
        auth = {"type": "bearer", "token_file": str(token)}
        async with it.running(config(it, {"concurrency": 1}, auth=auth)):
            while not ledger(tmp_path):  # noqa: ASYNC110 - only the file tells
                await asyncio.sleep(0)
            assert [key for key, _ in await stored(it)] == ["1a", "ab"]
            it.server.route("/orders/1/lines", Answer(401))
            await it.clock.next_wake()
            while not any("401" in entry.reason for entry in ledger(tmp_path)):
                # The credential has timers of its own on the clock.
                it.clock.advance(1)
                await asyncio.sleep(0)
    assert "/orders/1/lines): 401 Unauthorized" in ledger(tmp_path)[1].reason


async def test_connections_that_break_are_tried_again(tmp_path: Path) -> None:
    """And told with the item when they stay broken."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/1/lines", Answer(cut=-1), lines("1a"))
        it.server.route("/orders/2/lines", Answer(cut=-1))
        async with it.running(config(it, {"concurrency": 1})):
            for _ in range(2):
                await it.clock.next_wake()
            await it.clock.sleeping()
            assert await stored(it) == []
    assert "the children of item 2 (GET" in ledger(tmp_path)[0].reason


async def test_children_pass_the_limits_of_their_connector(tmp_path: Path) -> None:
    """A round that is held back in the middle stores nothing, and is told as every one that is held."""
    async with bench(tmp_path) as it:
        serve(it)
        async with it.running(config(it, {"concurrency": 1}, limits={"requests_per_hour": 2})):
            await it.clock.sleeping()
            assert await stored(it) == []
        assert len(it.server.received) == 2
    entry = ledger(tmp_path)[0]
    assert entry.decision is Decision.SKIPPED


async def test_children_in_another_form_are_read_by_their_own_options(tmp_path: Path) -> None:
    """What is no such form is a failure that says so."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/1/lines", Answer(200, b"sku;n\na;1\n", (("content-type", "text/csv"),)))
        it.server.route("/orders/2/lines", Answer(204))
        it.server.route("/orders/a%2Fb/lines", Answer(200, b"sku;n\nb;2\n"))
        records = {"format": "csv", "delimiter": ";", "key": "/sku"}
        async with it.running(config(it, {"records": records, "parent": "embed"})):
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["a", "b"]
    async with bench(tmp_path / "broken") as it:
        serve(it)
        it.server.route("/orders/2/lines", Answer(200, b'{"lines":[{"line":'))
        async with it.running(config(it, {})):
            await it.clock.sleeping()
            assert await stored(it) == []
    assert "the children of item 2: " in ledger(tmp_path / "broken")[0].reason


@pytest.mark.parametrize(
    ("children", "http", "said"),
    [
        ({"endpoint": "x${{ item./id }}"}, {}, "does not begin with http:// or https://"),
        ({"endpoint": "${{ item./url }}/x"}, {}, "an expression at the beginning is the whole URL"),
        ({"endpoint": "/x/${{ item./id | isoo }}"}, {}, "there is no filter 'isoo'"),
        (
            {"endpoint": "/x/${{ item./id }}/${{ page.token }}"},
            {},
            "http.children.endpoint: ${{ page.token }}: there is",
        ),
        ({"endpoint": "/x/${{ cursor.x }}"}, {}, "there is no cursor 'x'"),
        (
            {"parent": "embed", "records": {"format": "text"}},
            {},
            "parent: embed needs items of JSON, and these are text",
        ),
        ({"pagination": {"type": "link", "stop_at": "x"}}, {}, "stop_at is for the pages of the connector itself"),
        (
            {"pagination": {"type": "cursor", "next": "/n"}},
            {},
            "http.children.pagination: nothing says where the token",
        ),
        ({}, {"records": None}, "there are no items to ask about; say where they are"),
        ({}, {"deduplicate": {"by": "key", "count": 10}}, "children and deduplicate exclude each other"),
        ({"body": "a", "form": {"b": "c"}}, {}, "name either body or form"),
        ({"endpoints": "x"}, {}, "http.children.endpoints: unknown key; did you mean 'endpoint'?"),
    ],
)
async def test_mistakes(tmp_path: Path, children: dict[str, Any], http: dict[str, Any], said: str) -> None:
    """They are told when the file is read."""
    async with bench(tmp_path) as it:
        if "deduplicate" in http and not hasattr(config(it, {}).http, "deduplicate"):
            pytest.skip("there is no deduplicate yet")
        with pytest.raises(InvalidConfigError) as caught:
            config(it, children, **http)
    assert said in str(caught.value)


async def test_a_bad_item_among_the_children_may_let_the_poll_fail(tmp_path: Path) -> None:
    """on_error: fail is for them as well: nothing of the answer is stored."""
    async with bench(tmp_path) as it:
        serve(it)
        it.server.route("/orders/2/lines", Answer.json({"lines": [{"line": {}}]}), lines())
        async with it.running(config(it, {}, on_error="fail")):
            await it.clock.sleeping()
            assert await stored(it) == []
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert [key for key, _ in await stored(it)] == ["1a", "1b", "ab"]
    failed, good = ledger(tmp_path)
    assert (failed.decision, good.decision) == (Decision.FAILED, Decision.ACCEPTED)
    assert "item 1 of the children of item 2: its key at /line: it is an object" in failed.reason
