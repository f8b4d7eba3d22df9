"""Owns the writing of a draft as a commented connect.yml. What is written loads; what does not becomes a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from headwater.config import InvalidConfigError, load_text
from headwater.config.secrets import SecretSource
from headwater.core.names import is_name
from headwater.core.yamltext import key_text, value_lines
from headwater.discover.asking import Ask, mapped, shown, written
from headwater.discover.finding import Certainty, Draft
from headwater.discover.survey import subject
from headwater.discover.vocabulary import pieces

_WIDTH: Final = 110
_DEEPEST: Final = 20
_MOST_NODES: Final = 20_000
# The order of what stands below `http:`.
_ORDER: Final = (
    "endpoint", "method", "params", "headers", "body", "user_agent", "http_version", "proxy", "no_proxy", "unix_socket",
    "cookies", "tls", "auth", "stream", "format", "sse", "interval", "timeout", "connect_timeout", "max_redirects",
    "retry", "conditional", "records", "deduplicate", "cursor", "window", "pagination", "rules", "limits",
)  # fmt: skip
_ATTEMPTS: Final = 12
# Addresses that say nothing of what is there.
_GENERAL: Final = frozenset(["graphql", "api", "v1", "v2", "v3", "rest", "data", "jsonrpc", "rpc"])


class Written(msgspec.Struct, frozen=True):
    """A connect.yml, the connector's name, and what was said in it that is worth a line elsewhere."""

    text: str
    name: str
    draft: Draft


class _Line:
    """An option with its reason, or a group of them."""

    __slots__ = ("active", "children", "reason", "value")

    def __init__(self) -> None:
        self.children: dict[str, _Line] = {}
        self.value: Any = None
        self.reason = ""
        self.active = True

    def child(self, name: str) -> _Line:
        return self.children.setdefault(name, _Line())

    def alive(self) -> bool:
        """Whether anything in it counts."""
        return any(it.alive() for it in self.children.values()) if self.children else self.active


def write(draft: Draft, *, name: str = "", topic: str = "") -> Written:
    """Return the draft as a connect.yml that loads. Without them, `name` and `topic` say what it is about."""
    chosen = name or name_of(draft.ask, draft.about)
    text = ""
    for _ in range(_ATTEMPTS):
        text = _text(draft, chosen, topic or chosen)
        bad = _problem(text, draft)
        if bad is None:
            break
        draft = _without(draft, *bad)
    return Written(text, chosen, draft)


def name_of(ask: Ask, items: str = "") -> str:
    """Return a name for a connector: the operation's, or what the address is about, or its `items`."""
    steps = [step for step in unquote(urlsplit(ask.url).path).split("/") if step]
    about = subject(ask)
    said = list(pieces(ask.name)) or list(pieces(items if about.lower() in _GENERAL and items else about))
    place = next((at for at, step in enumerate(steps) if about and step.startswith(about)), 0)
    before = steps[place - 1] if place and not ask.name else ""
    if re.fullmatch(r"[A-Za-z][A-Za-z_-]{2,20}", before) and before.lower() not in _GENERAL | {"resource", "services"}:
        said = [*pieces(before), *said]
    if not said:
        said = [it for it in ask.host.split(".") if it not in {"www", "api", "com", "org", "net", "io", "test"}]
    made = re.sub(r"[^a-z0-9]+", "-", "-".join(said).lower()).strip("-")[:60].strip("-")
    return made if is_name(made) else "my-connector"


def _problem(text: str, draft: Draft) -> tuple[str, str] | None:
    """Return what of the text does not load: the option below `http`, and why; None when all of it does."""
    values = {secret.name: secret.value or "placeholder" for secret in draft.ask.secrets}
    try:
        load_text(text, secrets=SecretSource(values, "init", closed=True))
    except InvalidConfigError as error:
        first = next(it for it in error.problems if not it.warning)
        return first.key.removeprefix("http.").replace("[", ".").partition(" ")[0], first.message
    return None


def _without(draft: Draft, key: str, message: str) -> Draft:
    """Return a draft in which an option that does not load counts no more."""
    said = f"it does not load: {_one_line(message)}"
    top = key.partition(".")[0]
    for prefix in (key, top):
        hit = [it for it in draft.findings if it.certainty > Certainty.GUESS and _below(it.option, prefix)]
        if hit:
            changed = tuple(
                msgspec.structs.replace(it, certainty=Certainty.GUESS, reason=f"{it.reason}; {said}")
                if it.option and _below(it.option, prefix)
                else it
                for it in draft.findings
            )
            return msgspec.structs.replace(draft, findings=changed)
    ask = draft.ask
    options = tuple(it for it in ask.options if not _below(it[0], top))
    changes: dict[str, Any] = {"options": options}
    if options == ask.options:
        # Of the request itself: what cannot be sent is left out.
        name = key.partition(".")[2]
        if top == "headers":
            changes["headers"] = tuple(it for it in ask.headers if it[0] != name) if name else ()
        elif top == "params":
            changes["params"] = ()
        elif top == "body":
            changes["body"] = None
        elif top == "auth":
            changes["auth"] = None
        elif top == "endpoint":
            changes["url"] = (
                f"{ask.url.partition('://')[0]}://{re.sub(r'[^A-Za-z0-9.:-]', '', ask.host) or 'example.com'}/"
            )
    return msgspec.structs.replace(draft, ask=ask.replace(**changes).noting(f"left out: {top}, for {said}"))


def _below(option: str, prefix: str) -> bool:
    return option == prefix or option.startswith(f"{prefix}.")


