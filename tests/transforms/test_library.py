"""Where modules come from: files, the store, packages, built-ins; and what is said when there is none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headwater.config import ConnectorConfig, InvalidConfigError, load_text
from headwater.core.errors import SmartModuleError
from headwater.core.record import Record
from headwater.transforms.library import Library
from headwater.transforms.package import open_package
from headwater.transforms.store import Entry, Reference, Store, parse_reference
from headwater.transforms.wasm import Module
from transforms import guests

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jolt", Reference("jolt")),
        ("infinyon/jolt", Reference("jolt", "infinyon")),
        ("infinyon/jolt@0.4.1", Reference("jolt", "infinyon", "0.4.1")),
        ("a_b@10", Reference("a_b", None, "10.0.0")),
        ("a@1.2-rc.1", Reference("a", None, "1.2.0-rc.1")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    """Versions are read as leniently as Fluvio reads them."""
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["", "A", "a/b/c", "a@", "a@10.", "a@x", "../x", "a b", "/a", "x" * 101, "a@1.2.3.4"])
def test_what_is_no_reference(text: str) -> None:
    """Nothing else gets as far as a file's name."""
    with pytest.raises(SmartModuleError, match=r"is no name|has no version"):
        parse_reference(text)


def keep(store: Store, code: bytes, name: str, group: str | None = None, version: str | None = None) -> Entry:
    digest = hashlib.sha256(code).hexdigest()
    entry = Entry(name=name, digest=digest, size=len(code), kind="filter", loaded=1, group=group, version=version)
    store.save(entry, code)
    return entry


def test_the_store(tmp_path: Path) -> None:
    """What was kept is found by as much of its name as is given; the newest version wins; code goes with its last."""
    store = Store(tmp_path / "modules")
    assert store.entries() == []
    old = keep(store, b"one", "jolt", "infinyon", "0.9.0")
    new = keep(store, b"two", "jolt", "infinyon", "0.10.0")
    keep(store, b"two", "jolt", "infinyon", "0.10.0-rc.1")
    other = keep(store, b"two", "mine")
    assert [str(entry.reference) for entry in store.entries()] == [
        "infinyon/jolt@0.9.0",
        "infinyon/jolt@0.10.0-rc.1",
        "infinyon/jolt@0.10.0",
        "mine",
    ]
    assert store.find(Reference("jolt")) == new
    assert store.find(Reference("jolt", "infinyon", "0.9.0")) == old
    assert store.find(Reference("jolt", "else")) is None
    assert store.find(Reference("mine", None, "1.0.0")) is None
    assert store.code(new) == b"two"
    keep(store, b"three", "jolt", "infinyon", "0.9.0")
    assert sorted(path.read_bytes() for path in store.directory.glob("*.wasm")) == [b"three", b"two"]
    assert len(store.delete(Reference("jolt", "infinyon"))) == 3
    assert store.code(other) == b"two"
    assert store.delete(Reference("mine")) == [other]
    assert list(store.directory.iterdir()) == []


def test_a_damaged_store(tmp_path: Path) -> None:
    """What is damaged or gone is told with its file."""
    store = Store(tmp_path)
    entry = keep(store, b"one", "mine")
    code = tmp_path / f"{entry.digest}.wasm"
    code.write_bytes(b"other")
    with pytest.raises(SmartModuleError, match="is damaged"):
        store.code(entry)
    code.unlink()
    with pytest.raises(SmartModuleError, match="cannot be read"):
        store.code(entry)
    (tmp_path / "~x~.json").write_bytes(b"{")
    with pytest.raises(SmartModuleError, match=r"~x~\.json cannot be read"):
        store.entries()
    place = tmp_path / "file"
    place.write_bytes(b"")
    with pytest.raises(SmartModuleError, match="cannot be kept"):
        keep(Store(place), b"one", "mine")


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def signed(files: dict[str, bytes]) -> bytes:
    told = [
        {"name": name, "hash": hashlib.sha512(it).hexdigest(), "len": len(it), "sig": KEY.sign(it).hex()}
        for name, it in files.items()
    ]
    return json.dumps({"files": told, "pubkey": PUBLIC}).encode()


