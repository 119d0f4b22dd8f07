"""What is stored comes back, and no request and no tick of the clock costs more because much is stored."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct
from msgspec.structs import asdict
from rules_stage import ANY, FAR, START, Stage, opened, refused

from local_server.model import Callback, Promise, Schedule, Task
from local_server.page import views
from local_server.page.queries import Queries
from local_server.rules import promises, schedules, tasks
from local_server.rules.workers import OsProcess
from local_server.store.errors import StoreError, StoreInUseError, UnstorableError
from local_server.store.postgres import Postgres
from local_server.store.searches import Searches, Wanted
from local_server.store.sqlite import LOG_BYTES
from local_server.store.store import Store

# A database in full use: ended and pending promises, tasks of every state, on behalf of many workers and clients.
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO promises (id, state, param, value, timeout, tags, created_on, completed_on, parent)
    SELECT 'old' || i, CASE i % 2 WHEN 1 THEN 'PENDING' ELSE 'RESOLVED' END, '{}', '{}', 100000000 + i, NULL, i,
        CASE i % 2 WHEN 0 THEN i END, CASE WHEN i % 10 > 0 THEN 'old' || (i / 10 * 10) END FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO tasks (id, kind, state, counter, root, recv, timeout, process, ttl, deadline, not_before, recipient,
        created_on, waits_for)
    SELECT '__invoke:' || 'old' || i, CASE i % 7 WHEN 0 THEN 'notify' ELSE 'invoke' END, CASE i % 6 WHEN 1 THEN
        'ENQUEUED' WHEN 3 THEN 'INIT' WHEN 5 THEN 'CLAIMED' ELSE 'COMPLETED' END, 1, 'old' || i, 'poll://any@old',
        100000000 + i, CASE i % 6 WHEN 5 THEN 'process' || i % 100 END, 10000,
        CASE WHEN i % 6 IN (1, 5) THEN 100000000 + i END, CASE i % 12 WHEN 3 THEN 100000000 + i END, 'old/' || i, i,
        CASE i % 12 WHEN 9 THEN 'poll://any@old' || i % 100 END FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO callbacks SELECT 'old' || i, '__notify:' || 'old' || i || ':' || 's', 'notify', 'old' || i,
    'poll://uni@old/s', i, NULL, i FROM n WHERE i % 2 = 1;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO lost_claims SELECT '__invoke:' || 'old' || i, 1, NULL, i, i, 'test' FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO schedules (id, description, cron, tags, promise_id, promise_timeout, promise_param, next_run_time,
        created_on)
    SELECT 'old' || i, '', '@yearly', '{}', 'x', 0, '{}', 100000000 + i, i FROM n WHERE i % 50 = 0
"""


EVERY_SECOND = Schedule(
    id="s", cron="@every 1s", tags=Raw(b"{}"), promise_id="s{{.timestamp}}", promise_timeout=0, promise_param=Raw(b"{}")
)


def filled(rows: int, stage: Stage | None = None) -> Stage:
    stage = stage or Stage()
    stage.store.begin()
    for statement in FILL.split(";\n"):
        stage.store.db.execute(statement, {"rows": rows})
    stage.store.commit()
    return stage


