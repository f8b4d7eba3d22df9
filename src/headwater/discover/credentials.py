"""Owns the telling of credentials from other texts in what somebody asks for, and their way into secrets.

A text that is taken for a secret without being one costs a line in a file; one that is not taken costs much more.
"""

from __future__ import annotations

import base64
import binascii
import re
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from headwater.discover.asking import Ask, Auth, mark, marks
from headwater.discover.vocabulary import pieces, words

# Words in the names of headers, parameters and members that hold credentials.
_WORDS = words(
    "token secret secrets password passwd passphrase passwort pwd pass apikey authorization auth credential "
    "credentials signature sig hmac jwt session sessionid sid cookie cookies bearer csrf xsrf pat appid "
    "accesstoken authtoken privatekey secretkey accesskey clientsecret apitoken otp pin"
)
# What stands before `key` in them.
_BEFORE_KEY = words(
    "api access secret subscription auth account app private license licence functions function master service "
    "rest client admin application consumer server shared storage developer dev partner user site project team "
    "signing"
)
# What stands beside `token` or `key` when it says where a listing is, not who asks for it.
_POSITIONS = words(
    "page next previous prev continuation continue skip skiptoken sync cursor delta scroll pagination start end "
    "resume sort order group partition primary foreign cache object route max min total count expires expiry type "
    "uri url endpoint ttl lifetime idempotency tokens limit"
)
# Values that tell by themselves what they are.
_VALUES = re.compile(
    r"(?:^|[\s=:,])(?:eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|sk-[\w-]{16,}"
    r"|[sr]k_(?:live|test)_\w{8,}|xox[abposr]-[\w-]{8,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|ya29\.[\w-]{16,}"
    r"|shp(?:at|ca|pa|ss)_\w{16,}|hf_\w{16,}|npm_\w{16,}|SG\.[\w-]{12,}\.[\w-]{12,}|pat[A-Za-z0-9]{12,}\.\w{16,}"
    r"|dop_v1_\w{16,}|EAA\w{24,}|AQ[\w-]{40,}|Bearer\s+\S{8,}|Basic\s+[A-Za-z0-9+/=]{8,})"
)
_PAIR = re.compile(r"""((?:^|[&\s,({;?]))([^&=\s<>"',(){}:;?]{1,100})(=|\s*:\s*"|=")([^&\s<>"',;]*)""")
_ELEMENT = re.compile(r"""(<)([\w:.-]{1,100})([^<>]*>)([^<>]+)(?=</)""")
_SHORTEST = 4
# What is shorter may stand elsewhere by chance.
_SHORTEST_ELSEWHERE = 8


def names_credential(name: str, *, alone: bool = True) -> bool:
    """Return whether a header, parameter or member of this name holds a credential.

    `alone`: a name that is nothing but `key` counts, as Google's parameter does.
    """
    said = pieces(name)
    if any(piece in _POSITIONS for piece in said):
        return False
    if any(piece in _WORDS for piece in said):
        return True
    pairs = pairwise(said)
    return any(last == "key" and first in _BEFORE_KEY for first, last in pairs) or (
        said in {("key",), ("app", "id")} and alone
    )


def holds_credential(value: str) -> bool:
    """Return whether a value is a credential whatever its name."""
    return bool(_VALUES.search(value))


def secret_name(text: str, default: str = "API_KEY") -> str:
    """Return the name of a secret that is called like this."""
    name = re.sub(r"^X_", "", "_".join(pieces(text)).upper())
    return name if re.fullmatch(r"[A-Z_][A-Z0-9_]{1,60}", name) else default


def basic(ask: Ask, user: str, where: str, *, encoded: bool = False, scheme: Any = "basic") -> Ask:
    """Return what is asked for with a user and a password, the password a secret. `user` is `name:password`."""
    name, _, password = user.partition(":")
    if encoded:
        name, password = unquote(name), unquote(password)
    reason = f"{where} has a user and a password"
    if marks(user):
        # A variable of the shell: it is a secret by itself.
        ask = unknown_marks(ask, user, where)
        return ask.replace(auth=Auth(scheme, {"username": name, "password": password}, reason))
    if not password or password.lower() in {"x", "x-oauth-basic", "api_token", "unused", "anything"}:
        # Stripe's and others' way: the key is the user's name.
        ask, held = ask.keeping("API_KEY", name, f"the user of {where}")
        options = {"username": held, "password": password}
        return ask.replace(auth=Auth(scheme, options, f"{where} has a user and no password: a key"))
    ask, held = ask.keeping("PASSWORD", password, f"the password of {where}")
    return ask.replace(auth=Auth(scheme, {"username": name, "password": held}, reason))


