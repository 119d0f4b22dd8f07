"""What becomes of a task whose holder is lost: leases, closed streams, processes that end, restarts of the server."""

import pytest
from rules_stage import ANY, PROCESS, Stage, pending, refused, sent, work

from local_server import errors
from local_server.model import Task
from local_server.rules import promises, tasks
from local_server.rules.dispatch import CLAIM_WITHIN
from local_server.rules.losses import CLAIM_AFTER_CLOSE, HEARTBEAT_WITHIN
from local_server.rules.tasks import LATE_WITHIN, SHORTEST_LEASE
from local_server.rules.workers import WINDOW, OsProcess

# leases


def test_a_lease_goes_with_its_ttl_unless_a_heartbeat_comes(stage: Stage) -> None:
    first = stage.connect("g/a")
    work(stage, 1)
    stage.claim("__invoke:p0", process_id="a", ttl=1000)
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


def test_a_ttl_of_nothing_lives_until_the_heartbeat_that_follows(stage: Stage) -> None:
    stream = stage.connect("g/w")
    work(stage, 1)
    stage.claim("__invoke:p0", ttl=0)
    stage.advance(SHORTEST_LEASE - 1)
    assert stage.do(tasks.heartbeat, "w") == 1
    stage.advance(SHORTEST_LEASE - 1)
    assert sent(stream) == [("__invoke:p0", 1)]
    stage.advance(1)
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


@pytest.mark.parametrize("beat", [0, 1_000, 4_999])
def test_a_living_process_that_is_paused_for_less_than_its_lease_keeps_its_work(stage: Stage, beat: int) -> None:
    stage.connect("g/a", PROCESS)
    work(stage, 1)
    stage.claim("__invoke:p0", process_id="a", ttl=10_000)
    stage.advance(beat)  # the next heartbeat was due 5 s after the claim; the pause comes before it
    stage.advance(9_999)
    assert stage.do(tasks.heartbeat, "a") == 1
    stage.advance(14_999)
    assert stage.do(tasks.complete, "__invoke:p0", 1)[0] == 201


# claims that come late


def sent_and_over(stage: Stage, **tags: str) -> str:
    """Return a task whose root ended after its message was sent."""
    stage.connect("g/a")
    stage.create("p", timeout=stage.now + 100, invoke=ANY, **tags)
    return "__invoke:p"


@pytest.mark.parametrize("end", ["resolve", "cancel", "time"])
def test_a_late_claim_of_a_task_that_ended_with_its_root_is_granted_and_changes_nothing(stage: Stage, end: str) -> None:
    task = sent_and_over(stage)
    if end == "time":
        stage.advance(100)
    else:
        stage.complete("p", "resolve" if end == "resolve" else "cancel")
    before = stage.dump()
    claimed, root, leaf = stage.do(tasks.claim, task, 1, "a", 10_000)
    assert claimed.state in ("COMPLETED", "TIMEDOUT")
    assert root
    assert (root.id, root.state != "PENDING", leaf) == ("p", True, None)
    assert refused(lambda: stage.claim(task, 2, "a")) == errors.TASK_ALREADY_COMPLETED
    stage.advance(LATE_WITHIN)
    assert refused(lambda: stage.claim(task, 1, "a")) == errors.TASK_ALREADY_COMPLETED
    assert stage.dump() == before


def test_a_claim_of_what_its_holder_completed_stays_refused(stage: Stage) -> None:
    task = sent_and_over(stage)
    stage.claim(task, process_id="a")
    stage.do(tasks.complete, task, 1)
    assert refused(lambda: stage.claim(task, process_id="a")) == errors.TASK_ALREADY_COMPLETED


def test_a_claim_of_what_was_never_sent_stays_refused_when_its_root_has_ended(stage: Stage) -> None:
    stage.create("p", invoke=ANY)
    stage.complete("p")
    assert refused(lambda: stage.claim("__invoke:p")) == errors.TASK_ALREADY_COMPLETED


# tasks that end their workers


