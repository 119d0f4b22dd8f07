"""Whether a database and its log are still the files that were opened: what is written to a deleted file is lost."""

import ctypes
import os
import sys
import time
from math import inf
from pathlib import Path

from local_server.store.errors import StoreMovedError
from local_server.store.inspection import log_of, real

APART = 0.1  # seconds between two looks at most, where the system does not say that a file was deleted
CHANGES = 0x4 | 0x800  # of inotify(7): IN_ATTRIB, which a name less is too, and IN_MOVE_SELF


class Whereabouts:
    """Where the files are, and which they were."""

    def __init__(self, path: Path | None) -> None:
        """Take the path of a database that has just been opened; ``None``: in memory, which cannot be lost."""
        paths = [str(real(path)), str(log_of(real(path)))] if path else []
        self._opened = [(file, _identity(file)) for file in paths]
        self._events = _watch(paths)
        self._looked = -inf  # by the monotonic clock

    def check(self) -> None:
        """Compare, if something has happened to a file, or nobody has looked for a while; so a commit costs no stat.

        Without inotify, what is written in the first 0.1 s after a file was deleted is answered, and lost with it.

        Raises:
            StoreMovedError: one of them was deleted or replaced.
        """
        now = time.monotonic()
        if not self._changed() and now - self._looked < APART:
            return
        self._looked = -inf
        for path, identity in self._opened:
            if _identity(path) != identity:
                raise StoreMovedError(
                    f"{path} was deleted or replaced while this server has it open; nothing is written until it is back"
                )
        self._looked = now

    def _changed(self) -> bool:
        if self._events is None:
            return False
        try:
            return bool(os.read(self._events, 4096))
        except BlockingIOError:  # nothing
            return False

    def close(self) -> None:
        """Stop looking."""
        if self._events is not None:
            os.close(self._events)
            self._events = None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of a Path
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _watch(paths: list[str]) -> int | None:
    """Return a descriptor to read from when one of these files is moved or deleted; None: this system has none."""
    if sys.platform != "linux" or not paths:
        return None
    libc = ctypes.CDLL(None)
    events: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if events < 0:  # a user has 128 of them, mostly
        return None
    for path in paths:
        libc.inotify_add_watch(events, os.fsencode(path), CHANGES)
    return events
