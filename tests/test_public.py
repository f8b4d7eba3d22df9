"""What `import headwater` gives, and that it does the whole job from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import headwater
from headwater.testing import Answer, ScriptedServer

PUBLIC = set(
    """
    ConfigError ConnectorConfig CurlFetcher Decision Engine Exchange FetchError HeadwaterError InvalidConfigError Log
    LogError LogReader Offset Problem Receipt Record SmartModuleError StoredRecord Topic TopicError TopicInfo TopicSpec
    UnavailableError __version__ from_options load_files load_text running smartmodule
    """.split()  # noqa: SIM905 - a list of words is easier to read than one of literals
)


def test_the_public_names() -> None:
    """They are these, each has a docstring, and each is where its type checker thinks it is."""
    assert set(headwater.__all__) == PUBLIC
    assert set(dir(headwater)) == PUBLIC
    for name in PUBLIC:
        assert getattr(headwater, name).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        headwater.nonsense  # noqa: B018 - the access is what is tested


def test_importing_costs_nothing() -> None:
    """`import headwater` loads none of what the commands need."""
    program = (
        "import sys, headwater; print(sorted({'pycurl', 'apsw', 'pydantic', 'asyncio', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


async def test_a_connector_from_python(tmp_path: Path) -> None:
    """Run a connector from a config object, follow its topic, append to another, read the ledger."""
    async with ScriptedServer() as server:
        url = server.route("/fact", Answer(body=b"one"), Answer(body=b"two"), Answer(body=b"three"))
        config = headwater.from_options(name="cats", topic="cats", options={"endpoint": url, "interval": "10ms"})
        values = []
        async with headwater.running([config], tmp_path) as log:
            topic = await log.topic("cats")
            async for record in topic.follow(headwater.Offset.beginning()):
                values.append(record.value)
                if len(values) == 3:
                    break
            await log.create_topic("mine")
            receipts = await (await log.topic("mine")).append([headwater.Record(b"x", key=b"k")])
            assert receipts == [headwater.Receipt(0, 0, 1)]
            entries = await log.ledger("cats")
            assert entries[0].decision is headwater.Decision.ACCEPTED
    assert values == [b"one", b"two", b"three"]


async def test_errors_are_of_one_tree(tmp_path: Path) -> None:
    """What goes wrong is a HeadwaterError, before anything runs."""
    with pytest.raises(headwater.HeadwaterError) as caught:
        headwater.from_options(name="cats", topic="cats", options={"endpoint": "nonsense"})
    assert isinstance(caught.value, headwater.InvalidConfigError)
    assert str(caught.value).startswith("from_options: error: endpoint: 'nonsense' does not begin with http://")
    config = headwater.from_options(name="a", topic="a", options={"endpoint": "http://x/"}, create_topic=False)
    with pytest.raises(headwater.InvalidConfigError, match="there is no topic 'a'"):
        async with headwater.running([config], tmp_path):
            pass


def test_the_docstring_shows_what_works() -> None:
    """The example of the package's docstring compiles and uses public names."""
    assert headwater.__doc__ is not None
    example = headwater.__doc__.partition("::\n")[2].partition("\nNames are")[0]
    program = "\n".join(line.removeprefix("    ") for line in example.splitlines())
    compile(program, "example", "exec")
    for name in ("from_options", "running"):
        assert f"headwater.{name}(" in program