def test_a_task_that_ends_its_workers_waits_longer_each_time_and_people_are_told(stage: Stage) -> None:
    stage.create("poison", invoke=ANY)
    waits = []
    for n in range(1, 10):
        stream, since = stage.connect(f"g/w{n}", OsProcess(n, 0.0)), stage.mono
        while not stream.messages:
            stage.advance(500)
        waits.append(stage.mono - since)
        stage.claim("__invoke:poison", n, f"w{n}")
        with stage.turn() as turn:
            stage.process_ends(f"g/w{n}")
        assert len(turn.warnings) == (n > 1)
    assert waits == [0, 0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]
    told = "promise poison has ended 9 workers, the last one g/w9 (process 1); it is tried again in 60 s; "
    assert turn.warnings == [told + "to give it up: local-server cancel poison"]
    stage.create("healthy", invoke=ANY)
    assert sent(stage.connect("g/next")) == [("__invoke:healthy", 1)]


# workers that are lost


def test_work_waits_for_a_worker_and_not_for_a_clock(stage: Stage) -> None:
    work(stage, 1)
    stage.advance(10**6)
    assert sent(stage.connect("g/w")) == [("__invoke:p0", 1)]


def test_what_a_closed_stream_carried_goes_to_another_if_it_is_not_claimed_in_a_moment(stage: Stage) -> None:
    stage.connect("g/a", PROCESS)
    work(stage, 2)
    stage.disconnect("g/a")
    stage.claim("__invoke:p0", process_id="a")
    other = stage.connect("g/b")
    stage.advance(CLAIM_AFTER_CLOSE)
    assert sent(other) == [("__invoke:p1", 2)]


def test_a_living_process_keeps_its_leases_without_a_stream(stage: Stage) -> None:
    stage.connect("g/a", PROCESS)
    work(stage, 1)
    stage.claim("__invoke:p0", process_id="a", ttl=60_000)
    stage.disconnect("g/a")
    other = stage.connect("g/b")
    stage.advance(59_999)
    assert sent(other) == []


def test_a_worker_out_of_sight_without_a_stream_has_to_send_a_heartbeat_soon(stage: Stage) -> None:
    for name in "ab":
        stage.connect(f"g/{name}")
        work(stage, 1, f"poll://uni@g/{name}", first=ord(name))
        stage.claim(f"__invoke:p{ord(name)}", process_id=name, ttl=60_000)
        stage.disconnect(f"g/{name}")
    stage.advance(HEARTBEAT_WITHIN - 1)
    stage.do(tasks.heartbeat, "a")
    stage.advance(1)
    assert [stage.task(f"__invoke:p{ord(name)}").state for name in "ab"] == ["CLAIMED", "INIT"]


def test_a_claim_that_comes_after_its_stream_has_closed_is_on_the_books(stage: Stage) -> None:
    stage.connect("g/a")
    work(stage, 1)
    stage.disconnect("g/a")
    stage.claim("__invoke:p0", process_id="a")
    assert stage.worker("g/a").claimed == {"__invoke:p0"}
    stage.do(tasks.complete, "__invoke:p0", 1)
    assert list(stage.workers) == []


def test_the_end_of_a_process_frees_all_it_held_at_once(stage: Stage) -> None:
    stage.connect("g/a", PROCESS)
    claimed, unclaimed = work(stage, 2)
    stage.claim(claimed, process_id="a")
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
    stage.failing = True
    stage.claim(waiting[0])
    stage.failing = False
    stage.sweep()
    worker = stage.worker("g/w")
    assert (worker.unclaimed, worker.claimed) == (set(waiting[:WINDOW]), set())
    stage.claim(waiting[0])
    assert sent(stream)[WINDOW:] == [(waiting[WINDOW], 1)]


# restarts of the server


def test_a_restart_gives_each_lease_and_each_message_its_full_time_once(durable: Stage) -> None:
    durable.connect("g/a")
    claimed, unclaimed = work(durable, 2)
    durable.mono = 77_777
    durable.claim(claimed, process_id="a", ttl=30_000)
    durable.restart()
    other = durable.connect("g/b")
    durable.advance(CLAIM_WITHIN - 1)
    assert sent(other) == []
    durable.advance(1)
    assert sent(other) == [(unclaimed, 2)]
    durable.claim(unclaimed, 2, "b", ttl=10**9)
    durable.advance(30_000 - CLAIM_WITHIN)
    assert sent(other)[1:] == [(claimed, 2)]


