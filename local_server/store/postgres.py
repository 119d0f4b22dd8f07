"""A database of PostgreSQL. The store's SQL is SQLite's; what PostgreSQL says differently stands here.

What a turn writes is sent without waiting (pipeline mode): it waits for what it reads, and for its COMMIT. So the fault
of a statement may show in a later one. ``unsure`` tells that; the turn is then decided again, and each of its
statements is waited for.

One server serves a database, the others stand by. Who serves holds a lock that belongs to its connection, and all that
it writes goes over that connection: a server that loses it can write nothing any more, so two never serve at a time.
PostgreSQL, or a server that stands by, ends the connection of one that says nothing for SILENCE, since it is stopped,
or has vanished; a server says something every second. It takes its connection for lost when the other machine has not
confirmed for as long what it was sent, or has not answered for PATIENCE, which may be the fault of a slow disk.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from msgspec import Raw
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.generators import send
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from local_server.store import dialect, inspection
from local_server.store.database import Row
from local_server.store.dialect import MIGRATIONS, statement
from local_server.store.errors import StoreError, StoreLostError, UnstorableError, one_line

SILENCE = 4_000  # ms
PATIENCE = 15.0  # seconds
# Of every session, also before it serves: it may serve from one moment to the next. What a statement finds it finds by
# an index, however little there was in its table when it was prepared.
SESSION = f"""
SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off;
SET idle_session_timeout = {SILENCE}; SET idle_in_transaction_session_timeout = {SILENCE};
SET tcp_user_timeout = {SILENCE}
"""
# Of several hosts, the one that can be written to. What the URL says goes first.
CONNECTION = {
    "connect_timeout": SILENCE // 1_000, "target_session_attrs": "read-write", "tcp_user_timeout": SILENCE,
    "keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": SILENCE // 1_000 - 1, "client_encoding": "UTF8",
}  # fmt: skip
OLDEST = 140_000
STATEMENTS = 1_000  # that are kept prepared; there are about 100, some of them once for each type of parameter

# The two locks of a schema: one is held by the server that serves, the other is shared by all that are connected.
SERVES, CONNECTED = int.from_bytes(b"rsls"), int.from_bytes(b"rslc")
_HOLD = """FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = hashtext(current_schema())::oid
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
# A COMMIT may wait for a copy of the database, and its connection holds the lock although its server has given it up.
HOLDERS = f"""SELECT coalesce(application_name, 'a server of another user') || CASE
        WHEN wait_event = 'SyncRep' AND state_change < clock_timestamp() - interval '{SILENCE} ms'
        THEN ', whose COMMIT waits for a copy of the database,' ELSE '' END
    {_HOLD} ORDER BY backend_start"""
# PostgreSQL ends a silent connection by itself only between two transactions, or between what is synced within one.
END_SILENT = f"""SELECT pg_terminate_backend(pid) {_HOLD} AND wait_event = 'ClientRead'
    AND state_change < clock_timestamp() - interval '{SILENCE} ms'"""
TABLES = """SELECT table_name, string_agg(column_name, ' ' ORDER BY column_name COLLATE "C")
    FROM information_schema.columns WHERE table_schema = current_schema() GROUP BY table_name"""
MARK = "local_server"  # the table that tells the version of the others


class Rows:
    """The rows that a statement has found."""

    def __init__(self, rows: Sequence[Any] = ()) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        """Return the next one, None behind the last."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """Return all others."""
        return list(self._rows)


class _RawDumper(StrDumper):
    """JSON is stored as text."""

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


class _Connection(psycopg.Connection[Any]):
    """A connection on which nothing is waited for longer than PATIENCE, but for new tables."""

    patient = False

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait for an answer."""
        if self.patient:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_bounded(gen), *args, **options)
        except TimeoutError as error:
            self.close()
            raise psycopg.OperationalError(str(error)) from None


