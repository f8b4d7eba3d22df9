"""The sample API answers like the page's endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from headwater.core.errors import HeadwaterError
from headwater.sample import SampleApi
from headwater.sample.facts import FACTS


def get(url: str) -> dict[str, object]:
    with urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        found = json.load(answer)
    assert isinstance(found, dict)
    return found


def test_facts_come_in_turn() -> None:
    """Each request gets the next fact, in compact JSON with its length, and after the last the first again."""
    assert len(set(FACTS)) >= 30
    with SampleApi() as api:
        told = [get(f"{api.url}/fact") for _ in range(len(FACTS) + 1)]
        with urlopen(f"{api.url}/fact", timeout=10) as answer:
            assert answer.read().startswith(b'{"fact":"')
    assert [fact["fact"] for fact in told] == [*FACTS, FACTS[0]]
    assert all(len(str(fact["fact"])) == fact["length"] for fact in told)


def test_other_paths() -> None:
    """There is a list of routes, a health check, and a 404 that names the routes."""
    with SampleApi() as api:
        assert "/fact" in get(f"{api.url}/")
        assert get(f"{api.url}/health") == {"status": "ok"}
        with pytest.raises(HTTPError, match="404") as caught:
            urlopen(f"{api.url}/fax", timeout=10)
        assert "/fact" in json.load(caught.value)["routes"]
        caught.value.close()


def test_a_port_that_is_taken() -> None:
    """The error names the port and what to do."""
    with SampleApi() as api:
        port = int(api.url.rpartition(":")[2])
        with pytest.raises(HeadwaterError, match=f"127.0.0.1:{port}"):
            SampleApi(port)


@pytest.mark.parametrize(("given", "host"), [("0", "127.0.0.1"), ("127.0.0.2:0", "127.0.0.2")])
def test_by_itself(given: str, host: str) -> None:
    """`python -m headwater.sample` serves on loopback or where it is told, until SIGTERM, which is a good end."""
    command = [sys.executable, "-m", "headwater.sample", given]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[1].rstrip(";")
        assert url.startswith(f"http://{host}:")
        assert get(url)["fact"] == FACTS[0]
        process.terminate()
        assert process.wait(30) == 0


def test_an_address_that_is_none() -> None:
    """What is no port is said."""
    done = subprocess.run(
        [sys.executable, "-m", "headwater.sample", "here"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert "'here' is not a port" in done.stderr
