"""How requests travel, as a configuration says it: options, what does not go together, files of certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from headwater.config import (
    ConnectorConfig,
    InvalidConfigError,
    Loaded,
    from_options,
    load_definition,
    load_files,
    load_text,
    local_paths,
    transport_of,
)
from headwater.config.secrets import SecretSource
from headwater.core.egress import place
from headwater.core.http import USUAL
from headwater.core.managed import Definition
from headwater.testing import Certificates

SECRETS = SecretSource({"PASSWORD": "s3cret", "HOST": "proxy.example"}, "a test")


def loaded(options: str, endpoint: str = "https://api.example.com/", name: str = "connect.yml") -> Loaded:
    """Load a connector with options, one in a line."""
    below = "".join(f"  {line}\n" for line in options.splitlines())
    return load_text(f"name: c\ntopic: t\nparameters:\n  endpoint: {endpoint}\n{below}", name, secrets=SECRETS)


def config(options: str, **more: str) -> ConnectorConfig:
    return loaded(options, **more).connectors[0]


def problems(options: str, endpoint: str = "https://api.example.com/", name: str = "connect.yml") -> str:
    with pytest.raises(InvalidConfigError) as caught:
        loaded(options, endpoint, name)
    return str(caught.value)


def test_the_usual_way_is_one_value() -> None:
    """Whoever says nothing, or what is usual, shares it; anything else is equal for equal words."""
    assert transport_of(config("")) is USUAL
    assert transport_of(config("http_version: auto\ntls: {min_version: 1.2, verify: true}\ncookies: false")) is USUAL
    one, two = (transport_of(config("http_version: 1.1\negress: {}")) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("1.0", "1.0"),
        ("'1.1'", "1.1"),
        ("1", "1.1"),
        ("2", "2"),
        ("2.0", "2"),
        ("3", "3"),
        ("3-only", "3-only"),
        ("auto", "auto"),
    ],
)
def test_versions(written: str, version: str) -> None:
    """Numbers as YAML reads them, and words."""
    assert transport_of(config(f"http-version: {written}")).http_version == version


def test_every_option() -> None:
    """Each arrives where requests are made, in either spelling."""
    made = transport_of(
        config(
            "proxy: socks5h://user:${{ secrets.PASSWORD }}@${{ secrets.HOST }}:1080\n"
            "no_proxy: a.example, .b.example 10.0.0.0/8\n"
            "cookies: true\n"
            "tls:\n"
            "  min-version: 1.3\n"
            "  verify: insecure\n"
            "  server-name: api.internal\n"
            "egress:\n"
            "  policy: listed\n"
            "  allow: ['*.example.com', '10.1.0.0/16:443']\n"
            "  deny: 10.1.2.3\n"
        )
    )
    assert made.proxy == "socks5h://user:s3cret@proxy.example:1080"
    assert made.no_proxy == ("a.example", ".b.example", "10.0.0.0/8")
    assert (made.cookies, made.min_version, made.verify, made.server_name) == ("c", "1.3", False, "api.internal")
    assert made.egress is not None
    assert made.egress.rule == "listed"
    assert made.egress.allow == (place("*.example.com"), place("10.1.0.0/16:443"))
    assert made.egress.deny == (place("10.1.2.3"),)
    assert transport_of(config("proxy: none")).proxy == ""
    assert transport_of(config("no_proxy: []")).no_proxy == ()
    assert transport_of(config("egress: {}")).egress is not None


def test_flags() -> None:
    """The same as flags of `headwater http`."""
    given = {
        "endpoint": "https://a.example/",
        "http_version": "3",
        "tls": {"verify": "insecure"},
        "egress": {"policy": "public", "allow": "10.0.0.0/8,b.example"},
    }
    made = transport_of(from_options(name="c", topic="t", options=given, flags=True))
    assert (made.http_version, made.verify) == ("3", False)
    assert made.egress is not None
    assert len(made.egress.allow) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("http_version: 4", "expected one of auto, 1.0, 1.1, 2, 2-prior-knowledge, 3, 3-only"),
        ("proxy: proxy.example:3128", "write http://proxy.example:3128"),
        ("proxy: ftp://proxy.example", "does not begin with one of http://, https://, socks4://"),
        ("proxy: http://", "has no host"),
        ("unix_socket: ''", "expected the path of a file"),
        ("cookies: maybe", "expected true or false"),
        ("tls: {verify: false}", "or write `verify: insecure` if that is meant"),
        ("tls: {verify: 'false'}", "or write `verify: insecure` if that is meant"),
        ("tls: {verify: no}", "expected true or insecure"),
        ("tls: {min_version: 1.4}", "expected one of 1.0, 1.1, 1.2, 1.3"),
        ("tls: {key_file: a.key}", "`key_file` is of no use without `cert_file`"),
        ("tls: {key_password: a}", "`key_password` is of no use without `cert_file`"),
        ("tls: {server_name: ''}", "must not be empty"),
        ("tls: {server_name: 'a:443:127.0.0.1:80'}", "is no name of a host"),
        ("tls: {cafile: a}", "unknown key; did you mean 'ca_file'?"),
        ("tls: yes", "expected a map"),
        ("egress: {policy: private}", "expected one of public, listed, open"),
        ("egress: {allow: [10.0.0.1/8]}", "within 10.0.0.0/8"),
        ("egress: {deny: ['http://a']}", "no port behind its colon"),
        ("egress: {policy: open, allow: [a.example]}", "nothing to allow"),
        ("egress: {policy: listed}", "no request could go anywhere"),
        ("unix_socket: /s\nproxy: http://a", "name either unix_socket or proxy"),
        ("unix_socket: /s\negress: {}", "`egress.allow` with unix:/s would allow it"),
        ("http_version: 3-only\nproxy: http://a", "goes through no proxy"),
        ("http_version: 2-prior-knowledge", "over https:// write 2"),
    ],
)
def test_what_cannot_be(options: str, said: str) -> None:
    """Each is said in words that tell what would be right, at its place."""
    found = problems(options)
    assert said in found
    assert found.startswith("connect.yml:")


def test_endpoints_without_tls() -> None:
    """HTTP/3 needs https, prior knowledge http."""
    assert "over https:// alone" in problems("http_version: 3", endpoint="http://a.example/")
    known = config("http_version: 2-prior-knowledge", endpoint="http://a.example/")
    assert transport_of(known).http_version == "2-prior-knowledge"
    allowed = config("unix_socket: /s\nproxy: none\negress: {allow: ['unix:/s']}", endpoint="http://a/")
    assert transport_of(allowed).unix_socket == "/s"


def test_nothing_shows_a_password() -> None:
    """Neither the configuration, nor its problems, nor anything masked has the password of a proxy or of a key."""
    made = config("proxy: http://user:s3%40cret@proxy.example:3128")
    assert "s3%40cret" not in f"{made!r} {made.http.proxy} {transport_of(made)!r}"
    assert made.masker.mask("it is s3%40cret, or s3@cret") == "it is ***, or ***"
    assert "s3cret" not in problems("proxy: httpx://user:s3cret@proxy.example:3128")
    assert "s3cret" not in problems("proxy: user:s3cret@proxy.example:3128")
    assert "s3cret" not in problems("proxy: http://user:${{ secrets.PASSWORD }}@proxy.example:0")


def test_warnings() -> None:
    """What is unsafe is said at the start, without keeping anything from running."""
    found = loaded("tls:\n  verify: insecure\n  min_version: 1.0").warnings
    assert [(it.line, it.key) for it in found] == [(6, "parameters.tls.verify"), (7, "parameters.tls.min_version")]
    assert "can read and change everything" in found[0].render()
    assert "TLS 1.0 is broken" in found[1].render()
    assert loaded("tls: {min_version: 1.3}").warnings == ()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Return an authority whose files are in the directory of the configuration."""
    made = Certificates(tmp_path)
    made.files("client", "me.example")
    made.files("other", "you.example")
    encrypt = ["openssl", "pkcs8", "-topk8", "-in", "client.key", "-out", "locked.key", "-passout", "pass:s3cret"]
    subprocess.run(encrypt, check=True, cwd=tmp_path)
    both = (tmp_path / "client.pem").read_text() + (tmp_path / "client.key").read_text()
    (tmp_path / "both.pem").write_text(both)
    (tmp_path / "text.pem").write_text("this is no PEM\n")
    return made


