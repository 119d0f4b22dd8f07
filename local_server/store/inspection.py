"""What a database file is: new, ours and of which version, or not to be used. Nothing here changes a file.

A file of ours names itself in its header: ``application_id`` says that it is one, ``user_version`` which tables it has.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

import psutil

from local_server.store.errors import StoreError, StoreInUseError, one_line

APPLICATION_ID = int.from_bytes(b"rsls")
EXPECTED = "expected a database of this server, or a path for a new one"
CHECKED = 8 * 2**20  # bytes; a file up to this size is looked through at each start, in 50 ms at most
# The tables of version 0, the only one that has no application_id: by them its files are known.
VERSION_0 = {
    "callbacks": "created_on head id kind promise recv root timeout",
    "lost_claims": "claimed_on counter lost_on reason recipient task",
    "processes": "pid recipient started",
    "promises": "completed_on created_on id idempotency_key_for_complete idempotency_key_for_create param parent sort "
    "state tags timeout value",
    "schedules": "created_on cron description id idempotency_key last_run_time next_run_time promise_id promise_param "
    "promise_tags promise_timeout sort tags",
    "shared_children": "child parent",
    "tasks": "claimed_on completed_on counter created_on deadline head id kind leaf not_before process recipient recv "
    "root sort state timeout ttl waits_for",
}
# Of each later version, in order: the SQL that makes its tables out of those before. Version 1 has application_id.
MIGRATIONS = [
    "CREATE TABLE unsettled (promise TEXT PRIMARY KEY) WITHOUT ROWID",
    "ALTER TABLE processes ADD COLUMN machine TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE removed (promise TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE INDEX promises_ended ON promises (completed_on, id) WHERE parent IS NULL AND completed_on IS NOT NULL""",
    "DROP INDEX promises_ended",
    """CREATE TABLE uploads (id INTEGER NOT NULL PRIMARY KEY, promise TEXT);
        CREATE INDEX uploads_promise ON uploads (promise);
        CREATE TABLE parts (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL)""",
]
VERSION = len(MIGRATIONS)

# All that a database consists of; the names that SQLite gives begin with sqlite_.
PARTS = """
WITH ours AS (SELECT * FROM sqlite_schema WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~')
SELECT type || ' ' || name FROM ours
UNION SELECT 'column ' || t.name || '.' || c.name || ' ' || c.type || iif(c."notnull", ' NOT NULL', '')
    || iif(c.pk, ' PRIMARY KEY', '') FROM ours AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'
UNION SELECT 'column ' || (c.seqno + 1) || ' of index ' || i.name || ' is ' || i.tbl_name || '.' || c.name
    FROM ours AS i, pragma_index_info(i.name) AS c WHERE i.type = 'index'
"""
TABLES = """
SELECT t.name, (SELECT group_concat(name, ' ') FROM (SELECT name FROM pragma_table_info(t.name) ORDER BY name))
    FROM sqlite_schema AS t WHERE t.type <> 'index' AND t.name NOT LIKE 'sqlite~_%' ESCAPE '~'
"""
# Of the processes: what presence reads at the start, before any request can be refused.
UNREADABLE = """SELECT count(*) FROM processes WHERE recipient NOT LIKE '%_/_%' OR typeof(recipient) <> 'text'
    OR pid NOT BETWEEN 1 AND 4294967295 OR typeof(pid) <> 'integer' OR typeof(started) <> 'real'"""


def schema() -> str:
    """Return the SQL that makes the tables of a new database."""
    return files(__package__).joinpath("schema.sql").read_text()


def tables() -> dict[str, str]:
    """Return the columns of each table of a new database, in alphabetical order and with blanks between."""
    with _new() as db:
        return dict(db.execute(TABLES))


@contextmanager
def _new() -> Iterator[sqlite3.Connection]:
    """Open a new database in memory."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(schema())
        yield db


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a database stands."""
    return path.with_name(path.name + "-wal")


def real(path: Path) -> Path:
    """Return where a file really is: its log stands there too, not beside a link to it."""
    return Path(os.path.realpath(path))


