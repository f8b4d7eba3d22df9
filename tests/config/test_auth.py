"""The group `auth:`: every unfit combination has its sentence in its place, in files, overrides and flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from headwater.cli.http import flags
from headwater.config import InvalidConfigError, from_options, load_text
from headwater.config.auth import (
    ApiKeyAuth,
    BearerAuth,
    JwtAuth,
    LoginAuth,
    NegotiateAuth,
    OAuth2Auth,
    located,
    reads_this_machine,
)
from headwater.config.secrets import SecretSource

PAGE = "name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n"
OAUTH = "type: oauth2, token_url: https://t/, client_id: c"
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
    .replace("\n", "\\n")
)


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        # The word that tells the kinds apart.
        ("", "5:3: error: parameters.auth: it needs a `type:`"),
        ("type: api_key", "5:10: error: parameters.auth.type: expected one of basic, digest, bearer, api-key, oauth2,"),
        ("type: api_key", "got 'api_key'; did you mean 'api-key'?"),
        ("type: basic, user: x", "parameters.auth.username: it is required"),
        ("type: basic, username: x, pasword: y", "parameters.auth.pasword: unknown key; did you mean 'password'?"),
        # Users and passwords.
        ("type: basic, username: 'a:b'", "5:23: error: parameters.auth.username: it holds a colon"),
        ('type: digest, username: "a\\nb"', "it holds a line break or another control character"),
        # Tokens and keys.
        ("type: bearer", "5:3: error: parameters.auth: it needs one of token or token_file; none of them is given"),
        ("type: bearer, token: a, token-file: b", "it needs one of token or token_file; token and token_file are"),
        ('type: bearer, token: "a\\nb"', "parameters.auth.token: it holds a line break"),
        ("type: bearer, token: a, refresh: 1m", "refresh goes only with token_file"),
        ("type: bearer, token_file: a, refresh: 0", "parameters.auth.refresh: it must be 1s at least"),
        ("type: bearer, token: a, header: 'X Y'", "parameters.auth.header: 'X Y' is no name of a header"),
        ("type: bearer, token: a, header: Host", "the header Host says how the request is sent, not by whom"),
        ("type: bearer, token_file: ''", "expected the path of a file"),
        ("type: api-key, value: a, in: body", "parameters.auth.in: expected one of header, query, cookie; got 'body'"),
        ("type: api-key, value: 'a b', in: cookie", "a cookie holds no blanks, quotes, commas, semicolons"),
        ("type: api-key, value: a, in: cookie, name: 'a b'", "'a b' is no name of a cookie"),
        ("type: api-key, value: a, name: 'a b'", "'a b' is no name of a header"),
        ("type: api-key, value: a, name: ''", "parameters.auth.name: it must not be empty"),
        # OAuth 2.
        ("type: oauth2", "parameters.auth.token_url: it is required"),
        ("type: oauth2, token_url: 'ftp://x/'", "parameters.auth.token_url: 'ftp://x/' is no URL of http or https"),
        ("type: oauth2, token_url: 'https://u:pw@/'", "'https://***@/' is no URL"),
        ("type: oauth2, token_url: https://t/", "grant: client-credentials needs client_id"),
        (f"{OAUTH}, client_auth: basic", "client_auth: basic needs client_secret"),
        (f"{OAUTH}, client_auth: private-key-jwt", "it needs one of key, key_file or assertion_file"),
        (f"{OAUTH}, client_secret: s, client_auth: private-key-jwt, key_file: k", "leave client_secret out"),
        ("type: oauth2, token_url: https://t/, client_secret: s", "it needs client_id, for there is a secret"),
        (f"{OAUTH}, grant: refresh-token", "grant: refresh-token needs refresh_token, the first one"),
        (f"{OAUTH}, refresh_token: r", "refresh_token goes only with grant: refresh-token"),
        (f"{OAUTH}, grant: password, username: u", "grant: password needs username and password"),
        (f"{OAUTH}, username: u, password: p", "username and password go only with grant: password"),
        (f"{OAUTH}, subject: s", "subject goes only with grant: jwt-bearer"),
        (f"{OAUTH}, key: k", "key goes only with grant: jwt-bearer or client_auth: private-key-jwt"),
        (f"{OAUTH}, claims: {{a: 1}}", "claims goes only with grant: jwt-bearer or client_auth"),
        ("type: oauth2, token_url: https://t/, grant: jwt-bearer, key_file: k", "needs issuer or client_id"),
        (f"{OAUTH}, grant: jwt-bearer, key: k", "the key for RS256 is a private key in PEM"),
        (f"{OAUTH}, grant: jwt-bearer, key: 0123456789abcdef, algorithm: HS256", "shares its key with the server"),
        (f"{OAUTH}, grant: jwt-bearer, assertion_file: f, key_file: k", "assertion_file and key_file are given"),
        (f"{OAUTH}, grant: jwt-bearer, assertion_file: f, key_id: k", "key_id goes only with a key"),
        (f"{OAUTH}, params: {{grant_type: x}}", "parameters.auth.params: grant_type is said by the options beside it"),
        (f"{OAUTH}, params: {{scope: x}}", "scope is said by the options beside it"),
        (f"{OAUTH}, scope: ['a b']", "parameters.auth.scope: 'a b' is no scope"),
        (f"{OAUTH}, scope: {{a: 1}}", "expected scopes: a list, or a text with blanks between them"),
        (f"{OAUTH}, grant: jwt-bearer, key_file: k, assertion_lifetime: 2h", "it must be between 10s and 1h"),
        (f"{OAUTH}, grant: implicit", "expected one of client-credentials, refresh-token, password, jwt-bearer"),
        (f"{OAUTH}, margin: soon", "parameters.auth.margin: 'soon' is not a duration"),
        # Signatures.
        ("type: jwt", "it needs one of key or key_file; none of them is given"),
        ("type: jwt, key: short", "a key for HS256 has at least 16 bytes (RFC 7518)"),
        (f'type: jwt, key: "{PEM}"', "HS256 signs with a shared secret, and the key is a PEM"),
        ("type: jwt, key: 0123456789abcdef, algorithm: ES256", "the key for ES256 is a private key in PEM"),
        ("type: jwt, key: 0123456789abcdef, algorithm: none", "expected one of HS256, HS384"),
        ("type: jwt, key_file: k, algorithm: RS256, key_base64: true", "key_base64 goes only with the shared secrets"),
        ("type: jwt, key: 0123456789abcdef, key_password: p", "key_password goes only with a private key in PEM"),
        ("type: jwt, key: 0123456789abcdef, lifetime: 1s", "it must be 10s at least: clocks differ"),
        ("type: jwt, key: 0123456789abcdef, claims: [a]", "parameters.auth.claims: expected a map of claims"),
        # AWS and Kerberos.
        ("type: sigv4, service: s3", "it needs access_key and secret_key and region, or environment: true"),
        ("type: sigv4, service: s3, environment: true, access_key: a", "access_key goes only with environment: false"),
        ("type: sigv4, service: 's 3', environment: true", "'s 3' is no name of a region or service"),
        ("type: sigv4, service: s, region: r, access_key: 'a:b', secret_key: c", "the access key holds a colon"),
        ("type: sigv4, service: s, region: r, access_key: '', secret_key: c", "access_key: it must not be empty"),
        ("type: negotiate, ccache: 'KEYRING:x'", "knows no keyrings; use FILE:, DIR: or MEMORY:"),
        # Logins.
        ("type: login, endpoint: http://l/", "it needs one of token, token_header or cookies: true; none of them is"),
        ("type: login, endpoint: http://l/, token: /a, cookies: true", "token and cookies are given"),
        ("type: login, endpoint: http://l/, token: '/~'", "parameters.auth.token: '/~' has a ~"),
        ("type: login, endpoint: http://l/, token: /a, body: x, form: {a: b}", "body and form are both given"),
        ("type: login, endpoint: http://l/, token: /a, body: x, method: get", "a GET has no body; write method: POST"),
        ("type: login, endpoint: http://l/, cookies: true, in: header", "in goes only with token or token_header"),
        ("type: login, endpoint: http://l/, token: /a, in: query", "in: query needs a name"),
        ("type: login, endpoint: http://l/, token: /a, password: p", "password goes only with username"),
        ("type: login, endpoint: http://l/, token: /a, logout_method: PUT", "logout_method goes only with logout"),
        ("type: login, endpoint: http://l/, token: /a, username: 'a:b'", "it holds a colon"),
        ("type: login, endpoint: http://l/, token: /a, in: cookie, name: 'a b'", "'a b' is no name of a cookie"),
    ],
)  # fmt: skip
def test_every_mistake_has_its_sentence(auth: str, said: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(f"{PAGE}  auth: {{{auth}}}\n")
    assert said in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "  headers: {authorization: x}\n  auth: {type: basic, username: u}\n",
            "headers and auth both say what author",
        ),
        (
            "  headers: {X-K: x}\n  auth: {type: api-key, name: x-k, value: v}\n",
            "headers and auth both say what x-k is",
        ),
        ("  headers: {Cookie: x}\n  auth: {type: api-key, in: cookie, name: k, value: v}\n", "both say what cookie is"),
        ("  auth: x\n", "parameters.auth: expected a map; got 'x'"),
        ("  auth: {type: bearer, token: '${{ cursor.x }}'}\n", "cannot stand here, for this is the same for every"),
        ("  auth: {type: jwt, key_file: k, claims: {a: '${{ scheduled }}'}}\n", "claims know the request alone"),
        ("  auth: {type: jwt, key_file: k, claims: {a: '${{ request.body }}'}}\n", "there is no 'body' in request"),
        ("  params: {a: '${{ request.url }}'}\n", "the request is known only in the claims of auth: {type: jwt}"),
        (
            "  auth: {type: oauth2, token_url: 'http://t/', grant: jwt-bearer, claims: {a: '${{ request.url }}'}}\n",
            "cannot stand here, for this is the same for every request",
        ),
        ("  auth: {type: login, endpoint: http://l/, token: /t, body: {a: '${{ scheduled }}'}}\n", "cannot stand here"),
        ("  auth: {type: login, endpoint: 'http://l/${{ scheduled }}', token: /t}\n", "cannot stand here"),
    ],
)
def test_what_does_not_go_with_the_request(more: str, said: str) -> None:
    """A header that two options fill."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(PAGE + more)
    assert said in str(caught.value)


