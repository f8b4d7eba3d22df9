"""Lines of what a replay comes to, and their difference."""

from __future__ import annotations

from headwater.core.exchange import Decision, Exchange
from headwater.core.record import StoredRecord
from headwater.recording.expectation import (
    difference,
    exchange_line,
    read_expectation,
    record_line,
    write_expectation,
)


def test_records_are_lines() -> None:
    """JSON stands there as JSON, with its digits; what is none is a text, or base64."""
    lines = [
        record_line("t", StoredRecord(b'{"a": 1.50, "b": [1e5]}', b"k", 5, 0, 0), timed=True),
        record_line("t", StoredRecord(b"not JSON", None, 5, 0, 1), timed=False),
        record_line("t", StoredRecord(b"\xff", b"\xfe", 5, 0, 2), timed=False),
    ]
    assert lines == [
        '{"topic":"t","key":"k","timestamp":5,"value":{"a":1.50,"b":[1e5]}}',
        '{"topic":"t","key":null,"text":"not JSON"}',
        '{"topic":"t","key":"base64:/g==","text":"base64:/w=="}',
    ]


def test_exchanges_are_lines() -> None:
    """What was decided, and how many records and attempts there were."""
    entry = Exchange("a", 1, 2, 3, Decision.ACCEPTED, "200 OK", 200, records=3, attempts=2, rejected=1)
    assert exchange_line(entry) == '{"exchange":"accepted","status":200,"records":3,"rejected":1,"attempts":2}'
    assert exchange_line(Exchange("a", 1, 2, 3, Decision.FAILED, "refused")) == '{"exchange":"failed"}'


def test_a_file_is_read_back() -> None:
    """Comments and spelling do not matter; what differs is shown as a diff."""
    lines = ['{"a":1}', '{"b":2}']
    assert read_expectation(write_expectation(lines)) == lines
    assert read_expectation('# x\n\n{ "a": 1 }\n{"b":2}') == lines
    assert difference(lines, lines, "e") == []
    assert difference(lines, ['{"a":1}', '{"b":3}'], "e.jsonl") == [
        "--- e.jsonl",
        "+++ this replay",
        "@@ -1,2 +1,2 @@",
        ' {"a":1}',
        '-{"b":2}',
        '+{"b":3}',
    ]
    long = difference([], [str(number) for number in range(1000)], "e")
    assert long[-1] == "... (803 more lines)"
