"""Every cell of the state tables, walked through the rules over a real store; a refusal leaves everything as it was."""

from collections.abc import Callable
from itertools import product

import pytest
from rules_stage import START, Stage, refused

from local_server import errors
from local_server.model import Task, TaskKind
from local_server.rules import dispatch, losses, promises, states, tasks
from local_server.rules.states import PromiseEvent

TIMEOUT = START + 50_000
STATES = ("INIT", "ENQUEUED", "CLAIMED", "COMPLETED", "TIMEDOUT")

# The task becomes that ("+1": under the next counter), "=": stays as it is, a number: is refused with that code.
TASK_GRID = """
    event     INIT       ENQUEUED   CLAIMED    COMPLETED  TIMEDOUT
    send      ENQUEUED   =          =          =          =
    claim     CLAIMED    CLAIMED    40306      40307      40307
    complete  40309      40309      COMPLETED  =          =
    drop      =          =          INIT+1     =          =
    lose      =          INIT+1     INIT+1     =          =
    time_out  TIMEDOUT   TIMEDOUT   TIMEDOUT   =          =
    finish    COMPLETED  COMPLETED  COMPLETED  =          =
"""
NOTIFY_GRID = """
    event     INIT       ENQUEUED   CLAIMED    COMPLETED  TIMEDOUT
    send      ENQUEUED   =          =          =          =
    claim     CLAIMED    40307      40306      40307      40307
    complete  40309      =          COMPLETED  =          =
    drop      =          =          INIT+1     =          =
    lose      =          INIT       INIT+1     =          =
    time_out  TIMEDOUT   TIMEDOUT   TIMEDOUT   =          =
    finish    COMPLETED  COMPLETED  COMPLETED  =          =
    settle    COMPLETED  COMPLETED  =          =          =
"""

EVENTS: dict[str, Callable[[Stage, Task], object]] = {
    "send": lambda stage, task: (
        stage.connect("g/w" if task.kind == "notify" else "g/v"),
        stage.do(dispatch.offer, stage.task(task.id)),
    ),
    "claim": lambda stage, task: stage.claim(task.id, task.counter, "other"),
    "complete": lambda stage, task: stage.do(tasks.complete, task.id, task.counter),
    "drop": lambda stage, task: stage.do(tasks.drop, task.id, task.counter),
    "lose": lambda stage, task: stage.do(losses.lose, task, "test"),
    "time_out": lambda stage, task: stage.do(dispatch.offer, task),
    "finish": lambda stage, task: stage.do(tasks.finish_root, task.root, 10),
    "settle": lambda stage, task: stage.do(losses.settle, task),
}


def cells(grid: str) -> dict[tuple[str, str], str]:
    header, *rows = (line.split() for line in grid.strip().splitlines())
    return {(state, row[0]): cell for row in rows for state, cell in zip(header[1:], row[1:], strict=True)}


def task_in(stage: Stage, kind: TaskKind, state: str) -> Task:
    """Bring a new task into a state by the rules alone; nobody is connected then."""
    task_id = {"invoke": "__invoke:p", "resume": "__resume:p:q", "notify": "__notify:p:c"}[kind]
    if state == "ENQUEUED":
        stage.connect("g/w")
    if kind == "invoke":
        stage.create("p", timeout=TIMEOUT, invoke="poll://any@g")
    else:
        awaited = "q" if kind == "resume" else "p"
        for promise in {"p", awaited}:
            stage.create(promise)
        name, recv = ("p", "poll://any@g") if kind == "resume" else ("c", "poll://uni@g/w")
        stage.call_back(awaited, kind, name, recv, TIMEOUT)
        stage.complete(awaited)
    if state in ("CLAIMED", "COMPLETED"):
        stage.claim(task_id, process_id="holder")
    if state == "COMPLETED":
        stage.do(tasks.complete, task_id, 1)
    if state == "TIMEDOUT":
        stage.now = TIMEOUT
        stage.do(dispatch.offer, stage.task(task_id))
    if state == "ENQUEUED":
        stage.worker("g/w").stream = None
    task = stage.task(task_id)
    assert (task.kind, task.state, task.counter) == (kind, state, 1)
    return task


@pytest.mark.parametrize(
    ("kind", "state", "event", "cell"),
    [
        (kind, state, event, cell)
        for kind, grid in (("invoke", TASK_GRID), ("resume", TASK_GRID), ("notify", NOTIFY_GRID))
        for (state, event), cell in cells(grid).items()
    ],
)
def test_every_cell_of_the_task_tables_is_what_the_rules_do(kind: TaskKind, state: str, event: str, cell: str) -> None:
    stage = Stage()
    task = task_in(stage, kind, state)
    if event == "time_out":
        stage.now = TIMEOUT
    before = stage.dump()
    code = refused(lambda: EVENTS[event](stage, task))
    after = stage.task(task.id)
    if cell == "=" or cell.isdigit():
        assert stage.dump() == before
        assert code == (0 if cell == "=" else int(cell))
    else:
        assert code == 0
        assert f"{after.state}{f'+{more}' if (more := after.counter - task.counter) else ''}" == cell
    assert (after.process is not None) == (after.state == "CLAIMED" or (event == "finish" and state == "CLAIMED"))
    assert after.deadline is None or after.state in ("ENQUEUED", "CLAIMED") or kind == "notify"