def test_a_user_in_the_endpoint_and_another_one() -> None:
    """Both would say who sends the request."""
    text = PAGE.replace("http://x/", "http://u:pw@x/") + "  auth: {type: basic, username: u}\n"
    with pytest.raises(InvalidConfigError, match="endpoint names a user, and auth says who it is") as caught:
        load_text(text)
    assert "pw" not in str(caught.value)


def test_secrets_of_mistakes_are_not_shown() -> None:
    """A secret in the wrong place is said to be one, and no more."""
    text = f"{PAGE}  auth: {{type: oauth2, token_url: '${{{{ secrets.X }}}}', client_id: c}}\nsecrets: {{X: ~}}\n"
    with pytest.raises(InvalidConfigError) as caught:
        load_text(text, secrets=SecretSource({"X": "the-secret-value"}, "a test"))
    assert "the-secret-value" not in str(caught.value)


def test_both_spellings_and_both_dialects() -> None:
    """`client-id` and `client_id`; below `http:` and below `parameters:`."""
    one = load_text(f"{PAGE}  auth: {{type: oauth2, token-url: https://t/, client-id: c, scope: a b}}\n").connectors[0]
    today = (
        "apiVersion: 0.1.0\nmeta: {name: a, topic: b, type: http-source}\n"
        "http:\n  endpoint: http://x/\n  auth: {type: oauth2, token_url: https://t/, client_id: c, scope: [a, b]}\n"
    )
    two = load_text(today).connectors[0]
    assert one.http.auth == two.http.auth
    assert isinstance(one.http.auth, OAuth2Auth)
    assert one.http.auth.scope == ("a", "b")


