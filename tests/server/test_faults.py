"""A full disk and a read-only one under the server: clients hear of it, and on it goes when the cause is gone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from log.test_faults import IN_A_NAMESPACE

PROGRAM = """
import asyncio, pathlib, subprocess, sys
sys.path.insert(0, {tests!r})
from headwater.fluvio.errorcode import code
from server.peer import packed, serving, stored

async def main(directory):
{body}

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def on_a_disk(directory: Path, mount: str, body: str) -> str:
    """Run the body of an async function of `directory`, a disk of its own; return what it prints."""
    probe = subprocess.run([*IN_A_NAMESPACE, f"mount {mount} {directory}"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine allows no mounts in a namespace: {probe.stderr.strip()}")
    tests = str(Path(__file__).parents[1])
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "), tests=tests)
    done = subprocess.run(
        [*IN_A_NAMESPACE, f'mount {mount} {directory} && exec "$0" -c "$1" {directory}', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """Appends to a full disk get a storage error and leave nothing; reading goes on, and appending with space."""
    said = on_a_disk(
        tmp_path,
        "-t tmpfs -o size=16m tmpfs",
        """
        filler = directory / "filler"
        filler.write_bytes(bytes(12_000_000))
        async with serving(directory / "data", "cats") as it:
            peer, follower = await it.spu(), await it.spu()
            stream = follower.stream("cats")
            offsets, failed = [], 0
            while not failed:
                produced = await peer.produce("cats", packed(b"%d" % len(offsets) + bytes(100_000)))
                if produced.code:
                    assert produced.code == code("StorageError"), produced
                    failed += 1
                else:
                    offsets.append(produced.base_offset)
            assert len(await stream.take(len(offsets))) == len(offsets)
            status = await (await it.sc()).create("dogs")
            print(status.code.name, status.message)
            filler.unlink()
            produced = await peer.produce("cats", packed(b"after"))
            assert not produced.code, produced
            offsets.append(produced.base_offset)
            assert (await stream.take(1))[0].value == b"after"
            assert offsets == list(range(len(offsets)))
            assert not (await (await it.sc()).create("birds")).code
        async with serving(directory / "data") as it:
            assert [record.offset for record in stored(it.log, "cats")] == offsets
            print(len(offsets) > 5)
        """,
    )
    *_, last = said.splitlines()
    assert last == "True"
