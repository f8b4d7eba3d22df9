"""The image in a real engine: the page's arguments, a server, connectors, health, signals, and all of them together.

The commands are those of docs/in-docker.md, run as they are printed there but for the endpoint and the network.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from commandline import CommandLine
from container.conftest import ROOT
from container.engine import Engine, NoEngineError, done
from e2e.upcluster import Up
from headwater.sample import SampleApi
from headwater.sample.facts import FACTS
from transforms import guests

pytestmark = pytest.mark.long

PAGE = "https://catfact.ninja/fact"
COMMANDS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "in-docker.md").read_text(), re.DOTALL)
BARE = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


@pytest.fixture
def api() -> Iterator[SampleApi]:
    """Return the sample API on this machine."""
    with SampleApi() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Iterator[CommandLine]:
    """Return the command line of a person whose current profile is a `headwater up` on this machine."""
    line = CommandLine(tmp_path)
    up = Up(line, line.data)
    line.good("profile", "add", "here", up.endpoint)
    # Readable by the container's user, as a file of user 1000 is.
    (tmp_path / ".fluvio" / "config").chmod(0o644)
    tmp_path.chmod(0o755)
    yield line
    up.close()
    line.close()


def documented(word: str, *options: str, endpoint: str = PAGE) -> str:
    """Return the command of the page in which a word stands, for this machine's network and with further options."""
    command: str
    (command,) = [command for command in COMMANDS if word in command and "docker run" in command]
    return command.replace("docker run", " ".join(["docker run --network=host", *options]), 1).replace(PAGE, endpoint)