def test_passwords_that_are_written_down_are_masked_all_the_same() -> None:
    """A secret that is no declared one is masked like one."""
    text = f"{PAGE}  auth: {{type: oauth2, token_url: https://t/, client_id: c, client_secret: plainly-written}}\n"
    connector = load_text(text).connectors[0]
    assert connector.masker.mask("a plainly-written one") == "a *** one"


def test_overrides_reach_into_the_group() -> None:
    """`--set auth.token=x`, `--set auth.claims={...}`, and the whole group at once."""
    text = f"{PAGE}  auth: {{type: bearer, token: a}}\n"
    one = load_text(text, overrides={"auth.token": "b"}).connectors[0].http.auth
    assert isinstance(one, BearerAuth)
    assert one.token is not None
    assert one.token.reveal() == "b"
    two = load_text(text, overrides={"auth": "{type: api-key, value: v, in: query, name: k}"}).connectors[0].http.auth
    assert isinstance(two, ApiKeyAuth)
    assert two.in_ == "query"
    jwt = f"{PAGE}  auth: {{type: jwt, key: 0123456789abcdef}}\n"
    three = load_text(jwt, overrides={"auth.claims": "{a: [1, x]}"}).connectors[0].http.auth
    assert isinstance(three, JwtAuth)
    assert three.claims["a"][0] == 1