def everything_once(stage: Stage) -> None:
    """Go through all that requests, connections and the clock can ask of the rules."""
    stage.create("r", key="k", invoke="poll://any@g", parent="p")
    stage.create("r", key="k", parent="q")
    stage.connect("g/a", OsProcess(1, 0.0))
    stage.store.set_process("g/a", 1, 0.0, "here")
    stage.claim("__invoke:r", process_id="a")
    stage.do(tasks.heartbeat, "a")
    for leaf in ("x", "y", "z"):
        stage.create(leaf, timeout=START + 10_000 if leaf == "z" else FAR)
        stage.call_back(leaf, "resume", "r", "poll://any@g/a")
        stage.call_back(leaf, "notify", "s", "poll://uni@g/c")
    stage.complete("x", key="k")
    stage.complete("x", key="k")
    stage.do(tasks.complete, "__invoke:r", 1)
    stage.claim("__resume:r:x", process_id="a")
    stage.connect("g/c")
    stage.disconnect("g/c")
    stage.complete("y")
    stage.do(tasks.drop, "__resume:r:x", 1)
    stage.do(promises.get, "r")
    stage.create("d", invoke="poll://any@g", delay=str(START + 500))
    stage.create("t", claim=("b", 1_000), invoke="poll://any@g")
    stage.connect("g/b")
    stage.store.claims.created_claimed("b", "g/b", START)
    stage.disconnect("g/b")
    stage.store.free_task_id("__invoke:r")
    stage.do(schedules.create, EVERY_SECOND)
    stage.advance(3_000)
    stage.disconnect("g/a")
    stage.process_ends("g/a")
    stage.store.forget_process("g/a")
    stage.advance(9_000)
    stage.complete("r")
    stage.do(schedules.get, "s")
    stage.do(schedules.delete, "s")
    refused(lambda: stage.do(tasks.fence, "nothing", 1))
    searches, wanted = Searches(stage.store.db), Wanted("r*", ("PENDING",), '{"a":"b"}')
    searches.promises(wanted, stage.store.last("promises") + 1, 1, 1)
    searches.schedules(wanted, stage.store.last("schedules") + 1, 1, 1)
    searches.any_id("r", "s")
    searches.ids(wanted, "r", "s", 1, range(1, 10))
    searches.pending(START, 1)
    list(searches.at(wanted, [1]))


