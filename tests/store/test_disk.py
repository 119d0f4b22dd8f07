"""The disk is full, or the file is gone: every answer is right, and work goes on once it can be stored again."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disk_stage import OPERATIONS, Client, Started, Steps, loses_nothing
from wire_client import FAR, code

from local_server.testing import LocalServer


@contextmanager
def full(server: LocalServer) -> Iterator[None]:
    """Let every write of a running server to a file fail."""
    _, hard = resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.__name__)
def test_a_full_disk_loses_nothing_and_work_goes_on_once_there_is_room(
    server: LocalServer, start: Started, operation: Callable[[Client, Started], Steps]
) -> None:
    loses_nothing(server, start, operation, full(server))


# deleted, or replaced

GONE = "was deleted or replaced"


def moved(db: Path) -> None:
    db.rename(db.with_suffix(".away"))


def replaced(db: Path) -> None:
    content = db.read_bytes()
    moved(db)
    db.write_bytes(content)


def log_moved(db: Path) -> None:
    moved(db.with_name(db.name + "-wal"))


def back(path: Path) -> None:
    path.with_suffix(".away").rename(path)


@pytest.mark.parametrize("what", [moved, replaced, log_moved], ids=lambda one: one.__name__)
def test_a_file_that_is_gone_takes_no_writes_until_it_is_back(
    server: LocalServer, tmp_path: Path, what: Callable[[Path], None]
) -> None:
    wire, db = Client(server), tmp_path / "resonate.db"
    wire.create("before")
    what(db)
    for _ in range(3):  # the first one too: Linux says at once that a file has gone
        assert code(wire.post("/promises", {"id": "meanwhile", "timeout": FAR})) == 50000
        assert wire.get("/promises/before").status_code == 200
        assert wire.get("/promises/meanwhile").status_code == 404
    assert server.child.count(GONE) == 1
    back(db.with_name(db.name + "-wal") if what is log_moved else db)
    wire.create("after")
    wire.close()
    server.kill()
    server.start()
    assert [wire.get(f"/promises/{name}").status_code for name in ("before", "meanwhile", "after")] == [200, 404, 200]
    server.stop()


def test_the_log_of_a_server_that_took_the_place_of_a_deleted_file_is_left_to_it(
    server: LocalServer, tmp_path: Path
) -> None:
    old = server.child
    for path in tmp_path.iterdir():
        path.unlink()
    other = LocalServer(tmp_path)
    wire = Client(other)
    wire.create("p")
    assert old.stop() == 0
    other.kill()
    other.start()
    assert wire.get("/promises/p").status_code == 200
    wire.close()
    other.stop()
