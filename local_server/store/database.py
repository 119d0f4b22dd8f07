"""Opening the database: one file, one server, and commits that survive a power cut."""

import os
import sqlite3
from importlib.resources import files
from pathlib import Path

import psutil

PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;  -- one server a file; the index of the log stays on the heap, without a shared file
PRAGMA journal_mode = WAL;        -- a commit appends to one file, and syncs once
PRAGMA synchronous = FULL;        -- and syncs before it returns: an answer is never taken back by a power cut
PRAGMA cache_size = -4096;         -- KiB of pages kept: the upper pages of every index, however much is stored
"""
# A sync is cheapest when it changes nothing about the file but its content. The log is restarted from its beginning by
# each checkpoint (every 1,000 pages), so once its blocks are written no commit has to grow it.
LOG_BYTES = 1_100 * (4_096 + 24)


class StoreInUseError(Exception):
    """Another process has the database file open."""


def connect(path: Path | None) -> sqlite3.Connection:
    """Open or create the database, and its tables; ``None`` keeps it in memory.

    Raises:
        StoreInUseError: another process has the file; the message names it.
        sqlite3.DatabaseError: the file is no database, or cannot be read or written.
        OSError: there is no room for its log.
    """
    # timeout 0: a file that another server holds is refused at once
    db = sqlite3.connect(path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False)
    schema = files(__package__).joinpath("schema.sql").read_text()
    try:
        db.executescript(PRAGMAS)
        db.executescript(f"BEGIN EXCLUSIVE; {schema} COMMIT;")
    except sqlite3.DatabaseError as error:
        db.close()
        if path and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreInUseError(f"{path} is in use by {_holder(path)}") from None
        raise
    if path:
        _write_ahead(path.with_name(path.name + "-wal"))
    return db


def _write_ahead(log: Path) -> None:
    """Give the log its full size. Zeros behind its last valid frame end it, so this can be done at any time."""
    with log.open("ab") as file:
        file.write(bytes(max(0, LOG_BYTES - file.tell())))
        file.flush()
        os.fsync(file.fileno())


def _holder(path: Path) -> str:
    """Describe the process that has a file open, as far as this user may see it."""
    for process in psutil.process_iter(["pid", "name"]):
        try:
            if any(Path(file.path) == path.resolve() for file in process.open_files()):
                return f"process {process.pid} ({process.name()})"
        except psutil.Error:
            continue
    return "a process of another user"
