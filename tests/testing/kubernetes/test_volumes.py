from __future__ import annotations

from pathlib import Path

from headwater.testing.kubernetes.volumes import write


def test_files_are_replaced_all_at_once(tmp_path: Path) -> None:
    """Whoever holds on to the data's directory sees all files of before; the names lead to all of now."""
    write(tmp_path, {"a": (b"1", 0o644), "sub/b": (b"1", 0o600)}, None)
    before = (tmp_path / "..data").resolve()
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "sub" / "b").read_bytes() == b"1"
    assert (tmp_path / "sub" / "b").stat().st_mode & 0o777 == 0o600
    write(tmp_path, {"a": (b"2", 0o644), "c": (b"2", 0o644)}, None)
    assert (tmp_path / "..data").resolve() != before
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..")) == ["a", "c"]
    assert [(tmp_path / name).read_bytes() for name in ("a", "c")] == [b"2", b"2"]
    assert not before.exists()


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    """The same files again leave the directory as it is, so that nobody is woken for nothing."""
    write(tmp_path, {"a": (b"1", 0o644)}, None)
    before = (tmp_path / "..data").resolve()
    write(tmp_path, {"a": (b"1", 0o644)}, None)
    assert (tmp_path / "..data").resolve() == before