def bearer(ask: Ask, token: str, where: str) -> Ask:
    """Return what is asked for with a bearer token, the token a secret."""
    if marks(token):
        ask = unknown_marks(ask, token, where)
    else:
        ask, token = ask.keeping("API_TOKEN", token, where)
    return ask.replace(auth=Auth("bearer", {"token": token}, f"{where} carries a bearer token"))


def unknown_marks(ask: Ask, text: str, where: str) -> Ask:
    """Return what is asked for with a secret for each mark in a text that has none yet: variables of a shell."""
    for name in marks(text):
        if not any(secret.name == name for secret in ask.secrets):
            ask, _ = ask.keeping(name, None, f"the variable {name} of {where}")
    return ask


def hide(ask: Ask) -> Ask:
    """Return what is asked for with every credential in it moved into secrets."""
    for hidden in (_headers, _params, _body, _path):
        ask = hidden(ask)
    ask = _elsewhere(ask)
    for text in _texts(ask):
        ask = unknown_marks(ask, text, ask.source or "the line")
    return _expressions(ask)


def _headers(ask: Ask) -> Ask:
    kept: list[tuple[str, str]] = []
    for name, value in ask.headers:
        ask, held = _authorization(ask, name, value) if name.lower() == "authorization" else (ask, value)
        if held is None:
            continue
        if name.lower() in {"x-amz-date", "x-amz-content-sha256"}:
            ask = ask.noting(f"left out: {name}, which belongs to a signature of the moment")
            continue
        if held == value and (names_credential(name) or holds_credential(value)):
            ask, held = _credential(ask, name, value)
        if held is not None:
            kept.append((name, held))
    return ask.replace(headers=tuple(kept))


def _authorization(ask: Ask, name: str, value: str) -> tuple[Ask, str | None]:
    """Return what is asked for with the header Authorization as `auth:`; where that cannot be, what the header says."""
    where = f"the header {name} of {ask.source}"
    scheme, _, rest = value.partition(" ")
    kind, rest = scheme.lower(), rest.strip()
    if kind == "digest":
        return ask.noting("left out: the answer of a digest login, which is good once; see auth: type: digest"), None
    if ask.auth is None:
        if kind == "bearer" and rest:
            return bearer(ask, rest, where), None
        if kind == "basic" and (user := _decoded(rest)):
            return basic(ask, user, where), None
        if kind == "aws4-hmac-sha256":
            return _signed(ask, value), None
    if rest and len(scheme) < 24 and not marks(value):
        ask, held = ask.keeping("API_TOKEN", rest, where)
        return ask, f"{scheme} {held}"
    return ask, value


def _credential(ask: Ask, name: str, value: str) -> tuple[Ask, str | None]:
    """Return what is asked for with a header as a secret, and what the header says; None where `auth:` says it."""
    where = f"the header {name} of {ask.source}"
    lower = name.lower()
    if marks(value) or not value:
        return unknown_marks(ask, value, where), value
    if lower in {"cookie", "authorization", "proxy-authorization"} or ask.auth is not None or not _is_key(value):
        return ask.keeping("COOKIE" if lower == "cookie" else secret_name(name), value, where)
    ask, held = ask.keeping(secret_name(name), value, where)
    options = {"in": "header", "name": name, "key": held}
    return ask.replace(auth=Auth("api-key", options, f"{where} carries a key")), None


def _is_key(value: str) -> bool:
    return len(value) >= _SHORTEST and bool(re.fullmatch(r"[!-~]+", value))


def _decoded(text: str) -> str:
    try:
        user = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return user if ":" in user and user.isprintable() else ""


def _signed(ask: Ask, value: str) -> Ask:
    """Return what is asked for with AWS's signature made anew: what the line carries is good for minutes."""
    options: dict[str, str] = {}
    if found := re.search(r"Credential=([^/,\s]+)/\d+/([^/,\s]+)/([^/,\s]+)/aws4_request", value):
        options = {"region": found[2], "service": found[3]}
    ask, key = ask.keeping("AWS_ACCESS_KEY_ID", found[1] if found else None, "the signature's Credential")
    ask, secret = ask.keeping("AWS_SECRET_ACCESS_KEY", None, "the key that the signature was made with")
    options = {"access_key": key, "secret_key": secret, **options}
    return ask.replace(auth=Auth("sigv4", options, "the line carries a signature of AWS, which is made anew"))