META = (
    b"package_format_version: '0.3'\nname: mine\nversion: 0.1.0\ngroup: me\ndescription: keeps letters\nmanifest: [x]\n"
)
TOML = b'[package]\nname = "mine"\ngroup = "me"\nversion = "0.1.0"\napiVersion = "0.1.0"\n'


def parts(code: bytes, toml: bytes = TOML, meta: bytes = META, **more: bytes) -> dict[str, bytes]:
    inner = {"SmartModule.toml": toml, "target/mine.wasm": code, **more}
    return {"package-meta.yaml": meta, "manifest.tar.gz": gzip.compress(tar(inner))}


def package(code: bytes, **options: bytes) -> bytes:
    files = parts(code, **options)
    return tar({**files, "signature.0": signed(files)})


def test_a_package() -> None:
    """What is in it, and whose key signed it; a second signature over the first is checked as well."""
    code = guests.letter_filter()
    opened = open_package(package(code), "mine.ipkg")
    assert (opened.name, opened.group, opened.version, opened.description) == ("mine", "me", "0.1.0", "keeps letters")
    assert (opened.code, opened.signed_by) == (code, PUBLIC)
    files = {**parts(code)}
    files["signature.0"] = signed(files)
    files["signature.1"] = signed({"signature.0": files["signature.0"]})
    assert open_package(tar(files), "mine.ipkg").code == code
    files["signature.1"] = signed({"signature.0": b"other"})
    with pytest.raises(SmartModuleError, match=r"signature\.0 does not match signature\.1"):
        open_package(tar(files), "mine.ipkg")


def _changed(name: str, change: Callable[[bytes], bytes]) -> bytes:
    files = parts(b"code")
    files["signature.0"] = signed(files)
    files[name] = change(files[name])
    return tar(files)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no tar file|no package-meta"),
        (b"not a tar file" * 100, "no tar file"),
        (tar({"package-meta.yaml": META}), r"has no manifest\.tar\.gz"),
        (tar(parts(b"code")), "is not signed"),
        (_changed("package-meta.yaml", lambda it: it + b"#"), "package-meta.yaml does not match"),
        (_changed("manifest.tar.gz", lambda it: it[:-1]), "manifest.tar.gz does not match"),
        (_changed("signature.0", lambda it: it.replace(b'"sig": "', b'"sig": "00')), "is wrong"),
        (_changed("signature.0", lambda _: b"{}"), r"signature\.0 in x\.ipkg cannot be read"),
        (_changed("signature.0", lambda _: signed({"package-meta.yaml": META})), "does not cover manifest"),
        (_changed("signature.0", lambda _: signed({"none": b""})), "covers none, which is not there"),
        (package(b"code", **{"other.wasm": b"code"}), "holds 2 .wasm files"),
        (package(b"code", toml=TOML.replace(b'"mine"', b'"other"')), "says it is 'mine'"),
        (package(b"code", toml=b"["), r"SmartModule\.toml in x\.ipkg cannot be read"),
        (package(b"code", meta=b"name: [x"), r"package-meta\.yaml in x\.ipkg cannot be read"),
        (package(b"code", meta=b"version: '1'"), "missing required field `name`"),
    ],
)
def test_packages_that_do_not_match(data: bytes, said: str) -> None:
    """A package is refused whole, with what is wrong."""
    with pytest.raises(SmartModuleError, match=said):
        open_package(data, "x.ipkg")


def test_a_package_that_unfolds() -> None:
    """A small file that would fill the memory is refused before it does."""
    files = {"package-meta.yaml": META, "manifest.tar.gz": gzip.compress(bytes(300_000_000), 1)}
    with pytest.raises(SmartModuleError, match="larger than a package may be"):
        open_package(tar({**files, "signature.0": signed(files)}), "x.ipkg")


def config(more: str) -> ConnectorConfig:
    return load_text(f"name: cats\ntopic: cats\nparameters:\n  endpoint: http://127.0.0.1:1/\n{more}").connectors[0]


