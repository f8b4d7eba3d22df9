"""The world of the page: a network of its own in which catfact.ninja answers over HTTPS on this machine.

`python pageworld.py managed|local|documented DIRECTORY` runs inside of fresh user, network and mount namespaces:
it brings the loopback device up, lets the name lead to it, serves the page's endpoint with a certificate for that name,
and does what the page says, verbatim apart from the program's name. It prints what came of it as JSON.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from commandline import CommandLine
from headwater.testing import Answer, Certificates, ScriptedServer, background
from server.running import started
from worlds import bring_up_loopback, mount

FACT = '{"fact":"Cats sleep a lot.","length":17}'
PAGE = Path(__file__).parents[2] / "examples" / "page-verbatim.yml"
DOCS = Path(__file__).parents[2] / "docs"
# What stands behind the image's name in the page's `docker run`.
LOCAL = '-- --endpoint="https://catfact.ninja/fact" --fluvio-topic="cat-facts"'


def managed(line: CommandLine) -> dict[str, object]:
    """Create the page's connector with the page's command, and read its topic."""
    (line.directory / "connect.yml").write_text(PAGE.read_text())
    server = line.start("up")
    ports = started(server)
    created = line.run("connector", "create", "--config=./connect.yml")
    record = line.good("consume", "cat-facts", "-B", "--end", "0")
    listed = line.good("connector", "list")
    status = line.stop(server, signal.SIGTERM)[0]
    return {
        "endpoint": ports.endpoint,
        "created": created.stdout,
        "said": created.stderr,
        "record": record,
        "listed": listed,
        "status": status,
    }


def local(line: CommandLine) -> dict[str, object]:
    """Run the page's local connector, as the container does, and read its topic."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater.cli.container", *shlex.split(LOCAL)], env=line.environment, cwd=line.directory
    )
    try:
        line.wait_for_topic("cat-facts")
        record = line.good("consume", "cat-facts", "-B", "--end", "0")
    finally:
        process.terminate()
        status = process.wait(30)
    return {"record": record, "status": status}


def documented(line: CommandLine) -> dict[str, object]:
    """Type what docs/on-one-machine.md types; return each command with what the page shows and what came."""
    (line.directory / "connect.yml").write_text(PAGE.read_text().replace("source\n", "source\nparameters:\n"))
    commands = line.directory / "bin"
    commands.mkdir()
    (commands / "headwater").write_text(f'#!/bin/sh\nexec {sys.executable} -m headwater "$@"\n')
    (commands / "headwater").chmod(0o755)
    del line.environment["HEADWATER_DATA"]
    line.environment["PATH"] = f"{commands}:{line.environment['PATH']}"
    server = line.start("up")
    started(server)
    typed = []
    for block in re.findall(r"```console\n(.*?)```", (DOCS / "on-one-machine.md").read_text(), re.DOTALL):
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            done = subprocess.run(
                ["sh", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=30,
                env=line.environment,
                cwd=line.directory,
            )
            typed.append([command, shown, done.stdout])
    return {"typed": typed, "status": line.stop(server, signal.SIGTERM)[0]}


def main() -> None:
    """Do one of the page's two ways in the page's world."""
    way, directory = sys.argv[1], Path(sys.argv[2])
    bring_up_loopback()
    mount("127.0.0.1 localhost catfact.ninja\n", "/etc/hosts", directory)
    certificates = Certificates(directory)
    with background(ScriptedServer(port=443, tls=certificates.context("catfact.ninja"))) as server:
        server.route("/fact", Answer(body=FACT.encode(), headers=(("content-type", "application/json"),)))
        line = CommandLine(directory)
        line.environment["SSL_CERT_FILE"] = str(certificates.bundle)
        try:
            print(json.dumps({"managed": managed, "local": local, "documented": documented}[way](line)))
        finally:
            line.close()


if __name__ == "__main__":
    main()
