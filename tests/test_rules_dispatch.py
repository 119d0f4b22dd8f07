"""Who is offered what, when, and what becomes of it when the one it was offered to is lost."""

from pathlib import Path

import pytest
from rules_stage import FAR, START, Message, RecordingStream, Stage, pending, refused

from local_server import errors, promises, tasks
from local_server.dispatch import CLAIM_WITHIN, NOTIFY_WITHIN, SETTLE_AFTER
from local_server.tasks import CLAIM_AFTER_CLOSE, CLAIM_AFTER_RESTART, HEARTBEAT_WITHIN
from local_server.turn import Turn
from local_server.workers import WINDOW, OsProcess

ANY = "poll://any@g"
PROCESS = OsProcess(1, 0.0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def durable(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "db")


def sent(stream: RecordingStream) -> list[tuple[str | None, int | None]]:
    """Return (task, counter) of the messages so far."""
    return [(message.task, message.counter) for message in stream.messages]


def work(stage: Stage, count: int, recv: str = ANY, first: int = 0) -> list[str]:
    """Create promises that run somewhere; return the ids of their tasks."""
    for n in range(first, first + count):
        stage.create(f"p{n}", invoke=recv)
    return [f"__invoke:p{n}" for n in range(first, first + count)]


# the choice of a worker


@pytest.mark.parametrize("recv", ["poll://any@g/b", "poll://g/b", "POLL://Any@g/b", "poll://uni@g/b"])
def test_the_worker_that_is_named_is_chosen(stage: Stage, recv: str) -> None:
    a, b = stage.connect("g/a"), stage.connect("g/b")
    work(stage, 3, recv)
    assert (len(a.messages), len(b.messages)) == (0, 3)


def test_another_of_the_group_takes_the_place_of_the_preferred_one_that_is_away(stage: Stage) -> None:
    a = stage.connect("g/a")
    stage.connect("other/b")
    assert sent(a) == []
    work(stage, 1, "poll://any@g/b")
    assert sent(a) == [("__invoke:p0", 1)]


def test_uni_reaches_only_the_one_it_names(stage: Stage) -> None:
    a = stage.connect("g/a")
    work(stage, 1, "poll://uni@g/b")
    assert sent(a) == []
    assert sent(stage.connect("g/b")) == [("__invoke:p0", 1)]


def test_equals_take_turns(stage: Stage) -> None:
    streams = [stage.connect(f"g/{name}") for name in "abc"]
    for task in work(stage, 9):
        stage.claim(task, process="elsewhere")  # so that nobody's load grows
    assert [len(stream.messages) for stream in streams] == [3, 3, 3]


def test_the_least_loaded_is_chosen(stage: Stage) -> None:
    a, b = stage.connect("g/a"), stage.connect("g/b")
    for task in work(stage, 3, "poll://uni@g/a"):
        stage.claim(task, process="a")
    work(stage, 3, first=3)
    assert (len(a.messages), len(b.messages)) == (3, 3)
    stage.do(tasks.complete, "__invoke:p0", 1)
    work(stage, 1, first=6)
    assert len(a.messages) == 4


def test_a_worker_of_another_group_gets_nothing(stage: Stage) -> None:
    stream = stage.connect("h/w")
    work(stage, 1)
    assert sent(stream) == []


@pytest.mark.parametrize("recv", ["g", "", "http://x", "poll://foo@g", "poll://uni@g", "nonsense"])
def test_an_address_that_reaches_nobody_makes_a_task_that_can_be_claimed_by_hand(stage: Stage, recv: str) -> None:
    stream = stage.connect("g/w")
    work(stage, 1, recv)
    assert sent(stream) == []
    assert stage.claim("__invoke:p0").state == "CLAIMED"


@pytest.mark.parametrize("tag", ["5", "{}", "true", '"poll://any@g"', '{"type":"","data":{}}', '{"type":"poll"}'])
def test_a_tag_that_is_other_json_makes_no_task(stage: Stage, tag: str) -> None:
    work(stage, 1, tag)
    assert stage.store.task("__invoke:p0") is None


@pytest.mark.parametrize("tag", ["null", '{"type":"poll","data":null}', '{"type":"poll","data":{}}',
                                 '{"type":"poll","data":{"cast":"all","group":"g"}}'])  # fmt: skip
def test_a_tag_that_makes_no_sense_is_refused(stage: Stage, tag: str) -> None:
    assert refused(lambda: work(stage, 1, tag)) == errors.BAD_REQUEST


def test_an_address_as_an_object_is_one(stage: Stage) -> None:
    work(stage, 1, '{"type":"poll","data":{"cast":"uni","group":"g","id":"a b/c"}}')
    assert sent(stage.connect("g/a b/c")) == [("__invoke:p0", 1)]


# the window


def test_a_worker_is_sent_sixteen_and_the_next_for_each_claim(stage: Stage) -> None:
    stream = stage.connect("g/w")
    work(stage, 2 * WINDOW)
    assert len(stream.messages) == WINDOW
    for n in range(WINDOW):
        stage.claim(stream.messages[n].task or "")
        assert len(stream.messages) == WINDOW + n + 1
    assert [message.task for message in stream.messages] == [f"__invoke:p{n}" for n in range(2 * WINDOW)]
    assert not stage.workers.crowded


def test_a_window_is_filled_on_connection_too_the_oldest_first(stage: Stage) -> None:
    work(stage, 2 * WINDOW)
    first, second = stage.connect("g/a"), stage.connect("g/b")
    assert [message.task for message in first.messages + second.messages] == [f"__invoke:p{n}" for n in range(32)]
    assert (len(first.messages), len(second.messages)) == (WINDOW, WINDOW)


def test_what_waited_for_a_connection_is_sent_as_room_is_made(stage: Stage) -> None:
    work(stage, 2 * WINDOW)
    stream = stage.connect("g/w")
    for n in range(2 * WINDOW):
        stage.claim(stream.messages[n].task or "")
    assert len(stream.messages) == 2 * WINDOW


def test_room_for_the_group_serves_the_line_of_the_one_too(stage: Stage) -> None:
    stream = stage.connect("g/w")
    work(stage, WINDOW)
    work(stage, 1, "poll://uni@g/w", first=90)
    stage.complete("p0")  # its task, still unclaimed, is finished with it
    assert sent(stream)[WINDOW:] == [("__invoke:p90", 1)]


def test_what_is_taken_from_one_who_hangs_makes_room_for_what_only_that_one_may_run(stage: Stage) -> None:
    hung = stage.connect("g/a")
    work(stage, WINDOW, "poll://any@g/a")
    work(stage, 1, "poll://uni@g/a", first=90)
    other = stage.connect("g/b")
    stage.advance(CLAIM_WITHIN)
    assert {message.task for message in other.messages} == {f"__invoke:p{n}" for n in range(WINDOW)}
    assert sent(hung)[WINDOW:] == [("__invoke:p90", 1)]


# one at a time


def suspended(stage: Stage, root: str, *leaves: str) -> None:
    """Create a root whose function ran on g/w and waits for leaves."""
    stage.create(root, invoke=ANY)
    stage.claim(f"__invoke:{root}")
    for leaf in leaves:
        stage.create(leaf)
        stage.call_back(leaf, "resume", root, ANY)


def test_one_task_of_a_root_runs_at_a_time_the_oldest_next(stage: Stage) -> None:
    stream = stage.connect("g/w")
    suspended(stage, "r", "a", "b", "c")
    for leaf in "bac":
        stage.complete(leaf)
    assert sent(stream) == [("__invoke:r", 1)]
    stage.do(tasks.complete, "__invoke:r", 1)
    for n, leaf in enumerate("bac", start=2):
        assert sent(stream)[n - 1 :] == [(f"__resume:r:{leaf}", 1)]
        stage.claim(f"__resume:r:{leaf}")
        stage.do(tasks.complete, f"__resume:r:{leaf}", 1)
    assert len(stream.messages) == 4


@pytest.mark.parametrize("end", ["drop", "lease", "process"])
def test_the_next_of_a_root_goes_on_when_the_running_one_is_lost_and_cannot_be_sent(stage: Stage, end: str) -> None:
    stream = stage.connect("g/w", PROCESS)
    stage.create("r", invoke="poll://uni@h/other")
    stage.claim("__invoke:r", process="other", ttl=1000)
    stage.create("a")
    stage.call_back("a", "resume", "r", ANY)
    stage.connect("h/other", PROCESS)
    stage.complete("a")
    assert sent(stream) == []
    stage.worker("h/other").stream = None
    if end == "drop":
        stage.do(tasks.drop, "__invoke:r", 1)
    elif end == "lease":
        stage.advance(1000)
    else:
        stage.process_ends("h/other")
    assert sent(stream) == [("__resume:r:a", 1)]
    assert (stage.task("__invoke:r").state, stage.task("__invoke:r").counter) == ("INIT", 2)


def test_a_root_that_completes_ends_all_its_tasks(stage: Stage) -> None:
    stream = stage.connect("g/w")
    suspended(stage, "r", "a", "b")
    stage.complete("a")
    stage.complete("r")
    stage.complete("b")
    assert {task: stage.task(task).state for task in ("__invoke:r", "__resume:r:a", "__resume:r:b")} == dict.fromkeys(
        ("__invoke:r", "__resume:r:a", "__resume:r:b"), "COMPLETED"
    )
    assert sent(stream) == [("__invoke:r", 1)]
    assert stage.do(tasks.complete, "__invoke:r", 7)[0] == 200
    assert not stage.worker("g/w").held()


def test_a_message_of_a_turn_that_ends_its_root_is_not_sent(stage: Stage) -> None:
    stream = stage.connect("g/w")
    with stage.turn() as turn:
        tags = {"resonate:invoke": ANY}
        promises.create(turn, pending("p", FAR, None, tags), tags)
        promises.complete(turn, "p", "resolve", promises.EMPTY, None, strict=False)
    assert sent(stream) == []
    assert stage.task("__invoke:p").state == "COMPLETED"


def test_a_leaf_and_its_root_that_time_out_together_send_nothing(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("r", timeout=START + 1000, invoke=ANY)
    stage.claim("__invoke:r")
    stage.create("a", timeout=START + 1000)
    stage.call_back("a", "resume", "r", ANY)
    stage.do(tasks.complete, "__invoke:r", 1)
    stage.advance(1000)
    assert sent(stream) == [("__invoke:r", 1)]
    assert stage.task("__resume:r:a").state == "COMPLETED"


def test_a_leaf_that_ends_while_the_time_out_of_its_root_is_not_applied_yet_sends_nothing(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("r", timeout=START + 1000)
    stage.create("a")
    stage.call_back("a", "resume", "r", ANY)
    stage.now += 1000
    stage.complete("a")
    stage.sweep()
    assert sent(stream) == []
    assert stage.do(promises.get, "r").state == "REJECTED_TIMEDOUT"


def test_a_resume_of_a_root_that_is_not_there_is_never_sent(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("a")
    stage.call_back("a", "resume", "nothing", ANY)
    stage.complete("a")
    assert sent(stream) == []
    assert stage.claim("__resume:nothing:a").state == "CLAIMED"


def test_ids_that_clash_are_told_apart(stage: Stage) -> None:
    stream = stage.connect("g/w")
    for promise in ("a", "a:b", "b:c", "c"):
        stage.create(promise)
    stage.call_back("b:c", "resume", "a", ANY)
    stage.call_back("c", "resume", "a:b", ANY)
    stage.complete("b:c")
    stage.complete("c")
    assert sent(stream) == [("__resume:a:b:c", 1), ("__resume:a:b:c:", 1)]
    assert [stage.claim(task).root for task, _ in sent(stream) if task] == ["a", "a:b"]
    assert stage.worker("g/w").unclaimed == set()


# delays and time-outs


def test_a_delayed_task_is_sent_at_its_time(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("p", invoke=ANY, delay=str(START + 5000))
    stage.advance(4999)
    assert sent(stream) == []
    stage.advance(1)
    assert sent(stream) == [("__invoke:p", 1)]


def test_a_delay_survives_a_restart(durable: Stage) -> None:
    durable.create("p", invoke=ANY, delay=str(START + 5000))
    durable.restart()
    stream = durable.connect("g/w")
    durable.advance(5000)
    assert sent(stream) == [("__invoke:p", 1)]


@pytest.mark.parametrize("delay", ["", "soon", "1.5", str(START), "-99999999999999999999", "9" * 5000])
def test_a_delay_that_is_over_or_no_number_is_none(stage: Stage, delay: str) -> None:
    stream = stage.connect("g/w")
    stage.create("p", invoke=ANY, delay=delay)
    assert sent(stream) == [("__invoke:p", 1)]


def test_a_delayed_task_that_was_claimed_and_completed_by_hand_is_not_sent_again(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("p", invoke=ANY, delay=str(START + 5000))
    stage.claim("__invoke:p")
    stage.do(tasks.complete, "__invoke:p", 1)
    stage.advance(10_000)
    assert sent(stream) == []
    assert stage.task("__invoke:p").state == "COMPLETED"


def test_create_with_a_task_takes_no_notice_of_the_delay_and_sends_nothing(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("p", invoke=ANY, delay=str(START + 5000), claim=("w", 60_000))
    stage.advance(10_000)
    assert sent(stream) == []
    assert (stage.task("__invoke:p").state, stage.task("__invoke:p").process) == ("CLAIMED", "w")


def test_a_task_whose_time_has_passed_is_never_sent(stage: Stage) -> None:
    stage.create("r")
    stage.create("a")
    stage.call_back("a", "resume", "r", ANY, timeout=START + 10)
    stage.complete("a")
    stage.now += 10
    assert sent(stage.connect("g/w")) == []
    task = stage.task("__resume:r:a")
    assert (task.state, task.completed_on, task.counter) == ("TIMEDOUT", START + 10, 1)


def test_a_callback_with_the_default_time_out_is_never_delivered(stage: Stage) -> None:
    stream = stage.connect("g/w")
    stage.create("a")
    stage.call_back("a", "notify", "s", "poll://uni@g/w", timeout=0)
    stage.complete("a")
    assert sent(stream) == []


# leases


def test_a_lease_goes_with_its_ttl_unless_a_heartbeat_comes(stage: Stage) -> None:
    first = stage.connect("g/a")
    work(stage, 1)
    stage.claim("__invoke:p0", process="a", ttl=1000)
    stage.advance(999)
    assert stage.do(tasks.heartbeat, "a") == 1
    second = stage.connect("g/b")
    stage.advance(999)
    assert sent(second) == []
    stage.advance(1)
    assert (sent(first), sent(second)) == ([("__invoke:p0", 1)], [("__invoke:p0", 2)])
    assert stage.do(tasks.heartbeat, "a") == 0
    assert refused(lambda: stage.do(tasks.complete, "__invoke:p0", 1)) == errors.TASK_INVALID_STATE
    stage.claim("__invoke:p0", 2, "b")
    assert refused(lambda: stage.do(tasks.complete, "__invoke:p0", 1)) == errors.TASK_INVALID_COUNTER


def test_the_longest_ttl_does_not_overflow(stage: Stage) -> None:
    work(stage, 1)
    stage.mono = 2**40
    stage.claim("__invoke:p0", ttl=2**63 - 1)
    assert stage.do(tasks.heartbeat, "w") == 1
    assert stage.task("__invoke:p0").deadline == 2**62 + 2**40
    stage.advance(10**9)
    assert stage.task("__invoke:p0").state == "CLAIMED"


def test_a_ttl_of_nothing_is_over_at_once(stage: Stage) -> None:
    stream = stage.connect("g/w")
    work(stage, 1)
    stage.claim("__invoke:p0", ttl=0)
    stage.advance(0)
    assert sent(stream) == [("__invoke:p0", 1), ("__invoke:p0", 2)]


def test_a_clock_set_back_or_forward_takes_no_lease(stage: Stage) -> None:
    stage.connect("g/w")
    work(stage, 1)
    stage.claim("__invoke:p0", ttl=10_000)
    for jump in (86_400_000, -2 * 86_400_000):
        stage.now += jump
        stage.sweep()
    assert stage.task("__invoke:p0").state == "CLAIMED"


def test_what_is_not_claimed_in_time_goes_to_another_who_is_preferred_from_then_on(stage: Stage) -> None:
    hung = stage.connect("g/a")
    work(stage, 1)
    other = stage.connect("g/b")
    stage.advance(CLAIM_WITHIN)
    assert sent(other) == [("__invoke:p0", 2)]
    work(stage, 3, first=1)
    assert (len(hung.messages), len(other.messages)) == (1, 4)
    stage.claim("__invoke:p0", 2, "b")
    work(stage, 1, "poll://any@g/a", first=4)
    assert len(hung.messages) == 1


# workers that are lost


def test_work_waits_for_a_worker_and_not_for_a_clock(stage: Stage) -> None:
    work(stage, 1)
    stage.advance(10**6)
    assert sent(stage.connect("g/w")) == [("__invoke:p0", 1)]


def test_what_a_closed_stream_carried_goes_to_another_if_it_is_not_claimed_in_a_moment(stage: Stage) -> None:
    stage.connect("g/a", PROCESS)
    work(stage, 2)
    stage.disconnect("g/a")
    stage.claim("__invoke:p0", process="a")
    other = stage.connect("g/b")
    stage.advance(CLAIM_AFTER_CLOSE)
    assert sent(other) == [("__invoke:p1", 2)]


def test_a_living_process_keeps_its_leases_without_a_stream(stage: Stage) -> None:
    stage.connect("g/a", PROCESS)
    work(stage, 1)
    stage.claim("__invoke:p0", process="a", ttl=60_000)
    stage.disconnect("g/a")
    other = stage.connect("g/b")
    stage.advance(59_999)
    assert sent(other) == []


def test_a_worker_out_of_sight_without_a_stream_has_to_send_a_heartbeat_soon(stage: Stage) -> None:
    for name in "ab":
        stage.connect(f"g/{name}")
        work(stage, 1, f"poll://uni@g/{name}", first=ord(name))
        stage.claim(f"__invoke:p{ord(name)}", process=name, ttl=60_000)
        stage.disconnect(f"g/{name}")
    stage.advance(HEARTBEAT_WITHIN - 1)
    stage.do(tasks.heartbeat, "a")
    stage.advance(1)
    assert [stage.task(f"__invoke:p{ord(name)}").state for name in "ab"] == ["CLAIMED", "INIT"]


def test_a_claim_that_comes_after_its_stream_has_closed_is_on_the_books(stage: Stage) -> None:
    stage.connect("g/a")
    work(stage, 1)
    stage.disconnect("g/a")
    stage.claim("__invoke:p0", process="a")
    assert stage.worker("g/a").claimed == {"__invoke:p0"}
    stage.do(tasks.complete, "__invoke:p0", 1)
    assert list(stage.workers) == []


def test_the_end_of_a_process_frees_all_it_held_at_once(stage: Stage) -> None:
    stage.connect("g/a", PROCESS)
    claimed, unclaimed = work(stage, 2)
    stage.claim(claimed, process="a")
    stage.disconnect("g/a")
    other = stage.connect("g/b")
    stage.process_ends("g/a")
    assert sorted(sent(other)) == [(claimed, 2), (unclaimed, 2)]
    assert stage.store.db.execute("SELECT task, counter, reason FROM lost_claims").fetchall() == [
        (claimed, 1, "process 1 ended")
    ]
    assert [worker.name for worker in stage.workers] == ["g/b"]


def test_a_process_that_ends_before_its_stream_closes_is_sent_nothing_more(stage: Stage) -> None:
    stream = stage.connect("g/a", PROCESS)
    work(stage, 1)
    stage.process_ends("g/a")
    assert stream.closed
    assert (len(stream.messages), stage.task("__invoke:p0").state) == (1, "INIT")
    assert sent(stage.connect("g/b")) == [("__invoke:p0", 2)]


def test_a_process_that_claims_before_it_connects_is_known_when_it_does(stage: Stage) -> None:
    stage.create("p", invoke=ANY, claim=("w", 60_000))
    stage.connect("g/w", PROCESS)
    other = stage.connect("g/b")
    stage.process_ends("g/w")
    assert sent(other) == [("__invoke:p", 2)]


def test_a_newer_stream_of_the_same_name_gets_what_the_older_one_lost(stage: Stage) -> None:
    stage.connect("g/a")
    work(stage, 1)
    newer = stage.connect("g/a")
    stage.advance(CLAIM_AFTER_CLOSE)
    assert sent(newer) == [("__invoke:p0", 2)]


def test_a_turn_that_is_taken_back_leaves_the_books_as_the_store_has_them(stage: Stage) -> None:
    stream = stage.connect("g/w")
    waiting = work(stage, WINDOW + 1)
    stage.store.begin()
    tasks.claim(Turn(stage.store, stage.workers, stage.now, stage.mono), waiting[0], 1, "w", 1000)
    stage.store.rollback()
    stage.workers.take_stock(stage.store.sent_or_claimed())
    worker = stage.worker("g/w")
    assert (worker.unclaimed, worker.claimed) == (set(waiting[:WINDOW]), set())
    stage.claim(waiting[0])
    assert sent(stream)[WINDOW:] == [(waiting[WINDOW], 1)]


# restarts of the server


def test_a_restart_gives_each_lease_its_ttl_and_each_message_a_moment(durable: Stage) -> None:
    durable.connect("g/a")
    claimed, unclaimed = work(durable, 2)
    durable.mono = 77_777
    durable.claim(claimed, process="a", ttl=30_000)
    durable.restart()
    other = durable.connect("g/b")
    durable.advance(CLAIM_AFTER_RESTART - 1)
    assert sent(other) == []
    durable.advance(1)
    assert sent(other) == [(unclaimed, 2)]
    durable.claim(unclaimed, 2, "b", ttl=10**9)
    durable.advance(30_000 - CLAIM_AFTER_RESTART)
    assert sent(other)[1:] == [(claimed, 2)]


def test_a_claim_of_the_previous_run_may_be_repeated_by_its_holder_alone(durable: Stage) -> None:
    work(durable, 1)
    durable.claim("__invoke:p0", process="a")
    assert refused(lambda: durable.claim("__invoke:p0", process="a")) == errors.TASK_ALREADY_CLAIMED
    durable.restart()
    assert refused(lambda: durable.claim("__invoke:p0", process="b")) == errors.TASK_ALREADY_CLAIMED
    assert refused(lambda: durable.claim("__invoke:p0", 2, "a")) == errors.TASK_ALREADY_CLAIMED
    assert durable.claim("__invoke:p0", process="a").process == "a"
    assert refused(lambda: durable.claim("__invoke:p0", process="a")) == errors.TASK_ALREADY_CLAIMED


def test_a_message_of_the_previous_run_can_still_be_claimed(durable: Stage) -> None:
    durable.connect("g/a")
    work(durable, 1)
    durable.restart()
    assert durable.claim("__invoke:p0", process="a").state == "CLAIMED"


# notifications


def subscribed(stage: Stage, recv: str = "poll://uni@g/c") -> None:
    stage.create("p")
    stage.call_back("p", "notify", "s", recv)


NOTIFIED = [Message("notify", None, None, "p")]


def test_a_notification_carries_the_promise_and_has_arrived_when_its_stream_stays_open(stage: Stage) -> None:
    stream = stage.connect("g/c")
    subscribed(stage)
    stage.complete("p")
    assert stream.messages == NOTIFIED
    assert stage.task("__notify:p:s").state == "ENQUEUED"
    stage.advance(SETTLE_AFTER)
    assert stage.task("__notify:p:s").state == "COMPLETED"
    stage.disconnect("g/c")
    assert stage.connect("g/c").messages == []


def test_a_notification_waits_for_a_client_that_is_away(stage: Stage) -> None:
    subscribed(stage)
    stage.complete("p")
    stage.advance(NOTIFY_WITHIN - 1)
    assert stage.connect("g/other").messages == []
    assert stage.connect("g/c").messages == NOTIFIED


def test_a_client_that_does_not_come_within_a_day_is_forgotten(stage: Stage) -> None:
    subscribed(stage)
    stage.complete("p")
    stage.advance(NOTIFY_WITHIN)
    assert stage.task("__notify:p:s").state == "COMPLETED"
    assert stage.connect("g/c").messages == []


def test_a_notification_whose_stream_closes_at_once_is_sent_on_the_next(stage: Stage) -> None:
    stage.connect("g/c")
    subscribed(stage)
    stage.complete("p")
    stage.disconnect("g/c")
    assert stage.connect("g/c").messages == NOTIFIED
    assert stage.task("__notify:p:s").counter == 1


def test_a_notification_just_sent_on_a_stream_that_is_replaced_is_sent_on_the_newer(stage: Stage) -> None:
    stage.connect("g/c")
    subscribed(stage)
    stage.complete("p")
    assert stage.connect("g/c").messages == NOTIFIED


def test_a_notification_survives_a_restart(durable: Stage) -> None:
    durable.connect("g/c")
    subscribed(durable)
    durable.complete("p")
    durable.restart()
    assert durable.connect("g/c").messages == NOTIFIED


def test_the_day_of_a_waiting_notification_counts_anew_after_a_restart(durable: Stage) -> None:
    durable.mono = 10**12
    subscribed(durable)
    durable.complete("p")
    durable.restart()
    durable.advance(NOTIFY_WITHIN - 1)
    assert durable.task("__notify:p:s").state == "INIT"
    durable.advance(1)
    assert durable.task("__notify:p:s").state == "COMPLETED"


def test_the_end_of_the_clients_process_ends_its_notifications(stage: Stage) -> None:
    stage.connect("g/c", PROCESS)
    subscribed(stage)
    stage.disconnect("g/c")
    stage.complete("p")
    stage.process_ends("g/c")
    assert stage.task("__notify:p:s").state == "COMPLETED"
    assert list(stage.workers) == []


def test_a_notification_for_a_member_that_is_away_does_not_stop_the_line_of_its_group(stage: Stage) -> None:
    subscribed(stage, "poll://any@g/c")
    stage.complete("p")
    work(stage, 1)
    assert sent(stage.connect("g/other")) == [("__invoke:p0", 1)]
    assert stage.connect("g/c").messages == NOTIFIED


def test_a_notification_for_a_group_reaches_one_of_it(stage: Stage) -> None:
    subscribed(stage, "poll://any@g")
    stage.complete("p")
    assert stage.connect("g/one").messages == NOTIFIED
    assert stage.connect("g/two").messages == []


def test_notifications_are_sent_to_one_with_a_full_window(stage: Stage) -> None:
    stream = stage.connect("g/c")
    work(stage, 2 * WINDOW, first=1)
    subscribed(stage)
    stage.complete("p")
    assert stream.messages[WINDOW:] == NOTIFIED


def test_a_subscription_to_what_has_ended_is_answered_and_sends_nothing(stage: Stage) -> None:
    stream = stage.connect("g/c")
    stage.create("p", timeout=START)
    assert stage.call_back("p", "notify", "s", "poll://uni@g/c") == 200
    assert stage.do(promises.get, "p").state == "REJECTED_TIMEDOUT"
    assert stream.messages == []


def test_the_same_callback_again_leaves_the_first_in_force(stage: Stage) -> None:
    stream = stage.connect("g/c")
    subscribed(stage)
    assert stage.call_back("p", "notify", "s", "poll://uni@g/elsewhere") == 200
    stage.complete("p")
    assert stream.messages == NOTIFIED


def test_a_promise_cannot_wait_for_itself_nor_for_one_that_is_not_there(stage: Stage) -> None:
    assert refused(lambda: stage.call_back("p", "resume", "p", ANY)) == errors.BAD_REQUEST
    assert refused(lambda: stage.call_back("p", "resume", "r", ANY)) == errors.PROMISE_NOT_FOUND
