"""Owns the first moments of a container: a private file system and process numbers for one command, then the command.

It runs as a script of its own (`python -I -S launcher.py`), because all this must be done by the process that becomes
the container, and imports nothing but the standard library, and little of it: 40 ms in all. What to do comes as JSON
on standard input (`Spec`); what became of it goes as lines of JSON to the descriptor `report`: `{"pid": N}` for the
command's process as the outside numbers it, then either `{"error": TEXT}` or the end of the pipe, when the command
runs. The exit status is the command's, 128 + N for signal N.

With `enter` the command runs inside the container of another process instead, as exec probes do.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
from typing import NoReturn, TypedDict

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_AF_INET, _AF_INET6, _ENOSYS = 2, 10, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_BIND_CALL = {"x86_64": 49, "aarch64": 200}
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438
_FILTER, _NEW_LISTENER, _CONTINUE = 1, 8, 1
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101

_KERNEL = ("/proc", "/sys", "/dev")
"""What the kernel makes appear as files: bound as it is."""


class Mount(TypedDict):
    """What is bound from outside to a path inside."""

    source: str
    path: str
    read_only: bool


class Spec(TypedDict):
    """What to run and how.

    `directory` is an empty directory outside, over which the private root is mounted. Without `root`, namespaces need
    a user namespace, in which there is one user and one group only. `address` is the Pod's own: what listens on all
    addresses listens on this one, so that several containers have the same port. `reach` are paths that every user may
    go to inside, whatever stands above them outside. `enter` is a process whose container is entered, 0 for a new one.
    """

    parent: int
    report: int
    argv: list[str]
    environment: dict[str, str]
    working_directory: str
    hostname: str
    address: str
    directory: str
    mounts: list[Mount]
    reach: list[str]
    read_only: bool
    root: bool
    user: int | None
    group: int | None
    groups: list[int]
    no_new_privileges: bool
    enter: int


_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    answer = int(getattr(_libc, name)(*arguments))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")
    return answer


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind and kind.encode(), flags, data.encode() or None)


def _say(report: int, **said: object) -> None:
    os.write(report, json.dumps(said).encode() + b"\n")


def _die_with(parent: int) -> None:
    """Be killed when the parent ends; end now when it has ended already."""
    _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:
        os._exit(1)


def _other_mounts() -> list[str]:
    """Return where else something is mounted, outermost first, but for what the kernel makes."""
    points: list[str] = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            point = line.split(" ")[4].encode().decode("unicode_escape")
            if point != "/" and not any(point == each or point.startswith(f"{each}/") for each in _KERNEL):
                points.append(point)
    return sorted(set(points))


def _overlay(lower: str, target: str, room: str) -> bool:
    """Mount a writable view of a directory whose changes go to a room of their own; return whether that works."""
    upper, work = f"{room}/upper", f"{room}/work"
    os.makedirs(upper)
    os.makedirs(work)
    try:
        _mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
    except OSError:
        return False
    return True


def _view(lower: str, target: str, room: str) -> None:
    """Mount a private view of a directory: writable where overlays can be had, otherwise for reading only."""
    if not _overlay(lower, target, room):
        _mount(lower, target, None, _BIND | _REC)
        _read_only(target)


def _read_only(target: str) -> None:
    kept = 0
    flags = os.statvfs(target).f_flag
    # In a user namespace what is forbidden must stay so.
    for mask, flag in ((os.ST_NOSUID, _NOSUID), (os.ST_NODEV, _NODEV), (os.ST_NOEXEC, _NOEXEC)):
        kept |= flag if flags & mask else 0
    _mount("none", target, None, _REMOUNT | _BIND | _RDONLY | kept)


def _resolve(root: str, path: str) -> str:
    """Return where a path inside is, seen from outside: links are followed inside."""
    parts = [part for part in path.split("/") if part][::-1]
    inside: list[str] = []
    for _ in range(400):
        if not parts:
            break
        part = parts.pop()
        if part == "..":
            inside = inside[:-1]
            continue
        outside = "/".join([root, *inside, part])
        if os.path.islink(outside):
            target = os.readlink(outside)
            if target.startswith("/"):
                inside = []
            parts += [each for each in target.split("/") if each and each != "."][::-1]
        else:
            inside.append(part)
    return "/".join([root, *inside])


def _make_root(spec: Spec) -> None:
    """Make the private root and go there. What was outside is out of reach, but for what is mounted."""
    others = _other_mounts()
    _mount("none", "/", None, _REC | _PRIVATE)
    base = spec["directory"]
    _mount("none", base, "tmpfs", _NOSUID, "size=256m,mode=755")
    root = f"{base}/root"
    os.mkdir(root)
    views = [root] if _overlay("/", root, f"{base}/layers/root") else _view_each("/", root, base)
    for number, point in enumerate(others):
        inside = _resolve(root, point)
        if os.path.isdir(inside) and os.path.isdir(point) and not os.path.ismount(inside):
            _view(point, inside, f"{base}/layers/{number}")
            views.append(inside)
    _mount("/sys", f"{root}/sys", None, _BIND | _REC)
    _make_devices(f"{root}/dev")
    try:
        _mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:
        _mount("/proc", f"{root}/proc", None, _BIND | _REC)
    for path in spec["reach"]:
        _open_up(root, path)
    for mount in spec["mounts"]:
        _bind(root, mount)
    _uncover(root, spec)
    os.makedirs(_resolve(root, spec["working_directory"]), exist_ok=True)
    if spec["read_only"]:
        # One that a volume now covers is out of reach.
        for view in filter(os.path.isdir, views):
            _read_only(view)
    os.chdir(root)
    number = _PIVOT_ROOT[os.uname().machine]
    _call("syscall", number, b".", b".")
    _call("umount2", b".", _DETACH)


def _uncover(root: str, spec: Spec) -> None:
    """Bring back what the image consists of where a volume covers it: a checkout below /tmp, beneath a volume there."""
    covers = [f"{mount['path'].rstrip('/')}/" for mount in spec["mounts"]]
    for path in sorted(spec["reach"]):
        inside = _resolve(root, path)
        covered = any(path.startswith(cover) for cover in covers) and os.path.isdir(path)
        # The directories of a container before are in the volume still, and empty.
        if covered and not (os.path.isdir(inside) and os.listdir(inside)):
            os.makedirs(inside, exist_ok=True)
            _mount(path, inside, None, _BIND | _REC)
            _read_only(inside)


def _make_devices(target: str) -> None:
    """Make the few devices that containers have, and room for what they share."""
    _mount("none", target, "tmpfs", _NOSUID, "size=64m,mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        os.close(os.open(f"{target}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        _mount(f"/dev/{name}", f"{target}/{name}", None, _BIND)
    for name, number in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{number}", f"{target}/{name}")
    os.mkdir(f"{target}/shm")
    os.chmod(f"{target}/shm", 0o1777)  # noqa: S103 - as everywhere


def _view_each(lower: str, root: str, base: str) -> list[str]:
    """Make a root of private views of each directory in it, where it cannot be one view; return what was mounted."""
    _mount("none", root, "tmpfs", _NOSUID, "size=1m,mode=755")
    views = [root]
    for name in os.listdir(lower):
        source, target = f"{lower}{name}", f"{root}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            os.mkdir(target)
            if source not in _KERNEL:
                _view(source, target, f"{base}/layers/{name}.each")
                views.append(target)
    return views


def _open_up(root: str, path: str) -> None:
    """Let everybody pass the directories above a path. Only the private view of them changes."""
    above = path
    while above not in {"/", ""}:
        inside = _resolve(root, above)
        try:
            mode = os.stat(inside).st_mode
            if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
                os.chmod(inside, stat.S_IMODE(mode) | stat.S_IXOTH | stat.S_IROTH)
        except OSError:
            return
        above = os.path.dirname(above)


def _bind(root: str, mount: Mount) -> None:
    target = _resolve(root, mount["path"])
    if os.path.isdir(mount["source"]):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(mount["source"], target, None, _BIND | _REC)
    if mount["read_only"]:
        _read_only(target)


def _enter(process: int) -> None:
    """Go into the namespaces of a process. Its mount namespace brings its root along."""
    kinds = [(name, flag) for name, flag in (("user", _NEWUSER), ("uts", _NEWUTS), ("ipc", _NEWIPC), ("pid", _NEWPID))]
    opened = []
    for name, flag in [*kinds, ("mnt", _NEWNS)]:
        path = f"/proc/{process}/ns/{name}"
        if os.stat(path).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
            opened.append((os.open(path, os.O_RDONLY), flag))
    for descriptor, flag in opened:
        _call("setns", descriptor, flag)
        os.close(descriptor)


def _private_namespaces(spec: Spec) -> None:
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID
    if spec["root"]:
        _call("unshare", flags)
        return
    user, group = os.getuid(), os.getgid()
    _call("unshare", flags | _NEWUSER)
    # One's own user is, inside, the one who is wanted.
    users, groups = f"{spec['user'] or 0} {user} 1", f"{spec['group'] or 0} {group} 1"
    for name, line in (("setgroups", "deny"), ("uid_map", users), ("gid_map", groups)):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def _ask_to_listen() -> int:
    """Have this process and its children ask before they bind a socket; return where the questions come.

    This is seccomp's user notification: the kernel stops the caller until whoever reads the descriptor has answered.
    """
    instructions = [
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, _BIND_CALL[os.uname().machine]),  # bind? else skip one
        (0x06, 0, 0, _NOTIFY),
        (0x06, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    program = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code))
    return _call("syscall", _SECCOMP[os.uname().machine], _FILTER, _NEW_LISTENER, program)


class _Listening:
    """Answers a container's processes that want to bind sockets. `kernel` is /proc as it is outside."""

    def __init__(self, questions: int, address: str, kernel: int) -> None:
        self._questions = questions
        self._address = socket.inet_aton(address)
        self._kernel = kernel

    def serve(self, process: int) -> None:
        """Answer until the first process has ended."""
        ended = _call("syscall", _PIDFD_OPEN, process, 0)
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        waiting.register(self._questions, select.POLLIN)
        while ended not in (ready := dict(waiting.poll())):
            if ready.get(self._questions, 0) & select.POLLIN:
                self._answer()
            else:  # nobody is left who could ask
                waiting.unregister(self._questions)

    def _answer(self) -> None:
        question = ctypes.create_string_buffer(80)
        try:
            _call("ioctl", self._questions, ctypes.c_ulong(_RECEIVE), question)
        except OSError:
            return  # who asked is gone
        identifier, thread, _, _, _, _, descriptor, pointer, length = struct.unpack_from("QIIiIQQQQ", question)
        error, flags = 0, _CONTINUE
        try:
            wanted = self._read(thread, pointer, min(length, 128))
            instead = self._instead(wanted)
            if instead is not None:
                self._bind(thread, descriptor, instead)
                flags = 0
        except OSError as refused:
            error, flags = -(refused.errno or _ENOSYS), 0
        try:
            _call("ioctl", self._questions, ctypes.c_ulong(_SEND), struct.pack("QqiI", identifier, 0, error, flags))
        except OSError:
            return  # who asked is gone

    def _instead(self, wanted: bytes) -> bytes | None:
        """Return the address to bind instead, None when what is wanted is right."""
        if len(wanted) < 8 or wanted[2:4] == b"\0\0":
            return None  # a client's socket: any port will do, and any address
        family = struct.unpack_from("H", wanted)[0]
        if family == _AF_INET and wanted[4:8] == b"\0" * 4:
            return wanted[:4] + self._address + wanted[8:]
        if family == _AF_INET6 and wanted[8:24] == b"\0" * 16:
            return wanted[:8] + b"\0" * 10 + b"\xff\xff" + self._address + wanted[24:]
        return None

    def _read(self, thread: int, pointer: int, length: int) -> bytes:
        found = ctypes.create_string_buffer(length)
        here = struct.pack("QQ", ctypes.addressof(found), length)
        _call(
            "process_vm_readv",
            thread,
            here,
            ctypes.c_ulong(1),
            struct.pack("QQ", pointer, length),
            ctypes.c_ulong(1),
            ctypes.c_ulong(0),
        )
        return found.raw

    def _bind(self, thread: int, descriptor: int, address: bytes) -> None:
        """Bind the socket of another process, which the kernel does not look at again."""
        with open(os.open(f"{thread}/status", os.O_RDONLY, dir_fd=self._kernel), encoding="utf-8") as file:
            process = next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))
        pidfd = _call("syscall", _PIDFD_OPEN, process, 0)
        try:
            mine = _call("syscall", _PIDFD_GETFD, pidfd, ctypes.c_int(descriptor), 0)
        finally:
            os.close(pidfd)
        try:
            _call("bind", mine, address, len(address))
        finally:
            os.close(mine)


