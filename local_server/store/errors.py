"""What can be wrong with a database file, each said in one line."""

import sqlite3

# Faults of the file or the disk, as SQLite names them; all others are faults of ours.
_OF_THE_FILE = {
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
}  # fmt: skip


class StoreError(Exception):
    """The file cannot be used; the message names it, what was found and what was expected."""


class StoreInUseError(StoreError):
    """Another process has the database file open."""


class StoreLostError(StoreError):
    """The database cannot be reached any more; what was not answered may be stored, or not."""


class UnstorableError(Exception):
    """This database cannot hold what a request asks for; the message says why."""


class StoreMovedError(StoreError):
    """The file or its log is no longer where it was opened: what is written now would be lost."""


class StoreUnsyncedError(StoreError):
    """A transaction is committed, and the disk has failed to sync it: it may be there or not."""


def is_of_the_file(error: Exception) -> bool:
    """Tell whether a damaged file, a full disk or the like is the cause: one line says it all then."""
    if isinstance(error, sqlite3.DatabaseError):
        # Text that is no UTF-8 comes as an OperationalError without a code.
        code: int | None = getattr(error, "sqlite_errorcode", None)
        return type(error) is sqlite3.OperationalError if code is None else code & 0xFF in _OF_THE_FILE
    return isinstance(error, StoreError | UnicodeDecodeError)


def one_line(what: object) -> str:
    """Return what is to be said as one line of reasonable length: SQLite may quote what it has found."""
    return " ".join(str(what).split())[:500]
