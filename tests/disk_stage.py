"""A disk becomes full in the middle of an operation, and has room again: what every answer and message has to be."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import requests
from wire_client import FAR, EventStream, Wire, code, until

from local_server.testing import Child, LocalServer

IN_TIME = 1.5  # seconds from the moment that the disk has room until all that waited is delivered
UNSTORED = "nothing can be stored"  # in the log, as soon as the server has tried
ANY = {"resonate:invoke": "poll://any@g"}
HOLDING = """
import requests, sys
with requests.get(sys.argv[1], stream=True) as stream:
    for line in stream.iter_lines(chunk_size=None):
        pass
"""

Started = Callable[..., Child]
# An operation: it prepares, the disk becomes full, it acts, the disk has room again, it checks.
Steps = Iterator[None]


class Client(Wire):
    """A client that remembers which promises it was told are stored."""

    def __init__(self, server: LocalServer) -> None:
        super().__init__(server)
        self.server = server
        self.stored: dict[str, str] = {}

    def call(self, method: str, path: str, body: object = None, **options: Any) -> requests.Response:
        answer = super().call(method, path, body, **options)
        if answer.ok and path.startswith("/promises") and "id" in answer.json():
            self.stored[answer.json()["id"]] = answer.json()["state"]
        return answer

    def worker(self, name: str) -> EventStream:
        """Open a stream, and wait until the process behind it is known: that is stored too."""
        stream = self.stream("g", name)
        until(lambda: self.pid(name))
        return stream

    def pid(self, name: str) -> int | None:
        """Return the process that the server has found behind a worker."""
        workers = [one for group in self.get("/ui/workers").json()["groups"] for one in group["workers"]]
        return next((one["pid"] for one in workers if one["name"] == name), None)

    def claimed(self, stream: EventStream, process: str, ttl: int = 60_000) -> dict[str, Any]:
        """Take the next message of a stream, and claim its task; return that."""
        task = stream.next()["task"]
        assert self.claim(task, process, ttl).status_code == 201
        return task

    def finish(self, task: dict[str, Any]) -> requests.Response:
        """Complete a task."""
        return self.post("/tasks/complete", {"id": task["id"], "counter": task["counter"]})

    def waits_for(self, promise: str, root: str) -> None:
        """Let the function of a promise wait for another."""
        body = {"promiseId": promise, "rootPromiseId": root, "timeout": FAR, "recv": "poll://any@g"}
        assert self.post("/callbacks", body).status_code == 201

    def suspended(self, name: str, child: str, **fields: Any) -> EventStream:
        """Return the stream of a worker whose only function waits for a child."""
        stream = self.worker(name)
        self.create("root", ANY)
        task = self.claimed(stream, name)
        self.create(child, **fields)
        self.waits_for(child, "root")
        assert self.finish(task).status_code == 201
        return stream


def create(wire: Client, _: Started) -> Steps:
    yield
    assert code(wire.post("/promises", {"id": "p", "timeout": FAR})) == 50000
    assert wire.get("/promises/p").status_code == 404
    yield
    wire.create("p")


def create_with_invoke(wire: Client, _: Started) -> Steps:
    stream = wire.worker("a")
    yield
    body = {"id": "p", "timeout": FAR, "tags": ANY}
    assert code(wire.post("/promises", body)) == 50000
    yield
    wire.create("p", ANY)
    assert stream.next()["task"]["counter"] == 1


def claim(wire: Client, _: Started) -> Steps:
    stream = wire.worker("a")
    wire.create("p", ANY)
    task = stream.next()["task"]
    yield
    assert code(wire.claim(task, "a")) == 50000
    yield
    assert wire.claim(task, "a").status_code == 201
    assert wire.finish(task).status_code == 201


def complete(wire: Client, _: Started) -> Steps:
    stream = wire.suspended("a", "one")
    wire.create("two")
    wire.waits_for("two", "root")
    wire.complete("one")
    task = wire.claimed(stream, "a")
    wire.complete("two")  # its task waits for the end of that of "one"
    yield
    assert code(wire.finish(task)) == 50000
    yield
    assert wire.finish(task).status_code == 201
    assert stream.next()["task"]["id"] == "__resume:root:two"


def resolve_with_a_callback(wire: Client, _: Started) -> Steps:
    stream = wire.suspended("a", "child")
    yield
    assert code(wire.patch("/promises/child", {"state": "RESOLVED"})) == 50000
    assert wire.get("/promises/child").json()["state"] == "PENDING"
    yield
    wire.complete("child")
    assert stream.next()["task"]["id"] == "__resume:root:child"


def heartbeat(wire: Client, _: Started) -> Steps:
    wire.create("p", ANY)
    wire.claimed(wire.worker("a"), "a")
    yield
    assert code(wire.post("/tasks/heartbeat", {"processId": "a"})) == 50000
    yield
    assert wire.post("/tasks/heartbeat", {"processId": "a"}).json() == {"tasksAffected": 1}


def connect_a_stream(wire: Client, _: Started) -> Steps:
    wire.create("p", ANY)
    yield
    stream = wire.stream("g", "a")
    wire.server.child.wait_for(UNSTORED)
    yield
    wire.claimed(stream, "a")


def disconnect_a_stream(wire: Client, _: Started) -> Steps:
    stream = wire.worker("a")
    wire.create("p", ANY)
    stream.next()
    other = wire.worker("b")
    yield
    stream.close()
    wire.server.child.wait_for(UNSTORED)
    yield
    assert other.next()["task"]["counter"] == 2
    wire.create("q", ANY)
    assert other.next()["task"]["rootPromiseId"] == "q"


def a_worker_is_killed(wire: Client, start: Started) -> Steps:
    child = start("worker", "-c", HOLDING, f"{wire.poll_url}/g/a")
    until(lambda: wire.pid("a") == child.pid)
    wire.create("p", ANY)
    assert wire.claim({"id": "__invoke:p", "counter": 1}, "a").status_code == 201
    other = wire.worker("b")
    yield
    child.kill()
    wire.server.child.wait_for(UNSTORED)
    yield
    assert other.next()["task"]["counter"] == 2


def a_lease_runs_out(wire: Client, _: Started) -> Steps:
    stream = wire.worker("a")
    wire.create("p", ANY)
    wire.claimed(stream, "a", ttl=400)
    yield
    wire.server.child.wait_for(UNSTORED)
    yield
    assert stream.next()["task"]["counter"] == 2


def a_delay_ends(wire: Client, _: Started) -> Steps:
    stream = wire.worker("a")
    wire.create("p", {**ANY, "resonate:delay": str(int(time.time() * 1000) + 400)})
    yield
    wire.server.child.wait_for(UNSTORED)
    yield
    assert stream.next()["task"]["rootPromiseId"] == "p"


def a_schedule_is_due(wire: Client, _: Started) -> Steps:
    stream = wire.worker("a")
    body = {
        "id": "s", "cron": "@every 1s", "promiseId": "run", "promiseTimeout": 10**10, "promiseTags": ANY,
    }  # fmt: skip
    assert wire.post("/schedules", body).status_code == 201
    yield
    wire.server.child.wait_for(UNSTORED)
    yield
    assert stream.next()["task"]["rootPromiseId"] == "run"


def a_search(wire: Client, _: Started) -> Steps:
    wire.create("p")
    yield
    assert [one["id"] for one in wire.get("/promises?id=*").json()["promises"]] == ["p"]
    wire.stream("g", "a")
    wire.server.child.wait_for(UNSTORED)
    assert code(wire.get("/promises?id=*")) == 50000  # what nobody waits for is stored before anything else
    yield
    assert [one["id"] for one in wire.get("/promises?id=*").json()["promises"]] == ["p"]


def a_get_that_applies_a_time_out(wire: Client, _: Started) -> Steps:
    stream = wire.suspended("a", "child", timeout=int(time.time() * 1000) + 1_000)
    yield
    wire.server.child.wait_for(UNSTORED)
    assert code(wire.get("/promises/child")) == 50000
    yield
    assert stream.next()["task"]["id"] == "__resume:root:child"
    assert wire.get("/promises/child").json()["state"] == "REJECTED_TIMEDOUT"


OPERATIONS = (
    create, create_with_invoke, claim, complete, resolve_with_a_callback, heartbeat, connect_a_stream,
    disconnect_a_stream, a_worker_is_killed, a_lease_runs_out, a_delay_ends, a_schedule_is_due, a_search,
    a_get_that_applies_a_time_out,
)  # fmt: skip


def loses_nothing(
    server: LocalServer,
    start: Started,
    operation: Callable[[Client, Started], Steps],
    full: AbstractContextManager[None],
) -> None:
    """Run an operation; look at what the server has said and kept."""
    wire = Client(server)
    steps = operation(wire, start)
    next(steps)
    with full:
        next(steps)
    began = time.monotonic()
    assert next(steps, "done") == "done"
    assert time.monotonic() - began < IN_TIME
    assert server.child.count("Traceback") == 0
    assert server.child.count(UNSTORED) <= 1
    wire.close()
    server.kill()
    server.start()
    for promise, state in wire.stored.items():
        assert wire.get(f"/promises/{promise}").json()["state"] in {state, "PENDING"} | (
            {"REJECTED_TIMEDOUT"} if state == "PENDING" else set()
        )
    server.stop()