def test_a_message_of_the_previous_run_has_its_time_to_be_claimed_although_its_worker_is_back(durable: Stage) -> None:
    durable.connect("g/a")
    work(durable, 2)
    durable.restart()
    back = durable.connect("g/a")
    durable.advance(CLAIM_WITHIN - 1)  # the SDK claims in another thread, which may be late
    assert durable.claim("__invoke:p0", process_id="a").counter == 1
    durable.advance(1)
    assert sent(back) == [("__invoke:p1", 2)]


def test_a_claim_may_be_repeated_by_its_holder_alone_in_any_run(durable: Stage) -> None:
    work(durable, 1)
    durable.claim("__invoke:p0", process_id="a", ttl=1_000)
    assert (
        refused(lambda: durable.claim("__invoke:p0", process_id="a")) == errors.TASK_ALREADY_CLAIMED
    )  # not by the SDK
    for _ in range(2):
        assert refused(lambda: durable.claim("__invoke:p0", process_id="b")) == errors.TASK_ALREADY_CLAIMED
        assert refused(lambda: durable.claim("__invoke:p0", 2, "a")) == errors.TASK_ALREADY_CLAIMED
        durable.advance(900)
        assert durable.claim("__invoke:p0", process_id="a", ttl=1_000).process == "a"
        durable.restart()
    durable.advance(999)
    assert durable.task("__invoke:p0").state == "CLAIMED"


def test_a_claim_may_be_repeated_at_once_by_a_holder_with_a_stream(stage: Stage) -> None:
    stage.connect("g/a")
    work(stage, 1)
    for _ in range(2):  # over a connection that broke, the SDK does not wait
        assert stage.claim("__invoke:p0", process_id="a", ttl=1_000).process == "a"
        stage.advance(500)
    stage.advance(499)
    assert stage.task("__invoke:p0").state == "CLAIMED"
    assert refused(lambda: stage.claim("__invoke:p0", process_id="b")) == errors.TASK_ALREADY_CLAIMED
    assert refused(lambda: stage.claim("__invoke:p0", 2, "a")) == errors.TASK_ALREADY_CLAIMED


def test_who_creates_a_promise_with_its_task_again_gets_the_task_again_if_it_is_the_same_request(stage: Stage) -> None:
    def create(process_id: str, timeout: int = 10**9) -> Task | None:
        tags = {"resonate:invoke": ANY}
        return stage.do(promises.create, pending("p", timeout, "p", tags), tags, claim=(process_id, 1_000))[2]

    stage.connect("g/a")
    stage.connect("g/b")
    created = create("a")
    stage.advance(500)
    assert create("b") is None
    assert create("a", 10**9 + 1) is None  # another call of the same process, which waits for the first
    assert created
    assert (again := create("a"))
    assert (again.id, again.counter, again.process) == (created.id, created.counter, "a")
    stage.advance(999)
    assert stage.task(created.id).state == "CLAIMED"
    stage.do(tasks.complete, created.id, 1)
    assert create("a") is None


def test_a_claim_that_a_server_decides_as_it_goes_on_after_a_pause_may_be_repeated_at_once(stage: Stage) -> None:
    work(stage, 1)
    stage.resumed = stage.now
    stage.claim("__invoke:p0", process_id="a")
    assert stage.claim("__invoke:p0", process_id="a").process == "a"
    assert refused(lambda: stage.claim("__invoke:p0", process_id="b")) == errors.TASK_ALREADY_CLAIMED


def test_a_message_of_the_previous_run_can_still_be_claimed(durable: Stage) -> None:
    durable.connect("g/a")
    work(durable, 1)
    durable.restart()
    assert durable.claim("__invoke:p0", process_id="a").state == "CLAIMED"
