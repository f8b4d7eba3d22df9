"""An OAuth 2 server of a library for them (Authlib), over the scripted server: its tokens expire, rotate, end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from authlib.oauth2 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from joserfc.jwk import Key

from headwater.testing import Answer, Received, ScriptedServer

CLIENT, SECRET = "the client", "s%cr:et +/&"
USER, PASSWORD = "reader", "pass wörd&"
FIRST = "first-refresh-token-of-all"
_METHODS = ["client_secret_basic", "client_secret_post", "none", "client_assertion_jwt"]
_GRANTS = ["client_credentials", "refresh_token", "password", "urn:ietf:params:oauth:grant-type:jwt-bearer"]


class _Headers(dict[str, str]):
    """Headers whose names are looked up in any case."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class _Request(OAuth2Request):  # type: ignore[misc]
    """A request of the scripted server as the library has it."""

    def __init__(self, request: Received) -> None:
        super().__init__(request.method, "https://authorization.test" + request.target, None, _Headers(request.headers))
        self._form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        self.payload = BasicOAuth2Payload(self._form)

    @property
    def form(self) -> dict[str, str]:
        return self._form

    @property
    def args(self) -> dict[str, str]:
        return {}


class _Client:
    """The client; `key` verifies what it signs."""

    def __init__(self, *, methods: list[str] | None = None, key: Key | None = None) -> None:
        self.methods = methods or _METHODS
        self.key = key

    def get_client_id(self) -> str:
        return CLIENT

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in self.methods

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in _GRANTS


class _Refresh(NamedTuple):
    """A refresh token as the library looks at it."""

    text: str

    def check_client(self, client: _Client) -> bool:
        return client.get_client_id() == CLIENT

    def get_scope(self) -> str:
        return "read write"


class Authorization(AuthorizationServer):  # type: ignore[misc]
    """The server, at `/token` of a scripted server, and at `/api` what its tokens open.

    `expires_in` is what answers say. `before` is asked for each token request: an answer of its own goes wrong in its
    place. A refresh token that was replaced still counts until what replaced it, or the access token beside it, is used
    for the first time: so a client that crashes before it could keep the new one goes on, as RFC 9700 advises.
    """

    def __init__(self, server: ScriptedServer, *, key: Key | None = None, expires_in: Any = 3600) -> None:
        super().__init__()
        self.expires_in = expires_in
        self.server_url = server.url
        self.client = _Client(key=key)
        self.requests: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        self.before: Callable[[Received], Answer | None] = lambda _: None
        self.extra: dict[str, Any] = {}
        self.rotates = True
        self.tokens: dict[str, str] = {}
        self.refused: set[str] = set()
        self.live: set[str] = {FIRST}
        self._replaces: dict[str, str] = {}
        self.on_use: Callable[[str], None] = lambda _: None
        self.used: list[str] = []
        self.register_token_generator("default", BearerTokenGenerator(self._access, self._refresh).generate)
        for grant in (_Credentials, _Password, _Refreshing, _Assertion):
            self.register_grant(grant)
        self.url = server.route("/token", self.handle)
        self.register_client_auth_method("client_assertion_jwt", _ByAssertion(self.url))
        server.route("/api", self.api)

    # What the library asks for.

    def query_client(self, client_id: str) -> _Client | None:
        """Return the client."""
        return self.client if client_id == CLIENT else None

    def save_token(self, token: dict[str, Any], request: _Request) -> None:
        """Remember a token, and what it came in the place of."""
        self.tokens[token["access_token"]] = token.get("refresh_token", "")
        new = token.get("refresh_token")
        if new:
            self.live.add(new)
            old = request.form.get("refresh_token")
            if old:
                self._replaces[new] = old

    def create_oauth2_request(self, request: Received) -> _Request:
        """Return a request as the library has it."""
        return _Request(request)

    def handle_response(self, status: int, body: dict[str, Any], headers: list[tuple[str, str]]) -> Answer:
        """Return an answer as the scripted server has it."""
        if status == 200:
            body = {**body, **self.extra}
            body.pop("expires_in", None)
            if self.expires_in is not None:
                body["expires_in"] = self.expires_in
            body = {name: value for name, value in body.items() if value is not None}
        return Answer(status, json.dumps(body).encode(), tuple(headers))

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    @staticmethod
    def _access(**_: object) -> str:
        return f"access-{secrets.token_hex(20)}"

    @staticmethod
    def _refresh(**_: object) -> str:
        return f"refresh-{secrets.token_urlsafe(24)}"

    # What it does.

    def handle(self, request: Received) -> Answer:
        """Answer a token request."""
        self.requests.append(dict(parse_qsl(request.body.decode(), keep_blank_values=True)))
        self.headers.append(dict(request.headers))
        answer = self.before(request)
        answer = self.create_token_response(request) if answer is None else answer
        self.answers.append(answer)
        return answer

    def api(self, request: Received) -> Answer:
        """Answer a request with a token by 200, any other by 401."""
        token = (request.header("authorization") or "").partition(" ")[2]
        if token not in self.tokens or token in self.refused:
            return Answer(401, b"no", (("www-authenticate", "Bearer"),))
        self.on_use(token)
        self.used.append(token)
        self.confirm(self.tokens[token])
        return Answer(body=b"%d" % len(self.used))

    def confirm(self, refresh: str) -> None:
        """Let what a refresh token has replaced count no more: it, or what came with it, has been used."""
        old = self._replaces.pop(refresh, None)
        if old is not None:
            self.live.discard(old)

    def revoke_all(self) -> None:
        """Let no access token count that was given so far."""
        self.refused |= set(self.tokens)


class _Credentials(grants.ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS


class _Password(grants.ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    def authenticate_user(self, username: str, password: str) -> str | None:
        return USER if (username, password) == (USER, PASSWORD) else None


class _Refreshing(grants.RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    @property
    def INCLUDE_NEW_REFRESH_TOKEN(self) -> bool:  # noqa: N802 - the library's name
        return bool(self.server.rotates)

    def authenticate_refresh_token(self, refresh_token: str) -> _Refresh | None:
        if refresh_token not in self.server.live:
            return None
        self.server.confirm(refresh_token)
        return _Refresh(refresh_token)

    def authenticate_user(self, refresh_token: _Refresh) -> str:
        return USER

    def revoke_old_credential(self, refresh_token: _Refresh) -> None:
        """Nothing: it ends when what replaced it is used."""


class _Assertion(JWTBearerGrant):  # type: ignore[misc]
    def resolve_issuer_client(self, issuer: str) -> _Client | None:
        return self.server.client if issuer in {CLIENT, "robot@project"} else None

    def resolve_client_public_key(self, client: _Client) -> Key | None:
        return client.key

    def authenticate_user(self, subject: str) -> str:
        return subject

    def get_audiences(self) -> list[str]:
        return [self.server.url]

    def has_granted_permission(self, client: _Client, user: str) -> bool:
        return user in {CLIENT, "robot@project", USER}


class _ByAssertion(JWTBearerClientAssertion):  # type: ignore[misc]
    """Clients that sign; a `jti` counts once."""

    CLIENT_AUTH_METHOD = "client_assertion_jwt"

    def __init__(self, audience: str) -> None:
        super().__init__()
        self._seen: set[str] = set()
        self._audience = audience

    def validate_jti(self, claims: dict[str, Any], jti: str) -> bool:
        new = jti not in self._seen
        self._seen.add(jti)
        return new

    def resolve_client_public_key(self, client: _Client) -> Key | None:
        return client.key

    def get_audiences(self) -> list[str]:
        return [self._audience]
