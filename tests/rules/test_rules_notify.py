"""How the end of a promise reaches a client that waits for it, and may be away."""

import pytest
from rules_stage import ANY, PROCESS, START, Message, Stage, refused, sent, work

from local_server import errors
from local_server.rules import promises
from local_server.rules.dispatch import NOTIFY_WITHIN, SETTLE_AFTER
from local_server.rules.workers import NOTICES, WINDOW


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


def test_what_a_client_has_read_on_a_stream_that_it_replaces_is_not_sent_again(stage: Stage) -> None:
    stage.connect("g/c")
    subscribed(stage)
    stage.complete("p")
    assert stage.connect("g/c", has_read_all=True).messages == []
    assert stage.task("__notify:p:s").state == "COMPLETED"


def test_what_is_sent_in_the_turn_in_which_a_stream_is_replaced_was_not_read_on_that(stage: Stage) -> None:
    stage.connect("g/c")
    subscribed(stage)
    with stage.turn():
        stage.complete("p")
        newer = stage.connect("g/c", has_read_all=True)
    assert newer.messages == NOTIFIED


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


@pytest.mark.parametrize("seen", ["its stream closes first", "its process ends first"])
def test_a_notification_for_a_group_goes_to_another_when_the_one_who_read_it_ends_at_once(
    stage: Stage, seen: str
) -> None:
    first, second = stage.connect("g/one", PROCESS), stage.connect("g/two")
    subscribed(stage, "poll://any@g")
    stage.complete("p")
    assert (first.messages, second.messages) == (NOTIFIED, [])
    if seen == "its stream closes first":
        stage.disconnect("g/one")
    stage.process_ends("g/one")
    assert second.messages == NOTIFIED


def test_notifications_are_sent_to_one_with_a_full_window(stage: Stage) -> None:
    stream = stage.connect("g/c")
    work(stage, 2 * WINDOW, first=1)
    subscribed(stage)
    stage.complete("p")
    assert stream.messages[WINDOW:] == NOTIFIED


def many_subscribed(stage: Stage, recv: str = "poll://uni@g/c") -> None:
    """Let a client wait for two windows of promises and one more, which all have completed."""
    with stage.turn():
        for n in range(2 * NOTICES + 1):
            stage.create(f"p{n}")
            stage.call_back(f"p{n}", "notify", "s", recv)
    for n in range(2 * NOTICES + 1):
        stage.complete(f"p{n}")


def test_a_client_that_comes_back_is_sent_a_window_of_notifications_and_more_once_these_have_arrived(
    stage: Stage,
) -> None:
    many_subscribed(stage)
    stream = stage.connect("g/c")
    stage.go_on()
    assert [message.promise for message in stream.messages] == [f"p{n}" for n in range(NOTICES)]
    stream.unsent = 1
    stage.advance(10 * SETTLE_AFTER)
    assert len(stream.messages) == NOTICES
    stream.unsent = 0
    stage.advance(3 * SETTLE_AFTER)
    assert [message.promise for message in stream.messages] == [f"p{n}" for n in range(2 * NOTICES + 1)]
    assert {task.state for task in stage.tasks().values()} == {"COMPLETED"}


def test_members_of_a_group_share_the_notifications_that_any_of_them_may_get(stage: Stage) -> None:
    streams = [stage.connect("g/one"), stage.connect("g/two")]
    many_subscribed(stage, "poll://any@g")
    assert [len(stream.messages) for stream in streams] == [NOTICES, NOTICES]
    stage.advance(SETTLE_AFTER)
    assert sorted(len(stream.messages) for stream in streams) == [NOTICES, NOTICES + 1]


def test_notifications_of_a_stream_that_closes_are_sent_on_the_next_one_each_once(stage: Stage) -> None:
    many_subscribed(stage)
    stage.connect("g/c")
    stage.disconnect("g/c")
    stream = stage.connect("g/c")
    stage.advance(3 * SETTLE_AFTER)
    assert sorted(str(message.promise) for message in stream.messages) == sorted(stage.promises())


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


def test_a_promise_with_thousands_of_callbacks_tells_them_over_many_turns_and_restarts(durable: Stage) -> None:
    count = 5 * promises.BATCH
    with durable.turn():
        durable.create("awaited")
        for n in range(count):
            durable.create(f"r{n}")
            durable.call_back("awaited", "resume", f"r{n}", "poll://any@h")
    durable.complete("awaited")
    assert len(durable.tasks()) == promises.BATCH
    durable.sweep()
    durable.restart()
    durable.advance(0)
    while durable.store.next_follow_up():
        durable.sweep()
    assert len(durable.tasks()) == count
    assert {task.waits_for for task in durable.tasks().values()} == {"poll://any@h"}


def test_a_root_with_thousands_of_tasks_ends_them_over_many_turns(stage: Stage) -> None:
    with stage.turn():
        stage.create("root")
        for n in range(2 * promises.BATCH + 1):
            stage.create(f"p{n}")
            stage.call_back(f"p{n}", "resume", "root", "poll://any@h")
            stage.complete(f"p{n}")
    stage.complete("root")
    for _ in range(3):
        stage.sweep()
    assert {task.state for task in stage.tasks().values()} == {"COMPLETED"}
    assert stage.store.next_follow_up() is None


def test_everybody_is_told_of_an_end_however_many_turns_that_takes(stage: Stage) -> None:
    stage.create("p")
    for number in range(200):
        stage.call_back("p", "notify", f"s{number}", f"poll://uni@c/{number}")
    stage.complete("p")
    while stage.store.next_follow_up() is not None:
        stage.sweep()
    assert [task.state for task in stage.tasks().values()] == ["INIT"] * 200  # each waits for its client
