"""A copy follows the database of two servers: the first PostgreSQL is killed, or the copy is away for a while."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fault_database import Run
from fault_postgres import Pair
from postgres_stage import Cluster
from wire_client import starter, until

from local_server.testing import Child, held_port
from local_server.testing.postgres import OWNER

RESET = "ALTER SYSTEM RESET synchronous_standby_names"
assert RESET in Path("docs/bigger.md").read_text()


class Copied:
    """A PostgreSQL whose every COMMIT waits for its copy; both listen on TCP."""

    def __init__(self, cluster: Cluster, children: list[Child], ports: list[int]) -> None:
        self._cluster, self._children, self._ports = cluster, children, ports
        self._standby = cluster.folder / "standby"
        cluster.run("CREATE DATABASE durable")
        cluster.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        cluster.crash()
        self.first = self._serve(cluster.folder / "data", ports[0])
        words = ("--checkpoint=fast", "--write-recovery-conf", "--create-slot", "--slot=copy", "--no-sync")
        cluster.program("pg_basebackup", f"--dbname={self.url(0)}", f"--pgdata={self._standby}", *words)
        self.copy = self._serve(self._standby, ports[1])
        until(lambda: cluster.run("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'", self.url(0)))

    def _serve(self, data: Path, port: int) -> Child:
        self._children.append(self._cluster.serve(data, "listen_addresses=127.0.0.1", f"port={port}"))
        return self._children[-1]

    def waits_for_none(self, which: int) -> None:
        """Let no COMMIT of the first PostgreSQL, or of the copy, wait for another."""
        for sql in (RESET, "SELECT pg_reload_conf()"):
            self._cluster.run(sql, self.url(which))

    def url(self, *which: int) -> str:
        """Return the URL of the database at the first PostgreSQL, at the copy, or wherever it can be written to."""
        hosts = ",".join(f"127.0.0.1:{self._ports[one]}" for one in which)
        return f"postgresql://{OWNER}@{hosts}/durable" + "?target_session_attrs=read-write" * (len(which) > 1)

    def promote(self) -> None:
        """Make the copy a database that can be written to, and that waits for no copy of its own."""
        self.waits_for_none(1)
        self._cluster.program("pg_ctl", "promote", f"--pgdata={self._standby}")


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Four ports."""
    with ExitStack() as held:
        yield [held.enter_context(held_port()) for _ in range(4)]


@pytest.fixture
def copied(cluster: Cluster, children: list[Child], ports: list[int]) -> Iterator[Copied]:
    """A database and its copy, which end before their folder is removed."""
    one = Copied(cluster, children, ports[:2])
    yield one
    for child in (one.first, one.copy):
        if child.running:
            child.signal(signal.SIGQUIT)
            child.wait()


@pytest.fixture
def server(ports: list[int], children: list[Child]) -> Pair:
    """Two servers on the same ports, neither of which has been started."""
    return Pair([str(port) for port in ports[2:]], starter(children))


@pytest.mark.long
def test_the_first_database_is_killed_and_its_copy_has_all_that_was_answered_and_the_run_goes_on(
    copied: Copied, server: Pair, children: list[Child]
) -> None:
    url = copied.url(0, 1)
    serves = server.start("first", url)
    serves.wait_for("is ready")
    server.start("second", url).wait_for("stands by")
    run = Run(server, children)
    for _ in range(20):
        run.create()
    copied.first.kill()
    serves.wait_for("this server waits for it")
    assert run.create() is None
    copied.promote()
    run.ends_right()
    assert set(run.answers.values()) == {201}
    for child in children:
        if child.name in ("first", "second"):
            assert child.count("Traceback") == 0
            assert child.stop() == 0
    again = server.start("third", url)  # which has never seen the first one
    again.wait_for("is ready")
    assert again.stop() == 0


@pytest.mark.long
def test_while_the_copy_is_away_nothing_is_answered_and_all_goes_on_when_nobody_waits_for_it(
    copied: Copied, server: Pair, children: list[Child]
) -> None:
    child = server.start("server", copied.url(0, 1))
    child.wait_for("is ready")
    run = Run(server, children)
    copied.copy.stop()
    child.wait_for("no answer within 15 s")
    child.wait_for("whose COMMIT waits for a copy of the database, serves .*; this server stands by")
    assert run.create() is None
    copied.waits_for_none(0)
    run.ends_right()
    assert child.count("Traceback") == 0
    assert child.stop() == 0
