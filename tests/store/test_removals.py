"""What is removed leaves no trace and no space, and old runs are found by an index."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import requests
from rules_stage import Stage
from wire_client import until

from local_server.rules import removal
from local_server.store.store import Store
from local_server.testing import Child, LocalServer

SCHEMA_0 = Path(__file__).with_name("schema_0.sql").read_text()


def fill(store: Store, count: int) -> None:
    """Store completed roots of a kilobyte each, and the table of what was removed."""
    store.begin()
    for number in range(count):
        store.db.execute(
            """INSERT INTO promises (id, state, param, value, timeout, created_on, completed_on)
                VALUES (:id, 'RESOLVED', :param, '{}', 0, 0, :at)""",
            {"id": f"old-{number}", "param": f'{{"data":"{"x" * 1_000}"}}', "at": number},
        )
    store.commit()


def shrunk(store: Store) -> None:
    """Give the space back that is free, one turn after the other."""
    more = True
    while more:
        store.begin()
        more = store.shrink()
        store.commit()


def remove_all(stage: Stage) -> None:
    for root in stage.promises():
        assert stage.do(removal.start, root)
    while stage.do(removal.collect) is not None:
        pass


def test_the_file_shrinks_in_small_steps(durable: Stage) -> None:
    fill(durable.store, 2_000)
    durable.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert durable.path
    before = durable.path.stat().st_size
    assert before > 2_000_000
    remove_all(durable)
    shrunk(durable.store)
    durable.store.close()
    assert durable.path.stat().st_size < before / 10


def test_a_file_of_an_older_version_shrinks_once_it_is_migrated(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        db.executescript(f"PRAGMA journal_mode = WAL; {SCHEMA_0}")
    stage = Stage(tmp_path / "db")
    fill(stage.store, 2_000)
    remove_all(stage)
    shrunk(stage.store)
    stage.store.close()
    assert (tmp_path / "db").stat().st_size < 200_000


def test_runs_are_found_by_an_index_from_the_oldest_on(stage: Stage) -> None:
    fill(stage.store, 100)
    stage.create("root")
    stage.create("root.1", parent="root", key="root.1")
    first = stage.store.removals.roots(0, 3)
    assert [(one.id, one.completed_on) for one in first] == [("old-0", 0), ("old-1", 1), ("old-2", 2)]
    assert [one.id for one in stage.store.removals.roots(first[-1].sort, 100)][-2:] == ["old-99", "root"]


def test_no_statement_of_a_removal_looks_through_a_table(stage: Stage) -> None:
    seen: list[str] = []
    db = stage.store.db
    assert isinstance(db, sqlite3.Connection)
    db.set_trace_callback(seen.append)
    stage.create("a")
    stage.create("b", parent="a", key="b")
    stage.create("c", parent="b", key="c")
    stage.create("d")
    stage.create("c", parent="d", key="c")
    for one in "abcd":
        stage.complete(one)
    stage.store.removals.ids("a", "", 1)
    stage.store.removals.root("c")
    stage.store.removals.roots(1, 1)
    assert stage.do(removal.start, "a")
    while stage.do(removal.collect) is not None:
        pass
    db.set_trace_callback(None)
    for statement in {one for one in seen if one.split()[0] in ("SELECT", "DELETE", "UPDATE", "WITH")}:
        for row in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if row[3].startswith("SCAN"):
                assert row[3] in ("SCAN above", "SCAN unsettled", "SCAN CONSTANT ROW") or "USING" in row[3], statement


def ended(server: LocalServer, promise_id: str) -> None:
    url = f"{server.url}/promises"
    requests.post(url, json={"id": promise_id, "timeout": 2**50}, timeout=10).raise_for_status()
    requests.patch(f"{url}/{promise_id}", json={"state": "RESOLVED"}, timeout=10).raise_for_status()


def ids(server: LocalServer) -> set[str]:
    return {one["id"] for one in requests.get(f"{server.url}/promises?id=*", timeout=10).json()["promises"]}


def test_the_server_removes_runs_of_an_age_when_told_to_keep_them_no_longer(children: list[Child]) -> None:
    server = LocalServer(None, "--keep", "1s")
    children.append(server.child)
    ended(server, "short")
    requests.post(f"{server.url}/promises", json={"id": "open", "timeout": 2**50}, timeout=10).raise_for_status()
    until(lambda: ids(server) == {"open"})


def test_a_removal_goes_on_when_the_server_was_killed_in_the_middle_of_it(
    durable: Stage, tmp_path: Path, children: list[Child]
) -> None:
    for number in range(200):
        durable.create(f"r{number}", key=f"r{number}", **({"parent": f"r{number - 1}"} if number else {}))
    for number in reversed(range(200)):
        durable.complete(f"r{number}")
    assert durable.do(removal.start, "r0")
    durable.do(removal.collect)
    durable.restart(killed=True)
    assert 0 < len(durable.promises()) < 199
    durable.store.close()
    assert durable.path
    durable.path.rename(tmp_path / "resonate.db")
    server = LocalServer(tmp_path)
    children.append(server.child)
    until(lambda: ids(server) == set())


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1w", "1.5h"])
def test_an_age_that_makes_no_sense_is_refused(start: Callable[..., Child], age: str) -> None:
    child = start("server", "-m", "local_server", "--in-memory", "--keep", age)
    assert child.wait() == 2
    assert f"found {age!r}; expected a number with d, h, m or s, such as 30d" in " ".join(child.output.split())
