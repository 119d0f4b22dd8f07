"""The SQL of the page: the roots, the call graph of one of them, one promise, and what waits.

Every statement finds its rows by an index, and reads at most as many as it is told. Nothing here writes.
"""

import json
from collections.abc import Iterable
from typing import Any

from local_server.model import DEATH, invoke_id, notify_id, resume_id
from local_server.store.database import Database, Row
from local_server.store.searches import FITS, IN_STATE, Wanted

SHOWN_PARAM = 4_096  # bytes of JSON; of larger parameters no function name is shown in lists
SHOWN_RESULT = 512  # likewise, of a value beside its promise
SHOWN_ERROR = 4_096  # likewise, of what a promise was rejected with
SHOWN_VALUE = 65_536  # in the details of one promise
FITTING = f"""promises INDEXED BY promises_roots WHERE parent IS NULL AND sort < :below AND sort >= :last
                    AND {FITS} AND {IN_STATE} AND (:any_time OR created_on >= :since)"""


class Queries:
    """Reads for people, over the connection of the store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def _rows(self, sql: str, **values: object) -> list[Row]:
        return self._db.named(sql, values)

    def roots(self, wanted: Wanted, since: int, below: int, depth: int, limit: int) -> tuple[int, list[Row]]:
        """Return roots, the newest first, and where to go on (0: nowhere).

        Args:
            wanted: which, whatever their tags.
            since: created at that time or later, ms since the epoch.
            below: look at those with a smaller sort only.
            depth: how many roots to look at.
            limit: how many to return at most.
        """
        last, end = self._floor(since, below, depth)
        found = self._rows(
            f"""SELECT sort, id, state, created_on, completed_on, timeout, tags,
                    CASE WHEN length(param) <= :shown THEN param END AS param,
                    CASE WHEN state NOT IN ('PENDING', 'RESOLVED') AND length(value) <= :error THEN value END AS value
                FROM {FITTING} ORDER BY sort DESC LIMIT :limit""",
            below=below, last=last, limit=limit, shown=SHOWN_PARAM, error=SHOWN_ERROR, **_filter(wanted, since),
        )  # fmt: skip
        return (found[-1]["sort"] if len(found) == limit else 0 if end else last), found

    def count(self, wanted: Wanted, since: int, below: int, depth: int, limit: int) -> tuple[int, int]:
        """Return how many roots there are, ``limit`` at most, and where to go on; the arguments are those of roots."""
        last, end = self._floor(since, below, depth)
        row = self._rows(
            f"SELECT count(*) AS roots FROM (SELECT 1 FROM {FITTING} LIMIT :limit) fitting",
            below=below, last=last, limit=limit, **_filter(wanted, since),
        )[0]  # fmt: skip
        return (0 if end else last), row["roots"]

    def _floor(self, since: int, below: int, depth: int) -> tuple[int, bool]:
        """Return the sort of the last of so many roots, and whether all that is wanted is at or above it."""
        floor = self._rows(
            """SELECT sort, created_on FROM promises INDEXED BY promises_roots WHERE parent IS NULL AND sort < :below
                ORDER BY sort DESC LIMIT 1 OFFSET :depth""",
            below=below, depth=depth - 1,
        )  # fmt: skip
        return (floor[0]["sort"], floor[0]["created_on"] < since) if floor else (0, True)

    def calls(self, parent: str, sort: int, child: str, limit: int) -> list[Row]:
        """Return what a promise asked for, behind a sort, and then what another had created before, behind an id.

        The latter is ``shared``.
        """
        return self._rows(
            """WITH call(shared, id) AS (
                    SELECT 0, id FROM (SELECT id FROM promises WHERE parent = :parent AND sort > :sort
                        ORDER BY sort LIMIT :limit) own
                    UNION ALL
                    SELECT 1, child FROM (SELECT child FROM shared_children WHERE parent = :parent AND child > :child
                        ORDER BY child LIMIT :limit) shared
                    LIMIT :limit)
                SELECT call.shared, p.sort, p.id, p.state, p.created_on, p.completed_on, p.timeout, p.tags,
                    CASE WHEN length(p.param) <= :param THEN p.param END AS param,
                    CASE WHEN length(p.value) <= CASE WHEN p.state = 'RESOLVED' THEN :value ELSE :error END
                        THEN p.value END AS value
                FROM call CROSS JOIN promises p ON p.id = call.id""",
            parent=parent, sort=sort, child=child, limit=limit,
            param=SHOWN_PARAM, value=SHOWN_RESULT, error=SHOWN_ERROR,
        )  # fmt: skip

    def unfinished(self, parent: str, looked_at: int, limit: int) -> list[Row]:
        """Return pending promises that a promise asked for, those first whose end it waits for (``awaited``).

        Only the ``looked_at`` newest calls are looked at, and as many of those that another had created before.
        """
        return self._rows(
            """WITH call(sort, id, state) AS (
                    SELECT * FROM (SELECT sort, id, state FROM promises WHERE parent = :parent
                        ORDER BY sort DESC LIMIT :looked_at) own
                    UNION ALL
                    SELECT p.sort, p.id, p.state FROM (SELECT child FROM shared_children WHERE parent = :parent
                        LIMIT :looked_at) shared CROSS JOIN promises p ON p.id = shared.child)
                SELECT id, (SELECT count(*) FROM callbacks c WHERE c.promise = call.id AND c.id = :waits || call.id)
                    AS awaited
                FROM call WHERE state = 'PENDING' ORDER BY awaited DESC, sort LIMIT :limit""",
            parent=parent, looked_at=looked_at, limit=limit, waits=resume_id(parent, ""),
        )  # fmt: skip

    def tasks_of(self, promises: Iterable[str], limit: int) -> list[Row]:
        """Return the tasks by which the functions of these promises were run."""
        return self._rows(
            """WITH one(id, invoke, first, last) AS
                    (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:promises))
                SELECT t.* FROM one CROSS JOIN tasks t ON t.id = one.invoke
                UNION ALL
                SELECT t.* FROM one CROSS JOIN tasks t ON t.id BETWEEN one.first AND one.last AND t.root = one.id
                LIMIT :limit""",
            promises=json.dumps([(one, invoke_id(one), *_range(resume_id(one, ""))) for one in promises]), limit=limit,
        )  # fmt: skip

    def lost(self, tasks: Iterable[tuple[str, int]]) -> list[Row]:
        """Return the claims of these tasks that were lost, each from a counter on, in their order."""
        return self._rows(
            """SELECT l.* FROM json_each(:tasks) one CROSS JOIN lost_claims l ON l.task = one.value ->> 0
                    AND l.counter >= CAST(one.value ->> 1 AS BIGINT)
                ORDER BY l.task, l.counter""",
            tasks=json.dumps(list(tasks)),
        )

    def losses(self, tasks: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return of each of these tasks how many claims were lost, and how many of them by the end of a worker."""
        rows = self._rows(
            """SELECT l.task, count(l.claimed_on) AS claims, count(CASE WHEN l.reason LIKE :death THEN 1 END) AS deaths
                FROM json_each(:ids) one CROSS JOIN lost_claims l ON l.task = one.value ->> 0 GROUP BY l.task""",
            ids=json.dumps([[one] for one in tasks]), death=f"{DEATH}%",
        )  # fmt: skip
        return {row["task"]: (row["claims"], row["deaths"]) for row in rows}

    def promise(self, promise_id: str) -> Row | None:
        """Return a promise; parameters and value only when they are not too large to be shown."""
        rows = self._rows(
            """SELECT sort, id, state, created_on, completed_on, timeout, parent, tags,
                    idempotency_key_for_create, idempotency_key_for_complete,
                    length(param) AS param_size, CASE WHEN length(param) <= :shown THEN param END AS param,
                    length(value) AS value_size, CASE WHEN length(value) <= :shown THEN value END AS value
                FROM promises WHERE id = :id""",
            id=promise_id, shown=SHOWN_VALUE,
        )  # fmt: skip
        return rows[0] if rows else None

    def callbacks(self, promise_id: str, limit: int) -> list[Row]:
        """Return who waits for a promise."""
        return self._rows(
            "SELECT kind, id, root, recv, created_on FROM callbacks WHERE promise = :id LIMIT :limit",
            id=promise_id, limit=limit,
        )  # fmt: skip

    def notifications(self, promise_id: str, limit: int) -> list[Row]:
        """Return the tasks by which clients hear of a promise's end."""
        first, last = _range(notify_id(promise_id, ""))
        return self._rows(
            "SELECT * FROM tasks WHERE id BETWEEN :first AND :last AND root = :id LIMIT :limit",
            first=first, last=last, id=promise_id, limit=limit,
        )  # fmt: skip

    def sharers(self, promise_id: str, limit: int) -> list[str]:
        """Return further promises whose functions asked for this one."""
        rows = self._rows(
            "SELECT parent FROM shared_children WHERE child = :id LIMIT :limit", id=promise_id, limit=limit
        )
        return [row["parent"] for row in rows]

    def tasks(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return tasks by their ids."""
        rows = self._rows(
            "SELECT t.* FROM json_each(:ids) one CROSS JOIN tasks t ON t.id = one.value ->> 0",
            ids=json.dumps([[one] for one in ids]),
        )
        return {row["id"]: row for row in rows}

    def waiting(self, queues: int, limit: int) -> list[tuple[str, int, int, bool]]:
        """Return (address, tasks, oldest creation in ms, whether there may be more tasks) of what waits for a worker.

        Notifications are left out: these wait for a client that has gone, and nothing stands still for them. At most
        ``queues`` addresses of each kind are looked at, and ``limit`` tasks of each, or a tenth where these are many.
        """
        found, left = [], 10 * limit
        for first, end in (("", "poll://uni@"), ("poll://uni@", "poll://uni@\U0010ffff")):
            at_least = "SELECT min(waits_for) AS queue FROM tasks WHERE waits_for >= :first AND waits_for < :end"
            queue = self._rows(at_least, first=first, end=end)[0]["queue"]
            for _ in range(queues):
                if queue is None:
                    break
                most = limit if left > 0 else limit // 10
                row: Any = self._rows(
                    """SELECT count(*) AS looked_at, count(since) AS tasks, min(since) AS since,
                            (SELECT min(waits_for) FROM tasks WHERE waits_for > :queue AND waits_for < :end) AS queue
                        FROM (SELECT CASE WHEN kind <> 'notify' THEN created_on END AS since FROM tasks
                            WHERE waits_for = :queue LIMIT :limit) AS them""",
                    queue=queue, end=end, limit=most,
                )[0]  # fmt: skip
                left -= row["looked_at"]
                if row["tasks"]:
                    found.append((queue, row["tasks"], row["since"], row["looked_at"] == most))
                queue = row["queue"]
        return found

    def deadly(self, limit: int, looked_at: int) -> list[Row]:
        """Return tasks that are held back since they have ended their workers: root, not_before, deaths and the last.

        Only ``looked_at`` tasks with a delay are looked at, those that are due next.
        """
        return self._rows(
            """SELECT * FROM (SELECT root, not_before, recipient, created_on, (SELECT count(*) FROM lost_claims l
                    WHERE l.task = t.id AND l.reason LIKE :death) AS deaths
                FROM (SELECT * FROM tasks WHERE not_before IS NOT NULL ORDER BY not_before LIMIT :looked_at) t
                WHERE counter > 1) AS retried WHERE deaths > 0 LIMIT :limit""",
            death=f"{DEATH}%", looked_at=looked_at, limit=limit,
        )  # fmt: skip


def _filter(wanted: Wanted, since: int) -> dict[str, object]:
    return {**wanted.values(), "since": since, "any_time": not since}


def _range(prefix: str) -> tuple[str, str]:
    """Return the first and the last id that begin with a prefix which ends in a colon."""
    return prefix, prefix[:-1] + ";"
