"""Opening the database: one file, one server, and commits that survive a power cut."""

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from local_server.store import inspection
from local_server.store.errors import StoreError, StoreMovedError, StoreUnsyncedError
from local_server.store.inspection import APPLICATION_ID, EXPECTED, MIGRATIONS, VERSION, log_of, of_sqlite, real

logger = logging.getLogger(__name__)

PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;  -- one server a file; the index of the log stays on the heap, without a shared file
PRAGMA journal_mode = WAL;        -- a commit appends to one file, and syncs once
PRAGMA synchronous = FULL;        -- and syncs before it returns, until ``Log`` takes that over
PRAGMA cache_size = -4096;        -- KiB of pages kept: the upper pages of every index, however much is stored
PRAGMA trusted_schema = OFF;      -- what a file defines may call no function that could do harm
PRAGMA cell_size_check = ON;      -- damage is found when its page is read, before it is taken for content
"""
# A sync is cheapest when it changes nothing about the file but its content. The log is restarted from its beginning by
# each checkpoint (every 1,000 pages), so once its blocks are written no commit has to grow it.
LOG_BYTES = 1_100 * (4_096 + 24)
APART = 0.1  # seconds between two looks at whether the file is still there
PRIVATE = 0o600  # of every file that is made here, whatever the umask; those that are there keep their mode


def connect(path: Path | None) -> sqlite3.Connection:
    """Open or create the database, and its tables; ``None`` keeps it in memory.

    A file that is not ours, or of a newer version, or damaged, is left as it is.

    Raises:
        StoreInUseError: another process has the file; the message names it.
        StoreError: the file cannot be used; the message says why.
    """
    if path is None:
        return _open(":memory:", f"{inspection.schema()}; {_mark(VERSION)}")
    path = real(path)
    try:
        version = inspection.version(path)
        if version is None:
            _create(path)
            return _open_file(path, f"{inspection.schema()}; {_mark(VERSION)}")
        if version == VERSION:
            return _open_file(path, "")
        return _migrate(path, version)
    except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
        raise of_sqlite(path, error) from None


class Place:
    """Tells whether a database and its log are still the files that were opened."""

    def __init__(self, path: Path | None) -> None:
        """Take the path of a database that has just been opened; ``None``: in memory, which cannot be lost."""
        paths = [real(path), log_of(real(path))] if path else []
        self._opened = [(str(file), _identity(str(file))) for file in paths]
        self._looked = 0.0  # by the monotonic clock

    def check(self) -> None:
        """Compare, unless that was done a moment ago: it is two calls of stat.

        So what is written in the first 0.1 s after a file was deleted is answered, and lost with it.

        Raises:
            StoreMovedError: one of them was deleted or replaced.
        """
        now = time.monotonic()
        if now - self._looked < APART:
            return
        for path, identity in self._opened:
            if _identity(path) != identity:
                raise StoreMovedError(
                    f"{path} was deleted or replaced while this server has it open; nothing is written until it is back"
                )
        self._looked = now


class Log:
    """Syncs the log of a database, which SQLite then leaves to it: a commit lasts once the log is synced behind it.

    SQLite still syncs it by itself before it moves the log's content into the database, and when it writes the log anew
    from its beginning, so that order is kept whatever the power does. The lock of SQLite is on the database: it would
    go with the first descriptor of that file that is closed. The log is another file.
    """

    def __init__(self, path: Path | None, db: sqlite3.Connection) -> None:
        """Take a database that has just been opened, and its path; ``None``: in memory, where nothing lasts."""
        self._file = os.open(log_of(real(path)), os.O_RDWR) if path else None
        db.execute("PRAGMA synchronous = NORMAL")

    def sync(self) -> None:
        """Return when all that is committed is on the disk.

        Raises:
            StoreUnsyncedError: the disk has failed.
        """
        try:
            if self._file is not None:
                _sync(self._file)
        except OSError as error:
            raise StoreUnsyncedError(f"the log could not be synced: {error.strerror}") from None

    def close(self) -> None:
        """Close it, before the database is closed: SQLite deletes the file then."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the other


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - at every commit: half the time of a Path
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open_file(path: Path, sql: str) -> sqlite3.Connection:
    log_is_new = not log_of(path).exists()
    db = _open(path, sql, log_of(path) if log_is_new else None)
    try:
        _write_ahead(log_of(path))
    except OSError:
        db.close()
        raise
    return db


def _open(name: str | Path, sql: str, new_log: Path | None = None) -> sqlite3.Connection:
    """Open a database as the server does, and run SQL in one transaction."""
    # timeout 0: a file that another server holds is refused at once
    db = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False)
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


def _migrate(path: Path, version: int) -> sqlite3.Connection:
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
    logger.warning("%s: migrated from version %d to %d; as it was before, it is in %s", path, version, VERSION, backup)
    return db


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