def _become(spec: Spec, ask: socket.socket) -> NoReturn:
    """Be the container: in its root, as its user, with its command. The launcher gets its questions through `ask`."""
    if not spec["enter"]:
        _make_root(spec)
        _call("sethostname", spec["hostname"].encode(), len(spec["hostname"].encode()))
        try:
            socket.send_fds(ask, [b"."], [_ask_to_listen()])
        except OSError:
            ask.send(b".")  # where this cannot be had, containers share their ports
    if spec["root"]:
        os.setgroups(spec["groups"])
        if spec["group"] is not None:
            os.setgid(spec["group"])
        if spec["user"] is not None:
            os.setuid(spec["user"])
    # Another user's process would outlive its parent otherwise: the kernel forgets the wish when the user changes.
    _die_with(0)
    if spec["no_new_privileges"]:
        _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir(spec["working_directory"])
    os.set_inheritable(spec["report"], False)  # the end of the pipe says that the command runs
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvpe(spec["argv"][0], spec["argv"], spec["environment"])  # noqa: S606 - this is what it is for


def main() -> int:
    """Start what standard input describes; return its exit status."""
    spec: Spec = json.load(sys.stdin)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    _die_with(spec["parent"])
    kernel = os.open("/proc", os.O_RDONLY)  # inside, it shows other numbers
    told, ask = socket.socketpair()
    try:
        if spec["enter"]:
            _enter(spec["enter"])
        else:
            _private_namespaces(spec)
        child = os.fork()
    except OSError as error:
        _say(spec["report"], error=str(error))
        return 128
    if child == 0:
        try:
            _die_with(0)
            _become(spec, ask)
        except (OSError, KeyError) as error:
            _say(spec["report"], error=str(error))
            os._exit(128)
    _say(spec["report"], pid=child)
    ask.close()
    for descriptor in (spec["report"], 1, 2):
        os.close(descriptor)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _, questions, _, _ = socket.recv_fds(told, 1, 1)
    if questions:
        _Listening(questions[0], spec["address"], kernel).serve(child)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())
