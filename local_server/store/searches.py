"""The SQL of searches: by a pattern for the id, by state, by tags; from the newest on, or by the index of ids."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from local_server.model import Promise, PromiseState, Schedule
from local_server.store.database import Database
from local_server.store.rows import PROMISE, SCHEDULE, as_promise, as_schedule

SLICE = "sort < :below AND sort >= :below - :depth"
HAS_TAGS = """(SELECT count(*) FROM json_each(tags) AS found
        WHERE (found.key, found.value) IN (SELECT key, value FROM json_each(:wanted)))
        = (SELECT count(*) FROM json_each(:wanted))"""  # which reads the tags once, however many are wanted
# SQLite plans a statement anew at each use where LIKE has a parameter by itself, which takes longer than to run it.
FITS = "id LIKE :like || '' ESCAPE '\\'"
MATCHES = f"""{FITS} AND (CAST(:wanted AS TEXT) IS NULL OR {HAS_TAGS})"""
IN_STATE = "(:any OR state IN (:s0, :s1, :s2))"
IDS = "id >= :first AND id < :end"


def like(pattern: str) -> str:
    """Turn the wire's pattern, in which only * is special, into one for LIKE ... ESCAPE."""
    for special in "\\%_":
        pattern = pattern.replace(special, "\\" + special)
    return pattern.replace("*", "%")


class Wanted(NamedTuple):
    """What is searched for.

    Attributes:
        pattern: of the id; * stands for any characters, and upper and lower case of ASCII are the same.
        states: one of these; none means any.
        tags: a JSON object of those that must be there, with these values.
    """

    pattern: str
    states: tuple[PromiseState, ...] = ()
    tags: str | None = None

    def values(self) -> dict[str, Any]:
        """Return the parameters of MATCHES and IN_STATE."""
        states = {f"s{i}": self.states[i] if i < len(self.states) else None for i in range(3)}
        return {"like": like(self.pattern), "wanted": self.tags, "any": not self.states, **states}


class Searches:
    """Searches over the connection of the store. Each reads a slice, however few there are that match."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def promises(self, wanted: Wanted, below: int, depth: int, limit: int) -> Iterator[tuple[int, Promise]]:
        """Yield (sort, promise) of at most ``limit`` matches among the ``depth`` newest below the sort ``below``."""
        rows = self._db.execute(
            f"""SELECT sort, {PROMISE} FROM promises WHERE {SLICE} AND {MATCHES} AND {IN_STATE}
                ORDER BY sort DESC LIMIT :limit""",
            wanted.values() | {"below": below, "depth": depth, "limit": limit},
        )
        return ((row[0], as_promise(row[1:])) for row in rows)

    def schedules(self, wanted: Wanted, below: int, depth: int, limit: int) -> Iterator[tuple[int, Schedule]]:
        """Yield (sort, schedule), as for promises; these have no state."""
        rows = self._db.execute(
            f"SELECT sort, {SCHEDULE} FROM schedules WHERE {SLICE} AND {MATCHES} ORDER BY sort DESC LIMIT :limit",
            wanted.values() | {"below": below, "depth": depth, "limit": limit},
        )
        return ((row[0], as_schedule(row[1:])) for row in rows)

    def any_id(self, first: str, end: str) -> bool:
        """Tell whether there is a promise with an id from ``first`` to before ``end``."""
        found = self._db.execute(f"SELECT 1 FROM promises WHERE {IDS} LIMIT 1", {"first": first, "end": end})
        return found.fetchone() is not None

    def ids(self, wanted: Wanted, first: str, end: str, depth: int, sorts: range) -> tuple[str | None, list[int]]:
        """Return the sorts of promises that match, among the ``depth`` last ids from ``first`` to before ``end``.

        Of these, only such as are in ``sorts``. Also return the id before which to go on; None: that was all.
        """
        ids = {"first": first, "end": end}
        sql = f"SELECT id FROM promises WHERE {IDS} ORDER BY id DESC LIMIT 1 OFFSET :depth"
        row = self._db.execute(sql, ids | {"depth": depth - 1}).fetchone()
        on = row[0] if row else None
        # By +sort no index is chosen: few of all that are in this range of sorts are in that of ids.
        rows = self._db.execute(
            f"""SELECT sort FROM promises WHERE {IDS} AND +sort >= :above AND +sort < :below
                AND {MATCHES} AND {IN_STATE}""",
            wanted.values() | ids | {"first": on or first, "above": sorts.start, "below": sorts.stop},
        )
        return on, [row[0] for row in rows]

    def pending(self, now: int, most: int) -> list[int] | None:
        """Return the sorts of all promises that are pending, and not to time out by now; None: these are too many."""
        sql = "SELECT sort FROM promises WHERE state = 'PENDING' AND timeout > :now LIMIT :limit"
        sorts = [row[0] for row in self._db.execute(sql, {"now": now, "limit": most + 1})]
        return sorts if len(sorts) <= most else None

    def at(self, wanted: Wanted, sorts: list[int]) -> Iterator[tuple[int, Promise]]:
        """Yield (sort, promise) of those that match, among these sorts."""
        sql = f"SELECT {PROMISE} FROM promises WHERE sort = :sort AND {MATCHES} AND {IN_STATE}"
        for sort in sorts:
            if row := self._db.execute(sql, wanted.values() | {"sort": sort}).fetchone():
                yield sort, as_promise(row)