def _text(draft: Draft, name: str, topic: str) -> str:
    ask = draft.ask
    lines = [f"# Written by `headwater init` from {_one_line(ask.source or 'an address')}, {_asked(draft)}."]
    lines.append(
        "# The reason stands beside each line. What begins with #? is a guess: look at it, then take the sign away."
    )
    if ask.secrets:
        lines.append(
            "# Secrets are looked up in the environment, or in the file that --secrets names, a line for each:"
        )
        lines += [f"#   {secret.name}=...   {_one_line(secret.origin)}" for secret in ask.secrets]
    lines += ["apiVersion: 0.1.0", "meta:", f"  name: {name}", "  type: http-source"]
    lines.append(f"  topic: {topic}  # where the records go; it is made if it is not there")
    if ask.secrets:
        lines.append("  secrets:")
        lines += [f"    - name: {secret.name}" for secret in ask.secrets]
    lines.append("http:")
    root = _tree(draft)
    for key in sorted(root.children, key=lambda it: _ORDER.index(it) if it in _ORDER else len(_ORDER)):
        lines += _rendered(key, root.children[key], 1, alive=True)
    remarks = draft.remarks()
    if remarks:
        lines += ["", "# Also seen:"]
        lines += [line for it in remarks for line in _comment(f"- {it}", "# ", "#   ")]
    return "\n".join(lines) + "\n"


def _asked(draft: Draft) -> str:
    if not draft.requests:
        return "without asking the server"
    return f"with {draft.requests} request{'s' if draft.requests > 1 else ''} to {_one_line(draft.ask.host)}"


def _tree(draft: Draft) -> _Line:
    root = _Line()
    for option, value, reason in _of_request(draft.ask):
        _put(root, option, value, reason, active=True)
    for finding in draft.chosen().values():
        if not (finding.option.startswith("params.") and finding.certainty is Certainty.GUESS):
            _put(root, finding.option, finding.value, finding.reason, active=finding.certainty > Certainty.GUESS)
    return root


def _put(root: _Line, option: str, value: Any, reason: str, *, active: bool) -> None:
    line = root
    # The name of a parameter is a step of its own, whatever is in it.
    for step in option.split(".", 1 if option.startswith(("params.", "headers.")) else 3):
        line = line.child(step)
    line.value, line.reason, line.active = value, reason, active


def _of_request(ask: Ask) -> Iterator[tuple[str, Any, str]]:
    """Yield the options that say what is asked for, each with the reason, if there is one."""
    yield "endpoint", written(ask.url), ""
    if ask.method != "GET":
        yield "method", ask.method, ""
    for pairs, group in ((ask.params, "params"), (ask.headers, "headers")):
        for name in dict.fromkeys(key for key, _ in pairs):
            values = [written(value) for key, value in pairs if key == name]
            yield f"{group}.{name}", values[0] if len(values) == 1 else values, ""
    if ask.body is not None:
        yield "body", _body(ask.body), ""
    if ask.auth is not None:
        yield "auth.type", ask.auth.type, ask.auth.reason
        for name, value in ask.auth.options.items():
            yield f"auth.{name}", written(value), ""
    for option, value, reason in ask.options:
        yield option, mapped(value, written), reason


def _body(body: Any) -> Any:
    """Return a body as it is written: a map or a list, or a text where it is one, or where YAML would not hold it."""
    if isinstance(body, str):
        return written(body)
    if _holds(body):
        return mapped(body, written)
    return written(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode())


def _holds(body: Any) -> bool:
    """Return whether a value goes through YAML unharmed: not too deep, not too large, keys that are names."""
    waiting = [(body, 0)]
    for _ in range(_MOST_NODES):
        if not waiting:
            return True
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            return False
        if isinstance(value, dict):
            if not all(key and key.isprintable() and "${" not in key for key in value):
                return False
            waiting += [(it, depth + 1) for it in value.values()]
        elif isinstance(value, list):
            waiting += [(it, depth + 1) for it in value]
        elif isinstance(value, float) or (isinstance(value, int) and abs(value) > 10**15):
            return False  # its digits might change
    return False


def _rendered(key: str, line: _Line, depth: int, *, alive: bool) -> Iterator[str]:
    """Yield the lines of an option or a group; those that do not count as comments."""
    indent = "  " * depth
    here = alive and line.alive()
    sign = "" if here else "#? "
    if line.children:
        yield f"{indent}{sign}{key_text(key)}:"
        for name, child in line.children.items():
            yield from _rendered(name, child, depth + 1, alive=here)
        return
    value = list(value_lines(line.value, depth))
    head = f"{indent}{sign}{key_text(key)}:{value[0]}"
    beside = f"{head}  # {_one_line(line.reason)}"
    if not line.reason:
        yield head
    elif len(beside) <= _WIDTH:
        yield beside
    else:
        yield from _comment(line.reason, f"{indent}# ", f"{indent}# ")
        yield head
    yield from (f"{indent}{sign}{it[len(indent) :]}" for it in value[1:])


def _comment(text: str, first: str, other: str) -> Iterator[str]:
    """Yield a text as comments that are not too wide."""
    line = first
    for word in _one_line(text).split(" "):
        if len(line) + len(word) > _WIDTH and line not in {first, other}:
            yield line.rstrip()
            line = other
        line += f"{word} "
    yield line.rstrip()


def _one_line(text: str) -> str:
    """Return a text that a comment may hold: one line, printable, marks of secrets shown as their names."""
    return " ".join("".join(it if it.isprintable() else " " for it in shown(text)).split())