def test_the_tables_have_exactly_the_cells_walked_here() -> None:
    assert set(states.TASK_TRANSITIONS) == set(cells(TASK_GRID))
    assert set(states.NOTIFY_TRANSITIONS) == set(cells(NOTIFY_GRID))


@pytest.mark.parametrize("kind", ["invoke", "resume", "notify"])
@pytest.mark.parametrize("operation", ["claim", "complete", "drop"])
def test_another_counter_is_refused_after_the_state_was_looked_at(kind: TaskKind, operation: str) -> None:
    for state, expected in {
        "claim": {"INIT": 40308, "CLAIMED": 40306, "COMPLETED": 40307, "TIMEDOUT": 40307},
        "complete": {"INIT": 40309, "CLAIMED": 40308, "COMPLETED": 0, "TIMEDOUT": 0},
        "drop": {"INIT": 0, "CLAIMED": 40308, "COMPLETED": 0, "TIMEDOUT": 0},
    }[operation].items():
        stage = Stage()
        task = task_in(stage, kind, state)
        before = stage.dump()
        calls = {
            "claim": lambda stage=stage, task=task: stage.claim(task.id, 2),
            "complete": lambda stage=stage, task=task: stage.do(tasks.complete, task.id, 2),
            "drop": lambda stage=stage, task=task: stage.do(tasks.drop, task.id, 2),
        }
        assert refused(calls[operation]) == expected
        assert stage.dump() == before


def test_a_task_that_is_not_there_is_refused() -> None:
    stage = Stage()
    for operation, args in ((tasks.claim, (1, "w", 0)), (tasks.complete, (1,)), (tasks.drop, (1,)), (tasks.get, ())):
        assert refused(lambda: stage.do(operation, "x", *args)) == errors.TASK_NOT_FOUND  # noqa: B023 - called at once


@pytest.mark.parametrize(("state", "counter", "code"), [("CLAIMED", 1, 0), ("CLAIMED", 2, 41200), ("INIT", 1, 41200),
                                                        ("COMPLETED", 1, 41200), ("TIMEDOUT", 1, 41200)])  # fmt: skip
def test_the_fence_lets_only_the_holder_through(state: str, counter: int, code: int) -> None:
    stage = Stage()
    task = task_in(stage, "invoke", state)
    assert refused(lambda: stage.do(tasks.fence, task.id, counter)) == code
    assert refused(lambda: stage.do(tasks.fence, "x", counter)) == errors.TASK_PRECONDITION_FAILED


@pytest.mark.parametrize("kind", ["invoke", "resume"])
@pytest.mark.parametrize("state", ["ENQUEUED", "CLAIMED"])
def test_a_deadline_that_passes_after_the_time_out_of_the_task_ends_it_under_its_counter(
    kind: TaskKind, state: str
) -> None:
    stage = Stage()
    task = task_in(stage, kind, state)
    stage.now = TIMEOUT
    stage.do(losses.deadline_passed, task)
    after = stage.task(task.id)
    assert (after.state, after.counter, after.process, after.completed_on) == ("TIMEDOUT", 1, None, TIMEOUT)
    assert not [worker for worker in stage.workers if worker.held()]


# promises

CODES = {"RESOLVED": 40301, "REJECTED": 40302, "REJECTED_CANCELED": 40303, "REJECTED_TIMEDOUT": 40304}
BECOMES: dict[PromiseEvent, str] = {"resolve": "RESOLVED", "reject": "REJECTED", "cancel": "REJECTED_CANCELED"}
# (not strict with the key of the completion, not strict with another or none, strict with the key and the state stored,
# strict otherwise); a completion by the clock has stored no key
COMPLETE_GRID: dict[str, tuple[int, int, int, int]] = {
    "RESOLVED": (200, 40301, 200, 40301),
    "REJECTED": (200, 40302, 200, 40302),
    "REJECTED_CANCELED": (200, 40303, 200, 40303),
    "REJECTED_TIMEDOUT": (200, 200, 40304, 40304),
    "RESOLVED by the clock": (40301, 40301, 40301, 40301),
}


def completed(stage: Stage, state: str, key: str | None, *, swept: bool = True) -> None:
    """Create the promise p, and complete it as told."""
    if state in BECOMES.values():
        stage.create("p", key="create")
        event = next(event for event, becomes in BECOMES.items() if becomes == state)
        stage.complete("p", event, key=key)
    elif state != "PENDING":
        stage.create("p", key="create", timeout=START, **({} if state == "REJECTED_TIMEDOUT" else {"timeout_": "true"}))
        if swept:
            stage.sweep()
    else:
        stage.create("p", key="create")