FREE = ("--sc-port=0", "--spu-port=0")


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    with ExitStack() as cleanup:
        made = [cleanup.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [it.getsockname()[1] for it in made]


def shell(engine: Engine, line: CommandLine, command: str) -> str:
    """Run a command as a person types it."""
    environment = {**engine.environment, "HOME": line.environment["HOME"]}
    made = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
        cwd=line.directory,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def stopped(engine: Engine, container: str) -> int:
    """Stop a container as a person does, remove it, and return its exit status."""
    engine.run("stop", container)
    status = int(engine.run("inspect", container, "--format={{.State.ExitCode}}"))
    said = engine.run("logs", container)
    engine.run("rm", container)
    assert "Traceback" not in said, said
    return status


def wait_for_health(engine: Engine, container: str, health: str) -> None:
    """Wait until the engine says of a container that it is healthy, or unhealthy."""
    # By its number: events of one that was removed and had the same name are still told.
    number = engine.run("inspect", container, "--format={{.Id}}")
    told = ["docker", "events", "--since=10m", f"--filter=container={number}", "--filter=event=health_status"]
    with subprocess.Popen(
        ["timeout", "60", *told], stdout=subprocess.PIPE, text=True, env=engine.environment
    ) as events:
        assert events.stdout is not None
        heard = any(line.partition("health_status: ")[2].split()[0] == health for line in events.stdout)
        events.terminate()
    assert heard, engine.run("inspect", container, "--format={{json .State}}")


def test_who_it_is(engine: Engine) -> None:
    """It runs as `fluvio`, knows its version, and carries neither pip nor a package index."""
    assert (
        engine.run("run", "--rm", "--entrypoint=id", "headwater")
        == "uid=1000(fluvio) gid=1000(fluvio) groups=1000(fluvio)"
    )
    assert engine.run("run", "--rm", "headwater", "--version").startswith("headwater ")
    assert engine.run("run", "--rm", "headwater", "-V") == engine.run("run", "--rm", "headwater", "--version")
    with pytest.raises(NoEngineError, match="There is no command 'bash'"):
        engine.run("run", "--rm", "headwater", "bash")
    with pytest.raises(NoEngineError, match="No module named pip"):
        engine.run("run", "--rm", "--entrypoint=python3", "headwater", "-m", "pip")


@pytest.mark.parametrize("options", [(), BARE, ("--user=12345",)], ids=["as printed", "read-only", "another user"])
def test_the_pages_local_connector(engine: Engine, home: CommandLine, api: SampleApi, options: tuple[str, ...]) -> None:
    """The page's lines bring facts into the topic of the mounted profile; `docker stop` ends it with 0."""
    container = shell(engine, home, documented("--fluvio-topic", *options, endpoint=f"{api.url}/fact"))
    home.wait_for_topic("cat-facts")
    assert json.loads(home.good("consume", "cat-facts", "-B", "--end", 0))["fact"] == FACTS[0]
    assert engine.run("exec", container, "headwater", "health").startswith(
        "/var/lib/headwater is being written by process 1"
    )
    assert stopped(engine, "my-http") == 0


def test_the_pages_file(engine: Engine, home: CommandLine, api: SampleApi) -> None:
    """The page's connect.yml runs in a container; the next one on its volume goes on."""
    text = (ROOT / "examples" / "page-verbatim.yml").read_text()
    assert PAGE in text
    home.config(text.replace(PAGE, f"{api.url}/fact").replace("interval: 10", "interval: 1"))
    for offset in (0, 1):
        shell(engine, home, documented("connect.yml", *BARE))
        home.wait_for_topic("cat-facts")
        assert home.good("consume", "cat-facts", "-B", "--end", offset).count("fact") == offset + 1
        assert stopped(engine, "cat-facts") == 0
    ledger = engine.run("run", "--rm", "-v", "cat-facts:/var/lib/headwater", "headwater", "ledger", "cat-facts")
    assert ledger.count("accepted") >= 2
    engine.run("volume", "rm", "cat-facts")


def test_a_connector_without_a_profile(engine: Engine, api: SampleApi) -> None:
    """Where no profile is mounted the records are in the container, also without the bare `--`."""
    run = ("run", "-d", "--name=alone", "--network=host", *BARE, "--health-interval=1s", "headwater")
    engine.run(*run, f"--endpoint={api.url}/fact", "--fluvio-topic=cat-facts")
    wait_for_health(engine, "alone", "healthy")
    facts = engine.run("exec", "alone", "headwater", "consume", "cat-facts", "-B", "--end=0")
    assert json.loads(facts)["fact"] == FACTS[0]
    assert stopped(engine, "alone") == 0


def test_a_server(engine: Engine, home: CommandLine) -> None:
    """It serves clients of the machine, keeps its topics for the next container, and is killed without harm."""
    assert "--read-only" in documented("headwater up")
    command = documented("headwater up", "--health-interval=1s", "--cap-drop=ALL")
    # Nothing is published on the machine's own network, where others may have Fluvio's ports.
    sc, spu = free_ports(2)
    command = re.sub(r"-p \S+", "", command).rstrip() + f" --sc-port {sc} --spu-port {spu}"
    home.good("profile", "add", "contained", f"127.0.0.1:{sc}")
    with_it = ("--profile", "contained")
    for number, end in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
        shell(engine, home, command)
        wait_for_health(engine, "topics", "healthy")
        if number == 0:
            home.good("topic", "create", "cats", *with_it)
        home.good("produce", "cats", *with_it, given=f"meow {number}\n")
        expected = "".join(f"meow {before}\n" for before in range(number + 1))
        assert home.good("consume", "cats", "-B", "-d", *with_it) == expected
        if end == signal.SIGKILL:
            engine.run("kill", "topics")
            engine.run("rm", "topics")
        else:
            assert stopped(engine, "topics") == 0
    engine.run("volume", "rm", "topics")


def test_managed_connectors(engine: Engine, home: CommandLine, api: SampleApi) -> None:
    """The page's file, given to `docker exec`, makes a connector that is there again after a restart of the server."""
    text = (ROOT / "examples" / "page-verbatim.yml").read_text()
    home.config(text.replace(PAGE, f"{api.url}/fact"))
    # The sample API is on this machine.
    run = (
        "run",
        "-d",
        "--name=topics",
        "--network=host",
        *BARE,
        "--health-interval=1s",
        "-eHEADWATER_EGRESS_ALLOW=127.0.0.1",
    )
    engine.run(*run, "headwater", "up", *FREE)
    wait_for_health(engine, "topics", "healthy")
    lines = (ROOT / "docs" / "in-docker.md").read_text().splitlines()
    create, listing = (line for line in lines if line.startswith("docker exec") and "headwater connector" in line)
    assert shell(engine, home, create) == 'connector "cat-facts" created'
    listed: list[str] = []
    facts = engine.run("exec", "topics", "headwater", "consume", "cat-facts", "-B", "--end=0")
    assert json.loads(facts)["fact"] == FACTS[0]
    engine.run("restart", "topics")
    for _ in range(60):
        # The server may not be there yet, and then the first poll be under way.
        with suppress(AssertionError):
            listed = shell(engine, home, listing).split()[4:]
            if listed == ["cat-facts", "http", "latest", "Running"]:
                break
    else:
        raise AssertionError(f"it never ran again: {listed}")
    assert stopped(engine, "topics") == 0


def test_a_server_that_hangs(engine: Engine) -> None:
    """A server that does not answer is unhealthy."""
    health = ("--health-interval=1s", "--health-retries=1", "--health-timeout=20s")
    engine.run("run", "-d", "--name=hanging", "--network=none", *health, "headwater", "up")
    wait_for_health(engine, "hanging", "healthy")
    engine.run("kill", "--signal=STOP", "hanging")
    wait_for_health(engine, "hanging", "unhealthy")
    said = json.loads(engine.run("inspect", "hanging", "--format={{json .State.Health.Log}}"))
    assert "the server of /var/lib/headwater does not answer: timed out" in said[-1]["Output"]
    engine.run("kill", "--signal=CONT", "hanging")
    assert stopped(engine, "hanging") == 0


def test_smartmodules(engine: Engine, tmp_path: Path) -> None:
    """WebAssembly is compiled and runs, where nothing but the data may be written."""
    (tmp_path / "upper.wasm").write_bytes(guests.upper_map())
    tmp_path.chmod(0o755)
    mount = f"--volume={tmp_path}:/modules:ro"
    run = ("run", "--rm", "--interactive", "--network=none", *BARE, mount, "headwater", "smartmodule", "test")
    made = subprocess.run(
        ["docker", *run, "/modules/upper.wasm"],
        input="meow\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=engine.environment,
    )
    assert (made.returncode, made.stdout) == (0, "MEOW\n"), made.stderr


def test_all_together(engine: Engine) -> None:
    """`compose up` brings facts from the API over connector and server to the consumer; `stop` ends all in peace."""
    compose = [
        shutil.which("docker-compose") or "docker-compose",
        "--project-name=facts",
        f"--file={ROOT}/compose.yaml",
    ]

    def composed(*arguments: str) -> str:
        return done([*compose, *arguments], patience=180, environment=engine.environment)

    composed("up", "-d", "--no-build")
    try:
        following = subprocess.Popen(
            ["timeout", "120", *compose, "logs", "--follow", "--no-color", "consumer"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=engine.environment,
        )
        with following:
            assert following.stdout is not None
            facts = (line.partition("| ")[2] for line in following.stdout if '{"fact"' in line)
            assert [json.loads(next(facts))["fact"] for _ in range(3)] == list(FACTS[:3])
            following.terminate()
        composed("stop")
        containers = composed("ps", "--quiet").split()
        statuses = engine.run(
            "inspect", *containers, '--format={{index .Config.Labels "com.docker.compose.service"}}={{.State.ExitCode}}'
        )
        assert dict(line.split("=") for line in statuses.split()) == {
            "api": "0",
            "server": "0",
            "connector": "0",
            "consumer": "143",
        }
    finally:
        composed("down", "--volumes")
