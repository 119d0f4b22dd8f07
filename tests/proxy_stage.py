"""A way to PostgreSQL that can be cut: a process between two sockets, which is stopped and goes on."""

import shutil
import signal
import tempfile
from pathlib import Path

from postgres_stage import Cluster

from local_server.testing import Child

SOCKET = ".s.PGSQL.5432"  # in the folder that a URL names as its host
PROXY = """
import asyncio, sys, uvloop

async def hand_on(source, target):
    try:
        while data := await source.read(65_536):
            target.write(data)
    except OSError:
        pass
    target.close()

async def accepted(reader, writer):
    try:
        there, back = await asyncio.open_unix_connection(sys.argv[2])
    except OSError:  # PostgreSQL is away
        writer.close()
        return
    await asyncio.gather(hand_on(reader, back), hand_on(there, writer))

async def main():
    server = await asyncio.start_unix_server(accepted, sys.argv[1])
    print("listens", flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


class Proxy:
    """Hands on what is sent to a cluster and back; while it is cut nothing passes, and neither side is told."""

    def __init__(self, cluster: Cluster) -> None:
        self._there = str(cluster.folder)
        self._folder = tempfile.mkdtemp(prefix="pg")
        self.child = Child.python("proxy", "-c", PROXY, Path(self._folder) / SOCKET, cluster.folder / SOCKET)
        self.child.wait_for("listens")

    def url(self, through: str) -> str:
        """Return the URL that leads to the same database by this way."""
        assert self._there in through
        return through.replace(self._there, self._folder)

    def cut(self) -> None:
        """Let nothing pass from now on; new connections are accepted, and hear nothing."""
        self.child.signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Let pass what has come meanwhile, and all that comes."""
        self.child.signal(signal.SIGCONT)

    def close(self) -> None:
        """Close every connection."""
        self.child.kill()
        shutil.rmtree(self._folder)
