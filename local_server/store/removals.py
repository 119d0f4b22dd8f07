"""The SQL of removal: what uses a promise and what it uses, and everything that is kept about one promise."""

from typing import NamedTuple

from local_server.model import PromiseState, invoke_id, notify_id, resume_id
from local_server.store.database import Database


class Removable(NamedTuple):
    """A promise, as far as its removal depends on it."""

    sort: int
    id: str
    state: PromiseState
    completed_on: int | None


class Root(NamedTuple):
    """A promise that no function created, as far as its age counts; times in ms since the epoch."""

    sort: int
    id: str
    created_on: int
    completed_on: int | None


class Removals:
    """Over the connection of the store. Every statement finds its rows by an index, and reads as many as it is told."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.walked = 0  # promises that were looked at on the way up from others, in all

    # what there is

    def ids(self, first: str, after: str, limit: int) -> list[str]:
        """Return ids from ``first`` on that come after ``after``, in their order."""
        sql = "SELECT id FROM promises WHERE id >= :first AND id > :after ORDER BY id LIMIT :limit"
        return [row[0] for row in self._db.execute(sql, {"first": first, "after": after, "limit": limit})]

    def promise(self, promise_id: str) -> Removable | None:
        """Return a promise, as far as it is needed here."""
        sql = "SELECT sort, id, state, completed_on FROM promises WHERE id = :id"
        row = self._db.execute(sql, {"id": promise_id}).fetchone()
        return row and Removable(*row)

    def parent(self, promise_id: str) -> str | None:
        """Return the promise whose function created this one, if it is there."""
        sql = "SELECT id FROM promises WHERE id = (SELECT parent FROM promises WHERE id = :id)"
        found: tuple[str] | None = self._db.execute(sql, {"id": promise_id}).fetchone()
        return found[0] if found else None

    def sharers(self, promise_id: str, after: str, limit: int) -> list[str]:
        """Return further promises whose functions asked for this one and that are there, by their ids."""
        rows = self._db.execute(
            """SELECT s.parent FROM shared_children s JOIN promises p ON p.id = s.parent
                WHERE s.child = :id AND s.parent > :after ORDER BY s.parent LIMIT :limit""",
            {"id": promise_id, "after": after, "limit": limit},
        )
        return [row[0] for row in rows]

    def below(self, promise_id: str, after: int, limit: int) -> list[Removable]:
        """Return what the function of a promise created, behind the sort ``after``, the oldest first."""
        rows = self._db.execute(
            """SELECT sort, id, state, completed_on FROM promises
                WHERE parent = :id AND sort > :after ORDER BY sort LIMIT :limit""",
            {"id": promise_id, "after": after, "limit": limit},
        )
        return [Removable(*row) for row in rows]

    def root(self, promise_id: str) -> str | None:
        """Return the uppermost promise above this one, by those that created each other; None if it is not there."""
        found: tuple[str] | None = self._db.execute(
            """WITH RECURSIVE above(id, parent) AS (
                    SELECT id, parent FROM promises WHERE id = :id
                    UNION SELECT p.id, p.parent FROM above JOIN promises p ON p.id = above.parent)
                SELECT id FROM above WHERE NOT EXISTS (SELECT 1 FROM promises p WHERE p.id = above.parent)""",
            {"id": promise_id},
        ).fetchone()
        return found[0] if found else None

    def above_sharers(self, promise_id: str, last: str) -> list[tuple[str, str | None]]:
        """Return (id, parent) of the sharers of a promise up to ``last`` and of all above them, up to the promise."""
        rows = self._db.execute(
            """WITH RECURSIVE above(id, parent) AS (
                    SELECT p.id, p.parent FROM shared_children s JOIN promises p ON p.id = s.parent
                        WHERE s.child = :id AND s.parent <= :last
                    UNION SELECT p.id, p.parent FROM above JOIN promises p ON p.id = above.parent WHERE above.id <> :id)
                SELECT id, parent FROM above""",
            {"id": promise_id, "last": last},
        ).fetchall()
        self.walked += len(rows)
        return rows

    def roots(self, after: int, limit: int) -> list[Root]:
        """Return roots behind the sort ``after``, the oldest first."""
        rows = self._db.execute(
            """SELECT sort, id, created_on, completed_on FROM promises
                WHERE parent IS NULL AND sort > :after ORDER BY sort, id LIMIT :limit""",
            {"after": after, "limit": limit},
        )
        return [Root(*row) for row in rows]

    def follow_ups(self) -> set[str]:
        """Return the completed promises that are still to be followed up."""
        return {row[0] for row in self._db.execute("SELECT promise FROM unsettled")}

    # what changes

    def remove_tasks(self, promise_id: str, limit: int) -> list[str | None]:
        """Remove tasks of a promise, and their lost claims.

        Returns:
            the worker (``group/id``) that each was sent to last, None for none; ``limit`` of them: there may be more.
        """
        values: dict[str, str | int] = {"id": promise_id, "invoke": invoke_id(promise_id), "limit": limit}
        for name, first in (("resume", resume_id(promise_id, "")), ("notify", notify_id(promise_id, ""))):
            values |= {name: first, f"{name}_end": first[:-1] + ";"}
        tasks = self._db.execute(
            """DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE id = :invoke
                UNION ALL SELECT id FROM tasks WHERE id >= :resume AND id < :resume_end AND root = :id
                UNION ALL SELECT id FROM tasks WHERE id >= :notify AND id < :notify_end AND root = :id LIMIT :limit)
                RETURNING id, counter, recipient""",
            values,
        ).fetchall()
        for task_id, counter, _ in tasks:
            if counter > 1:  # with each loss it moves on
                self._db.execute("DELETE FROM lost_claims WHERE task = :task", {"task": task_id})
        return [recipient for _, _, recipient in tasks]

    def remove(self, promise_id: str) -> None:
        """Remove a promise that has no tasks any more, and who is to be told; note it as removed."""
        values = {"id": promise_id}
        self._db.execute("DELETE FROM callbacks WHERE promise = :id", values)
        self._db.execute("DELETE FROM shared_children WHERE child = :id", values)
        self._db.execute("DELETE FROM promises WHERE id = :id", values)
        self._db.execute("UPDATE uploads SET promise = NULL WHERE promise = :id", values)
        self._db.execute("INSERT INTO removed VALUES (:id) ON CONFLICT DO NOTHING", values)

    def removed(self) -> str | None:
        """Return a removed promise below which something may be left."""
        found: str | None = self._db.execute("SELECT min(promise) FROM removed").fetchone()[0]
        return found

    def cut_off(self, promise_id: str, limit: int) -> int:
        """Forget that the function of a removed promise asked for what others had created; return how many of these."""
        rows = self._db.execute(
            "SELECT child FROM shared_children WHERE parent = :id LIMIT :limit", {"id": promise_id, "limit": limit}
        ).fetchall()
        for (child,) in rows:
            edge = {"parent": promise_id, "child": child}
            self._db.execute("DELETE FROM shared_children WHERE parent = :parent AND child = :child", edge)
            self.call_off(promise_id, child)
        return len(rows)

    def call_off(self, parent: str, child: str) -> None:
        """Forget that the function of a removed promise waits for another promise."""
        edge = {"child": child, "id": resume_id(parent, child)}
        self._db.execute("DELETE FROM callbacks WHERE promise = :child AND id = :id", edge)

    def forget(self, promise_id: str) -> None:
        """Note that nothing is left below a removed promise."""
        self._db.execute("DELETE FROM removed WHERE promise = :id", {"id": promise_id})

    def adopt(self, promise_id: str, parent: str | None) -> None:
        """Give a promise to another that asked for it, too; None: it is a root from now on."""
        edge = {"id": promise_id, "parent": parent}
        self._db.execute("UPDATE promises SET parent = :parent WHERE id = :id", edge)
        self._db.execute("DELETE FROM shared_children WHERE parent = :parent AND child = :id", edge)
