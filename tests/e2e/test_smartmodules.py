"""SmartModules from the command line, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

from commandline import CommandLine
from e2e.test_run import lines_of
from headwater.testing import Answer, ScriptedServer
from transforms import guests
from transforms.test_library import package

PYTHON = """\
from headwater import Record, smartmodule


@smartmodule
def short(record: Record, *, most: int) -> bool:
    return len(record.value) <= most


@smartmodule
def count(state: int, record: Record) -> int:
    return state + 1
"""


def wasm(headwater: CommandLine, name: str, code: bytes) -> Path:
    file = headwater.directory / f"{name}.wasm"
    file.write_bytes(code)
    return file


def test_the_pages_options_from_a_file_and_from_flags(headwater: CommandLine, server: ScriptedServer) -> None:
    """`filter`, `map` and `arraymap` by name or by file, in connect.yml and as flags."""
    for name, code in (("keep", guests.letter_filter()), ("upper", guests.upper_map()), ("each", guests.letters())):
        headwater.good("smartmodule", "load", name, "--wasm-file", wasm(headwater, name, code))
    server.route("/fact", Answer(body=b"cat"))
    text = (
        f"name: cats\ntopic: cats\nparameters:\n  endpoint: {server.url}/fact\n  interval: 50ms\n"
        "  filter: keep.wasm\n  map: upper\n  arraymap: each\n"
    )
    running = headwater.start("run", headwater.config(text))
    headwater.wait_for_topic("cats")
    following = headwater.start("consume", "cats", "-B")
    assert lines_of(following, 6) == ["C", "A", "T"] * 2
    headwater.stop(running)
    flags = ("--endpoint", f"{server.url}/fact", "--fluvio-topic", "flagged", "--interval", "50ms")
    running = headwater.start("http", *flags, "--filter", "keep", "--map", "upper.wasm", "--arraymap", "each")
    headwater.wait_for_topic("flagged")
    assert lines_of(headwater.start("consume", "flagged", "-B"), 3) == ["C", "A", "T"]
    headwater.stop(running)


def test_a_chain_from_a_file_of_transforms(headwater: CommandLine, server: ScriptedServer) -> None:
    """`headwater http --transforms FILE` runs a chain; what is wrong with the file is told with its place."""
    server.route("/fact", Answer(body=b'{"fact":"cat","length":3}'))
    chain = headwater.directory / "chain.yml"
    chain.write_text("transforms:\n  - uses: infinyon/jaq\n    with:\n      filter: .fact\n")
    flags = ("--endpoint", f"{server.url}/fact", "--fluvio-topic", "cats", "--interval", "50ms", "--transforms", chain)
    running = headwater.start("http", *flags)
    headwater.wait_for_topic("cats")
    assert lines_of(headwater.start("consume", "cats", "-B"), 1) == ['"cat"']
    headwater.stop(running)
    for text, said in (
        ("transforms:\n  - use: x\n", "unknown key"),
        ("steps: []\n", "there is no list `transforms:` in it"),
        ("transforms:\n  - uses: x\n    with: {n: 1}\n", "put it into quotes"),
        ("", "there is no list"),
    ):
        chain.write_text(text)
        done = headwater.run("http", *flags)
        assert (done.returncode, said in done.stderr) == (3, True), done.stderr


def test_the_store_of_modules(headwater: CommandLine) -> None:
    """Load, list, describe and delete, from a .wasm file and from a package."""
    keep = wasm(headwater, "keep", guests.letter_filter())
    assert headwater.good("smartmodule", "load", "me/keep@1.2", "--wasm-file", keep).startswith(
        'smartmodule "me/keep@1.2.0" loaded (filter, '
    )
    packed = headwater.directory / "mine.ipkg"
    packed.write_bytes(package(guests.upper_map()))
    assert 'smartmodule "me/mine@0.1.0" loaded (map, ' in headwater.good("smartmodule", "load", "--package", packed)
    listed = headwater.good("smartmodule", "list").splitlines()
    assert listed[0].split() == ["SMARTMODULE", "KIND", "SIZE", "DESCRIPTION"]
    assert [line.split()[:2] for line in listed[1:4]] == [
        ["me/keep@1.2.0", "filter"],
        ["me/mine@0.1.0", "map"],
        ["infinyon/jolt", "built"],
    ]
    assert [it["name"] for it in json.loads(headwater.good("smartmodule", "list", "-O", "json"))] == [
        "me/keep@1.2.0",
        "me/mine@0.1.0",
    ]
    described = headwater.good("smartmodule", "describe", "mine")
    assert "keeps letters" in described
    assert "signed by" in described
    assert headwater.good("smartmodule", "delete", "keep") == 'smartmodule "me/keep@1.2.0" deleted\n'
    for arguments, status, said in (
        (("delete", "keep"), 3, "there is no SmartModule 'keep'"),
        (("describe", "keep"), 3, "there is no SmartModule 'keep'"),
        (("load", "--wasm-file", keep), 2, "Give the module a name"),
        (("load", "x"), 2, "Name either --wasm-file or --package"),
        (("load", "X y", "--wasm-file", keep), 3, "is no name of a SmartModule"),
        (("load", "other", "--package", packed), 3, "is me/mine@0.1.0, not other"),
        (("load", "x", "--wasm-file", packed), 3, "is not a WebAssembly module"),
    ):
        done = headwater.run("smartmodule", *arguments)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr


def test_trying_a_module_on_lines(headwater: CommandLine) -> None:
    """`smartmodule test` runs a module of any sort on its own, with parameters, keys and a lookback."""
    (headwater.directory / "mine.py").write_text(PYTHON)
    keep = wasm(headwater, "keep", guests.letter_filter())
    done = headwater.run("smartmodule", "test", keep, "-v", given="cat\ndog\nno!\nrat\n")
    assert (done.returncode, done.stdout) == (1, "cat\nrat\n")
    assert done.stderr == "record 3 refused (error): no\nfilter: 4 records in, 2 out, 1 refused\n"
    run = ("smartmodule", "test", "./mine.py:short", "--kind", "filter", "--param", "most=3")
    assert headwater.good(*run, given="cat\nlion\n") == "cat\n"
    assert headwater.good(*run, "--text", "dog", "--key", "k", "-k") == "[k] dog\n"
    assert headwater.good("smartmodule", "test", "./mine.py:count", "--key-separator", ":", "-k", given="a:x\nb\n") == (
        "[a] 1\n[null] 2\n"
    )
    (headwater.directory / "lines.txt").write_text("ab\ncd\n")
    each = wasm(headwater, "each", guests.letters())
    assert headwater.good("smartmodule", "test", each, "--file", "lines.txt") == "a\nb\nc\nd\n"
    assert headwater.good("smartmodule", "test", keep, "--file", "lines.txt", "--raw") == "ab\ncd\n\n"
    looked = headwater.good(
        *(
            "smartmodule",
            "test",
            "dedup-filter",
            "-e",
            "count=9",
            "--lookback-last",
            "1",
            "--record",
            "a",
            "--record",
            "b",
        ),
        given="a\nb\nc\n",
    )
    assert looked == "a\nc\n"
    for arguments, status, said in (
        (("nothing",), 3, "there is no SmartModule 'nothing'"),
        ((keep, "--kind", "map"), 3, "is of the kind filter, not map"),
        (("./mine.py:short",), 3, "needs the parameter 'most'"),
        ((keep, "-e", "x"), 2, "is not of the form KEY=VALUE"),
        ((keep, "--raw"), 2, "--raw needs --file"),
        ((keep, "--timeout", "soon"), 2, "soon"),
    ):
        wrong = headwater.run("smartmodule", "test", *arguments)
        assert (wrong.returncode, said in wrong.stderr) == (status, True), wrong.stderr


def test_one_exchange_shows_every_stage(headwater: CommandLine, server: ScriptedServer) -> None:
    """`headwater test` shows the records before and after each transform, and what would become of refused ones."""
    server.route("/fact", Answer(body=b'["cat", "no!", "dog"]'))
    wasm(headwater, "keep", guests.letter_filter())
    config = headwater.config(
        f"name: cats\ntopic: cats\nparameters:\n  endpoint: {server.url}/fact\ntransforms:\n"
        "  - uses: infinyon-labs/array-map-json\n  - uses: ./keep.wasm\n"
    )
    done = headwater.run("test", config)
    shown = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert '["cat", "no!", "dog"]' in shown
    at = shown.index("| stage 1: infinyon-labs/array-map-json (array_map), 3 records")
    assert shown[at + 1 :] == [
        "record 1: key null, 5 B",
        '"cat"',
        "record 2: key null, 5 B",
        '"no!"',
        "record 3: key null, 5 B",
        '"dog"',
        "| stage 2: ./keep.wasm (filter), 1 record",
        "! refused (error): no",
        '"no!"',
        "record 1: key null, 5 B",
        '"cat"',
        "! 1 refused: would go to cats-dead-letter",
    ]
    assert not (headwater.data / "headwater.db").exists()


def test_reading_through_modules(headwater: CommandLine) -> None:
    """`consume` passes records through a module or a chain; offsets and keys stay; what is refused is told."""
    headwater.good("topic", "create", "cats")
    headwater.good("produce", "cats", "--key-separator", ":", given="1:cat\n2:dog\n3:no!\n4:rat\n")
    keep = wasm(headwater, "keep", guests.letter_filter())
    read = ("consume", "cats", "-B", "-d")
    done = headwater.run(*read, "--smartmodule-path", keep, "-F", "{{offset}} {{key}} {{value}}")
    assert (done.returncode, done.stdout) == (1, "0 1 cat\n3 4 rat\n")
    assert done.stderr == f"headwater: record 2 refused by {keep}: no\n"
    assert headwater.good(*read, "--smartmodule", "regex-filter", "-e", "regex=^d") == "dog\n"
    chain = headwater.directory / "chain.yml"
    chain.write_text("transforms:\n  - uses: regex-filter\n    with: {regex: at}\n  - uses: ./mine.py:count\n")
    (headwater.directory / "mine.py").write_text(PYTHON)
    assert headwater.good(*read, "--transforms", chain) == "1\n2\n"
    count = (*read, "--sm", "./mine.py:count")
    assert headwater.good(*count, "--aggregate-initial", "10") == "11\n12\n13\n14\n"
    dedup = headwater.directory / "dedup.yml"
    dedup.write_text("transforms:\n  - uses: dedup-filter\n    with: {count: '9'}\n    lookback: {last: 2}\n")
    assert headwater.good(*read, "--transforms", dedup) == "cat\ndog\n"
    for arguments, status, said in (
        (("--smartmodule", "none"), 3, "there is no SmartModule 'none'"),
        (("-e", "a=b"), 2, "-e needs --smartmodule"),
        (("--smartmodule", "x", "--smartmodule-path", keep), 2, "Name only one of"),
        (("--smartmodule", "regex-filter", "-e", "regex=("), 3, "cannot use the value of 'regex'"),
    ):
        wrong = headwater.run(*read, *arguments)
        assert (wrong.returncode, said in wrong.stderr) == (status, True), wrong.stderr


def test_a_module_that_is_not_there(headwater: CommandLine, server: ScriptedServer) -> None:
    """`run` names the place in the file and how to load it; nothing is started."""
    config = headwater.config(
        f"name: cats\ntopic: cats\nparameters:\n  endpoint: {server.url}/fact\n  filter: my-filter\n"
    )
    done = headwater.run("run", config)
    assert done.returncode == 3
    assert f"{config}:5:3: error: parameters.filter: there is no SmartModule 'my-filter'; load it with:" in done.stderr
    assert server.received == []
