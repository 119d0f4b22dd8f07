"""A PostgreSQL of the tests' own: a cluster in a temporary folder, with a database for whoever asks for one."""

import os
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg
import pytest

from local_server.testing import Child

INSTALL = "no PostgreSQL: sudo apt-get install postgresql"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; skip the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    path = found[-1] if found else shutil.which("postgres")
    if not path:
        pytest.skip(INSTALL)
    return Path(path).parent


class Cluster:
    """A running PostgreSQL, reached by a socket in its folder; what it is told to store outlives its processes."""

    def __init__(self) -> None:
        # root may not run it; the path of a socket has to be short
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if not os.getuid() else []
        self._programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._names = (f"database{number}" for number in count())
        if self._as_user:
            shutil.chown(self.folder, "postgres")
        options = ["--auth=trust", "--username=tests", "--encoding=UTF8", "--no-sync", "--no-instructions"]
        subprocess.run(
            [*self._as_user, self._programs / "initdb", *options, self.folder / "data"],
            check=True, capture_output=True, cwd=self.folder,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, also after a crash."""
        # A process that is killed loses nothing that the system has: only a power cut would need a sync.
        options = ("listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off")
        argv = [self._programs / "postgres", "-D", self.folder / "data", *(f"-c{option}" for option in options)]
        self.child = Child("postgres", [*self._as_user, *argv], cwd=self.folder)
        self.child.wait_for("ready to accept connections")

    def url(self, database: str = "postgres") -> str:
        """Return where a database is."""
        return f"postgresql:///{database}?host={self.folder}&user=tests"

    def create(self) -> str:
        """Create a database; return its URL."""
        name = next(self._names)
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, sql: str, url: str = "") -> list[tuple[object, ...]]:
        """Run a statement as somebody else; return its rows."""
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def crash(self) -> None:
        """End it at once, as ``pg_ctl stop --mode=immediate`` does."""
        self.child.signal(signal.SIGQUIT)
        self.child.wait()

    def close(self) -> None:
        """End it and remove all that it has stored."""
        if self.child.running:
            self.crash()
        shutil.rmtree(self.folder)
