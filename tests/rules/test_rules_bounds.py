"""However much waits, or is held, one turn does a part of it; what is left over goes on in others, to the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import msgspec
import pytest
from msgspec import Raw
from rules_stage import ANY, FAR, PROCESS, START, Stage, sent, work

from local_server.model import TaskState
from local_server.rules import dispatch, losses, promises, removal, tasks
from local_server.rules.losses import HEARTBEAT_WITHIN
from local_server.rules.removal import STEPS, TASKS
from local_server.rules.workers import WINDOW, OsProcess

SOON = START + 10


@contextmanager
def statements(stage: Stage) -> Iterator[list[str]]:
    """Note the statements that SQLite runs."""
    ran: list[str] = []
    stage.store.db.set_trace_callback(ran.append)  # type: ignore[attr-defined]
    yield ran
    stage.store.db.set_trace_callback(None)  # type: ignore[attr-defined]


def count(stage: Stage, state: TaskState) -> int:
    return sum(task.state == state for task in stage.tasks().values())


# what is over


def test_of_thousands_of_tasks_that_are_over_a_turn_looks_at_some_when_a_worker_connects(stage: Stage) -> None:
    crowd = 2 * dispatch.OFFERS + 1
    with stage.turn():
        for n in range(crowd):
            stage.create(f"over{n}", timeout=SOON, invoke=ANY)
        work(stage, 2)
    stage.now = SOON
    stream = stage.connect("g/w")
    assert (count(stage, "TIMEDOUT"), sent(stream)) == (dispatch.OFFERS, [])
    work(stage, 1, first=2)  # behind the others
    assert sent(stream) == []
    assert stage.go_on() == 2
    assert (count(stage, "TIMEDOUT"), sent(stream)) == (crowd, [(f"__invoke:p{n}", 1) for n in range(3)])
    assert not stage.workers.saturated


def test_of_hundreds_of_large_results_a_turn_sends_some_when_their_client_comes(stage: Stage) -> None:
    value = Raw(msgspec.json.encode({"data": "eHh4" * 25_000}))
    for n in range(100):
        stage.create(f"p{n}")
        stage.call_back(f"p{n}", "notify", "s", "poll://uni@g/c")
        stage.do(promises.complete, f"p{n}", "resolve", value, None, strict=False)
    stream = stage.connect("g/c")
    assert 0 < len(stream.messages) <= dispatch.OFFERS * dispatch.OFFERED // 100_000 + 1
    stage.go_on()
    assert [message.promise for message in stream.messages] == [f"p{n}" for n in range(100)]


def test_a_turn_that_cannot_be_stored_forgets_nobody_who_is_to_be_served(stage: Stage) -> None:
    with stage.turn():
        for n in range(2 * dispatch.OFFERS):
            stage.create(f"over{n}", timeout=SOON, invoke=ANY)
        work(stage, 1)
    stage.now = SOON
    stream = stage.connect("g/w")
    stage.failing = True
    stage.do(stage.later[0])
    stage.failing = False
    stage.go_on()
    assert sent(stream) == [("__invoke:p0", 1)]


def test_a_worker_that_connects_when_another_has_had_all_of_the_turn_is_served_in_the_next(stage: Stage) -> None:
    with stage.turn():
        for n in range(dispatch.OFFERS):
            stage.create(f"over{n}", timeout=SOON, invoke=ANY)
        work(stage, 1, "poll://any@h")
    stage.now = SOON
    with stage.turn():
        stage.connect("g/w")
        stream = stage.connect("h/w")
    assert sent(stream) == []
    stage.go_on()
    assert sent(stream) == [("__invoke:p0", 1)]


def test_a_root_whose_waiting_tasks_are_over_goes_on_over_many_turns_and_restarts(durable: Stage) -> None:
    durable.connect("g/w")
    durable.create("r", invoke=ANY)
    durable.claim("__invoke:r")
    with durable.turn():
        for n in range(2 * dispatch.ROOT_OFFERS + 1):
            durable.create(f"leaf{n}")
            durable.call_back(f"leaf{n}", "resume", "r", ANY, timeout=SOON)
            durable.complete(f"leaf{n}")
        durable.create("last")
        durable.call_back("last", "resume", "r", ANY)
        durable.complete("last")
    durable.now = SOON
    durable.do(tasks.complete, "__invoke:r", 1)
    assert count(durable, "TIMEDOUT") == dispatch.ROOT_OFFERS
    durable.restart()
    stream = durable.connect("g/w")
    for _ in range(3):
        durable.sweep()
    assert (durable.store.next_follow_up(), sent(stream)) == (None, [("__resume:r:last", 1)])


def test_a_root_that_ends_before_its_tasks_have_all_been_offered_ends_them(stage: Stage) -> None:
    crowd = 3 * dispatch.ROOT_OFFERS
    stage.create("r", invoke=ANY, claim=("w", 10_000))
    with stage.turn():
        for n in range(crowd):
            stage.create(f"leaf{n}")
            stage.call_back(f"leaf{n}", "resume", "r", ANY)
            stage.complete(f"leaf{n}")
    with statements(stage) as ran:
        stage.do(tasks.complete, "__invoke:r", 1)
    assert len(ran) < 5 * dispatch.ROOT_OFFERS
    stage.complete("r")
    for _ in range(4):
        stage.sweep()
    assert (stage.store.next_follow_up(), count(stage, "COMPLETED")) == (None, crowd + 1)


# a process that ends


def waiting(stage: Stage, crowd: int) -> None:
    """Let a crowd of notifications wait for g/c, whose process lives and listens nowhere."""
    stage.connect("g/c", PROCESS)
    stage.disconnect("g/c")
    with stage.turn():
        for n in range(crowd):
            stage.create(f"p{n}")
            stage.call_back(f"p{n}", "notify", "s", "poll://uni@g/c")
            stage.complete(f"p{n}")


def test_thousands_of_notifications_for_a_client_that_has_ended_are_ended_over_many_turns(stage: Stage) -> None:
    crowd = 2 * losses.BATCH + 1
    waiting(stage, crowd)
    stage.process_ends("g/c")
    assert count(stage, "COMPLETED") == losses.BATCH
    assert stage.go_on() == 2
    assert count(stage, "COMPLETED") == crowd


def test_a_client_of_the_same_name_that_comes_meanwhile_misses_none_of_its_own(stage: Stage) -> None:
    waiting(stage, 2 * losses.BATCH)
    stage.process_ends("g/c")
    stage.create("own")
    stage.call_back("own", "notify", "s", "poll://uni@g/c")
    stage.complete("own")
    stream = stage.connect("g/c")
    stage.go_on()
    assert [message.promise for message in stream.messages][-1] == "own"


def claimed(stage: Stage, crowd: int) -> None:
    """Let a process claim a crowd."""
    with stage.turn():
        for n in range(crowd):
            stage.create(f"p{n}", invoke=ANY, claim=("w", 10_000))


def test_a_process_that_ends_with_thousands_of_claims_loses_them_over_many_turns(stage: Stage) -> None:
    stage.connect("g/w", PROCESS)
    claimed(stage, 2 * losses.BATCH + 1)
    stage.process_ends("g/w")
    assert count(stage, "INIT") == losses.BATCH
    stage.connect("g/w", PROCESS)
    stage.create("own", invoke=ANY, claim=("w", 10_000))
    assert stage.go_on() == 2
    assert [task.id for task in stage.tasks().values() if task.state == "CLAIMED"] == ["__invoke:own"]
    assert count(stage, "ENQUEUED") == WINDOW


# one statement for all that a process has claimed


@pytest.mark.parametrize("event", ["a heartbeat", "its stream opens", "its stream closes"])
def test_an_event_of_a_process_with_many_claims_runs_no_more_statements_than_with_few(event: str) -> None:
    ran = []
    for crowd in (2, 50):
        stage = Stage()
        if event == "its stream closes":
            stage.connect("g/w")
        claimed(stage, crowd)
        with statements(stage) as found:
            if event == "a heartbeat":
                assert stage.do(tasks.heartbeat, "w") == crowd
            elif event == "its stream opens":
                stage.connect("g/w")
                assert stage.store.claims.counters("w", "g/w") == dict.fromkeys(stage.worker("g/w").claimed, 1)
            else:
                stage.disconnect("g/w")
        ran.append(len(found))
        if event == "its stream closes":
            stage.advance(HEARTBEAT_WITHIN)
            assert count(stage, "CLAIMED") == 0
    assert ran[0] == ran[1]


TTLS = [2**63 - 1, 2**61 + 1, 10_000, 1_001, 400, 333, 1, 0, -1]


@pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"])
@pytest.mark.parametrize("process", [None, OsProcess(1, 0.0)])
def test_a_heartbeat_gives_each_lease_what_its_claim_had_given_it(
    request: pytest.FixtureRequest, engine: str, process: OsProcess | None
) -> None:
    stage = Stage(None if engine == "SQLite" else request.getfixturevalue("postgres").create())
    stage.connect("g/w", process)
    stage.connect("h/w")
    for n, ttl in enumerate(TTLS):
        stage.create(f"g{n}", invoke="poll://uni@g/w")
        stage.claim(f"__invoke:g{n}", ttl=ttl)
        stage.create(f"none{n}", invoke=ANY, claim=("w", ttl))  # g/w or h/w, nobody knows
    before = {task.id: task.deadline for task in stage.tasks().values()}
    stage.mono += 100
    assert stage.do(tasks.heartbeat, "w") == 2 * len(TTLS)
    after = {task.id: task.deadline for task in stage.tasks().values()}
    stage.store.close()
    endless = {f"__invoke:{name}1" for name in ("g", "none")}
    assert {one for one in after if after[one] - before[one] != 100} <= endless  # type: ignore[operator]
    assert min(after[one] or 0 for one in endless) > 2**61


# ids that are taken


def test_an_id_is_found_in_few_statements_however_many_are_taken(stage: Stage) -> None:
    crowd, colons = 100, [":" * n for n in range(1, 102)]
    for n in range(crowd):  # the same id for all of them
        stage.create(colons[n])
        stage.call_back(colons[n], "resume", f"a{colons[crowd - n]}", ANY)
    for n in range(crowd - 1):
        stage.complete(colons[n])
    with statements(stage) as ran:
        stage.complete(colons[crowd - 1])
    assert len(ran) < 20
    assert sorted(stage.tasks()) == [f"__resume:a{':' * (crowd + 3 + n)}" for n in range(crowd)]


# removal


def chain(stage: Stage, *ids: str) -> None:
    """Create completed promises each of which has called the next."""
    with stage.turn():
        for parent, one in zip([None, *ids], ids, strict=False):
            stage.create(one, key=one, **({"parent": parent} if parent else {}))
        for one in ids:
            stage.complete(one, key=one)


@pytest.mark.parametrize("crowded", ["r", "below"])
def test_a_promise_with_thousands_of_tasks_is_removed_over_many_turns(stage: Stage, crowded: str) -> None:
    stage.create("r", key="r")
    stage.create("below", key="below", parent="r")
    for n in range(2 * TASKS + 1):
        stage.call_back(crowded, "notify", f"s{n}", f"poll://uni@x/{n}")
    stage.complete("r")
    stage.complete("below")
    while stage.store.next_follow_up():
        stage.sweep()
    left = [len(stage.tasks())]
    assert left == [2 * TASKS + 1]
    with statements(stage) as ran:
        started = stage.do(removal.start, "r")
    assert len(ran) < 20
    while not started:
        assert started is None
        left.append(len(stage.tasks()))
        started = stage.do(removal.start, "r")
    while stage.do(removal.collect) is not None:
        left.append(len(stage.tasks()))
    assert (stage.tasks(), stage.promises()) == ({}, {})
    assert max(before - after for before, after in pairwise(left)) <= TASKS


def test_the_ways_up_from_all_that_use_a_promise_are_gone_once(stage: Stage) -> None:
    ids = [f"r{n}" for n in range(400)]
    chain(stage, *ids)
    with stage.turn():
        for user in ids[300:]:
            stage.create("r0", key="r0", parent=user)
    steps = [0]
    stage.store.db.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 1)  # type: ignore[attr-defined]
    assert stage.do(removal.start, "r0") is True
    stage.store.db.set_progress_handler(None, 1)  # type: ignore[attr-defined]
    assert steps[0] < 200 * len(ids)  # of SQLite's machine
    while stage.do(removal.collect) is not None:
        pass
    assert stage.promises() == {}


def test_of_many_long_ways_up_a_turn_goes_some(stage: Stage) -> None:
    ids = [f"r{n}" for n in range(1_500)]
    chain(stage, *ids)
    with stage.turn():
        for n in range(8):
            stage.create(f"leaf{n}", key=f"leaf{n}", parent="r0")
            stage.create(f"leaf{n}", key=f"leaf{n}", parent=ids[-1])
            stage.complete(f"leaf{n}", key=f"leaf{n}")
    assert stage.do(removal.start, "r0") is True
    walked, longest = stage.store.removals.walked, 0
    while stage.do(removal.collect) is not None:
        longest = max(longest, stage.store.removals.walked - walked)
        walked = stage.store.removals.walked
    assert longest < STEPS + len(ids)
    assert stage.promises() == {}


def test_one_that_uses_a_promise_from_outside_is_found_among_all_that_do_from_below(stage: Stage) -> None:
    chain(stage, *(f"r{n}" for n in range(50)))
    chain(stage, "other", "other.1")
    stage.create("loop", key="loop", parent="pool", timeout=FAR)
    stage.create("pool", key="pool", parent="loop", timeout=FAR)
    for user in ("r40", "r30", "other.1"):
        stage.create("r0", key="r0", parent=user)
    assert stage.do(removal.start, "r0") is False
    stage.store.removals.cut_off("other.1", 1)
    stage.create("r0", key="r0", parent="pool")
    assert stage.do(removal.start, "r0") is False
    stage.store.removals.cut_off("pool", 1)
    assert stage.do(removal.start, "r0") is True