@pytest.mark.parametrize(
    "files",
    [
        "ca_file: authority.pem",
        "cert_file: client.pem\n  key_file: client.key",
        "cert_file: both.pem",
        "cert_file: client.pem\n  key_file: locked.key\n  key_password: s3cret",
        "cert_file: client.pem\n  key_file: locked.key\n  key_password: ${{ secrets.PASSWORD }}",
    ],
)
def test_good_files(certificates: Certificates, tmp_path: Path, files: str) -> None:
    """They are found beside the file that names them, wherever the process is."""
    found = config(f"tls:\n  {files}", name=str(tmp_path / "connect.yml"))
    assert {Path(path).parent for path in (transport_of(found).ca_file, transport_of(found).cert_file) if path} == {
        certificates.bundle.parent
    }


@pytest.mark.parametrize(
    ("files", "line", "said"),
    [
        ("ca_file: nowhere.pem", 6, "/nowhere.pem cannot be read: no such file or directory"),
        ("ca_file: .", 6, "cannot be read: is a directory"),
        ("ca_file: text.pem", 6, "/text.pem holds no certificate in the form of PEM"),
        ("cert_file: nowhere.pem\n  key_file: nowhere.key", 7, "/nowhere.key cannot be read"),
        ("cert_file: text.pem\n  key_file: client.key", 6, "/text.pem holds no certificate"),
        ("cert_file: client.pem\n  key_file: text.pem", 7, "/text.pem holds no private key"),
        ("cert_file: client.pem", 6, "holds no private key in the form of PEM; name its file in `key_file`"),
        ("cert_file: client.pem\n  key_file: other.key", 7, "is not the one of the certificate in"),
        ("cert_file: client.pem\n  key_file: locked.key", 7, "is encrypted; its password goes into `key_password`"),
        (
            "cert_file: client.pem\n  key_file: locked.key\n  key_password: wr0ng",
            8,
            "it is not the password of the key",
        ),
    ],
)
def test_bad_files(certificates: Certificates, tmp_path: Path, files: str, line: int, said: str) -> None:
    """What is wrong with a file is said where it is named, before anything runs."""
    found = problems(f"tls:\n  {files}", name=str(tmp_path / "connect.yml"))
    assert f"connect.yml:{line}:" in found
    assert said in found
    assert "wr0ng" not in found


def test_files_of_another_machine(tmp_path: Path) -> None:
    """What runs elsewhere is not looked for here, and says what it needs there."""
    text = (
        "name: c\ntopic: t\nparameters:\n  endpoint: https://a.example/\n"
        "  tls: {ca_file: ca.pem, cert_file: /etc/c.pem, key_file: /etc/c.key}\n"
    )
    made = load_definition(Definition("c", text, {}), here=False)
    assert dict(local_paths(made)) == {
        ("http", "tls", "ca_file"): "ca.pem",
        ("http", "tls", "cert_file"): "/etc/c.pem",
        ("http", "tls", "key_file"): "/etc/c.key",
    }
    with pytest.raises(InvalidConfigError, match=r"/etc/c\.pem cannot be read"):
        load_definition(Definition("c", text, {}))
    (tmp_path / "connect.yml").write_text(text)
    with pytest.raises(InvalidConfigError, match=f"{tmp_path}/ca.pem cannot be read"):
        load_files([tmp_path / "connect.yml"])
    assert load_files([tmp_path / "connect.yml"], here=False).connectors
