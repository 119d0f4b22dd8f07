"""The store: the SQL of the rules, over one connection that only the loop's thread uses.

Rows become the records of ``model`` here. No method commits: the engine opens and ends every transaction.

What lasts and what passes: a transaction is synced to the disk before ``commit`` returns, unless all it wrote would
come again by itself: a message was sent, a task claimed, a lease renewed, a part of a coming value stored, or a promise
timed out for which nobody waits. A process that is killed loses none of that, the next sync takes it along; ``keep``
brings one about. A power cut may undo the last of it, from the end: the task is offered again, the promise times out
again. What ends or loses a task lasts, so that no counter is given twice, and heartbeats keep no task that has ended.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from local_server.model import Callback, Promise, Schedule, Task
from local_server.store.claims import Claims
from local_server.store.database import Database
from local_server.store.parts import Parts
from local_server.store.removals import Removals
from local_server.store.rows import (
    CALLBACK,
    PROMISE,
    SCHEDULE,
    TASK,
    as_callback,
    as_promise,
    as_schedule,
    as_task,
    parameters,
)
from local_server.store.sqlite import connect

# Of a task that is stored, these columns change.
CHANGING = ("state", "counter", "process", "ttl", "deadline", "not_before", "recipient", "waits_for", "claimed_on",
            "completed_on")  # fmt: skip
SELECT_PROMISE = f"SELECT {PROMISE} FROM promises WHERE id = :id"
SELECT_TASK = f"SELECT {TASK} FROM tasks WHERE id = :id"
INSERT_PROMISE = f"INSERT INTO promises ({PROMISE}, parent) VALUES ({parameters(Promise)}, :parent)"
INSERT_CALLBACK = f"""INSERT INTO callbacks ({CALLBACK}) VALUES ({parameters(Callback)})
    ON CONFLICT DO NOTHING RETURNING 1"""
INSERT_TASK = f"INSERT INTO tasks ({TASK}) VALUES ({parameters(Task)})"
INSERT_SCHEDULE = f"INSERT INTO schedules ({SCHEDULE}) VALUES ({parameters(Schedule)})"
UPDATE_TASK = f"UPDATE tasks SET {', '.join(f'{name} = :{name}' for name in CHANGING)} WHERE id = :id"
HELD = {"ENQUEUED", "CLAIMED"}  # a task that is sent or claimed
LIVE = "state IN ('INIT', 'ENQUEUED', 'CLAIMED')"


class Store:
    """Promises, callbacks, tasks and schedules in one database; README.md lists which event asks for which method."""

    def __init__(self, where: Path | Database | None) -> None:
        """Open or create the database.

        Args:
            where: an SQLite file; None: SQLite in memory; or a connection, with our tables.

        Raises:
            StoreError: the file cannot be used; the message says why.
        """
        self.db: Database = connect(where) if where is None or isinstance(where, Path) else where
        self.removals = Removals(self.db)
        self.parts = Parts(self.db, self._pass)
        self.claims = Claims(self.db, self._pass)
        self._before = 0  # changes at the beginning of the transaction
        self._passing = 0  # those since then that need no sync of their own
        self._lasting = False  # something that lasts was committed, or is about to be
        self.behind = False  # something was committed and not synced

    def close(self) -> None:
        """Close the database; what is committed is in the one file then."""
        self.db.close()

    def begin(self) -> None:
        """Open a transaction, in place of one that is still open."""
        self.rollback()
        self._before, self._passing = self.changes, 0
        self.db.begin()

    def commit(self) -> None:
        """Make the transaction durable, unless all it wrote may pass.

        Raises:
            StoreMovedError: it wrote something, and the file was deleted or replaced.
            StoreUnsyncedError: it is committed, and may be lost; the next one syncs both.
        """
        if self.wrote:
            self.db.check()
            self._lasting |= self.changes - self._before > self._passing
        if self.db.commit(lasting=self._lasting):
            self._lasting = self.behind = False
        elif self.wrote:
            self.behind = True

    def keep(self) -> None:
        """Let this transaction be synced, and with it all before, whatever it writes."""
        self._lasting = True

    def _pass(self, sql: str, values: dict[str, Any]) -> None:
        """Write what needs no sync of its own."""
        before = self.changes
        self.db.execute(sql, values)
        self._passing += self.changes - before

    def rollback(self) -> None:
        """Take the transaction back, unless the database has done so itself."""
        if self.db.in_transaction:
            self.db.rollback()

    def unsure(self) -> bool:
        """Tell whether the last fault may be that of another request of the turn; the next turn will tell which."""
        return self.db.unsure()

    def shrink(self) -> bool:
        """Give a few unused pages of the file back; return whether there are more."""
        return self.db.shrink()

    @property
    def wrote(self) -> bool:
        """Whether the transaction, or the last one if it has ended, has written a row."""
        return self.changes != self._before

    @property
    def changes(self) -> int:
        """How many rows this run of the server has written."""
        return self.db.total_changes

    def _one(self, sql: str, **values: object) -> Any:
        return self.db.execute(sql, values).fetchone()

    # promises

    def promise(self, promise_id: str) -> Promise | None:
        """Return a promise, as it is stored."""
        row = self._one(SELECT_PROMISE, id=promise_id)
        return row and as_promise(row)

    def insert_promise(self, promise: Promise, parent: str | None) -> None:
        """Add a pending promise."""
        self.db.execute(INSERT_PROMISE, asdict(promise) | {"parent": parent})

    def complete_promise(self, promise: Promise, *, by_clock: bool) -> None:
        """Write the completion; one by the clock may pass, since it would come again."""
        (self._pass if by_clock else self.db.execute)(
            """UPDATE promises SET state = :state, value = :value, completed_on = :completed_on,
                idempotency_key_for_complete = :idempotency_key_for_complete WHERE id = :id""",
            asdict(promise),
        )

    def share_child(self, parent: str, child: str) -> None:
        """Note that the function behind ``parent`` asked for a promise that is another's child, or a root."""
        self.db.execute(
            """INSERT INTO shared_children SELECT :parent, id FROM promises
                WHERE id = :child AND id <> :parent AND parent IS DISTINCT FROM :parent ON CONFLICT DO NOTHING""",
            {"parent": parent, "child": child},
        )

    def due_promises(self, now: int, limit: int) -> list[Promise]:
        """Return pending promises whose time-out has passed, the earliest first."""
        rows = self.db.execute(
            f"SELECT {PROMISE} FROM promises WHERE state = 'PENDING' AND timeout <= :now ORDER BY timeout LIMIT :limit",
            {"now": now, "limit": limit},
        )
        return [as_promise(row) for row in rows]

    def last(self, table: str) -> int:
        """Return the highest sort in ``promises`` or ``schedules``, 0 when it is empty."""
        return int(self._one(f"SELECT coalesce(max(sort), 0) FROM {table}")[0])

    # callbacks

    def insert_callback(self, callback: Callback) -> bool:
        """Add it; return False when the promise has one of that id, which then stays as it is."""
        return bool(self.db.execute(INSERT_CALLBACK, asdict(callback)).fetchall())

    def waits(self, root: str) -> bool:
        """Tell whether the function of a promise waits for another; reads all who wait, so only for a rare question."""
        return self._one("SELECT 1 FROM callbacks WHERE root = :root AND kind = 'resume'", root=root) is not None

    def take_callbacks(self, promise_id: str, limit: int) -> list[Callback]:
        """Remove callbacks of a promise, the first by their ids; return them."""
        rows = self.db.execute(
            f"SELECT {CALLBACK} FROM callbacks WHERE promise = :promise ORDER BY id LIMIT :limit",
            {"promise": promise_id, "limit": limit},
        ).fetchall()
        callbacks = [as_callback(row) for row in rows]
        if callbacks:
            self.db.execute(
                "DELETE FROM callbacks WHERE promise = :promise AND id <= :last",
                {"promise": promise_id, "last": callbacks[-1].id},
            )
        return callbacks

    def add_follow_up(self, promise_id: str) -> None:
        """Note a completed promise with more tasks or callbacks than one turn takes, in the table ``unsettled``."""
        self.db.execute("INSERT INTO unsettled VALUES (:id) ON CONFLICT DO NOTHING", {"id": promise_id})

    def next_follow_up(self) -> str | None:
        """Return a promise to be followed up."""
        found: str | None = self._one("SELECT min(promise) FROM unsettled")[0]
        return found

    def remove_follow_up(self, promise_id: str) -> None:
        """Note that it has been followed up to the end."""
        self.db.execute("DELETE FROM unsettled WHERE promise = :id", {"id": promise_id})

    # tasks

    def task(self, task_id: str) -> Task | None:
        """Return a task."""
        row = self._one(SELECT_TASK, id=task_id)
        return row and as_task(row)

    def free_task_id(self, taken: str) -> str:
        """Return an id that no task has, in place of one that is taken: with a colon behind the last of that kind."""
        sql = "SELECT max(id) FROM tasks WHERE id >= :first AND id < :end"
        return f"{self._one(sql, first=f'{taken}:', end=f'{taken};')[0] or taken}:"

    def insert_task(self, task: Task) -> None:
        """Add a task."""
        self.db.execute(INSERT_TASK, asdict(task))

    def update_task(self, task: Task) -> None:
        """Write all that changes in a task."""
        (self._pass if task.state in HELD else self.db.execute)(UPDATE_TASK, asdict(task))

    def insert_lost_claim(self, task: Task, now: int, reason: str) -> None:
        """Keep the claim of a task that is lost, before it is given to another."""
        self.db.execute(
            "INSERT INTO lost_claims VALUES (:id, :counter, :recipient, :claimed_on, :now, :reason)",
            asdict(task) | {"now": now, "reason": reason},
        )

    def _tasks(self, where: str, **values: object) -> list[Task]:
        return [as_task(row) for row in self.db.execute(f"SELECT {TASK} FROM tasks WHERE {where}", values)]

    def live_tasks(self, root: str, limit: int, but: str = "") -> list[Task]:
        """Return the unfinished tasks of a root promise but those of one kind, the oldest first."""
        where = f"root = :root AND {LIVE} AND kind <> :but ORDER BY sort LIMIT :limit"
        return self._tasks(where, root=root, but=but, limit=limit)

    def running(self, root: str, waiting: str) -> bool:
        """Tell whether another task of that root than the waiting one is sent or claimed."""
        sql = f"SELECT 1 FROM tasks WHERE root = :root AND {LIVE} AND state <> 'INIT' AND id <> :waiting LIMIT 1"
        return self._one(sql, root=root, waiting=waiting) is not None

    def next_of_root(self, root: str) -> Task | None:
        """Return the oldest waiting task of a root promise."""
        row = self._one(
            f"""SELECT {TASK} FROM tasks WHERE root = :root AND {LIVE} AND state = 'INIT' AND waits_for IS NULL
                AND not_before IS NULL ORDER BY sort LIMIT 1""",
            root=root,
        )
        return row and as_task(row)

    def sent_or_claimed(self) -> list[Task]:
        """Return all tasks that somebody holds: for the start of a server."""
        return self._tasks(f"{LIVE} AND state <> 'INIT'")

    def waiting_for(self, address: str, limit: int) -> list[Task]:
        """Return tasks for which no worker was found at this address, the oldest first."""
        return self._tasks("waits_for = :address ORDER BY sort LIMIT :limit", address=address, limit=limit)

    def waiting_notifications(self, address: str, limit: int) -> list[Task]:
        """Return notifications that wait for one client, the oldest first."""
        where = "waits_for = :address AND kind = 'notify' ORDER BY sort LIMIT :limit"
        return self._tasks(where, address=address, limit=limit)

    def reset_notifications(self, deadline: int) -> None:
        """Give every waiting notification this deadline: the monotonic clock of another run means nothing."""
        sql = "UPDATE tasks SET deadline = :deadline WHERE deadline IS NOT NULL AND state = 'INIT'"
        self.db.execute(sql, {"deadline": deadline})

    def due_tasks(self, mono: int, limit: int) -> list[Task]:
        """Return tasks whose deadline has passed."""
        return self._tasks("deadline <= :mono ORDER BY deadline LIMIT :limit", mono=mono, limit=limit)

    def delayed_tasks(self, now: int, limit: int) -> list[Task]:
        """Return tasks whose delay is over."""
        return self._tasks("not_before <= :now ORDER BY not_before LIMIT :limit", now=now, limit=limit)

    def set_deadline(self, task_id: str, deadline: int) -> None:
        """Move the deadline of a task that is sent or claimed."""
        self._pass("UPDATE tasks SET deadline = :deadline WHERE id = :id", {"id": task_id, "deadline": deadline})

    def losses(self, task_id: str, reason: str) -> int:
        """Return how often a task was lost for a reason that begins so."""
        sql = "SELECT count(*) FROM lost_claims WHERE task = :id AND reason LIKE :reason"
        return int(self._one(sql, id=task_id, reason=f"{reason}%")[0])

    # schedules

    def schedule(self, schedule_id: str) -> Schedule | None:
        """Return a schedule."""
        row = self._one(f"SELECT {SCHEDULE} FROM schedules WHERE id = :id", id=schedule_id)
        return row and as_schedule(row)

    def insert_schedule(self, schedule: Schedule) -> None:
        """Add a schedule."""
        self.db.execute(INSERT_SCHEDULE, asdict(schedule))

    def advance_schedule(self, schedule_id: str, last_run_time: int, next_run_time: int) -> None:
        """Note a run."""
        self.db.execute(
            "UPDATE schedules SET last_run_time = :last, next_run_time = :next WHERE id = :id",
            {"id": schedule_id, "last": last_run_time, "next": next_run_time},
        )

    def delete_schedule(self, schedule_id: str) -> bool:
        """Remove it; return False when there is none of that id."""
        return bool(self.db.execute("DELETE FROM schedules WHERE id = :id RETURNING 1", {"id": schedule_id}).fetchall())

    def due_schedules(self, now: int, limit: int) -> list[Schedule]:
        """Return the schedules whose next run is due, the earliest first."""
        rows = self.db.execute(
            f"SELECT {SCHEDULE} FROM schedules WHERE next_run_time <= :now ORDER BY next_run_time LIMIT :limit",
            {"now": now, "limit": limit},
        )
        return [as_schedule(row) for row in rows]

    # processes and deadlines

    def processes(self, machine: str) -> Iterator[tuple[str, int, float]]:
        """Return (recipient, pid, started) of the workers whose process was known on this machine."""
        sql = "SELECT recipient, pid, started FROM processes WHERE machine = :machine"
        yield from self.db.execute(sql, {"machine": machine}).fetchall()

    def set_process(self, recipient: str, pid: int, started: float, machine: str) -> None:
        """Remember the process behind a worker."""
        self.db.execute(
            """INSERT INTO processes VALUES (:recipient, :pid, :started, :machine)
                ON CONFLICT (recipient) DO UPDATE SET pid = :pid, started = :started, machine = :machine""",
            {"recipient": recipient, "pid": pid, "started": started, "machine": machine},
        )

    def forget_process(self, recipient: str) -> None:
        """Forget it: it has ended."""
        self.db.execute("DELETE FROM processes WHERE recipient = :recipient", {"recipient": recipient})

    def earliest(self) -> tuple[int | None, int | None]:
        """Return the next due time in ms by the wall clock, and by the monotonic clock."""
        wall, mono = self._one(
            """SELECT min(at), (SELECT min(deadline) FROM tasks WHERE deadline IS NOT NULL) FROM (
                SELECT min(timeout) AS at FROM promises WHERE state = 'PENDING'
                UNION ALL SELECT min(not_before) FROM tasks WHERE not_before IS NOT NULL
                UNION ALL SELECT min(next_run_time) FROM schedules) AS due"""
        )
        return wall, mono
