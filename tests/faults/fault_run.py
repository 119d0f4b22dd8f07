"""One run under faults: processes that are hit by a plan and started again, and what must be true at its end.

A role is a part in an example, such as ``worker-2``; its process changes each time it is started again. A run ends when
all that was asked for has its result; then every worker is asked something that only it may answer.
"""

import heapq
import itertools
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import requests
from fault_plan import Fault
from msgspec import Raw, Struct
from msgspec import json as msgspec_json
from wire_client import call, starter

from local_server.testing import Child, LocalServer
from local_server.testing.server import AnyServer

DEADLINE = 60.0  # seconds from the last fault until everything has its result
PROBE_DEADLINE = 20.0  # seconds; a worker whose stream was cut comes back after 5, and a long step takes 6
ENDS_WITHIN = 20.0  # seconds after SIGTERM
# A notification may wait a day for a client that was killed.
LIVE = "SELECT id, state FROM tasks WHERE state IN ('INIT', 'ENQUEUED', 'CLAIMED') AND kind <> 'notify'"
LEASE = 9.0  # seconds; a worker that was stopped for longer is ended by the SDK when it wakes (its lease lasts 10)


class Role:
    """One part of an example, and the process that plays it now."""

    def __init__(self, name: str, start: Callable[[], Child], *, client: bool = False, probe: Any = None) -> None:
        """Start it.

        Args:
            name: as plans call it.
            start: starts a process.
            client: whether it ends by itself, with 0, when it has its result.
            probe: for a worker, a function of its process: its address, and the function and arguments to call there.
        """
        self.name, self.client, self.probe = name, client, probe
        self._start = start
        self.start()

    def start(self) -> None:
        """Start a process, the first or another."""
        self.child = self._start()
        self.asked_to_end, self.stopped_for = 0.0, 0.0

    def kill(self) -> None:
        """End its process."""
        self.child.kill()

    def stop(self) -> None:
        """Let it stand still."""
        self.child.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.child.signal(signal.SIGCONT)

    @property
    def done(self) -> bool:
        """Whether it is a client that has its result."""
        return self.client and not self.child.running and self.child.wait() == 0

    def look(self) -> str:
        """Return what is wrong with its process, nothing if it runs, or has ended as it should or may."""
        if self.child.running or self.done or self.asked_to_end:
            return ""
        if self.probe and self.stopped_for > LEASE and self.child.wait() == 1:  # the SDK's doing
            self.start()
            return ""
        ended = f"{self.name} (pid {self.child.pid}) ended with {self.child.wait()}, and nobody had ended it"
        said = [line for line in self.child.lines if "Error: [" in line]  # by the SDK, with the code of the refusal
        return f"{ended}: {said[-1]}" if said else ended


class Promises:
    """What the server has told of its promises: whatever was completed once must stay as it was, byte for byte."""

    class _Page(Struct):
        cursor: str | None
        promises: list[Raw]

    class _Promise(Struct):
        id: str
        state: str

    def __init__(self, server: AnyServer) -> None:
        """Read them again and again from now on."""
        self._server, self._session = server, requests.Session()
        self._completed, self._known = dict[str, bytes](), set[str]()
        self.changed, self.acknowledged = list[str](), set[str]()
        self.reads = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._end.wait(0.4):
            with suppress(requests.RequestException):  # the server is down, or stands still
                self.read()

    def read(self) -> list[str]:
        """Read them once; return the ids of those that are pending."""
        query: dict[str, str] | None = {"id": "*"}
        seen, pending = set[str](), list[str]()
        known = self._known | self.acknowledged
        while query:
            answer = self._session.get(f"{self._server.url}/promises", params=query, timeout=3)
            answer.raise_for_status()
            page = msgspec_json.decode(answer.content, type=self._Page)
            for raw in page.promises:
                promise = msgspec_json.decode(raw, type=self._Promise)
                seen.add(promise.id)
                if promise.state == "PENDING":
                    pending.append(promise.id)
                self._note(promise, bytes(raw))
            query = {"cursor": page.cursor} if page.cursor else None
        self.changed += [f"{lost} is no longer there" for lost in known - seen]
        self._known |= seen
        self.reads += 1
        return pending

    def _note(self, promise: _Promise, raw: bytes) -> None:
        before = self._completed.get(promise.id)
        if before is not None and before != raw:
            self.changed.append(f"{promise.id} was {before!r} and is {raw!r}")
        if promise.state != "PENDING":
            self._completed[promise.id] = raw

    def wait_until_completed(self) -> None:
        """Wait until none is pending; that is the last look at them."""
        self._end.set()
        self._thread.join()
        deadline = time.monotonic() + DEADLINE
        while pending := self.read():
            assert time.monotonic() < deadline, f"still pending after {DEADLINE} s: {pending[:20]}"
            time.sleep(0.2)


