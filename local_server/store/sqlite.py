"""SQLite: a database is one file with one server, and its commits survive a power cut."""

import logging
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from local_server.store import inspection
from local_server.store.database import Row
from local_server.store.errors import StoreError
from local_server.store.inspection import APPLICATION_ID, EXPECTED, MIGRATIONS, VERSION, log_of, of_sqlite, real
from local_server.store.log import Log
from local_server.store.whereabouts import Whereabouts

logger = logging.getLogger(__name__)

PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;  -- one server a file; the index of the log stays on the heap, without a shared file
PRAGMA auto_vacuum = INCREMENTAL; -- of a new file, so before the next: it can shrink, a few pages at a time
PRAGMA journal_mode = WAL;        -- a commit appends to one file, and syncs once
PRAGMA synchronous = FULL;        -- and syncs before it returns, until ``log.Log`` takes that over
PRAGMA cache_size = -4096;        -- KiB of pages kept: the upper pages of every index, however much is stored
PRAGMA automatic_index = OFF;     -- else a statement may read a whole table, to find some rows of it by an index
PRAGMA trusted_schema = OFF;      -- what a file defines may call no function that could do harm
PRAGMA cell_size_check = ON;      -- damage is found when its page is read, before it is taken for content
"""
# A sync is cheapest when it changes nothing about the file but its content. The log is restarted from its beginning by
# each checkpoint (every 1,000 pages), so once its blocks are written no commit has to grow it.
LOG_BYTES = 1_100 * (4_096 + 24)
PAGES = 32  # that are given back in one turn: as many are moved at most, in about a millisecond
INCREMENTAL = 2  # as SQLite tells it
PRIVATE = 0o600  # of every file that is made here, whatever the umask; those that are there keep their mode


class Sqlite(sqlite3.Connection):
    """A connection as ``database.Database`` wants it.

    Attributes:
        whereabouts: where its file is, None while that is being opened.
        log: what syncs its log, likewise, and in memory.
    """

    whereabouts: Whereabouts | None = None
    log: Log | None = None

    def begin(self) -> None:
        """Open a transaction."""
        self.execute("BEGIN")

    def commit(self, *, lasting: bool = True) -> bool:  # type: ignore[override]  # it returns more
        """Commit; sync the log if that is to last. Return whether nothing is left to be synced."""
        super().commit()
        if lasting and self.log:
            self.log.sync()
        return lasting or self.log is None

    def named(self, sql: str, values: Mapping[str, Any]) -> list[Row]:
        """Return rows whose columns have names."""
        cursor = self.cursor()
        cursor.row_factory = sqlite3.Row
        return cursor.execute(sql, values).fetchall()

    def check(self) -> None:
        """Look whether the file is still where it was."""
        if self.whereabouts:
            self.whereabouts.check()

    def close(self) -> None:
        """Close it; what is committed is in the one file then."""
        if self.log:
            self.log.close()
        super().close()
        if self.whereabouts:
            self.whereabouts.close()

    def servers(self) -> list[tuple[str, bool]]:
        """Return none: a file has only one server."""
        return []

    def shrink(self) -> bool:
        """Give a few unused pages back; with a later checkpoint the file is smaller, if it was made ready for that."""
        if self.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
            return False
        self.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
        return bool(self.execute("PRAGMA freelist_count").fetchone()[0])

    def unsure(self) -> bool:
        """Tell that a fault is always that of the statement which raised it."""
        return False


def connect(path: Path | None) -> Sqlite:
    """Open or create the database, and its tables; ``None`` keeps it in memory.

    A file that is not ours, or of a newer version, or damaged, is left as it is.

    Raises:
        StoreInUseError: another process has the file; the message names it.
        StoreError: the file cannot be used; the message says why.
    """
    try:
        db = _open(":memory:", f"{inspection.schema()}; {_mark(VERSION)}") if path is None else _connect(real(path))
    except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
        raise of_sqlite(path or Path(":memory:"), error) from None
    db.whereabouts = Whereabouts(path)
    if path:
        db.log = Log(log_of(real(path)))
        db.execute("PRAGMA synchronous = NORMAL")
    return db


def _connect(path: Path) -> Sqlite:
    version = inspection.version(path)
    if version is None:
        _create(path)
        return _open_file(path, f"{inspection.schema()}; {_mark(VERSION)}")
    return _open_file(path, "") if version == VERSION else _migrate(path, version)


def _open_file(path: Path, sql: str) -> Sqlite:
    log_is_new = not log_of(path).exists()
    db = _open(path, sql, log_of(path) if log_is_new else None)
    try:
        _write_ahead(log_of(path))
    except OSError:
        db.close()
        raise
    return db


def _open(name: str | Path, sql: str, new_log: Path | None = None) -> Sqlite:
    """Open a database as the server does, and run SQL in one transaction."""
    # timeout 0: a file that another server holds is refused at once
    db = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False, factory=Sqlite)
    try:
        db.executescript(f"{PRAGMAS} BEGIN EXCLUSIVE; COMMIT;")  # that takes the lock, and opens the log
        if new_log:
            new_log.chmod(PRIVATE)  # SQLite gives it the mode of the database
        db.executescript(f"BEGIN EXCLUSIVE; {sql}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _mark(version: int) -> str:
    return f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}"


def _migrate(path: Path, version: int) -> Sqlite:
    """Give an older database the tables of today, in one transaction, after a copy of it was put beside it."""
    backup = path.with_name(f"{path.name}.version-{version}.backup")
    if backup.exists():
        raise StoreError(f"{path}: found version {version}, and {backup.name} of an earlier migration; "
                         "expected no such backup: move it elsewhere, then start again")  # fmt: skip
    db = _open_file(path, "")
    try:
        _back_up(db, backup)
        db.executescript(f"BEGIN EXCLUSIVE; {'; '.join(MIGRATIONS[version:])}; {_mark(VERSION)}")
        inspection.check_shape(path, db)
        db.execute("COMMIT")
    except BaseException:
        db.close()  # which takes the transaction back
        backup.unlink(missing_ok=True)
        raise
    _make_shrinkable(path, db)
    logger.warning("%s: migrated from version %d to %d; as it was before, it is in %s", path, version, VERSION, backup)
    return db


def _make_shrinkable(path: Path, db: sqlite3.Connection) -> None:
    """Let a file that was made without that give unused pages back: it is written anew, about a second for 200 MB."""
    try:
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # its log has become as large as the file
        _write_ahead(log_of(path))
    except sqlite3.OperationalError as error:  # a full disk, mostly; then it stays as it is
        logger.warning("%s: it will not shrink when promises are removed: %s", path, error)


def _back_up(db: sqlite3.Connection, backup: Path) -> None:
    """Copy a database; what bears the name of the backup is whole, whatever happens meanwhile."""
    part = backup.with_name(backup.name + ".part")
    part.unlink(missing_ok=True)
    _create(part)
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = OFF")
        db.backup(copy)
    part.rename(backup)
    folder = os.open(backup.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _create(path: Path) -> None:
    """Create a file that only its owner may read; one that is there stays as it is."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"{path}: unable to open database file: {error.strerror}; {EXPECTED}") from None
    os.fchmod(file, PRIVATE)
    os.close(file)


def _write_ahead(log: Path) -> None:
    """Give the log its full size. Zeros behind its last valid frame end it, so this can be done at any time."""
    with log.open("ab") as file:
        file.write(bytes(max(0, LOG_BYTES - file.tell())))
        file.flush()
        os.fsync(file.fileno())
