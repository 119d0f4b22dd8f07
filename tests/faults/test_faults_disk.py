"""A real disk of PostgreSQL is full in the middle of a run: its tables cannot grow, or its log, which ends it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from disk_stage import UNSTORED
from fault_database import Run
from fault_postgres import Pair
from postgres_stage import Cluster, Disk
from wire_client import starter, until

from local_server.testing import Child, LocalServer, held_port

REFUSED = 20  # promises that are not stored, after which nothing is: the pages that are there have no room left


@contextmanager
def disk(cluster: Cluster, folder: Path, megabytes: int) -> Iterator[Disk]:
    """A file system in a new folder of the cluster, which ends before it."""
    folder.mkdir()
    shutil.chown(folder, cluster.folder.owner())
    one = Disk(folder, megabytes)
    try:
        yield one
    finally:
        if cluster.child.running:
            cluster.crash()
        one.close()


def test_tables_that_cannot_grow_refuse_what_is_not_stored_and_the_run_goes_on(
    cluster: Cluster, children: list[Child]
) -> None:
    with disk(cluster, cluster.folder / "small", 32) as small:
        cluster.run(f"CREATE TABLESPACE small LOCATION '{cluster.folder / 'small'}'")
        cluster.run("CREATE DATABASE small TABLESPACE small")
        server = LocalServer(cluster.url("small"))
        children.append(server.child)
        run = Run(server, children)
        small.fill()
        until(lambda: run.create() == 500 and list(run.answers.values()).count(500) >= REFUSED)
        assert server.child.count(f"{UNSTORED}.*No space left on device")
        small.free()
        run.ends_right()
        assert set(run.answers.values()) == {201, 500}
        assert server.child.count("Traceback") == 0
        assert server.stop() == 0


@pytest.mark.long
def test_a_log_that_cannot_grow_ends_postgresql_and_the_run_goes_on_when_it_is_back(
    cluster: Cluster, children: list[Child]
) -> None:
    def write() -> bool:
        """Go on to the next file of the log; tell whether PostgreSQL still runs."""
        with suppress(psycopg.OperationalError):
            cluster.run("SELECT pg_logical_emit_message(true, '', 'x'), pg_switch_wal()")
        return cluster.child.running

    url, log, away = cluster.create(), cluster.folder / "data" / "pg_wal", cluster.folder / "away"
    cluster.crash()
    log.rename(away)
    with disk(cluster, log, 48) as small, held_port() as api, held_port() as poll:
        shutil.copytree(away, log, dirs_exist_ok=True)
        for path in log.rglob("*"):
            shutil.chown(path, log.owner())
        restart(cluster, children)
        server = Pair([str(api), str(poll)], starter(children))
        child = server.start("server", url)
        child.wait_for("is ready")
        run = Run(server, children)
        small.fill()
        until(lambda: run.create() is None or not write())
        until(lambda: not write())
        child.wait_for("this server waits for it")
        assert run.create() is None  # no answer that the SDK takes for a fault
        small.free()
        restart(cluster, children)
        run.ends_right()
        assert set(run.answers.values()) == {201}
        assert child.count("Traceback") == 0
        assert child.stop() == 0


def restart(cluster: Cluster, children: list[Child]) -> None:
    """Start PostgreSQL again."""
    cluster.start()
    children.append(cluster.child)
