"""The server's README tells which methods of the store each event asks for; that is so."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rules_stage import ANY, Stage

import local_server
from local_server.rules import tasks
from local_server.store.store import Store

README = (Path(local_server.__file__).parent / "README.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `\w+\.\w+` \| (`.+`) \|$", README, re.MULTILINE)
TOLD = {event: sorted(re.findall(r"`(\w+)`", methods)) for event, methods in ROWS}

Event = Callable[[Stage], Iterator[None]]


class Recorded:
    """A store that notes what its turns ask for, up to their COMMIT."""

    def __init__(self, store: Store) -> None:
        self._store, self._open = store, False
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in ("begin", "commit"):
            self._open = name == "begin"
        elif self._open:
            self.asked.add(name)
        return getattr(self._store, name)


# Each event happens behind the yield.


def a_worker_connects(stage: Stage) -> Iterator[None]:
    stage.create("r", invoke=ANY)
    yield
    stage.connect("g/a")


def a_call_is_created(stage: Stage) -> Iterator[None]:
    stage.connect("g/a")
    yield
    stage.create("r", invoke=ANY)


def a_claim_comes(stage: Stage) -> Iterator[None]:
    stage.connect("g/a")
    stage.create("r", invoke=ANY)
    yield
    stage.claim("__invoke:r", process_id="a")


def a_heartbeat_comes(stage: Stage) -> Iterator[None]:
    stage.create("r", invoke=ANY, claim=("a", 10_000))
    yield
    stage.do(tasks.heartbeat, "a")


def a_promise_completes(stage: Stage) -> Iterator[None]:
    stage.connect("g/a")
    stage.create("r", invoke=ANY)
    for n in range(100):  # functions wait for it: more of them than one turn resumes, and than one worker is sent
        stage.create(f"waits-{n}")
        stage.call_back("r", "resume", f"waits-{n}", ANY)
    yield
    stage.complete("r")


def a_task_completes(stage: Stage) -> Iterator[None]:
    stage.create("r", invoke=ANY, claim=("a", 10_000))
    yield
    stage.do(tasks.complete, "__invoke:r", 1)


def a_process_dies(stage: Stage) -> Iterator[None]:
    stage.create("r", invoke=ANY)
    stage.connect("g/a")
    stage.claim("__invoke:r", process_id="a")
    stage.process_ends("g/a")
    stage.connect("g/b")
    stage.claim("__invoke:r", 2, process_id="b")  # the second one that this call ends
    stage.create("q", invoke=ANY)  # sent to it, and not claimed yet
    yield
    stage.process_ends("g/b")


def the_clock_looks(stage: Stage) -> Iterator[None]:
    yield
    stage.sweep()


EVENTS: dict[str, Event] = {
    event.__name__.replace("_", " "): event
    for event in (a_worker_connects, a_call_is_created, a_claim_comes, a_heartbeat_comes, a_promise_completes,
                  a_task_completes, a_process_dies, the_clock_looks)
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_asks_the_store_for_what_the_readme_tells(event: str) -> None:
    stage = Stage()
    steps = EVENTS[event](stage)
    next(steps)
    recorded = Recorded(stage.store)
    stage.store = recorded  # type: ignore[assignment]
    assert next(steps, None) is None
    assert sorted(recorded.asked) == TOLD[event]


def test_the_readme_tells_of_no_other_event() -> None:
    assert TOLD.keys() == EVENTS.keys()