def _bounded(gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Hand through what a generator waits for; nothing comes in when the interval is over."""
    deadline, ready = time.monotonic() + PATIENCE, None
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield wanted
        if not ready and time.monotonic() > deadline:
            raise TimeoutError(f"no answer within {PATIENCE:.0f} s")


class Postgres:
    """A connection to the tables in the first schema of its search path; see ``database.Database``."""

    def __init__(self, url: str, name: str) -> None:
        """Connect.

        Args:
            url: ``postgresql://user@host:port/database``, or what else libpq takes.
            name: of this server, for people.

        Raises:
            StoreLostError: there is nobody, or this user may not connect, or nobody may write to it.
            StoreError: it is no database that can be used, or the URL makes no sense.
        """
        self.url = url
        self.in_transaction = False
        self.total_changes = 0
        self._careful = self._doubtful = False
        self._context: Any = None  # of the pipeline, once it serves
        try:
            given: dict[str, Any] = CONNECTION | conninfo_to_dict(url) | {"application_name": name[:63]}
        except psycopg.Error as error:
            raise StoreError(f"{url}: {one_line(error)}; expected postgresql://user@host:port/database") from None
        try:
            self._db = _Connection.connect(**given, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise StoreLostError(f"{url}: {one_line(error)}") from None
        self._db.prepared_max = STATEMENTS
        for kind, dumper in ((int, Int8Dumper), (str, StrDumper), (Raw, _RawDumper)):  # one type for each of ours
            self._db.adapters.register_dumper(kind, dumper)
        with self._faults():
            try:
                self._check()
            except StoreError:
                self._db.close()
                raise
            self._db.execute(SESSION)
            self._db.execute("SELECT pg_advisory_lock_shared(%s::int, hashtext(current_schema()))", [CONNECTED])

    # before it serves

    def _check(self) -> None:
        """Raise StoreError for what cannot be used."""
        if self._db.info.server_version < OLDEST:
            raise StoreError(
                f"{self.url}: found PostgreSQL {self._db.info.server_version // 10_000}; expected 14 or later"
            )
        pid, encoding, schema, only_reads = self._one("""SELECT pg_backend_pid(), current_setting('server_encoding'),
            current_schema(), current_setting('transaction_read_only')::bool""")
        if pid != self._db.info.backend_pid:
            raise StoreError(f"{self.url}: found a pooler in between; expected PostgreSQL itself, since the lock of "
                             "the server that serves belongs to one connection")  # fmt: skip
        if encoding != "UTF8":
            raise StoreError(f"{self.url}: found a database in {encoding}; expected one in UTF8")
        if schema is None:
            raise StoreError(f"{self.url}: found no schema of its search path; expected one, made with CREATE SCHEMA")
        if only_reads:  # a copy, of which the URL says that it will do
            raise StoreLostError(f"{self.url}: found a database that only reads; expected one that can be written to")

    def lead(self) -> bool:
        """Try to become the server that serves; return whether it is."""
        with self._faults():
            sql = "SELECT pg_try_advisory_lock(%s::int, hashtext(current_schema()))"
            return bool(self._one(sql, SERVES)[0])

    def leader(self) -> str:
        """Return the name of the server that serves, nothing if there is none; one that is silent is ended."""
        with self._faults():
            self._db.execute(END_SILENT, [SERVES])
            return str((self._one(HOLDERS, SERVES) or [""])[0])

    def servers(self) -> list[tuple[str, bool]]:
        """Return all servers of these tables by name, the one that serves first."""
        with self._faults():
            connected = [row[0] for row in self._db.execute(HOLDERS, [CONNECTED])]
        serves = self.leader()
        return [(name, name == serves) for name in sorted(connected, key=lambda name: name != serves)]

    def open(self) -> None:
        """Make the tables, or those of this version out of older ones; from now on the store may use it.

        Raises:
            StoreError: there are tables that are not ours, or of a newer version.
        """
        with self._faults():
            self._db.patient = True
            found, version = dict(self._db.execute(TABLES)), 1 + len(MIGRATIONS)
            ours = inspection.tables()
            with self._db.transaction():
                if MARK not in found:
                    self._refuse(found.keys() & ours.keys())
                    self._db.execute(dialect.schema())
                    self._db.execute("CREATE TABLE local_server AS SELECT %s AS version", [version])
                else:
                    self._migrate(self._version(found[MARK]), version)
                found = dict(self._db.execute(TABLES))
                self._refuse({name for name in ours if found.get(name) != ours[name]})
            self._context = self._db.pipeline()
            self._pipeline = self._context.__enter__()
        self._db.patient = False
        self._db.prepare_threshold = 0  # each statement at its first use
        self._tuples, self._dicts = self._db.cursor(), self._db.cursor(row_factory=dict_row)

    def _version(self, columns: str) -> int:
        row = self._one("SELECT version FROM local_server") if columns == "version" else None
        version = row[0] if row else None
        self._refuse(set() if isinstance(version, int) and version > 0 else {MARK})
        return version or 0

    def _migrate(self, found: int, version: int) -> None:
        if found > version:
            raise StoreError(f"{self.url}: found version {found} of the tables; expected at most {version}, which this "
                             "server writes: start the newer server, or give --db another schema")  # fmt: skip
        for sql in MIGRATIONS[found - 1 :]:
            self._db.execute(sql)
        if found < version:  # else nothing is written, and a server starts although the disk is full
            self._db.execute("UPDATE local_server SET version = %s", [version])

    def _refuse(self, tables: set[str]) -> None:
        if tables:
            raise StoreError(f"{self.url}: found tables that are not ours: {', '.join(sorted(tables))}; expected those "
                             "of this server, or a schema without them")  # fmt: skip

    def _one(self, sql: str, *values: object) -> Any:
        return self._db.execute(sql, values).fetchone()

    # what the store asks for

    def begin(self) -> None:
        """Open a transaction."""
        self.in_transaction = True
        self._run("BEGIN", {})

    def commit(self, *, lasting: bool = True) -> bool:  # noqa: ARG002 - of the protocol
        """Make the transaction durable, as far as the server is told to: see its ``synchronous_commit``.

        One that has only read is waited for, too: without a sync PostgreSQL waits for more, and finds nobody silent.
        """
        began = time.monotonic()
        self._run("COMMIT", {}, wait=True)
        if time.monotonic() - began > SILENCE / 1_000:  # perhaps since this process was stopped, and lost its place
            self._run("SELECT 1", {}, wait=True)
        self.in_transaction = self._careful = False
        return True

    def rollback(self) -> None:
        """Take the transaction back, whatever it was that failed in it."""
        with self._faults():
            try:
                self._sync()
            except psycopg.Error:
                if self._db.broken:
                    raise
            # Twice: the driver forgets what it has prepared, and tells the server so behind its next statement.
            for _ in range(2):
                self._db.execute("ROLLBACK", prepare=False)
                self._sync()
        self.in_transaction = False

    def execute(self, sql: str, values: Mapping[str, Any] = {}) -> Rows:
        """Run a statement."""
        text, writes, returns = statement(sql)
        self.total_changes += writes
        self._run(text, values, wait=self._careful and not returns)
        with self._faults():
            return Rows(self._tuples.fetchall() if returns else ())

    def named(self, sql: str, values: Mapping[str, Any]) -> list[Row]:
        """Return rows whose columns have names."""
        with self._faults():
            return list[Row](self._dicts.execute(statement(sql)[0], values).fetchall())

    def check(self) -> None:
        """Do nothing: a COMMIT fails where it cannot be found again."""

    def shrink(self) -> bool:
        """Leave that to PostgreSQL: its autovacuum makes unused space free for what comes."""
        return False

    def unsure(self) -> bool:
        """Tell whether the last fault may be that of an earlier statement; if so, the next ones are waited for."""
        if self._careful:
            return False
        self._careful, self._doubtful = self._doubtful, False
        return self._careful

    def close(self) -> None:
        """Close the connection, and so leave the lock to another."""
        if self._context:
            with suppress(psycopg.Error):  # it is lost
                self._context.__exit__(None, None, None)
        self._db.close()

    def _run(self, text: str, values: Mapping[str, Any], *, wait: bool = False) -> None:
        with self._faults():
            self._tuples.execute(text, values)
            if wait:
                self._sync()

    def _sync(self) -> None:
        """Wait for the answers to all that was sent."""
        self._db.wait(send(self._db.pgconn))  # the driver's own waits for ever if the socket does not take all at once
        self._pipeline.sync()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Tell faults of the database and of the connection from ours."""
        try:
            yield
        except psycopg.Error as error:
            line = f"{self.url}: {one_line(error)}"
            over = error.diag.severity_nonlocalized in {"FATAL", "PANIC"}  # the driver sees the end a moment later
            if self._db.closed or over or isinstance(error, errors.ReadOnlySqlTransaction):
                raise StoreLostError(line) from None
            self._doubtful = error.sqlstate is not None and not self._careful
            if isinstance(error, errors.ProgramLimitExceeded) or (
                isinstance(error, psycopg.DataError) and error.sqlstate is None  # a NUL, which the driver has found
            ):
                raise UnstorableError(f"PostgreSQL cannot store it: {error.diag.message_primary or error}") from None
            if self._context is None:
                raise StoreError(f"{line}; expected a schema in which this user may make and use tables") from None
            if isinstance(error, psycopg.OperationalError | psycopg.InternalError):
                raise StoreError(line) from None
            raise
