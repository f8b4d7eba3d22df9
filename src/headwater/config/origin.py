"""Owns where a declared secret says it comes from: a file, a variable of another name, or what a command prints.

Which secrets there are, and where they are put, is the configuration's to say.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Final

import msgspec

from headwater.config.document import Node, kind_of
from headwater.config.problem import Problem, nearest
from headwater.core.errors import ConfigError
from headwater.core.secret import Masker

KINDS: Final = ("file", "env", "command")
MOST_BYTES: Final = 1024 * 1024
# How long a command may take (seconds), and how much of its complaints is kept (bytes) and shown (characters).
_PATIENCE: Final = 10.0
_MOST_COMPLAINTS: Final = 64 * 1024
_LONGEST_COMPLAINT: Final = 300
# Once a command has ended, whoever it left behind with its pipes is not waited for (seconds).
_MOMENT: Final = 0.2


class Origin(msgspec.Struct, frozen=True):
    """Where a secret comes from. `words` is the path, the name of the variable, or the command with its arguments.

    Relative paths begin in `directory`, which is that of the file that says so; "" is the working directory.
    """

    kind: str
    words: tuple[str, ...]
    directory: str = ""

    def sentence(self) -> str:
        """Say where that is; what a command is given may be secret itself."""
        if self.kind == "command":
            return f"the output of {self.words[0]}"
        return f"the {'file' if self.kind == 'file' else 'variable'} {self.words[0]}"


def read_origin(node: Node, file: str) -> tuple[Origin | None, list[Problem]]:
    """Return what a declaration says besides its name, None when it says nothing that could be used."""
    problems = []
    for key, child in node.value.items():
        if key not in KINDS:
            problems.append(child.problem(file, "unknown key", nearest(key, ("name", *KINDS))))
    given = {key: node.value[key] for key in KINDS if key in node.value}
    if len(given) > 1:
        first, second = list(given)[:2]
        problems.append(given[second].problem(file, f"there is {first} already", f"name one of {', '.join(KINDS)}"))
    elif not given and not problems:
        problems.append(node.problem(file, "it says neither file nor env nor command", "write file: /path"))
    if problems:
        return None, problems
    kind, said = next(iter(given.items()))
    directory = str(Path(file).parent) if Path(file).is_file() else ""
    if kind != "command":
        if (
            not isinstance(said.value, str)
            or not said.value
            or "\0" in said.value
            or (kind == "env" and "=" in said.value)
        ):
            what = "the path of a file" if kind == "file" else "the name of a variable"
            return None, [said.problem(file, f"expected {what}; got {kind_of(said.value)}")]
        return Origin(kind, (said.value,), directory if kind == "file" else ""), []
    words = [item.value for item in said.value] if isinstance(said.value, list) else []
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0]:
        message = "expected a list of texts: the program and its arguments"
        return None, [said.problem(file, message, "no shell reads it; write [program, argument], numbers in quotes")]
    return Origin(kind, tuple(words), directory), []


def obtain(origin: Origin, known: Sequence[str] = ()) -> str:
    """Return the secret. It may block for ten seconds. `known` are secrets that no message may show.

    Raises ConfigError.
    """
    if origin.kind == "env":
        value = os.environ.get(origin.words[0])
        if value is None:
            raise ConfigError(f"the variable {origin.words[0]} is not set", hint=f"set the variable {origin.words[0]}")
        return value
    data = _contents(origin) if origin.kind == "file" else _output(origin, known)
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{origin.sentence()} has more than {MOST_BYTES} bytes", hint="a secret is smaller")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"{origin.sentence()} is not UTF-8 text", hint="write it as text, in base64 perhaps"
        ) from None
    # Whoever writes one, an editor or a program, ends it with a line break.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(f"{origin.sentence()} is empty", hint="write the secret there")
    return text


def _contents(origin: Origin) -> bytes:
    path = Path(origin.directory) / Path(origin.words[0]).expanduser()
    try:
        # Whoever opens a pipe waits for its writer, perhaps for ever.
        if not S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is no regular file", hint="name a file that holds the secret")
        with path.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except (OSError, RuntimeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: {said}", hint="name a file that can be read") from error


def _output(origin: Origin, known: Sequence[str]) -> bytes:
    program = origin.words[0]
    try:
        process = subprocess.Popen(  # noqa: S603 - it is the user's own command, from the user's own file
            origin.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=origin.directory or None,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{program} cannot be started: {said}", hint="name a program; no shell reads it") from error
    try:
        output, complaints, ended = _read(process)
    finally:
        # Its children too: they would go on, and hold what it was given.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    told = _told(complaints, output, known)
    if len(output) > MOST_BYTES:
        return output
    if not ended:
        raise ConfigError(f"{program} did not end within {_PATIENCE:g} s{told}", hint="run it by hand")
    if process.returncode:
        how = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise ConfigError(f"{program} ended with {how}{told}", hint="run it by hand")
    return output


def _read(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, bool]:
    """Return what a command prints and complains, within bounds, and whether it has ended."""
    deadline = time.monotonic() + _PATIENCE
    gathered = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in gathered:
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            ready = selector.select(_MOMENT)
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                if not data:
                    selector.unregister(key.fileobj)
                elif pipe is process.stdout or len(gathered[pipe]) < _MOST_COMPLAINTS:
                    gathered[pipe] += data
            if len(gathered[process.stdout]) > MOST_BYTES or (not ready and process.poll() is not None):
                break
    ended = process.poll() is not None
    if not ended and len(gathered[process.stdout]) <= MOST_BYTES:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
            ended = True
    return bytes(gathered[process.stdout]), bytes(gathered[process.stderr]), ended


def _told(complaints: bytes, output: bytes, known: Sequence[str]) -> str:
    """Return the end of what a command complains, on one line and without any secret, behind a colon."""
    printed = output.decode(errors="replace")
    masked = Masker([*known, printed, *printed.split()]).mask(complaints.decode(errors="replace"))
    line = " ".join("".join(it if it.isprintable() else " " for it in masked).split())
    if not line:
        return ""
    return f": {line}" if len(line) <= _LONGEST_COMPLAINT else f": ...{line[-_LONGEST_COMPLAINT:]}"
