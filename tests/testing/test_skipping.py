"""Time can be skipped: what waits for it falls due, and nothing that runs loses any."""

import threading
import time
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest
from resonate import Context, Resonate

from local_server.testing.thread import ThreadServer

DAY = 86_400


def reminders(ctx: Context, days: int, times: int) -> Generator[Any, Any, int]:
    for _ in range(times):
        yield ctx.sleep(days * DAY)
    return (yield ctx.lfc(count, times))


def count(_: Context, times: int) -> int:
    return times


def test_a_sleep_of_30_days_takes_no_time(resonate_server: ThreadServer, resonate: Resonate) -> None:
    resonate.register(reminders)
    before = resonate_server.time()
    with resonate_server.skip_time():
        began = time.monotonic()
        assert resonate.run("r", reminders, 30, 1) == 1
        assert time.monotonic() - began < 2
    assert resonate_server.time() - before == pytest.approx(30 * DAY, abs=10)


def test_sleeps_in_a_row_take_their_whole_time_each(resonate_server: ThreadServer, resonate: Resonate) -> None:
    resonate.register(reminders)
    before = resonate_server.time()
    with resonate_server.skip_time():
        assert resonate.run("r", reminders, 30, 12) == 12
    assert resonate_server.time() - before == pytest.approx(360 * DAY, abs=10)


def test_time_is_skipped_until_the_last_of_those_who_asked_for_it_ends(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    resonate.register(reminders)
    with resonate_server.skip_time():
        with resonate_server.skip_time():
            pass
        handle = resonate.begin_run("r", reminders, 30, 1)
        assert resonate_server.wait_for("r").state == "RESOLVED"
    assert handle.result() == 1


def test_time_that_is_not_skipped_passes_as_ever(resonate_server: ThreadServer, resonate: Resonate) -> None:
    resonate.register(reminders)
    with resonate_server.skip_time():
        resonate.run("r", reminders, 1, 1)
    handle = resonate.begin_run("s", reminders, 1, 1)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.3)
    resonate_server.advance(DAY)
    assert handle.result(timeout=5) == 1


