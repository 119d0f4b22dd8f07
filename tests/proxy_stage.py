"""A way to PostgreSQL that can be cut."""

import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from postgres_stage import Cluster

SOCKET = ".s.PGSQL.5432"  # in the folder that a URL names as its host


class Proxy:
    """Hands on what is sent to a cluster and back; while it is cut nothing passes, and neither side is told."""

    def __init__(self, cluster: Cluster) -> None:
        self._there = str(cluster.folder / SOCKET)
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._passes = threading.Event()
        self._passes.set()
        self._sockets = [socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(str(self.folder / SOCKET))
        self._sockets[0].listen()
        self._start(self._accept)

    def url(self, through: str) -> str:
        """Return the URL that leads to the same database by this way."""
        folder = str(Path(self._there).parent)
        assert folder in through
        return through.replace(folder, str(self.folder))

    def cut(self) -> None:
        """Let nothing pass from now on; new connections are accepted, and hear nothing."""
        self._passes.clear()

    def mend(self) -> None:
        """Let pass what has come meanwhile, and all that comes."""
        self._passes.set()

    def close(self) -> None:
        """Close every connection."""
        self.mend()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # which ends the threads that wait for it
            each.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            with suppress(OSError):
                here, _ = self._sockets[0].accept()
                there = socket.socket(socket.AF_UNIX)
                self._sockets += [here, there]
                try:
                    there.connect(self._there)
                except OSError:  # PostgreSQL is away
                    here.close()
                    continue
                self._start(self._hand_on, here, there)
                self._start(self._hand_on, there, here)
                continue
            return

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._passes.wait()
                target.sendall(data)
        self._passes.wait()
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _start(self, *what: object) -> None:
        threading.Thread(target=what[0], args=what[1:], daemon=True).start()
