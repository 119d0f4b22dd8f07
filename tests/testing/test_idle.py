"""What counts as running: time is not skipped while a worker has a task, may claim one, or should get one."""

from rules_stage import ANY, Stage

from local_server.rules import tasks
from local_server.store.idle import is_idle


def idle(stage: Stage, since: int | None = None) -> bool:
    return is_idle(stage.store.db, stage.now if since is None else since)


def test_a_task_runs_from_its_creation_to_its_end(stage: Stage) -> None:
    assert idle(stage)
    stage.create("p", invoke=ANY)
    assert not idle(stage)  # it waits for a worker
    stage.connect("g/w")
    assert not idle(stage)  # it is sent
    stage.claim("__invoke:p")
    assert not idle(stage)
    stage.do(tasks.complete, "__invoke:p", 1)
    assert idle(stage)


def test_nothing_runs_while_a_function_waits_for_a_promise_and_then_it_does(stage: Stage) -> None:
    stage.connect("g/w")
    stage.create("p", invoke=ANY)
    stage.claim("__invoke:p")
    stage.create("leaf")
    stage.call_back("leaf", "resume", "p", "poll://any@g/w")
    stage.do(tasks.complete, "__invoke:p", 1)
    assert idle(stage)
    stage.complete("leaf")
    assert not idle(stage)


def test_a_delay_a_notification_and_an_address_that_reaches_nobody_do_not_run(stage: Stage) -> None:
    stage.create("later", invoke=ANY, delay=str(stage.now + 1_000))
    stage.create("lost", invoke="nowhere")
    stage.create("p")
    stage.call_back("p", "notify", "client", "poll://uni@g/away")
    stage.complete("p")
    assert idle(stage)
    stage.advance(1_000)
    assert not idle(stage)


def test_a_task_that_has_ended_on_its_way_may_still_be_claimed_for_a_moment(stage: Stage) -> None:
    stage.connect("g/w")
    stage.create("p", invoke=ANY)
    stage.complete("p")
    assert not idle(stage, since=stage.now - 1)
    assert idle(stage, since=stage.now)
