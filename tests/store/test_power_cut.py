"""A power cut takes what was not synced: each time a sync returns, the files are copied, and a server starts on that.

Between two syncs of ours SQLite may sync by itself, which only keeps more. So the copy is the worst that can be left.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rules_stage import ANY, Stage, refused
from wire_client import FAR, Wire, code, until

from local_server import errors
from local_server.model import Promise
from local_server.rules import tasks
from local_server.store import log, sqlite
from local_server.testing import Child, LocalServer

# A server; its arguments are a folder for the copies, and then its own.
COPYING = """
import os, pathlib, shutil, sys, time
from local_server.cli import main
from local_server.store import log, sqlite

disk, db = pathlib.Path(sys.argv.pop(1)), pathlib.Path(sys.argv[2])

def sync(file):
    if (disk / "fails").exists():
        raise OSError(5, "Input/output error")
    os.fsync(file)
    part = disk / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for path in (db, db.with_name(db.name + "-wal")):
        shutil.copy(path, part)
    part.rename(disk / f"copy-{time.monotonic_ns():020}")  # at once: this process may be killed at any moment

log._sync = sync
main()
"""


class Power:
    """A stage on a file, and the disk as it would be if the power failed now."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self._disk = folder / "disk"
        monkeypatch.setattr(sqlite, "LOG_BYTES", 0)  # a log that starts small is copied sooner
        self.stage = Stage(folder / "db")
        self._copy(0)
        monkeypatch.setattr(log, "_sync", self._copy)

    def _copy(self, _: int) -> None:
        self.syncs += 1
        self._disk.mkdir(exist_ok=True)
        for file in ("db", "db-wal"):
            shutil.copy(self.stage.path.with_name(file), self._disk)

    def costs(self, operation: Callable[[], object]) -> int:
        """Return how many syncs an operation takes."""
        before = self.syncs
        operation()
        return self.syncs - before

    def fail(self) -> None:
        """Let the server start again on what was synced."""
        self.stage.store.close()
        self.stage.path = self._disk.rename(self._disk.with_name("left")) / "db"
        self.stage.now += 30_000
        self.stage.restart()


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    return Power(tmp_path, monkeypatch)


def finish(stage: Stage, task_id: str) -> None:
    """Complete a task that was claimed under its first counter."""
    stage.do(tasks.complete, task_id, 1)


def test_a_step_is_synced_four_times_and_its_claims_not_at_all(power: Power) -> None:
    stage = power.stage
    stage.connect("g/w")
    stage.create("root", invoke=ANY)
    assert power.costs(lambda: stage.claim("__invoke:root")) == 0
    assert power.costs(lambda: stage.create("child", invoke=ANY)) == 1
    assert power.costs(lambda: stage.call_back("child", "resume", "root", ANY)) == 1
    assert power.costs(lambda: finish(stage, "__invoke:root")) == 1
    assert power.costs(lambda: stage.claim("__invoke:child")) == 0
    assert power.costs(lambda: stage.do(tasks.heartbeat, "w")) == 0
    assert power.costs(lambda: stage.complete("child")) == 1
    assert power.costs(lambda: finish(stage, "__invoke:child")) == 0  # it ended with its promise
    assert power.costs(lambda: stage.claim("__resume:root:child")) == 0


def test_what_was_answered_of_promises_and_callbacks_is_there_after_a_power_cut(power: Power) -> None:
    stage, told = power.stage, dict[str, Promise | None]()
    stage.connect("g/w")
    for number in range(100):  # more than the log holds
        name, child = f"p{number}", f"p{number}.1"
        stage.create(name, invoke=ANY)
        stage.claim(f"__invoke:{name}")
        stage.create(child)
        stage.call_back(child, "resume", name, ANY)
        finish(stage, f"__invoke:{name}")
        if number % 3:
            stage.complete(child)
        told |= {one: stage.store.promise(one) for one in (name, child)}
    callbacks = stage.store.db.execute("SELECT * FROM callbacks").fetchall()
    power.fail()
    assert {one: stage.store.promise(one) for one in told} == told
    assert stage.store.db.execute("SELECT * FROM callbacks").fetchall() == callbacks
    assert stage.store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_time_out_that_a_power_cut_took_comes_again(power: Power) -> None:
    stage = power.stage
    stage.create("p", timeout=stage.now + 1_000)
    stage.now += 1_000
    assert power.costs(stage.sweep) == 0
    ended = stage.promises()
    power.fail()
    assert {one.state for one in stage.promises().values()} == {"PENDING"}
    stage.sweep()
    assert stage.promises() == ended


