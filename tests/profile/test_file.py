"""Fluvio's file of profiles on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headwater.core.errors import ProfileError
from headwater.profile.file import MOST_BYTES, chosen, config_path, read, save, shown

CLOUD = 'current_profile = "cloud"\n[profile.cloud]\ncluster = "cloud"\n[cluster.cloud]\nendpoint = "host:9003"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_where_it_is(home: Path) -> None:
    """$FLV_PROFILE_PATH, else ~/.fluvio/config, as Fluvio's clients say."""
    assert config_path({}) == config_path({"FLV_PROFILE_PATH": ""}) == home / ".fluvio" / "config"
    assert config_path({"FLV_PROFILE_PATH": "/etc/fluvio"}) == Path("/etc/fluvio")
    assert shown(config_path({})) == "~/.fluvio/config"
    assert shown(Path("/etc/fluvio")) == "/etc/fluvio"


def test_what_is_chosen(home: Path) -> None:
    """The file decides, when it is there."""
    assert chosen(environment={}).sentence("x") == "profile local (embedded log in x)"
    save(config_path({}), CLOUD)
    assert chosen(environment={}).sentence("x") == "profile cloud (Fluvio at host:9003), from ~/.fluvio/config"
    assert chosen("local", environment={}).cluster is None


def test_saving_makes_the_directory_and_leaves_nothing_behind(home: Path) -> None:
    """A new file is its owner's alone; what is read is what was saved, line ends too."""
    path = home / "a" / "b" / "config"
    save(path, "x = 1\r\n# ü\n")
    assert read(path) == "x = 1\r\n# ü\n"
    assert mode(path) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_permissions_stay(tmp_path: Path) -> None:
    """Those of a file are kept, unless it is to hold a key."""
    path = tmp_path / "config"
    path.write_text("x = 1")
    path.chmod(0o640)
    save(path, "x = 2")
    assert mode(path) == 0o640
    save(path, "x = 3", private=True)
    assert mode(path) == 0o600


def test_links_stay(tmp_path: Path) -> None:
    """What a link leads to is replaced, not the link."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("x = 1")
    link.symlink_to(real)
    save(link, "x = 2")
    assert link.is_symlink()
    assert real.read_text() == "x = 2"


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Nothing is half written, and nothing is left beside it."""
    path = tmp_path / "config"
    path.mkdir()
    with pytest.raises(ProfileError, match=f"^{path} cannot be written: Is a directory$"):
        save(path, "x = 1")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ProfileError, match=r"/config/x cannot be written: Not a directory$"):
        save(Path(__file__) / "config" / "x", "x = 1")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is none; each other failure says why, and the way out."""
    path = tmp_path / "config"
    assert read(path) is None
    with pytest.raises(ProfileError) as caught:
        read(tmp_path)
    assert caught.value.report() == (
        f"headwater: {tmp_path} cannot be read: Is a directory\n"
        "  hint: make it readable, or go without it: --profile local"
    )
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ProfileError) as caught:
        read(path)
    assert caught.value.report() == (
        f"headwater: {path}: not TOML: line 2 is not UTF-8\n  hint: correct the file, or go without it: --profile local"
    )
    path.write_bytes(b"")
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(ProfileError, match=f"^{path} is larger than 4 MiB: it is no file of profiles$"):
        read(path)


def test_a_replacement_character_is_text(tmp_path: Path) -> None:
    """U+FFFD that is written in the file is not taken for a mistake."""
    path = tmp_path / "config"
    path.write_text("# \N{REPLACEMENT CHARACTER}")
    assert read(path) == "# \N{REPLACEMENT CHARACTER}"
