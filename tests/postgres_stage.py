"""A PostgreSQL of the tests' own: a cluster in a temporary folder, with a database for whoever asks for one."""

import fcntl
import shutil
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local_server.testing import postgres


def needs_postgres() -> None:
    """Skip the test where there is no PostgreSQL."""
    try:
        postgres.programs()
    except FileNotFoundError as error:
        pytest.skip(str(error))


class Cluster(postgres.Cluster):
    """A running PostgreSQL, as the kit starts it; the test is skipped where there is none.

    Attributes:
        made: where a copy of what the first ``initdb`` of all tests has made is kept for the others.
    """

    made: Path

    def __init__(self, **options: Any) -> None:
        self._names = (f"database{number}" for number in count())
        needs_postgres()
        super().__init__(**options)

    def program(self, name: str, *argv: str | Path) -> str:
        """Run one of PostgreSQL's programs; in place of another ``initdb``, copy, which takes far less."""
        if name != "initdb":
            return super().program(name, *argv)
        copy = [shutil.which("cp") or "cp", "--archive"]
        with self.made.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.made.exists():
                output = super().program(name, *argv)
                subprocess.run([*copy, argv[-1], self.made], check=True)
                return output
        subprocess.run([*copy, self.made, argv[-1]], check=True)
        return ""

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


class Disk:
    """A file system of its own in a folder, small enough to be filled."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder
        options = f"size={megabytes}m,uid={folder.stat().st_uid},mode=700"
        command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system of its own: mounting one needs root; {getattr(error, 'stderr', error)}")

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), (self._folder / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Give the room back."""
        (self._folder / "filler").unlink()

    def close(self) -> None:
        """Take it away, whoever still looks at it."""
        subprocess.run([shutil.which("umount") or "umount", "--lazy", str(self._folder)], check=True)
