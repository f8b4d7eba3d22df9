"""The unit under a real systemd, which is the first process of a container: shut in, watched, restarted, stopped.

An engine that may not start such a container, or cgroups that systemd cannot use, skip these tests and say so.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from container.conftest import ROOT
from container.engine import Engine, NoEngineError
from transforms import guests

pytestmark = pytest.mark.long

IMAGE = """\
FROM headwater-base
RUN apt-get update && apt-get install -y --no-install-recommends systemd
COPY --from=headwater /opt/headwater /opt/headwater
RUN ln -s /opt/headwater/bin/headwater /usr/local/bin/headwater
COPY headwater.service smartmodule.service connectors.service /etc/systemd/system/
COPY upper.wasm meow /opt/
COPY connect.yml profile /etc/headwater/
RUN sed -i s/server:9003/127.0.0.1:9003/ /etc/headwater/profile
RUN systemctl enable headwater
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/bin/sh", "-c", "mount -o remount,rw,bind {cgroups} && exec /lib/systemd/systemd"]
"""
# All that systemd needs to start services in their own namespaces; fewer than --privileged, which not every root has.
CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN"),
    *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"),
)
DATA = "--data-dir=/var/lib/headwater"


class Machine:
    """A container whose first process is systemd."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, *command: str) -> str:
        """Run a command in it. Raises NoEngineError when that fails."""
        return self._engine.run("exec", "machine", *command)

    def shown(self, *properties: str, unit: str = "headwater") -> list[str]:
        """Return properties of a service."""
        return [self.run("systemctl", "show", "--value", f"--property={it}", unit) for it in properties]

    def said(self, unit: str = "headwater") -> str:
        """Return what a service and systemd have written about it."""
        return self.run("journalctl", "--no-pager", f"--unit={unit}")

    def start(self, unit: str) -> None:
        """Start a service, and wait until it says that it is ready, or has ended if that is all of it."""
        try:
            self.run("systemctl", "start", unit)
        except NoEngineError as error:
            raise AssertionError(self.said(unit)) from error

    def wait_until_up(self) -> None:
        """Wait until systemd has started everything. Raises NoEngineError."""
        reason = ""
        for _ in range(300):
            try:
                self.run("systemctl", "is-active", "multi-user.target")
            except NoEngineError as error:
                reason = str(error)
            else:
                return
        raise NoEngineError(f"systemd does not come up in a container: {reason}: {self._engine.run('logs', 'machine')}")

    def wait_for_restart(self, number: int) -> None:
        """Wait until the service was restarted so many times and is ready again."""
        for _ in range(600):
            if self.shown("NRestarts", "ActiveState") == [str(number), "active"]:
                return
        raise AssertionError(self.said())


def changed(unit: str, **lines: str) -> str:
    """Return a unit with other values in some of its lines."""
    for name, value in lines.items():
        unit, count = re.subn(rf"^{name}=.*$", f"{name}={value}", unit, flags=re.MULTILINE)
        assert count == 1, name
    return unit


@pytest.fixture(scope="module")
def machine(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Return a machine where the unit is installed; its watchdog is impatient."""
    sources = tmp_path_factory.mktemp("machine")
    unit = (ROOT / "packaging" / "systemd" / "headwater.service").read_text()
    (sources / "headwater.service").write_text(changed(unit, WatchdogSec="3s"))
    # The same walls around a command that compiles and calls WebAssembly, and around connectors as the page has them.
    trying = changed(
        unit,
        ExecStart="/usr/bin/env headwater smartmodule test /opt/upper.wasm",
        Type="oneshot\nStandardInput=file:/opt/meow",
        Restart="no",
    )
    (sources / "smartmodule.service").write_text(trying)
    (documented,) = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / "on-one-machine.md").read_text(), re.DOTALL)
    lines = dict(line.split("=", 1) for line in documented.splitlines())
    (sources / "connectors.service").write_text(changed(unit, **lines))
    shutil.copy(ROOT / "examples" / "page-verbatim.yml", sources / "connect.yml")
    shutil.copy(ROOT / "packaging" / "compose" / "fluvio-config", sources / "profile")
    (sources / "upper.wasm").write_bytes(guests.upper_map())
    (sources / "meow").write_text("meow\n")
    # The container's own part of the cgroups, which systemd may divide: all of them in one place, or one beside others.
    named = Path("/sys/fs/cgroup/systemd")
    (sources / "Dockerfile").write_text(IMAGE.format(cgroups=named if named.is_dir() else named.parent))
    engine.build(sources, "headwater-base", "machine")
    made = Machine(engine)
    try:
        engine.run(
            *("run", "-d", "--name=machine", "--network=none", "--cgroupns=private", "--env=container=docker"),
            *("--tmpfs=/run:exec", "--tmpfs=/run/lock"),
            *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
            *(f"--cap-add={capability}" for capability in CAPABILITIES),
            "machine",
        )
        made.wait_until_up()
    except NoEngineError as error:
        pytest.skip(f"no systemd in a container: {error}")
    yield made
    engine.run("stop", "machine")
    engine.run("rm", "--volumes", "machine")


def test_ready_and_shut_in(machine: Machine) -> None:
    """It is ready once it serves, as a user of its own without capabilities, over the directory that it may write."""
    state, status, process = machine.shown("ActiveState", "StatusText", "MainPID")
    assert (state, status) == ("active", "serving at 127.0.0.1:9003")
    about = machine.run("cat", f"/proc/{process}/status")
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in about.splitlines())}
    assert facts["Uid"][0] != "0"
    assert int(facts["CapBnd"][0], 16) == 0
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == (["1"], ["2"])
    assert machine.run("headwater", "health", DATA) == "the server of /var/lib/headwater answers"
    machine.run("headwater", "topic", "create", "cats", DATA)
    machine.run("sh", "-c", f"echo meow | headwater produce cats {DATA}")
    assert machine.run("headwater", "consume", "cats", "-B", "-d", DATA) == "meow"


def test_smartmodules(machine: Machine) -> None:
    """WebAssembly is compiled and runs behind the unit's walls."""
    machine.start("smartmodule")
    assert "MEOW" in machine.said("smartmodule")


def test_connectors_beside_it(machine: Machine) -> None:
    """Connectors in a service of their own bring records, or what became of the polls, to the server."""
    machine.start("connectors")
    assert machine.shown("ActiveState", "StatusText", unit="connectors") == ["active", "connectors running: 1"]
    assert "cat-facts" in machine.run("headwater", "topic", "list", DATA)
    machine.run("systemctl", "stop", "connectors")
    assert machine.shown("Result", "ExecMainStatus", unit="connectors") == ["success", "0"]


def test_the_watchdog(machine: Machine) -> None:
    """A process that hangs is killed and started again, and so is one that dies."""
    restarts = int(machine.shown("NRestarts")[0])
    for number, signal in enumerate(("STOP", "KILL"), start=1):
        machine.run("systemctl", "kill", f"--signal={signal}", "headwater")
        machine.wait_for_restart(restarts + number)
    assert "watchdog" in machine.said().lower()


def test_a_stop(machine: Machine) -> None:
    """A stop ends it in peace."""
    machine.run("systemctl", "restart", "headwater")
    machine.run("systemctl", "stop", "headwater")
    assert machine.shown("ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]
    assert "Traceback" not in machine.said()