def test_where_a_module_comes_from(tmp_path: Path) -> None:
    """A file, the store, a built-in; what was loaded wins over what comes with Headwater."""
    library = Library(tmp_path)
    (tmp_path / "mine.wasm").write_bytes(guests.letter_filter())
    assert library.find("mine.wasm", tmp_path).kind == "filter"
    assert library.find("infinyon/jolt").kind == "map"
    keep(library.store, guests.letter_filter(), "jolt", "infinyon", "0.1.0")
    assert isinstance(library.find("infinyon/jolt"), Module)
    for uses, said, hint in (
        ("my-filter", "there is no SmartModule 'my-filter'", "smartmodule load my-filter --wasm-file FILE"),
        ("else/jolt", "there is no SmartModule 'else/jolt'", "there is infinyon/jolt@0.1.0, infinyon/jolt"),
        ("no.wasm", "no.wasm cannot be read", ""),
    ):
        with pytest.raises(SmartModuleError, match=said) as caught:
            library.find(uses)
        assert hint in caught.value.hint


def test_a_chain_of_all_that_a_configuration_says(tmp_path: Path) -> None:
    """The page's three in their order, then the list; relative paths begin at the file's directory."""
    (tmp_path / "keep.wasm").write_bytes(guests.letter_filter())
    library = Library(tmp_path)
    keep(library.store, guests.upper_map(), "upper")
    keep(library.store, guests.letters(), "letters")
    text = "  arraymap: letters\n  map: upper\n  filter: keep.wasm\ntransforms:\n  - uses: jaq\n    with: {filter: .}\n"
    loaded = load_text(
        f"name: cats\ntopic: cats\nparameters:\n  endpoint: http://127.0.0.1:1/\n{text}", str(tmp_path / "connect.yml")
    ).connectors[0]
    chain = library.chain_of(loaded)
    assert [step.name for step in chain.steps] == ["keep.wasm", "upper", "letters", "jaq"]
    assert loaded.dead_letters == "cats-dead-letter"


def test_every_problem_of_a_chain_with_its_place(tmp_path: Path) -> None:
    """Modules that are not there, of the wrong kind, or that refuse their parameters: all at once."""
    library = Library(tmp_path)
    keep(library.store, guests.upper_map(), "upper")
    text = (
        "  filter: upper\n  map: none\ntransforms:\n  - uses: infinyon/regex-filter\n    with: {regex: '('}\n"
        "  - uses: infinyon-labs/array-map-json\n  - uses: ./none.py:f\n"
    )
    with pytest.raises(InvalidConfigError) as caught:
        library.chain_of(config(text))
    told = [(problem.line, problem.key, problem.message) for problem in caught.value.problems]
    assert [(line, key) for line, key, _ in told] == [
        (5, "parameters.filter"),
        (6, "parameters.map"),
        (8, "transforms[0]"),
        (11, "transforms[2]"),
    ]
    assert "upper is of the kind map, not filter" in told[0][2]
    assert "missing )" in told[2][2]


def test_parameters_reach_the_module(tmp_path: Path) -> None:
    """Lists and maps come as compact JSON."""
    text = (
        "transforms:\n  - uses: infinyon/jolt\n    with:\n      spec:\n      - operation: shift\n        spec: {a: b}\n"
    )
    chain = Library(tmp_path).chain_of(config(text))
    assert chain.run([Record(b'{"a":1}')], base_timestamp=0).records == [Record(b'{"b":1}')]


def test_the_state_of_a_stage_belongs_to_its_name_and_parameters(tmp_path: Path) -> None:
    """Another parameter is another state; so is another place in the chain."""
    library = Library(tmp_path)

    def keys(*counts: int) -> list[str]:
        uses = "".join(f"  - uses: dedup-filter\n    with: {{count: '{count}'}}\n" for count in counts)
        return [step.key for step in library.chain_of(config(f"transforms:\n{uses}")).steps]

    assert keys(5) == keys(5)
    assert keys(5) != keys(6)
    assert len(set(keys(5, 5))) == 2
