"""The write-ahead log of SQLite, synced by us: a commit lasts once its log is synced behind it.

SQLite still syncs it by itself before it moves the log's content into the database, and when it writes the log anew
from its beginning, so that order is kept whatever the power does.
"""

import os
from pathlib import Path

from local_server.store.errors import StoreUnsyncedError

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the other


class Log:
    """A descriptor of the log; one of the database could not be closed again without taking SQLite's lock away."""

    def __init__(self, path: Path) -> None:
        """Take the log of a database that is open."""
        self._file: int | None = os.open(path, os.O_RDWR)

    def sync(self) -> None:
        """Return when all that is committed is on the disk.

        Raises:
            StoreUnsyncedError: the disk has failed.
        """
        if self._file is not None:
            try:
                _sync(self._file)
            except OSError as error:
                raise StoreUnsyncedError(f"the log could not be synced: {error.strerror}") from None

    def close(self) -> None:
        """Close it, before the database is closed: SQLite deletes the file then."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
