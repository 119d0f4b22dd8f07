"""Random sequences of requests, connections, ends of processes, restarts and time, and what must hold after each."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rules_stage import FAR, RecordingStream, Stage, refused

from local_server.errors import Refusal
from local_server.model import Promise, Task
from local_server.rules import tasks
from local_server.rules.dispatch import CLAIM_WITHIN
from local_server.rules.losses import CLAIM_AFTER_CLOSE, HEARTBEAT_WITHIN
from local_server.rules.states import PromiseEvent
from local_server.rules.workers import WINDOW, OsProcess

PROMISES = st.sampled_from(["a", "b", "c", "a:b", "b:c", "d", "e", "f"])
ROOTS = st.sampled_from(["a", "a:b"])
WORKERS = st.sampled_from(["g/v", "g/w", "h/w"])
ADDRESSES = st.sampled_from(["poll://any@g", "poll://any@g", "poll://any@g/w", "poll://uni@g/v", "poll://any@h", "x"])
TIMEOUTS = st.sampled_from([FAR, FAR, FAR, 30_000, 3_000, 300, -1])  # ms from now
TTLS = st.sampled_from([10_000, 10_000, 1_000, 2**63 - 1, 0])
EVENTS = st.sampled_from(["resolve", "reject", "cancel"])
DURATIONS = [0, 1, 100, 100, CLAIM_AFTER_CLOSE, HEARTBEAT_WITHIN, CLAIM_WITHIN, 30_000]
LIVE = ("INIT", "ENQUEUED", "CLAIMED")


class Rules(RuleBasedStateMachine):
    """Knows of each message and of each lease until when the server must honor it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stage = Stage(Path(self.folder.name) / "db")
        self.streams: dict[str, RecordingStream] = {}  # open ones by the names of their workers
        self.delivered: set[tuple[str, int]] = set()
        self.messages: dict[str, tuple[str, int, int]] = {}  # by task: recipient, counter, good until
        self.leases: dict[str, tuple[str, int, int, int]] = {}  # by task: process, counter, ttl, good until
        self.ended: dict[str, Promise] = {}
        self.over: dict[str, Task] = {}
        self.counters: dict[str, int] = {}

    def teardown(self) -> None:
        self.stage.store.close()
        self.folder.cleanup()

    @initialize(known=st.booleans())
    def start(self, known: bool) -> None:  # noqa: FBT001 - drawn
        self.connect(["g/v"], known)
        self.connect(["g/w"], not known)

    # requests; several of them may share a turn

    def request(self, kind: str, promise: str, other: str, recv: str, number: int, event: PromiseEvent) -> None:
        with contextlib.suppress(Refusal):
            if kind in ("create", "create and complete"):
                tags = {"invoke": recv} if recv != "x" else {}
                tags |= {"timeout_": "true"} if event == "reject" else {}
                tags |= {"delay": str(self.stage.now + 1_000)} if event == "cancel" and number < FAR else {}
                self.stage.create(promise, timeout=self.stage.now + number, **tags)
                if kind == "create and complete":
                    self.stage.complete(promise, event)
            elif kind == "create and claim":
                self.stage.create(promise, claim=("w", 10_000), invoke=recv)
                self.leases[f"__invoke:{promise}"] = ("w", 1, 10_000, self.stage.mono + 10_000)
            elif kind == "complete":
                self.stage.complete(promise, event)
            else:
                self.stage.call_back(promise, "notify" if event == "reject" else "resume", other, recv)

    @rule(requests=st.lists(st.deferred(lambda: Rules.requests), min_size=1, max_size=8), data=st.data())
    def fail(self, requests: list[tuple[str, str, str, str, int, PromiseEvent]], data: st.DataObject) -> None:
        """A turn that cannot be stored leaves everything as it was, for the next turn to go on from."""
        before, leases = self.stage.dump(), dict(self.leases)
        self.stage.failing = True
        with self.stage.turn():
            for task_id, (recipient, counter, _) in self.messages.items():
                self.stage.claim(task_id, counter, recipient.split("/")[1])
            for request in requests:
                self.request(*request)
            with contextlib.suppress(Refusal):
                self.stage.claim(data.draw(st.sampled_from(["none", *sorted(self.stage.tasks())])), 1, "w")
        self.stage.failing = False
        assert self.stage.dump() == before
        self.leases = leases
        self.stage.sweep()

    kinds = st.sampled_from(["create", "complete", "call back", "create and complete", "create and claim"])
    requests = st.tuples(kinds, PROMISES, ROOTS, ADDRESSES, TIMEOUTS, EVENTS)

    @rule(requests=st.lists(requests, min_size=3, max_size=8))
    def ask(self, requests: list[tuple[str, str, str, str, int, PromiseEvent]]) -> None:
        with self.stage.turn():
            for request in requests:
                self.request(*request)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), ttl=TTLS)
    def claim(self, data: st.DataObject, ttl: int) -> None:
        self.claim_one(data, ttl)

    def claim_one(self, data: st.DataObject, ttl: int) -> str:
        """A message that is not superseded can be claimed, at once or later."""
        task_id = data.draw(st.sampled_from(sorted(self.messages)))
        recipient, counter, _ = self.messages.pop(task_id)
        process = recipient.split("/")[1]
        assert self.stage.claim(task_id, counter, process, ttl).counter == counter
        self.leases[task_id] = (process, counter, ttl, self.stage.mono + ttl)
        return task_id

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), leaves=st.lists(PROMISES, max_size=3), end=st.sampled_from(["leave", "resolve"]))
    def work(self, data: st.DataObject, leaves: list[str], end: str) -> None:
        """A worker runs a function until it has to wait for others, or to its end."""
        task_id = self.claim_one(data, 10_000)
        root, _, counter = self.stage.task(task_id).root, *self.leases.pop(task_id)[:2]
        for leaf in leaves:
            with contextlib.suppress(Refusal):
                self.stage.create(leaf, invoke="poll://any@g")
            if leaf != root:
                self.stage.call_back(leaf, "resume", root, "poll://any@g")
        if end == "resolve":
            assert self.stage.complete(root) == 201
        assert self.stage.do(tasks.complete, task_id, counter)[0] == (200 if end == "resolve" else 201)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), drop=st.booleans())
    def finish(self, data: st.DataObject, drop: bool) -> None:  # noqa: FBT001 - drawn
        task_id = data.draw(st.sampled_from(sorted(self.leases)))
        _, counter, _, _ = self.leases.pop(task_id)
        if drop:
            assert self.stage.do(tasks.drop, task_id, counter) == 201
        else:
            assert self.stage.do(tasks.complete, task_id, counter)[0] == 201

    @precondition(lambda self: self.counters)
    @rule(data=st.data(), counter=st.integers(1, 3))
    def claim_and_complete_what_may_be_gone(self, data: st.DataObject, counter: int) -> None:
        """Whatever a lost worker still asks is refused, or does no harm."""
        task_id = data.draw(st.sampled_from(sorted(self.counters)))
        if task_id in self.messages or task_id in self.leases:
            return
        before = self.stage.dump()
        task = self.stage.store.task(task_id)
        if task is None or task.state in ("COMPLETED", "TIMEDOUT") or task.counter != counter:
            late = task and task.recipient and task.counter == counter  # granted where its root has ended, and harmless
            assert refused(lambda: self.stage.claim(task_id, counter, "lost")) or late
            refused(lambda: self.stage.do(tasks.complete, task_id, counter))
            refused(lambda: self.stage.do(tasks.drop, task_id, counter))
            assert self.stage.dump() == before

    # workers

    @rule(names=st.lists(WORKERS, min_size=1, max_size=3), known=st.booleans())
    def connect(self, names: list[str], known: bool) -> None:  # noqa: FBT001 - drawn
        for name in names:
            if name in self.streams:
                self.closed(name)
            self.streams[name] = self.stage.connect(name, OsProcess(1, 0.0) if known else None)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), what=st.sampled_from(["stream", "process", "server", "killed server"]))
    def lose(self, data: st.DataObject, what: str) -> None:
        if "server" in what:
            self.restart(killed=what == "killed server")
            return
        name = data.draw(st.sampled_from(sorted(self.streams)))
        self.closed(name)
        del self.streams[name]
        if what == "stream":
            self.stage.disconnect(name)
            return
        process = name.split("/")[1]
        self.messages = {task: known for task, known in self.messages.items() if known[0] != name}
        self.leases = {task: known for task, known in self.leases.items() if known[0] != process}
        self.stage.process_ends(name)

    def closed(self, name: str) -> None:
        """Note that less is certain of a worker whose stream is closed."""
        soon = self.stage.mono + CLAIM_AFTER_CLOSE
        for task, (recipient, counter, until) in self.messages.items():
            if recipient == name:
                self.messages[task] = (recipient, counter, min(until, soon))
        if self.stage.worker(name).os_process is None:
            for task, (process, counter, ttl, until) in self.leases.items():
                if process == name.split("/")[1]:
                    self.leases[task] = (process, counter, ttl, min(until, self.stage.mono + HEARTBEAT_WITHIN))

    # time and restarts

    @rule(ms=st.sampled_from(DURATIONS), beats=st.sets(st.sampled_from(["v", "w"])))
    def wait(self, ms: int, beats: set[str]) -> None:
        """Let time pass after some have sent a heartbeat."""
        for process in beats:
            self.stage.do(tasks.heartbeat, process)
        for task_id, (process, counter, ttl, _) in self.leases.items():
            if process in beats:
                self.leases[task_id] = (process, counter, ttl, self.stage.mono + ttl)
        self.stage.advance(ms)

    def restart(self, *, killed: bool) -> None:
        before = self.stage.dump()
        self.stage.restart(killed=killed)
        for known, found in zip(before, self.stage.dump(), strict=True):
            if known[0] != "tasks":  # these change: deadlines count anew, and notifications wait
                assert known == found
        self.streams = {}
        mono = self.stage.mono
        self.messages = {task: (*known[:2], mono + CLAIM_WITHIN) for task, known in self.messages.items()}
        self.leases = {task: (*known[:3], mono + known[2]) for task, known in self.leases.items()}

    # what must hold

    def read_messages(self) -> None:
        """Note what was sent: never the same counter twice, and nothing of which another could still be certain."""
        sent = [
            (at, message.counter or 0, message.task or "", name)
            for name, stream in self.streams.items()
            for at, message in zip(stream.times, stream.messages, strict=True)
            if message.type != "notify"
        ]
        for at, counter, task, name in sorted(sent):
            assert (task, counter) not in self.delivered
            self.delivered.add((task, counter))
            known = self.messages.pop(task, None) or self.leases.pop(task, None)
            assert known is None or known[-1] <= at, "it was taken from its worker too soon"
            self.messages[task] = (name, counter, at + CLAIM_WITHIN)
        for stream in self.streams.values():
            stream.messages.clear()
            stream.times.clear()

    @invariant()
    def every_message_is_new_and_every_message_and_lease_is_honored(self) -> None:
        self.read_messages()
        found, promises = self.stage.tasks(), self.stage.promises()
        for known in (self.messages, self.leases):
            for task_id in list(known):
                if (
                    task_id not in found
                    or _ended(promises.get(found[task_id].root))
                    or known[task_id][-1] <= self.stage.mono
                ):
                    del known[task_id]
        for task_id, (_, counter, _) in self.messages.items():
            assert (found[task_id].state, found[task_id].counter) == ("ENQUEUED", counter)
        for task_id, (process, counter, _, _) in self.leases.items():
            task = found[task_id]
            assert (task.state, task.process, task.counter) == ("CLAIMED", process, counter)

    @invariant()
    def a_promise_completes_once(self) -> None:
        ended = {promise.id: promise for promise in self.stage.promises().values() if _ended(promise)}
        assert {promise: ended.get(promise) for promise in self.ended} == self.ended
        self.ended = ended

    @invariant()
    def counters_only_grow_and_what_has_ended_stays_so(self) -> None:
        for task in self.stage.tasks().values():
            assert task.counter >= self.counters.get(task.id, 1)
            self.counters[task.id] = task.counter
            if task.state in ("COMPLETED", "TIMEDOUT"):
                assert self.over.setdefault(task.id, task) == task
            else:
                assert task.id not in self.over

    @invariant()
    def what_has_completed_has_no_task_and_no_callback(self) -> None:
        over = "JOIN promises p ON p.state <> 'PENDING' AND p.id ="
        for sql in (
            f"SELECT t.id FROM tasks t {over} t.root WHERE t.kind <> 'notify' AND t.state IN {LIVE}",  # noqa: S608
            f"SELECT c.id FROM callbacks c {over} c.promise",  # noqa: S608 - two constants
        ):
            assert self.stage.store.db.execute(sql).fetchall() == []

    @invariant()
    def one_task_of_a_root_runs_and_none_is_forgotten(self) -> None:
        live = [task for task in self.stage.tasks().values() if task.kind != "notify" and task.state in LIVE]
        running = [task.root for task in live if task.state != "INIT"]
        assert len(running) == len(set(running))
        for task in live:
            if task.state == "INIT" and task.not_before is None and task.waits_for is None:
                assert task.root in running

    @invariant()
    def the_books_are_right_and_nobody_with_room_is_kept_waiting(self) -> None:
        held: dict[str, set[str]] = {worker.name: set() for worker in self.stage.workers}
        for task in self.stage.tasks().values():
            if task.state in ("ENQUEUED", "CLAIMED") and task.recipient:
                held[task.recipient].add(task.id)
        for worker in self.stage.workers:
            assert worker.held() | worker.notified == held[worker.name]
            assert len(worker.unclaimed) <= WINDOW
            if worker.stream:
                waiting = [task for queue in worker.queues for task in self.stage.store.waiting_for(queue, 100)]
                assert not waiting or not worker.room


def _ended(promise: Promise | None) -> bool:
    return promise is not None and promise.state != "PENDING"


TestRules = pytest.mark.long(Rules.TestCase)
TestRules.settings = settings(max_examples=50, stateful_step_count=40)
