"""Who is offered what, and when: the choice of a worker, its window, one task of a root at a time, delays."""

import pytest
from rules_stage import ANY, FAR, PROCESS, START, Stage, pending, refused, sent, work

from local_server import errors
from local_server.rules import promises, tasks
from local_server.rules.dispatch import CLAIM_WITHIN
from local_server.rules.workers import WINDOW

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
        stage.claim(task, process_id="elsewhere")  # so that nobody's load grows
    assert [len(stream.messages) for stream in streams] == [3, 3, 3]


def test_the_least_loaded_is_chosen(stage: Stage) -> None:
    a, b = stage.connect("g/a"), stage.connect("g/b")
    for task in work(stage, 3, "poll://uni@g/a"):
        stage.claim(task, process_id="a")
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
    assert not stage.workers.saturated


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
    stage.claim("__invoke:r", process_id="other", ttl=1000)
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