@pytest.mark.parametrize(
    ("stored", "stored_key", "swept", "strict", "key", "event"),
    [
        case
        for case in product(COMPLETE_GRID, ("k", None), (True, False), (True, False), ("k", "other", None), BECOMES)
        if case[0] in BECOMES.values() or case[1] is None
        if case[2] or case[0] not in BECOMES.values()
    ],
)
def test_completing_what_is_completed(
    stored: str,
    stored_key: str | None,
    swept: bool,  # noqa: FBT001 - a column
    strict: bool,  # noqa: FBT001 - a column
    key: str | None,
    event: PromiseEvent,
) -> None:
    stage = Stage()
    completed(stage, stored, stored_key, swept=swept)
    before = stage.dump()
    same = key is not None and key == stored_key
    column = (2 if same and BECOMES[event] == stored else 3) if strict else (0 if same else 1)
    expected = COMPLETE_GRID[stored][column]
    statuses: list[int] = []
    code = refused(lambda: statuses.append(stage.complete("p", event, key=key, strict=strict)))
    assert (statuses or [code]) == [expected]
    if swept:
        assert stage.dump() == before
    promise = stage.do(promises.get, "p")
    assert promise.state == stored.removesuffix(" by the clock")
    assert promise.idempotency_key_for_complete == stored_key
    assert promise.completed_on == START


@pytest.mark.parametrize("stored", COMPLETE_GRID)
@pytest.mark.parametrize("event", BECOMES)
def test_a_worker_whose_promise_was_ended_by_others_is_told_so(stored: str, event: PromiseEvent) -> None:
    stage = Stage()
    completed(stage, stored, None)
    before = stage.dump()
    assert stage.complete("p", event, key="p") == 200
    assert stage.dump() == before
    assert refused(lambda: stage.complete("p", event, key="p", strict=True)) == COMPLETE_GRID[stored][3]


@pytest.mark.parametrize(("event", "strict", "key"), [*product(BECOMES, (True, False), ("k", None))])
def test_completing_what_is_pending(event: PromiseEvent, strict: bool, key: str | None) -> None:  # noqa: FBT001 - a column
    stage = Stage()
    stage.create("p", timeout=START + 1)
    assert stage.complete("p", event, key=key, strict=strict) == 201
    promise = stage.do(promises.get, "p")
    assert (promise.state, promise.idempotency_key_for_complete) == (BECOMES[event], key)


def test_every_other_cell_of_the_promise_table_is_missing() -> None:
    assert set(states.PROMISE_TRANSITIONS) == {("PENDING", event) for event in (*BECOMES, "timeout", "timer")}
    assert states.COMPLETED_AS == CODES


@pytest.mark.parametrize(
    ("stored", "key", "strict"),
    [*product(("PENDING", *COMPLETE_GRID), ("create", "other", None), (True, False))],
)
def test_creating_what_exists(stored: str, key: str | None, strict: bool) -> None:  # noqa: FBT001 - a column
    stage = Stage()
    completed(stage, stored, None)
    before = stage.dump()
    expected = 200 if key == "create" and (not strict or stored == "PENDING") else errors.PROMISE_ALREADY_EXISTS
    statuses: list[int] = []
    code = refused(lambda: statuses.append(stage.create("p", timeout=5, key=key, strict=strict, invoke="poll://any@g")))
    assert (statuses or [code]) == [expected]
    assert stage.dump() == before  # what the request brought is neither compared nor stored, and makes no task


def test_no_key_never_matches_no_key() -> None:
    stage = Stage()
    assert stage.create("p") == 201
    assert refused(lambda: stage.create("p")) == errors.PROMISE_ALREADY_EXISTS
    stage.complete("p")
    assert refused(lambda: stage.complete("p")) == errors.ALREADY_RESOLVED


def test_an_empty_key_is_a_key() -> None:
    stage = Stage()
    stage.create("p", key="")
    assert stage.create("p", key="") == 200
    stage.complete("p", key="")
    assert stage.complete("p", key="") == 200


@pytest.mark.parametrize("strict", [True, False])
def test_creating_what_is_due_sees_its_time_out(strict: bool) -> None:  # noqa: FBT001 - a column
    stage = Stage()
    stage.create("p", key="k", timeout=START)
    code = refused(lambda: stage.create("p", key="k", strict=strict))
    assert code == (errors.PROMISE_ALREADY_EXISTS if strict else 0)
    assert stage.do(promises.get, "p").completed_on == START


def test_a_promise_created_after_its_time_out_answers_pending_and_has_no_work() -> None:
    stage = Stage()
    stage.connect("g/w")
    assert stage.create("p", timeout=-1, invoke="poll://any@g") == 201
    assert stage.task("__invoke:p").state == "TIMEDOUT"
    promise = stage.do(promises.get, "p")
    assert (promise.state, promise.completed_on) == ("REJECTED_TIMEDOUT", -1)


@pytest.mark.parametrize(("tag", "state"), [("true", "RESOLVED"), ("True", "REJECTED_TIMEDOUT"),
                                            ("1", "REJECTED_TIMEDOUT"), ("", "REJECTED_TIMEDOUT")])  # fmt: skip
def test_only_the_tag_true_makes_a_time_out_a_success(tag: str, state: str) -> None:
    stage = Stage()
    stage.create("p", timeout=START, timeout_=tag)
    stage.sweep()
    assert stage.do(promises.get, "p").state == state
