"""Which process of this machine is behind a connection, and when it ends.

A worker that is killed loses its sockets a moment before its process is gone, and a living one may lose its stream: only
the process tells whether its leases can be given to others. A zombie is gone.
"""

import asyncio
import os
from collections.abc import Callable

import psutil

from local_server.workers import OsProcess

POLL = 0.1  # seconds; only where the system has no pidfd, that is outside Linux
EndPoint = tuple[str, int]


def find(peer: EndPoint, here: EndPoint) -> OsProcess | None:
    """Return the process that holds the other end of a connection to this one, None when it cannot be known.

    It reads the tables of the whole machine (about 11 ms): call it in a thread.
    """
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr == peer and connection.raddr == here and connection.pid:
                return OsProcess(connection.pid, psutil.Process(connection.pid).create_time())
    except (psutil.Error, OSError):
        pass
    return None


def is_alive(process: OsProcess) -> bool:
    """Tell whether it runs; the same pid started at another time is another process."""
    try:
        found = psutil.Process(process.pid)
        return abs(found.create_time() - process.started) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class Watch:
    """Calls back once when a process has ended."""

    def __init__(self, process: OsProcess, ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process, self._ended = process, ended
        self._fd: int | None = None
        self._timer: asyncio.Handle | None = None
        if hasattr(os, "pidfd_open"):
            try:
                self._fd = os.pidfd_open(process.pid)
                self._loop.add_reader(self._fd, self._finish)
            except OSError:
                self._fd = None  # gone already, or no pidfd on this kernel: looking tells which
        self._look()

    def _look(self) -> None:
        if not is_alive(self._process):
            self._timer = self._loop.call_soon(self._finish)
        elif self._fd is None:
            self._timer = self._loop.call_later(POLL, self._look)

    def _finish(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Stop watching."""
        if self._timer:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
