"""A memory in memory, as plain as can be: what the sources ask of one, and what the log's is held against."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.core.memory import Kept, MemoryChange, Row, unpack_numbers, unpack_rows


class Recalled:
    """Rows by number. `apply` changes it as a commit would; what is asked is that of the last one."""

    def __init__(self) -> None:
        self.items: dict[int, Row] = {}
        self.sightings: dict[int, bytes] = {}
        self.missing = b""
        self.commits = 0

    def apply(self, change: MemoryChange | None) -> None:
        """Commit a change."""
        if change is None:
            return
        self.commits += 1
        if change.anew:
            self.items.clear()
            self.sightings.clear()
            self.missing = b""
        for number in unpack_numbers(change.gone):
            del self.items[number]
        for packed in change.rows:
            for row in unpack_rows(packed):
                self.items[row[0]] = row
        for number in sorted(self.items)[: change.drop]:
            del self.items[number]
        if change.settled:
            self.sightings.clear()
        if change.seen:
            self.sightings[change.part] = change.seen
        if change.missed is not None:
            self.missing = change.missed
        keys = [row[1] for row in self.items.values() if row[1]]
        assert len(keys) == len(set(keys)), "a key is there twice"

    def _by_key(self) -> dict[bytes, Row]:
        return {row[1]: row for row in self.items.values() if row[1]}

    def salt(self) -> bytes:
        """Return no chance."""
        return b"a pinch of salt."

    def compare(self, sightings: Sequence[bytes]) -> list[int | None]:
        """See Recall."""
        known = self._by_key()
        found: list[int | None] = []
        for sighting in sightings:
            row = known.get(sighting[8:])
            found.append(None if row is None else row[0] if row[2] == sighting[:8] else -1 - row[0])
        return found

    def find(self, keys: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """See Recall."""
        known = self._by_key()
        return [(known[key][0], int(known[key][2])) if key in known else None for key in keys]

    def rows(self, numbers: Sequence[int]) -> dict[int, Kept]:
        """See Recall."""
        return {number: Kept(*self.items[number][1:]) for number in numbers if number in self.items}

    def unseen(self, marks: bytes | bytearray, most: int) -> list[int]:
        """See Recall."""
        known = sorted((row[1], number) for number, row in self.items.items() if row[1])
        return [number for _, number in known if number < len(marks) and not marks[number]][:most]

    def vacant(self, after: int, most: int) -> list[int]:
        """See Recall."""
        return sorted(number for number, row in self.items.items() if not row[1] and number > after)[:most]

    def seen(self) -> list[bytes]:
        """See Recall."""
        return [self.sightings[part] for part in sorted(self.sightings)]

    def missed(self) -> bytes:
        """See Recall."""
        return self.missing

    def older(self, than: int) -> int:
        """See Recall."""
        count = 0
        for number in sorted(self.items):
            if int(self.items[number][2]) >= than:
                break
            count += 1
        return count