def _params(ask: Ask) -> Ask:
    kept: list[tuple[str, str]] = []
    for name, value in ask.params:
        if value and not marks(value) and (names_credential(name) or holds_credential(value)):
            ask, held = ask.keeping(secret_name(name), value, f"the parameter {name} of {ask.source}")
            if ask.auth is None:
                reason = f"the parameter {name} of {ask.source} carries a key"
                ask = ask.replace(auth=Auth("api-key", {"in": "query", "name": name, "key": held}, reason))
            else:
                kept.append((name, held))
        else:
            kept.append((name, value))
    return ask.replace(params=tuple(kept))


def _body(ask: Ask) -> Ask:
    if isinstance(ask.body, dict | list):
        hidden, ask = _members(ask.body, ask)
        return ask.replace(body=hidden)
    if not isinstance(ask.body, str):
        return ask
    where = f"the body of {ask.source}"

    def one(found: re.Match[str]) -> str:
        nonlocal ask
        before, name, between, value = found.groups()
        if not value or marks(value) or not (names_credential(unquote(name), alone=False) or holds_credential(value)):
            return found[0]
        ask, held = ask.keeping(secret_name(unquote(name)), value, where)
        return f"{before}{name}{between}{held}"

    # A form's pairs, elements of XML, arguments of GraphQL.
    text = _PAIR.sub(one, ask.body)
    text = _ELEMENT.sub(one, text)
    for found in list(_VALUES.finditer(text)):
        value = found[0].lstrip(" \n\t=:,")
        ask, held = ask.keeping("API_TOKEN", value, where)
        text = text.replace(value, held)
    return ask.replace(body=text)


def _members(value: Any, ask: Ask, name: str = "") -> tuple[Any, Ask]:
    if isinstance(value, dict):
        members = {}
        for key, item in value.items():
            members[key], ask = _members(item, ask, key)
        return members, ask
    if isinstance(value, list):
        items = []
        for item in value:
            one, ask = _members(item, ask, name)
            items.append(one)
        return items, ask
    if (
        isinstance(value, str)
        and value
        and not marks(value)
        and (names_credential(name, alone=False) or holds_credential(value))
    ):
        ask, held = ask.keeping(secret_name(name), value, f"{name or 'a text'} in the body of {ask.source}")
        return held, ask
    return value, ask


def _path(ask: Ask) -> Ask:
    """Hide tokens in the path: bots and hooks have theirs there."""
    scheme, _, rest = ask.url.partition("://")
    host, slash, path = rest.partition("/")
    steps = []
    for step in path.split("/"):
        prefix, bot, token = step.partition("bot") if step.startswith("bot") else ("", "", step)
        if not marks(step) and (holds_credential(step) or (bot and re.fullmatch(r"\d{6,}:[\w-]{20,}", token))):
            ask, held = ask.keeping("PATH_TOKEN", token, f"the path of {ask.source}")
            steps.append(f"{prefix}{bot}{held}")
        else:
            steps.append(step)
    return ask.replace(url=f"{scheme}://{host}{slash}{'/'.join(steps)}")


def _elsewhere(ask: Ask) -> Ask:
    """Put the mark of a secret wherever else its value stands."""
    values = {it.value: mark(it.name) for it in ask.secrets if it.value and len(it.value) >= _SHORTEST_ELSEWHERE}

    def hidden(text: str) -> str:
        for value, held in values.items():
            if value in text:
                text = text.replace(value, held)
        return text

    return ask.mapped(hidden)


def _texts(ask: Ask) -> list[str]:
    found: list[str] = []

    def gather(text: str) -> str:
        found.append(text)
        return text

    ask.mapped(gather)
    return found


def _expressions(ask: Ask) -> Ask:
    """Put texts that would be read as expressions of the configuration into secrets, which are never read again."""

    def held(text: str) -> str:
        nonlocal ask
        if not re.search(r"\$\{[{%#]", text):
            return text
        ask, kept = ask.keeping("LITERAL", text, "a text with ${{ that is no expression")
        return kept

    changed = ask.mapped(held)
    return changed.replace(secrets=ask.secrets)