def version(path: Path) -> int | None:
    """Return the version of a file of ours that is in order as far as a short look tells; None: there is nothing yet.

    Raises:
        StoreError: it is another program's, a newer version's, or damaged.
        StoreInUseError: another process has it open.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: unable to open database file: found no regular file; {EXPECTED}")
    if not path.exists() or not path.stat().st_size:
        return None
    with opened(path) as db:
        found = _version(path, db)
        if path.stat().st_size <= CHECKED:
            damage = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if damage != "ok":
                raise _damaged(path, damage)
        if found is not None and (number := db.execute(UNREADABLE).fetchone()[0]):
            raise _damaged(path, f"{number} row{'' if number == 1 else 's'} of table processes")
        return found


def problems(path: Path) -> list[str]:
    """Return all that is wrong with a file, one line each.

    Raises:
        StoreInUseError: another process has it open.
    """
    path = real(path)
    if not path.is_file() or not path.stat().st_size:
        return [f"{path}: found {'an empty' if path.is_file() else 'no such'} file; expected a database of this server"]
    found = []
    try:
        if version(path) is None:
            found = [f"{path}: found no tables; expected a database of this server"]
    except StoreInUseError:
        raise
    except StoreError as error:
        found = [str(error)]
    try:
        with opened(path) as db:
            found += [
                f"{path}: {line}"
                for row in db.execute("PRAGMA integrity_check")
                for line in str(row[0]).splitlines()
                if line != "ok" and not line.startswith("*** in database main ***")
            ]
    except StoreError as error:
        found.append(str(error))
    return list(dict.fromkeys(found))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file to be read and nothing else; what SQLite finds wrong with it is a StoreError."""
    # Where a log stands beside it, its content belongs to the database. SQLite reads it only from a file that it may
    # write to, and under a lock, which also tells whether a server has it. Without a log the file alone is all.
    by_log = log_of(path).exists()
    how = "mode=rw" if by_log else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, timeout=0, isolation_level=None)) as db:
            db.text_factory = lambda text: text.decode(errors="replace")  # a damaged one may hold anything
            db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE)  # else its log would be worked into it, and removed
            db.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")  # damage is found when a page is read, rather than in its content
            yield db
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter when a message quotes what is damaged
        raise of_sqlite(path, error) from None


def of_sqlite(path: Path, error: Exception) -> StoreError:
    """Return what SQLite or the system says about a file as one line."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return StoreInUseError(f"{path} is in use by {_holder(path)}")
    return StoreError(f"{path}: {one_line(error)}; {EXPECTED}")


def shape(db: sqlite3.Connection) -> set[str]:
    """Return what a database consists of: its tables, their columns, its indexes, and whatever else is defined."""
    return {row[0] for row in db.execute(PARTS)}


def check_shape(path: Path, db: sqlite3.Connection) -> None:
    """Compare the tables of a database with ours.

    Raises:
        StoreError: they differ.
    """
    found = shape(db)
    with _new() as new:
        ours = shape(new)
    if found != ours:
        missing, foreign = min(ours - found, default="no more"), min(found - ours, default="no less")
        raise StoreError(f"{path}: found tables that are not ours: {foreign}; expected {missing}")


def _version(path: Path, db: sqlite3.Connection) -> int | None:
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables: dict[str, str] = dict(db.execute(TABLES))
    if (application, found) == (0, 0) and (not tables or tables == VERSION_0):
        return 0 if tables else None
    if application != APPLICATION_ID:
        names = ", ".join(sorted(tables)[:3]) or "none"
        raise StoreError(f"{path}: found a database of another program (application_id {application}, tables: "
                         f"{names}); {EXPECTED}")  # fmt: skip
    if found > VERSION:
        raise StoreError(f"{path}: found version {found} of the database; expected at most {VERSION}, which this "
                         "server writes: start the newer server, or give --db another file")  # fmt: skip
    if found < 1:
        raise _damaged(path, f"version {found}")
    if found == VERSION:
        check_shape(path, db)
    return found


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: found it damaged ({one_line(what)}); {EXPECTED}")


def _holder(path: Path) -> str:
    """Describe the process that has a file open, as far as this user may see it."""
    for process in psutil.process_iter(["pid", "name"]):
        try:
            if any(Path(file.path) == path for file in process.open_files()):
                return f"process {process.pid} ({process.name()})"
        except psutil.Error:
            continue
    return "a process of another user"
