"""The SQL of claims: all that a process has claimed, in one statement, however much it is.

A process is told by the text under which the SDK claims; a worker of that id (``group/id``) is the recipient of what it
claims, and a process that listens nowhere claims for none.
"""

from collections.abc import Callable, Iterable

import msgspec

from local_server.store.database import Database

MINE = "process = :process AND state = 'CLAIMED'"
ENDLESS, LONGEST = 2**61, 2**62  # ms: a ttl above the one gives a lease of the other, which no sum overflows


class Claims:
    """Over the connection of the store; reading takes 1 µs a claim, writing 2."""

    def __init__(self, db: Database, write: Callable[[str, dict[str, object]], None]) -> None:
        """Take a connection, and what writes what needs no sync of its own."""
        self._db, self._write = db, write

    def renew(self, process: str, mono: int, shortest: int, alive: Iterable[str]) -> tuple[int, int | None]:
        """Let every lease of a process begin anew.

        Args:
            process: whose leases.
            mono: the time, in ms of the monotonic clock.
            shortest: of a lease, in ms.
            alive: workers (``group/id``) whose leases are half as long again, as ``rules.tasks`` tells.

        Returns:
            how many there are, and the earliest of all deadlines, in ms of the monotonic clock.
        """
        self._write(
            f"""UPDATE tasks SET deadline = :mono + CASE WHEN ttl > {ENDLESS} THEN {LONGEST}
                WHEN ttl + ttl / 2 > :shortest AND recipient IN (SELECT value ->> 0 FROM json_each(:alive))
                    THEN ttl + ttl / 2
                WHEN ttl > :shortest THEN ttl ELSE :shortest END WHERE {MINE}""",
            {
                "process": process, "mono": mono, "shortest": shortest,
                "alive": msgspec.json.encode([[name] for name in alive]).decode(),
            },
        )  # fmt: skip
        sql = f"SELECT count(*), (SELECT min(deadline) FROM tasks WHERE deadline IS NOT NULL) FROM tasks WHERE {MINE}"
        count, earliest = self._db.execute(sql, {"process": process}).fetchone()
        return count, earliest

    def shorten(self, process: str, recipient: str, deadline: int) -> None:
        """Let no lease of a worker last longer."""
        self._write(
            f"UPDATE tasks SET deadline = :deadline WHERE {MINE} AND recipient = :recipient AND deadline > :deadline",
            {"process": process, "recipient": recipient, "deadline": deadline},
        )

    def own(self, process: str, recipient: str) -> list[str]:
        """Give a worker what its process claimed while the server knew no stream of it; return the ids."""
        values: dict[str, object] = {"process": process, "recipient": recipient}
        rows = self._db.execute(f"SELECT id FROM tasks WHERE {MINE} AND recipient IS NULL", values).fetchall()
        if rows:
            self._write(f"UPDATE tasks SET recipient = :recipient WHERE {MINE} AND recipient IS NULL", values)
        return [row[0] for row in rows]

    def counters(self, process: str, recipient: str) -> dict[str, int]:
        """Return the counters of what a worker has claimed, by the ids of the tasks, the oldest first."""
        sql = f"SELECT id, counter FROM tasks WHERE {MINE} AND recipient = :recipient ORDER BY sort"
        return dict(self._db.execute(sql, {"process": process, "recipient": recipient}).fetchall())

    def created_claimed(self, process: str, recipient: str, since: int) -> list[str]:
        """Return those tasks that were claimed as they were created, after ``since`` (ms since the epoch).

        Only so can a process claim before its stream has opened: it is sent nothing yet.
        """
        rows = self._db.execute(
            f"""SELECT id FROM tasks
                WHERE {MINE} AND recipient = :recipient AND claimed_on = created_on AND created_on >= :since""",
            {"process": process, "recipient": recipient, "since": since},
        )
        return [row[0] for row in rows]
