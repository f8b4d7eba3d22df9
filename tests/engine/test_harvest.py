"""What an accepted answer leaves, where that is more than the target takes."""

from __future__ import annotations

import json
from hashlib import sha256

from headwater.config import load_text
from headwater.core.checkpoint import Checkpoint
from headwater.core.exchange import Decision, Exchange
from headwater.core.record import Record
from headwater.engine.harvest import Harvester
from headwater.fluvio.batch import decode_records
from headwater.fluvio.compression import Compression
from headwater.sources.reaped import Reaped

CONFIG = "name: cats\ntopic: cats\nparameters: {{endpoint: http://localhost/x, stream: true, on_error: {}}}\n"


def harvester(on_error: str = "dead-letter", most: int | None = 100) -> Harvester:
    config = load_text(CONFIG.format(on_error)).connectors[0]
    return Harvester(config, Compression.NONE, None, mask=str, most_record=most)


def test_a_record_that_is_too_large_is_a_dead_letter() -> None:
    """The others are stored; it is told by its size, its digest and its beginning."""
    large = b"x" * 5000
    records = (Record(b"a"), Record(large, b"key"), Record(b"b" * 100), Record(b"c" * 98, b"key"))
    checkpoint = Checkpoint(records=14)
    exchange = Exchange("cats", 1, 1, 1, Decision.ACCEPTED, "200 OK", records=4)
    made = harvester().harvest(Reaped(records, checkpoint), Checkpoint(records=10), exchange, now=7)
    stored = [record.value for batch in made.append.batches for record in decode_records(batch.data)]
    assert stored == [b"a", b"b" * 100]
    assert (made.checkpoint.records, made.exchange.records, made.exchange.rejected) == (12, 2, 2)
    assert "2 bad items to cats-dead-letter: record 2: it has 4.9 KiB" in made.exchange.reason
    (beside,) = made.append.beside
    letters = [json.loads(it.value) for batch in beside.batches for it in decode_records(batch.data)]
    assert [it["error"] for it in letters] == ["too-large", "too-large"]
    assert (letters[0]["size"], letters[0]["sha256"]) == (5000, sha256(large).hexdigest())
    assert len(letters[0]["record"]["value"]) == 1024


def test_where_any_is_taken_none_is_too_large() -> None:
    """The embedded log takes what the other bounds let through."""
    exchange = Exchange("cats", 1, 1, 1, Decision.ACCEPTED, "200 OK", records=1)
    made = harvester(most=None).harvest(
        Reaped((Record(b"x" * 2_000_000),), Checkpoint()), Checkpoint(), exchange, now=7
    )
    assert not made.bad
    assert not made.append.beside
    one = harvester().harvest_one(b"y" * 101, Checkpoint(records=1), exchange, now=7)
    assert (one.exchange.records, one.checkpoint.records, len(one.bad)) == (0, 0, 1)
