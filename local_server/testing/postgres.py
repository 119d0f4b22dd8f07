"""A PostgreSQL of one's own: a cluster in a temporary folder, reached by a socket there, and gone at the end."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from local_server.testing.child import Child

OWNER = "owner"  # its user
INSTALL = "no PostgreSQL: sudo apt-get install postgresql"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, of the newest version.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    path = found[-1] if found else shutil.which("postgres")
    if not path:
        raise FileNotFoundError(INSTALL)
    return Path(path).parent


class Cluster:
    """A running PostgreSQL; what it is told to store outlives its processes.

    Attributes:
        folder: of its data and its socket; others on this machine may not look into it.
        child: its first process.
    """

    def __init__(self, *, sync: bool = False) -> None:
        """Make it and start it.

        Args:
            sync: whether it syncs what it stores to the disk. A process that is killed loses nothing that the system
                has, so only a power cut, or a measurement, needs that.

        Raises:
            FileNotFoundError: there is no PostgreSQL on this machine.
        """
        self._programs, self._sync = programs(), sync
        # root may not run it
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if not os.getuid() else []
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # the path of a socket has to be short
        try:
            if self.as_user:
                shutil.chown(self.folder, "postgres")
            options = ["--auth=trust", f"--username={OWNER}", "--encoding=UTF8", "--no-sync", "--no-instructions"]
            self.program("initdb", *options, self.folder / "data")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def program(self, name: str, *argv: str | Path) -> str:
        """Run one of PostgreSQL's programs to its end; return what it has printed."""
        return subprocess.run(
            [*self.as_user, self._programs / name, *argv],
            capture_output=True, check=True, cwd=self.folder, start_new_session=True, text=True,
        ).stdout  # fmt: skip

    def start(self) -> None:
        """Start it, also after a crash."""
        self.child = self.serve(self.folder / "data")

    def serve(self, data: Path, *settings: str) -> Child:
        """Start PostgreSQL on such a folder, perhaps that of a copy; wait until it can be asked.

        Args:
            data: the folder.
            settings: what differs from the others, such as ``port=5433``.
        """
        fsync = "on" if self._sync else "off"
        options = ("listen_addresses=", f"unix_socket_directories={self.folder}", f"fsync={fsync}", *settings)
        argv: list[str | Path] = [*self.as_user, self._programs / "postgres", "-D", data]
        child = Child("postgres", [*argv, *(f"-c{option}" for option in options)], cwd=self.folder)
        child.wait_for("ready to accept (read-only )?connections")
        return child

    def url(self, database: str = "postgres") -> str:
        """Return where a database is."""
        return f"postgresql:///{database}?host={self.folder}&user={OWNER}"

    def crash(self) -> None:
        """End it at once, as ``pg_ctl stop --mode=immediate`` does."""
        self.child.signal(signal.SIGQUIT)
        self.child.wait()

    def close(self) -> None:
        """End it and remove all that it has stored."""
        if self.child.running:
            self.crash()
        shutil.rmtree(self.folder)