class FaultRun:
    """The processes of one run."""

    server: AnyServer

    def __init__(self, children: list[Child]) -> None:
        """Start what serves."""
        self.children, self._start, self._over = children, starter(children), threading.Event()
        self.roles = dict[str, Role]()
        self._serve()
        self.promises = Promises(self.server)

    def _serve(self) -> None:
        raise NotImplementedError

    def check_servers(self) -> None:
        """Look at how they end and at what is left."""
        raise NotImplementedError

    def add(self, name: str, *argv: str, env: dict[str, str] | None = None, **options: Any) -> Role:
        """Start a process of the example; ``options`` are those of ``Role``."""
        env = {**self.server.env, **(env or {})}
        self.roles[name] = Role(name, lambda: self._start(name, *argv, env=env), **options)
        return self.roles[name]

    def keep_asking(self, address: str, function: str, *arguments: Any) -> None:
        """Send short calls until the faults are over, 20 a second, each again until the server has acknowledged it."""

        def ask() -> None:
            for number in itertools.count():
                while not self._over.wait(0.05):
                    with suppress(requests.RequestException):
                        call(self.server, f"call-{number}", f"any@{address}", function, *arguments)
                        self.promises.acknowledged.add(f"call-{number}")
                        break
                else:
                    return

        threading.Thread(target=ask, daemon=True).start()

    def hit(self, faults: list[Fault]) -> None:
        """Do what the plan says, at its times."""
        began, order = time.monotonic(), itertools.count()
        agenda: list[tuple[float, int, str, Fault]] = [(one.at, next(order), one.kind, one) for one in faults]
        heapq.heapify(agenda)
        while agenda:
            at, _, action, fault = heapq.heappop(agenda)
            time.sleep(max(0.0, began + at - time.monotonic()))  # the plan's moment is what is waited for
            if then := self._act(action, self.roles[fault.victim], fault):
                heapq.heappush(agenda, (max(fault.at + fault.seconds, at + 0.05), next(order), then, fault))
            self.look()
        self._over.set()

    def _act(self, action: str, role: Role, fault: Fault) -> str:
        """Do one thing to a process; return what is to be done to it next."""
        if role.done or (role.asked_to_end and action != "start"):  # it takes long to end, and is not back yet
            return ""
        if action == "kill":
            role.asked_to_end = time.monotonic()
            role.kill()
        elif action == "term":
            role.asked_to_end = time.monotonic()
            role.child.signal(signal.SIGTERM)
        elif action == "stop":
            role.stop()
            role.stopped_for = max(role.stopped_for, fault.seconds)
        elif action == "continue":
            role.go_on()
        elif role.child.running:  # it was asked to end and has not yet
            waited = time.monotonic() - role.asked_to_end
            assert waited < ENDS_WITHIN, f"{role.name} (pid {role.child.pid}) still runs {waited:.0f} s after SIGTERM"
            return "start"
        else:
            role.start()
        return {"kill": "start", "term": "start", "stop": "continue"}.get(action, "")

    def look(self) -> None:
        """Fail if a process has ended that should run."""
        wrong = [found for role in self.roles.values() if (found := role.look())]
        assert not wrong, "; ".join(wrong)

    def wait_for_clients(self) -> None:
        """Wait until every client has its result."""
        deadline = time.monotonic() + DEADLINE
        while clients := [one.name for one in self.roles.values() if one.client and not one.done]:
            self.look()
            assert time.monotonic() < deadline, f"no result after {DEADLINE} s: {', '.join(clients)}"
            time.sleep(0.05)

    def finish(self) -> None:
        """Let everything come to its end, and check what must be true then."""
        self.probe()
        self.promises.wait_until_completed()
        self.look()
        assert not self.promises.changed, "\n".join(self.promises.changed)
        assert self.promises.reads > 1, "the promises were never read during the run"
        self.check_servers()

    def probe(self) -> None:
        """Ask each worker something that only it may answer: one that holds its stream and does not work is deaf."""
        asked = {}
        for role in self.roles.values():
            if role.probe:
                address, function, *arguments = role.probe(role.child)
                asked[role] = f"probe-{role.name}"
                call(self.server, asked[role], f"uni@{address}", function, *arguments)
        deadline = time.monotonic() + PROBE_DEADLINE
        while asked:
            self.look()
            for role, promise_id in list(asked.items()):
                answer = requests.get(f"{self.server.url}/promises/{promise_id}", timeout=5).json()
                assert answer["state"] in {"PENDING", "RESOLVED"}, answer
                if answer["state"] == "RESOLVED":
                    del asked[role]
            deaf = [f"{role.name} (pid {role.child.pid})" for role in asked]
            assert time.monotonic() < deadline, f"deaf for {PROBE_DEADLINE} s: {', '.join(deaf)}"
            time.sleep(0.1)


class FileRun(FaultRun):
    """A run with one server, on a file of SQLite."""

    def __init__(self, folder: Path, children: list[Child], *ports: str) -> None:
        """Start it on these ports, each of which is free for it to come back to."""
        self._folder, self._ports = folder, ports
        super().__init__(children)

    def _serve(self) -> None:
        self.server: LocalServer = LocalServer(self._folder, *self._ports, start=self._start)
        self.roles["server"] = Role("server", self._server)

    def _server(self) -> Child:
        if not self.server.child.running:
            self.server.start()
        return self.server.child

    def check_servers(self) -> None:
        """Stop it, and look at how it ended and at what is left in the file."""
        log = self.server.child.output
        assert "Traceback" not in log, log
        assert "ERROR" not in log, log
        status = self.server.stop()
        assert status == 0, f"the server ended with {status}"
        with closing(sqlite3.connect(self._folder / "resonate.db")) as database:
            left = database.execute(LIVE).fetchall()
        assert not left, f"tasks that are left although all promises are completed: {left}"
