"""Long strings of values, stored in parts: no turn writes or reads much of one, whatever its length.

In the JSON of the value a marker stands in place of such a string: between two characters that JSON never holds as they
are, the ids of its parts and their size. Parts are JSON, too: the inside of a string, in ASCII, as it goes out.

Parts are stored before the value is, in turns of their own, as an upload that has no owner yet. With the value the
upload becomes that of its promise. What never gets so far, and what its promise leaves, is removed a little at a time.
"""

import re
from collections.abc import Callable, Iterator

from local_server.store.database import Database

PART = 128 * 2**10  # bytes of JSON, six times as many at most when they are written in ASCII
UPLOAD = 2**20  # parts at most
REMOVED = 8  # parts in one turn, some milliseconds
_EDGE = b"\x01"  # of a marker
_MARKER = re.compile(rb"\x01(\d+):(\d+):(\d+)\x01")
_UNDER_WAY = ""  # in place of the id of a promise; NULL: there is no owner, nor will there be


def marker(parts: range, size: int) -> bytes:
    """Return what stands for a string that has these parts, with so many bytes in all."""
    return b"\x01%d:%d:%d\x01" % (parts.start, parts.stop, size)


def split(text: bytes) -> Iterator[bytes | range]:
    """Return JSON piece by piece: as it is, or the ids of parts that belong there."""
    at = 0
    for found in _MARKER.finditer(text):
        yield text[at : found.start()]
        yield range(int(found[1]), int(found[2]))
        at = found.end()
    yield text[at:]


def is_split(text: bytes) -> bool:
    """Tell whether there are parts that belong into JSON."""
    return _EDGE in text


def whole_size(text: bytes) -> int:
    """Return the bytes of JSON with its parts."""
    return len(text) + sum(int(found[3]) - len(found[0]) for found in _MARKER.finditer(text))


class Parts:
    """The parts in a database, and whose they are."""

    def __init__(self, db: Database, write: Callable[[str, dict[str, object]], None]) -> None:
        """Take a connection, and what writes what needs no sync of its own: the value that comes is synced."""
        self._db, self._write = db, write

    def begin(self, upload: int) -> None:
        """Begin an upload, whose parts have the ids from its own on."""
        self._write("INSERT INTO uploads VALUES (:id, :promise)", {"id": upload, "promise": _UNDER_WAY})

    def add(self, part: int, text: str) -> None:
        """Add a part."""
        self._write("INSERT INTO parts VALUES (:id, :text)", {"id": part, "text": text})

    def part(self, part: int) -> str | None:
        """Return a part, None if it is there no longer."""
        row: tuple[str] | None = self._db.execute("SELECT text FROM parts WHERE id = :id", {"id": part}).fetchone()
        return row and row[0]

    def is_under_way(self, upload: int) -> bool:
        """Tell whether an upload has begun and has no owner yet."""
        sql = "SELECT 1 FROM uploads WHERE id = :id AND promise = :under_way"
        return self._db.execute(sql, {"id": upload, "under_way": _UNDER_WAY}).fetchone() is not None

    def give(self, upload: int, promise_id: str | None) -> None:
        """Give an upload to a promise, or to nobody, if it is under way."""
        sql = "UPDATE uploads SET promise = :promise WHERE id = :id AND promise = :under_way"
        self._db.execute(sql, {"id": upload, "promise": promise_id, "under_way": _UNDER_WAY})

    def end_uploads(self) -> None:
        """Give all that is under way to nobody: it was so in an earlier run of the server."""
        self._db.execute("UPDATE uploads SET promise = NULL WHERE promise = :under_way", {"under_way": _UNDER_WAY})

    def remove_some(self) -> bool:
        """Remove parts that are nobody's; return whether there may be more."""
        row = self._db.execute("SELECT min(id) FROM uploads WHERE promise IS NULL").fetchone()
        if row[0] is None:
            return False
        upload = {"id": row[0], "end": row[0] + UPLOAD}
        found = self._db.execute(
            """DELETE FROM parts WHERE id IN (SELECT id FROM parts WHERE id >= :id AND id < :end LIMIT :limit)
                RETURNING 1""",
            upload | {"limit": REMOVED},
        ).fetchall()
        if len(found) < REMOVED:
            self._db.execute("DELETE FROM uploads WHERE id = :id", {"id": row[0]})
        return True