def test_every_option_is_one_flag() -> None:
    """`--auth-token-url` and the others; what several kinds have is one flag, and its help says whose it is."""
    made = {option.opts[0]: option.help or "" for option in flags() if option.opts[0].startswith("--auth")}
    assert made["--auth-type"].startswith(
        "The kind: basic, digest, bearer, api-key, oauth2, jwt, sigv4, negotiate, login"
    )
    assert made["--auth-in"].endswith("[api-key, login]")
    assert made["--auth-client-secret"].endswith("[oauth2]")
    assert {"--auth-token", "--auth-token-file", "--auth-grant", "--auth-logout-method", "--auth-ccache"} <= set(made)


def test_flags_make_a_group() -> None:
    """Maps and lists are YAML in one flag; problems name the flag."""
    options: dict[str, object] = {
        "endpoint": "http://x/",
        "auth": {
            "type": "login",
            "endpoint": "http://l/",
            "body": "{user: a}",
            "token": "/t",
            "in": "query",
            "name": "s",
        },
    }
    made = from_options(name="a", topic="b", options=options, flags=True).http.auth
    assert isinstance(made, LoginAuth)
    assert made.in_ == "query"
    assert str(made.body["user"]) == "a"
    wrong: dict[str, object] = {"endpoint": "http://x/", "auth": {"type": "oauth2", "client_id": "c", "token_url": "x"}}
    with pytest.raises(InvalidConfigError, match=r"--auth-token-url: 'x' is no URL"):
        from_options(name="a", topic="b", options=wrong, flags=True)


def test_files_are_found_from_where_the_configuration_is() -> None:
    """A relative path is relative to the directory of the file."""
    auth = load_text(f"{PAGE}  auth: {{type: bearer, token_file: token.txt}}\n").connectors[0].http.auth
    there = located(auth, Path("/etc/headwater"))
    assert isinstance(there, BearerAuth)
    assert there.token_file == "/etc/headwater/token.txt"
    absolute = load_text(f"{PAGE}  auth: {{type: negotiate, keytab: /k}}\n").connectors[0].http.auth
    moved = located(absolute, Path("/etc"))
    assert isinstance(moved, NegotiateAuth)
    assert moved.keytab == "/k"


@pytest.mark.parametrize(
    ("auth", "option"),
    [
        ("type: bearer, token_file: f", "token_file"),
        ("type: api-key, value_file: f", "value_file"),
        ("type: jwt, key_file: f", "key_file"),
        (f"{OAUTH}, grant: jwt-bearer, assertion_file: f", "assertion_file"),
        ("type: sigv4, service: s, environment: true", "environment"),
        ("type: negotiate", "type: negotiate"),
        ("type: bearer, token: t", ""),
        (OAUTH, ""),
    ],
)
def test_what_reads_the_machine_is_known(auth: str, option: str) -> None:
    """Whoever asks over the network must not have files or variables of the server sent anywhere."""
    made = load_text(f"{PAGE}  auth: {{{auth}}}\n").connectors[0].http.auth
    assert reads_this_machine(made) == option


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("{type: bearer, token: ''}", "auth.token"),
        ("{type: bearer, token: ' '}", "auth.token"),
        ("{type: api-key, value: ''}", "auth.value"),
        ("{type: oauth2, token_url: 'http://x/t', client_id: ''}", "auth.client_id"),
        ("{type: oauth2, token_url: 'http://x/t', client_id: a, client_secret: ''}", "auth.client_secret"),
    ],
)
def test_what_is_empty_shows_nobody(text: str, option: str) -> None:
    """A secret that nobody has filled is found before the server finds it."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(f"name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n  auth: {text}\n")
    assert f"parameters.{option}: it is empty; check where it comes from" in str(caught.value)


@pytest.mark.parametrize("group", ["auth", "egress"])
def test_groups_that_protect_are_not_nothing(group: str) -> None:
    """A key whose lines are commented out is a mistake: what it was to close would be open."""
    with pytest.raises(InvalidConfigError) as caught:
        load_text(f"name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n  {group}:\n  #  all of it\n")
    assert f"5:3: error: parameters.{group}: expected a map; got nothing" in str(caught.value)
