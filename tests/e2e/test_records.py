"""Items of answers on the command line."""

from __future__ import annotations

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer, background


def config(url: str, records: str) -> str:
    return f"name: cats\ntopic: cats\nparameters:\n  endpoint: {url}\n  interval: 1h\n  records: {records}\n"


def test_a_trial_shows_items(headwater: CommandLine) -> None:
    """`headwater test` shows the records with their keys, what is bad with its place, and what lets a poll fail."""
    with background(ScriptedServer()) as server:
        url = server.route("/x", Answer(body=b'{"data":[{"id":1},{"id":nope},{"id":2.50}]}'))
        good = headwater.run("test", headwater.config(config(url, "{split: /data, key: /id}")))
        server.route("/x", Answer(body=b'{"data":[]}'))
        bad = headwater.run("test", headwater.config(config(url, "{split: /x/y, split_required: true}")))
    assert good.returncode == 0
    assert "record 2: key b'2.50', 11 B" in good.stdout
    assert "! item 2: it is not JSON: invalid character (byte 7)" in good.stdout
    assert "! 1 bad: would go to cats-dead-letter" in good.stdout
    assert bad.returncode == 1
    assert "! the poll would fail: the answer has no array at /x/y" in bad.stdout


def test_flags(headwater: CommandLine) -> None:
    """Each option of the group is a flag, and an override."""
    with background(ScriptedServer()) as server:
        url = server.route("/x", Answer(body=b"id;n\n1;2\n"))
        flags = ("--records-format", "csv", "--records-delimiter", ";", "--records-key", "/id")
        process = headwater.start("http", "--endpoint", url, "--topic", "cats", "--interval", "1h", *flags)
        headwater.wait_for_topic("cats")
        following = headwater.start("consume", "cats", "-B", "-k")
        assert following.stdout is not None
        assert following.stdout.readline() == '[1] {"id":"1","n":"2"}\n'
        headwater.stop(following)
        headwater.stop(process)
        path = headwater.config(config(url, "{format: csv, key: /id}"))
        shown = headwater.good("test", path, "--set", "records.delimiter=;", "--set", "records.numbers=true")
    assert '{"id":1,"n":2}' in shown