def test_every_statement_of_requests_and_of_the_clock_finds_its_rows_by_an_index() -> None:
    stage, statements = filled(100), set[str]()
    stage.store.db.set_trace_callback(statements.add)
    everything_once(stage)
    stage.store.db.set_trace_callback(None)
    written = [sql for sql in statements if sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))]
    assert len(written) > 30
    for sql in written:
        plan = [row[3] for row in stage.store.db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        scans = [step for step in plan if step.startswith("SCAN") and "CONSTANT ROW" not in step]
        assert not [step for step in scans if "VIRTUAL TABLE" not in step and "(" not in step], f"{sql}: {plan}"
        assert not [step for step in plan if "TEMP B-TREE" in step], f"{sql}: {plan}"


def test_no_statement_of_the_page_reads_a_whole_table() -> None:
    stage, statements = filled(100), set[str]()
    stage.create("r", invoke=ANY)
    stage.create("r.1", invoke=ANY, parent="r")
    stage.connect("g/a")
    stage.claim("__invoke:r", process_id="a")
    stage.store.db.set_trace_callback(statements.add)
    for name in ("r", "r.1"):
        stage.do(views.promise, name)
    stage.do(views.workers)
    Queries(stage.store.db).roots(Wanted("*r*"), 0, 2**60, 10, 10)
    stage.store.db.set_trace_callback(None)
    written = [sql for sql in statements if sql.lstrip().startswith(("SELECT", "WITH"))]
    assert len(written) > 10
    for sql in written:
        plan = [row[3] for row in stage.store.db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        made = re.findall(r"^(?:CO-ROUTINE|MATERIALIZE) (\w+)$", "\n".join(plan), re.MULTILINE)
        whole = re.findall(r"^SCAN (\w+)$|(AUTOMATIC)", "\n".join(plan), re.MULTILINE)
        assert {"".join(one) for one in whole} <= set(made), f"{sql}: {plan}"


def test_what_is_stored_adds_no_step_to_requests_and_to_the_clock() -> None:
    steps = []
    for rows in (1_000, 50_000):
        stage, count = filled(rows), [0]
        stage.store.db.set_progress_handler(counter(count), 1)
        everything_once(stage)
        stage.store.db.set_progress_handler(None, 1)
        steps.append(count[0])
    assert steps[0] > 1_000
    assert abs(steps[1] - steps[0]) <= steps[0] // 100


def counter(count: list[int]) -> Callable[[], int]:
    """Return what SQLite calls for each step of its machine."""

    def step() -> int:
        count[0] += 1
        return 0

    return step


# opening


def test_a_file_in_use_is_refused_with_the_name_of_its_holder(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    with pytest.raises(StoreInUseError, match=f"process {os.getpid()} "):
        Store(tmp_path / "db")
    store.close()
    Store(tmp_path / "db").close()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"This is a text that nobody should overwrite. " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path / "db")
    assert (tmp_path / "db").read_bytes().startswith(b"This is a text")


def test_a_commit_does_not_grow_the_log(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "db")
    for n in range(500):
        stage.create(f"p{n}", invoke="poll://any@g")
    pragmas = {name: stage.store.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 1}  # the sync is test_power_cut's affair
    assert (tmp_path / "db-wal").stat().st_size == LOG_BYTES
    stage.store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["db"]


# records


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store that is empty in each transaction."""
    store = opened(None if request.param == "SQLite" else request.getfixturevalue("postgres").create())
    yield store
    store.close()


def assert_comes_back[T: Struct](
    store: Store, record: T, insert: Callable[[T], None], read: Callable[[], object]
) -> None:
    """Store a record and read it; PostgreSQL refuses a NUL, which JSON holds in another way."""
    store.begin()
    nul = any(isinstance(value, str) and "\0" in value for value in asdict(record).values())
    with pytest.raises(UnstorableError) if nul and isinstance(store.db, Postgres) else nullcontext():
        insert(record)
        assert read() == record
    store.rollback()


integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
objects = st.dictionaries(texts, texts).map(lambda value: Raw(promises.msgspec.json.encode(value)))
maybe = st.none() | texts
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(promise=st.builds(Promise, id=texts, state=st.just("PENDING"), param=objects, value=objects, timeout=integers,
                 idempotency_key_for_create=maybe, tags=st.none() | objects, created_on=integers))  # fmt: skip
def test_a_promise_comes_back_as_it_was(store: Store, promise: Promise) -> None:
    assert_comes_back(store, promise, lambda one: store.insert_promise(one, None), lambda: store.promise(promise.id))


@given(task=st.builds(Task, id=texts, counter=integers, root=texts, leaf=maybe, recv=texts, timeout=integers,
                 process=maybe, ttl=integers, deadline=st.none() | integers, not_before=st.none() | integers,
                 recipient=maybe, head=st.none() | objects, created_on=integers,
                 completed_on=st.none() | integers))  # fmt: skip
def test_a_task_comes_back_as_it_was(store: Store, task: Task) -> None:
    assert_comes_back(store, task, store.insert_task, lambda: store.task(task.id))


@given(callbacks=st.lists(st.builds(Callback, id=plain, promise=st.just("p"), root=plain, recv=plain, timeout=integers,
                          head=st.none() | objects, created_on=integers), unique_by=lambda one: one.id))  # fmt: skip
def test_callbacks_come_back_once_in_the_order_of_their_ids(store: Store, callbacks: list[Callback]) -> None:
    store.begin()
    for callback in callbacks:
        assert store.insert_callback(callback)
        assert not store.insert_callback(callback)
    assert store.take_callbacks("p", 2) + store.take_callbacks("p", 1_000) == sorted(callbacks, key=lambda one: one.id)
    assert store.take_callbacks("p", 1_000) == []
    store.rollback()


@given(schedule=st.builds(Schedule, id=texts, description=texts, cron=texts, tags=objects, promise_id=texts,
                 promise_timeout=integers, promise_param=objects, promise_tags=st.none() | objects,
                 last_run_time=st.none() | integers, next_run_time=integers, idempotency_key=maybe,
                 created_on=integers))  # fmt: skip
def test_a_schedule_comes_back_as_it_was(store: Store, schedule: Schedule) -> None:
    assert_comes_back(store, schedule, store.insert_schedule, lambda: store.schedule(schedule.id))


@pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"])
def test_a_search_takes_every_character_but_the_star_for_itself(engine: str, request: pytest.FixtureRequest) -> None:
    stage = Stage(None if engine == "SQLite" else request.getfixturevalue("postgres").create())
    for name in ("a%b", "a_b", "axb", "a\\b", "A_B"):
        stage.create(name)
    for pattern, expected in {"a%b": ["a%b"], "a_b": ["A_B", "a_b"], "a\\*": ["a\\b"], "*": 5}.items():
        found = [promise.id for _, promise in Searches(stage.store.db).promises(Wanted(pattern), 10, 10, 10)]
        assert found == expected or len(found) == expected
    stage.store.close()
