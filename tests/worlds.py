"""Worlds of their own: scripts that run as root of fresh user, network, mount and process namespaces.

What they bind, name and route is nobody else's, so a test may have port 443, a resolver, or somebody's public address.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _UP = 0x8913, 0x8914, 0x8916, 0x1


def lived(script: str | Path, *arguments: object) -> Any:
    """Run a script in a world of its own; return what it printed as JSON."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare to make namespaces with")
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False, timeout=30)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
    done = subprocess.run(
        [*NAMESPACES, "--mount-proc", sys.executable, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bring_up_loopback(*addresses: str) -> None:
    """Do what `ip link set lo up` does, and give this world other IPv4 addresses besides."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
        for number, address in enumerate(addresses, start=1):
            place = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(any_socket, _SET_ADDRESS, struct.pack("16s16s", b"lo:%d" % number, place))


def mount(text: str, onto: str, directory: Path) -> None:
    """Have a file of this world say something else."""
    ours = directory / Path(onto).name
    ours.write_text(text)
    subprocess.run(["mount", "--bind", ours, onto], check=True)
