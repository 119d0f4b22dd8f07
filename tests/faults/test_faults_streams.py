"""Random workers and clients on real event streams that come, go, are replaced and send what makes no sense.

No work gets lost, and no news of an end.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from itertools import count
from queue import Empty, Queue
from typing import Any, ClassVar, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from wire_client import FAR, EventStream, Wire

from local_server.testing import LocalServer

WORKERS = st.sampled_from(["g/v", "g/w", "h/w"])
ADDRESSES = st.sampled_from(["any@g", "any@g", "any@g/w", "uni@g/v", "any@h"])
JUNK = st.sampled_from([b"x", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 5_000])
SURELY_SENT_AGAIN = 0.5  # seconds; news that came on a stream which is open for 2 s after that counts as taken
FINISH_WITHIN = 5.0  # seconds; a message that was on a stream as it closed is sent again after 0.5


class Message(NamedTuple):
    """A message, on which stream it came, and whose that is."""

    worker: str
    stream: EventStream
    event: dict[str, Any]

    @property
    def task(self) -> dict[str, Any]:
        """The task to claim."""
        return self.event["task"]


class Streams(RuleBasedStateMachine):
    """Knows what it has asked for, and what it was sent; groups and promises have names that no other run has."""

    server: ClassVar[LocalServer]
    numbers: ClassVar = count()

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(self.server)
        self.streams: dict[str, EventStream] = {}
        self.received: Queue[Message] = Queue()
        self.unclaimed: list[Message] = []
        self.claimed: list[Message] = []
        self.counters: dict[str, int] = {}  # by task: that of the latest message
        self.promises: dict[str, str] = {}  # those nobody has ended, to the addresses of their tasks
        self.subscribed: set[tuple[str, str]] = set()  # promises, and who is to be told of their ends
        self.told: dict[tuple[str, str], tuple[EventStream, float]] = {}  # the latest such news, and when it came

    def take(self) -> None:
        """Look at what has been sent: to whom it is addressed, no message twice, and no end before it has come."""
        with contextlib.suppress(Empty):
            while True:
                message = self.received.get_nowait()
                if message.event["type"] == "notify":
                    ended = message.event["promise"]
                    assert ended["state"] != "PENDING"
                    assert (ended["id"], message.worker) in self.subscribed
                    self.told[ended["id"], message.worker] = (message.stream, time.monotonic())
                    continue
                task, promise = message.task, message.task["rootPromiseId"]
                assert task["counter"] > self.counters.get(task["id"], 0)
                self.counters[task["id"]] = task["counter"]
                if promise in self.promises:
                    cast, _, name = self.promises[promise].partition("@")
                    assert message.worker == name if cast == "uni" else message.worker[0] == name[0]
                self.unclaimed.append(message)

    @initialize(workers=st.sets(WORKERS), addresses=st.lists(ADDRESSES, max_size=3))
    def start(self, workers: set[str], addresses: list[str]) -> None:
        for worker in sorted(workers):
            self.connect(worker)
        self.create(addresses)

    @rule(worker=WORKERS)
    def connect(self, worker: str) -> None:
        """Open a stream; it replaces that of the worker's namesake, whose news was read and need not come again."""
        if worker in self.streams:
            self.wait_for_news(worker)
        stream = self.wire.stream(self.wire.id(worker[0]), worker[2:])
        self.streams[worker] = stream

        def read() -> None:
            with contextlib.suppress(OSError, ValueError, AssertionError):  # it has ended
                while True:
                    self.received.put(Message(worker, stream, stream.next()))

        threading.Thread(target=read, daemon=True).start()

    def wait_for_news(self, worker: str) -> None:
        """Wait for what its stream has to bring."""
        self.wait_for({(promise, who) for promise, who in self.subscribed if who == worker} - self.still_pending())

    def forget_late_news(self, worker: str) -> None:
        """Forget what came just before its stream closes, which has to come again."""
        stream, late = self.streams[worker], time.monotonic() - SURELY_SENT_AGAIN
        self.told = {what: (on, at) for what, (on, at) in self.told.items() if on is not stream or at < late}

    def still_pending(self) -> set[tuple[str, str]]:
        """Return of what nobody can be told yet."""
        return {(promise, who) for promise, who in self.subscribed if promise in self.promises}

    def wait_for(self, news: set[tuple[str, str]]) -> None:
        """Wait until these are told."""
        deadline = time.monotonic() + FINISH_WITHIN
        while missing := news - self.told.keys():
            assert time.monotonic() < deadline, f"never told: {missing}"
            self.take()
            time.sleep(0.001)

    @rule(worker=WORKERS)
    def disconnect(self, worker: str) -> None:
        """Close a stream, and forget what came on it and is not claimed."""
        if worker in self.streams:
            self.wait_for_news(worker)
            self.forget_late_news(worker)
            stream = self.streams.pop(worker)
            self.unclaimed = [message for message in self.unclaimed if message.stream is not stream]
            stream.socket.shutdown(socket.SHUT_RDWR)

    @rule(worker=WORKERS, junk=JUNK)
    def send_junk(self, worker: str, junk: bytes) -> None:
        """Send on a stream what nobody expects there; a worker only listens."""
        if worker in self.streams:
            self.streams[worker].send(junk)

    @rule(addresses=st.lists(ADDRESSES, min_size=1, max_size=5))
    def create(self, addresses: list[str]) -> None:
        for address in addresses:
            promise, (cast, _, name) = self.wire.id(f"p-{next(self.numbers)}"), address.partition("@")
            invoke = f"poll://{cast}@{self.wire.id(name[0])}{name[1:]}"
            self.wire.create(promise, {"resonate:invoke": invoke})
            self.promises[promise] = address

    @rule(which=st.integers(0), workers=st.sets(WORKERS, min_size=1), end=st.booleans())
    def subscribe(self, which: int, workers: set[str], end: bool) -> None:  # noqa: FBT001 - drawn
        """Ask for the end of a promise, as clients do that are there or not; perhaps somebody outside ends it."""
        if self.promises:
            promise = list(self.promises)[which % len(self.promises)]
            for worker in sorted(workers):
                recv = f"poll://uni@{self.wire.id(worker[0])}{worker[1:]}"
                asked = self.wire.post(f"/promises/subscribe/{promise}", {"id": worker, "recv": recv, "timeout": FAR})
                assert asked.status_code in {200, 201}, asked.text
                self.subscribed.add((promise, worker))
            if end:
                assert self.wire.complete(promise)["state"] == "RESOLVED"
                del self.promises[promise]

    @rule(which=st.integers(0), what=st.sampled_from(["claim", "claim", "complete", "drop", "cancel"]))
    def act(self, which: int, what: str) -> None:
        """Claim a message, or do with a claimed task what a worker, or somebody outside, may do."""
        self.take()
        messages = self.unclaimed if what == "claim" else self.claimed
        if messages:
            message = messages.pop(which % len(messages))
            if what == "claim":
                self.claim(message)
            elif what == "drop":
                self.wire.post("/tasks/drop", {key: message.task[key] for key in ("id", "counter")})
            else:
                self.finish(message, "REJECTED_CANCELED" if what == "cancel" else "RESOLVED")

    def claim(self, message: Message) -> None:
        """Claim a task: that must be granted as long as its stream is open, whether it still has to be done or not."""
        answer = self.wire.claim(message.task, message.worker[2:])
        if self.streams.get(message.worker) is message.stream:
            assert answer.status_code == 201, answer.text
        if answer.status_code == 201:
            self.claimed.append(message)

    def finish(self, message: Message, state: str = "RESOLVED") -> None:
        """End a promise, and its task."""
        promise = message.task["rootPromiseId"]
        assert self.wire.patch(f"/promises/{promise}", {"state": state}).status_code in {200, 201, 403}
        self.promises.pop(promise, None)
        done = self.wire.post("/tasks/complete", {key: message.task[key] for key in ("id", "counter")})
        assert done.status_code in {200, 201}, done.text

    def teardown(self) -> None:
        """Let a worker for each address work until all is done, and everybody is told."""
        for worker in ("g/v", "g/w", "h/w"):
            if worker not in self.streams:
                self.connect(worker)
        deadline = time.monotonic() + FINISH_WITHIN
        while self.promises:
            assert time.monotonic() < deadline, f"never sent: {self.promises}"
            self.take()
            for message in self.unclaimed:
                self.claim(message)
            for message in self.claimed:
                self.finish(message)
            self.unclaimed, self.claimed = [], []
            time.sleep(0.001)
        self.wait_for(self.subscribed)
        for stream in self.streams.values():
            stream.socket.shutdown(socket.SHUT_RDWR)
        self.wire.close()


def test_whatever_happens_to_streams_all_work_is_sent_each_message_once_and_everybody_is_told(
    memory_server: LocalServer, times: Callable[[int], int]
) -> None:
    class Here(Streams):
        server = memory_server

    run_state_machine_as_test(Here, settings=settings(max_examples=times(40), stateful_step_count=20))
