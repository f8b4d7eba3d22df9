"""SQLite's errors become those of the tree, each with what to do."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from headwater.core import errors
from headwater.log.failure import mapped, translate


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError("full"), errors.LogFullError),
        (apsw.ReadOnlyError("readonly"), errors.LogReadOnlyError),
        (apsw.PermissionsError("perm"), errors.LogReadOnlyError),
        (apsw.CorruptError("malformed"), errors.LogCorruptError),
        (apsw.NotADBError("no db"), errors.LogCorruptError),
        (apsw.CantOpenError("cannot"), errors.LogIOError),
        (apsw.ConnectionClosedError("closed"), errors.LogClosedError),
        (apsw.IOError("disk"), errors.LogIOError),
        (apsw.BusyError("busy"), errors.LogIOError),
    ],
)
def test_every_error_is_mapped(error: apsw.Error, kind: type[errors.LogError]) -> None:
    """The type says what may be done, the sentence names the place."""
    path = Path("/data/headwater.db")
    made = translate(error, path)
    assert type(made) is kind
    assert "/data" in str(made)
    with pytest.raises(kind), mapped(path):
        raise error


def test_every_error_of_apsw_is_one_of_the_tree() -> None:
    """Whatever apsw raises, it is a LogError in the end."""
    for name in dir(apsw):
        kind = getattr(apsw, name)
        if isinstance(kind, type) and issubclass(kind, apsw.Error):
            assert isinstance(translate(kind("x"), Path("/x/y")), errors.LogError), name