def test_a_time_out_begins_when_its_promise_does_however_much_was_skipped_before(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    def careful(ctx: Context) -> Generator[Any, Any, int]:
        yield ctx.sleep(30 * DAY)
        return (yield ctx.rfc("count", 5).options(timeout=3))

    resonate.register(careful)
    resonate.register(count)
    with resonate_server.skip_time():
        assert resonate.run("c", careful) == 5
        assert resonate.options(timeout=3).run("d", count, 7) == 7


def test_a_call_that_nobody_takes_times_out_when_the_clock_is_moved(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    with resonate_server.skip_time():
        handle = resonate.options(timeout=60, target="poll://any@nobody").begin_rpc("n", "nothing")
        with pytest.raises(TimeoutError):
            handle.result(timeout=0.3)  # its worker may still come: time does not skip
    resonate_server.advance(55, wait=False)
    assert not handle.done()
    resonate_server.advance(5, wait=False)
    with pytest.raises(Exception, match="timedout"):
        handle.result(timeout=5)


def test_a_step_that_runs_is_not_timed_out_by_the_sleep_of_another(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    go_on = threading.Event()

    def slow(_: Context) -> str:
        go_on.wait(10)
        return "done"

    resonate.register(slow)
    resonate.register(reminders)
    with resonate_server.skip_time():
        step = resonate.options(timeout=DAY).begin_run("slow", slow)
        sleeper = resonate.begin_run("r", reminders, 30, 1)
        with pytest.raises(TimeoutError):
            sleeper.result(timeout=0.3)
        go_on.set()
        assert step.result(timeout=5) == "done"
        assert sleeper.result(timeout=5) == 1


def test_no_lease_runs_out_by_skipping(resonate_server: ThreadServer, resonate: Resonate) -> None:
    going, go_on, runs = threading.Event(), threading.Event(), []

    def slow(_: Context) -> str:
        runs.append(1)
        going.set()
        go_on.wait(10)
        return "done"

    resonate.register(slow)
    step = resonate.begin_run("slow", slow)
    assert going.wait(5)
    resonate_server.advance(30 * DAY, wait=False)
    go_on.set()
    assert step.result(timeout=5) == "done"
    assert len(runs) == 1


def test_a_step_that_hangs_is_told_of_and_times_out_when_the_clock_is_moved_all_the_same(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    go_on = threading.Event()

    def hangs(_: Context) -> None:
        go_on.wait(10)

    resonate.register(hangs)
    resonate.options(timeout=60).begin_rpc("h", "hangs")
    with pytest.raises(TimeoutError, match=r"something runs(.|\n)*h hangs\(\)"):
        resonate_server.advance(60, timeout=0.1)
    resonate_server.advance(60, wait=False)
    go_on.set()
    assert resonate_server.wait_for("h").state == "REJECTED_TIMEDOUT"


def test_the_earliest_falls_due_first_and_has_run_before_the_next(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    order: list[tuple[int, int]] = []
    start = resonate_server.time()

    def note(_: Context, days: int) -> None:
        order.append((days, round((resonate_server.time() - start) / DAY)))

    def wake(ctx: Context, days: int) -> Generator[Any, Any, None]:
        yield ctx.sleep(days * DAY)
        yield ctx.lfc(note, days)

    resonate.register(wake)
    handles = [resonate.begin_run(f"w{days}", wake, days) for days in (3, 1, 2)]
    resonate_server.advance(2 * DAY + 60)
    assert order == [(1, 1), (2, 2)]
    with resonate_server.skip_time():
        for handle in handles:
            handle.result(timeout=5)
    assert order == [(1, 1), (2, 2), (3, 3)]


def test_a_time_out_that_comes_before_the_end_of_a_sleep_is_what_happens(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    resonate.register(reminders)
    with resonate_server.skip_time(), pytest.raises(Exception, match="timedout"):
        resonate.options(timeout=DAY).rpc("r", "reminders", 30, 1)
    assert "23 h 59 m  timed out" in resonate_server.tree("r")


def test_a_schedule_runs_at_each_of_its_times(resonate_server: ThreadServer, resonate: Resonate) -> None:
    seen: list[datetime] = []

    def report(_: Context) -> None:
        seen.append(datetime.fromtimestamp(resonate_server.time(), UTC))

    resonate.register(report)
    resonate.schedules.create(
        "daily", "TZ=UTC 0 9 * * *", "report-{{.timestamp}}", DAY * 1_000,
        promise_data='{"func": "report", "args": [], "kwargs": {}, "version": 1}',
        promise_tags={"resonate:invoke": "poll://any@default"},
    )  # fmt: skip
    resonate_server.advance(7 * DAY)
    assert [(at.hour, at.minute) for at in seen] == [(9, 0)] * 7
    assert len({at.date() for at in seen}) == 7


def test_a_delay_is_skipped_too(resonate_server: ThreadServer, resonate: Resonate) -> None:
    resonate.register(count)
    resonate_server.advance(DAY)  # so that both clocks differ
    at = int(time.time() + DAY) * 1_000
    handle = resonate.options(tags={"resonate:delay": str(at)}).begin_rpc("later", "count", 3)
    resonate_server.advance(DAY - 60)
    assert not handle.done()
    resonate_server.advance(120)
    assert handle.result(timeout=5) == 3


def test_what_comes_from_outside_comes_before_time_is_skipped(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    def approval(ctx: Context) -> Generator[Any, Any, str]:
        promise = yield ctx.promise(id="approved").options(timeout=3 * DAY)
        try:
            return "yes" if (yield promise) else "no"
        except Exception:  # noqa: BLE001 - the SDK raises no narrower one
            return "too late"

    resonate.register(approval)
    handle = resonate.begin_run("a", approval)
    resonate_server.resolve("approved", value=True)
    assert handle.result(timeout=5) == "yes"


def test_to_a_client_everything_is_as_old_as_the_time_that_was_skipped(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    resonate.register(count)
    resonate.run("old", count, 1)
    resonate_server.advance(30 * DAY)
    resonate.run("new", count, 1)
    old, new = resonate.promises.get(id="old"), resonate.promises.get(id="new")
    assert (new.created_on - old.created_on) / 1_000 == pytest.approx(30 * DAY, abs=10)
    assert new.created_on / 1_000 == pytest.approx(time.time(), abs=10)
    assert new.timeout - new.created_on == pytest.approx(old.timeout - old.created_on, abs=1_000)