def test_a_claim_that_a_power_cut_took_is_offered_again_and_its_holder_may_still_complete_it(power: Power) -> None:
    stage = power.stage
    stage.connect("g/w")
    stage.create("p", invoke=ANY)
    stage.claim("__invoke:p", process_id="w")
    power.fail()
    assert stage.task("__invoke:p").state == "ENQUEUED"
    finish(stage, "__invoke:p")
    assert stage.task("__invoke:p").state == "COMPLETED"
    stage.create("q", invoke=ANY)  # in this run of the server, only who has claimed may complete
    assert refused(lambda: finish(stage, "__invoke:q")) == errors.TASK_INVALID_STATE


# with processes


class Cut:
    """A server on a file, and the disk as it would be if the power failed now."""

    def __init__(self, folder: Path, children: list[Child]) -> None:
        self._folder, self._disk, self._children = folder, folder / "disk", children
        self._disk.mkdir()
        self.server = LocalServer(folder, start=self._start)

    def _start(self, name: str, _module: str, _server: str, *options: str, **others: Any) -> Child:
        child = Child.python(name, "-c", COPYING, self._disk, *options, **others)
        self._children.append(child)
        return child

    def sync_fails(self, *, fails: bool) -> None:
        """Let every sync fail from now on, or no longer."""
        (self._disk / "fails").touch() if fails else (self._disk / "fails").unlink()

    @property
    def copies(self) -> int:
        """How many syncs have returned."""
        return len(list(self._disk.glob("copy-*")))

    def power(self) -> None:
        """Cut the power, and start the server again with what is left."""
        self.server.kill()
        for file in max(self._disk.glob("copy-*")).iterdir():
            shutil.copy(file, self._folder)
        self.server.start()


@pytest.fixture
def cut(tmp_path: Path, children: list[Child]) -> Iterator[Cut]:
    """A server whose disk may fail, or be left without power."""
    yield (made := Cut(tmp_path, children))
    made.server.kill()


@pytest.fixture
def wire(cut: Cut) -> Iterator[Wire]:
    """Its API."""
    yield (made := Wire(cut.server))
    made.close()


def test_a_claim_outlives_a_power_cut_that_comes_a_second_later(cut: Cut, wire: Wire) -> None:
    stream = wire.stream("g", "w")
    wire.create("p", {"resonate:invoke": ANY})
    task = stream.next()["task"]
    until(lambda: wire.get("/ui/workers").json()["groups"][0]["workers"][0]["pid"])  # that is stored, too
    before = cut.copies
    assert wire.claim(task, "w").status_code == 201
    until(lambda: cut.copies > before)
    cut.power()
    assert code(wire.claim(task, "other")) == errors.TASK_ALREADY_CLAIMED


def test_who_waits_is_told_although_the_disk_failed_to_sync_the_end(cut: Cut, wire: Wire) -> None:
    client = wire.stream("g", "client")
    wire.create("p")
    body = {"promiseId": "p", "id": "s", "timeout": FAR, "recv": "poll://uni@g/client"}
    assert wire.post("/subscriptions", body).status_code == 201
    cut.sync_fails(fails=True)
    assert code(wire.patch("/promises/p", {"state": "RESOLVED"})) == errors.INTERNAL_ERROR
    assert code(wire.get("/promises/p")) == errors.INTERNAL_ERROR  # it may be lost yet
    cut.sync_fails(fails=False)
    assert client.next()["promise"]["state"] == "RESOLVED"


@pytest.mark.long
def test_a_factorial_ends_right_and_no_worker_dies_though_the_power_of_the_server_is_cut(
    cut: Cut, children: list[Child]
) -> None:
    workers = [
        Child.python(f"w{n}", "factorial_worker.py", "--id", f"w{n}", "--delay", "0.2", env=cut.server.env)
        for n in range(3)
    ]
    children += workers
    for worker in workers:
        worker.wait_for("is ready")
    client = Child.python("client", "factorial_client.py", "12", env=cut.server.env)
    children.append(client)
    for step in (11, 4):
        until(lambda step=step: any(worker.count(f"Calculating factorial of {step}$") for worker in workers))
        cut.power()
    client.wait_for("479001600", timeout=60)
    assert all(worker.running for worker in workers)
