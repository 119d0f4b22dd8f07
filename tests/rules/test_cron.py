"""Cron expressions as the official server has them (robfig/cron v3): by cases, and by a look at every minute."""

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local_server.rules.cron import CronError, next_run

ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"]


def ms(text: str, zone: str = "UTC") -> int:
    """Return the ms since the epoch of a local time; a time that comes twice is the first unless it ends in "again"."""
    time = datetime.fromisoformat(text.removesuffix(" again")).replace(tzinfo=ZoneInfo(zone))
    return round(time.replace(fold=text.endswith("again")).timestamp() * 1000)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # five fields, and six
        ("* * * * *", "2024-05-06 07:08:09", "2024-05-06 07:09"),
        ("* * * * *", "2024-05-06 07:09", "2024-05-06 07:10"),
        ("* * * * * *", "2024-05-06 07:08:09.750", "2024-05-06 07:08:10"),
        ("30 * * * * *", "2024-05-06 07:08:30", "2024-05-06 07:09:30"),
        ("15 3 * * *", "2024-05-06 07:08", "2024-05-07 03:15"),
        ("  0   12 1 1 *  ", "2024-05-06 07:08", "2025-01-01 12:00"),
        # lists, ranges, steps, names
        ("0,20,40 * * * *", "2024-05-06 07:20", "2024-05-06 07:40"),
        ("10-12 * * * *", "2024-05-06 07:12", "2024-05-06 08:10"),
        ("*/25 * * * *", "2024-05-06 07:26", "2024-05-06 07:50"),
        ("5/25 * * * *", "2024-05-06 07:31", "2024-05-06 07:55"),
        ("5-40/25 * * * *", "2024-05-06 07:31", "2024-05-06 08:05"),
        ("*/70 * * * *", "2024-05-06 07:31", "2024-05-06 08:00"),
        ("0 0 ? feb-APR/2 *", "2024-05-06 07:31", "2025-02-01 00:00"),
        ("0 0 * * Sun", "2024-05-06 07:31", "2024-05-12 00:00"),
        ("0 0 29 2 *", "2024-05-06 07:31", "2028-02-29 00:00"),
        # day of month and day of week: either, unless one is a star
        ("0 0 13 * fri", "2024-09-01 00:00", "2024-09-06 00:00"),
        ("0 0 13 * fri", "2024-10-11 12:00", "2024-10-13 00:00"),
        ("0 0 13 * *", "2024-09-01 00:00", "2024-09-13 00:00"),
        ("0 0 ? * fri", "2024-09-01 00:00", "2024-09-06 00:00"),
        ("0 0 13 * ?/1", "2024-09-01 00:00", "2024-09-13 00:00"),
        ("0 0 */10 * fri", "2024-09-01 00:00", "2024-09-06 00:00"),  # a step above 1 is a restriction
        ("0 0 1-31 * fri", "2024-09-01 00:00", "2024-09-02 00:00"),
        # descriptors
        ("@yearly", "2024-05-06 07:31", "2025-01-01 00:00"),
        ("@annually", "2024-05-06 07:31", "2025-01-01 00:00"),
        ("@monthly", "2024-05-06 07:31", "2024-06-01 00:00"),
        ("@weekly", "2024-05-06 07:31", "2024-05-12 00:00"),
        ("@daily", "2024-05-06 07:31", "2024-05-07 00:00"),
        ("@midnight", "2024-05-06 07:31", "2024-05-07 00:00"),
        ("@hourly", "2024-05-06 07:31", "2024-05-06 08:00"),
        ("@every 90s", "2024-05-06 07:31:00.600", "2024-05-06 07:32:30"),
        ("@every 1h30m", "2024-05-06 07:31", "2024-05-06 09:01"),
        ("@every 1.5h", "2024-05-06 07:31", "2024-05-06 09:01"),
        ("@every 10ms", "2024-05-06 07:31", "2024-05-06 07:31:01"),
        ("@every 2999ms", "2024-05-06 07:31", "2024-05-06 07:31:02"),
    ],
)
def test_the_next_run_is_the_first_time_that_matches(expression: str, after: str, expected: str) -> None:
    assert next_run(f"TZ=UTC {expression}", ms(after)) == ms(expected)


@pytest.mark.parametrize(
    ("zone", "expression", "runs"),
    [
        # a time that the clocks skip is left out; the hours around it are not
        ("Europe/Berlin", "30 2 * * *", ["2024-03-30 02:30", "2024-04-01 02:30"]),
        ("Europe/Berlin", "0 * 31 3 *", ["2024-03-31 01:00", "2024-03-31 03:00", "2024-03-31 04:00"]),
        ("America/Sao_Paulo", "0 0 * * *", ["2018-11-03 00:00", "2018-11-05 00:00"]),
        ("America/Sao_Paulo", "0 1 4 11 *", ["2017-11-04 01:00", "2018-11-04 01:00", "2019-11-04 01:00"]),
        # a time that they repeat comes twice
        ("Europe/Berlin", "30 2 * * *", ["2024-10-26 02:30", "2024-10-27 02:30", "2024-10-27 02:30 again",
                                         "2024-10-28 02:30"]),
        ("Europe/Berlin", "0 * 27 10 *", ["2024-10-27 02:00", "2024-10-27 02:00 again", "2024-10-27 03:00"]),
        ("Australia/Lord_Howe", "*/30 1-2 7 4 *", ["2024-04-07 01:30", "2024-04-07 01:30 again", "2024-04-07 02:00"]),
    ],
)  # fmt: skip
def test_clocks_that_are_changed_skip_and_repeat_runs(zone: str, expression: str, runs: list[str]) -> None:
    for prefix in ("TZ", "CRON_TZ"):
        for after, expected in pairwise(runs):
            assert next_run(f"{prefix}={zone} {expression}", ms(after, zone)) == ms(expected, zone)


def test_without_a_zone_it_is_the_servers() -> None:
    noon = datetime.fromtimestamp(next_run("0 12 * * *", ms("2024-05-06 07:31")) / 1000).astimezone()
    assert (noon.hour, noon.minute) == (12, 0)


@pytest.mark.parametrize(
    "expression",
    ["", "*", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *",
     "* * * 13 *", "* * * * 7", "5-1 * * * *", "* * * * fri-mon", "*/0 * * * *", "1/2/3 * * * *", "1-2-3 * * * *",
     "-1 * * * *", "1, * * * *", "x * * * *", "jan * * * *", "* * L * *", "* * * * 5#2", "* * 15W * *", "H * * * *",
     "1_0 * * * *", "٣ * * * *", "9999999999 * * * *", "*/9999999999 * * * *", "0 0 31 2 *", "@Daily", "@reboot",
     "@every", "@every 5", "@every s", "@every -5s", "@every 9999999999999h", "TZ=Nowhere * * * * *", "TZ=UTC",
     "TZ=../../etc/passwd * * * * *", "TZ=/etc/passwd * * * * *"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_was_found(expression: str) -> None:
    with pytest.raises(CronError, match=r"found .*; expected"):
        next_run(expression, ms("2024-05-06 07:31"))


@given(st.text(st.sampled_from("0123456789*/-,? @TZ=every hms")) | st.text(), st.integers(0, 253402300800000))
def test_no_text_does_harm(text: str, after: int) -> None:
    with contextlib.suppress(CronError):
        assert next_run(text, after) > after


# every minute


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int], bool]:
    """Return a field, the numbers it stands for, and whether it is a star."""
    texts, numbers, star = [], set(), False
    for _ in range(draw(st.integers(1, 3))):
        first, step = draw(st.integers(low, high)), draw(st.integers(1, high))
        last = draw(st.integers(first, high))
        text, values = draw(
            st.sampled_from([
                ("*", range(low, high + 1)), (f"*/{step}", range(low, high + 1, step)), (f"{first}", [first]),
                (f"{first}-{last}", range(first, last + 1)), (f"{first}/{step}", range(first, high + 1, step)),
                (f"{first}-{last}/{step}", range(first, last + 1, step)),
            ])
        )  # fmt: skip
        texts.append(text)
        numbers |= set(values)
        star |= text in ("*", "*/1")
    return ",".join(texts), numbers, star


Field = tuple[str, set[int], bool]
EVERY = ("*", set(range(60)), True)


@given(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 6), st.sampled_from(ZONES),
       st.datetimes(datetime(2016, 1, 1), datetime(2030, 1, 1)))  # fmt: skip  # noqa: DTZ001 - made aware below
@example(EVERY, ("2", {2}, False), EVERY, EVERY, EVERY, "Europe/Berlin", datetime(2024, 3, 30, 12))  # noqa: DTZ001
def test_no_minute_before_the_next_run_matches_and_it_does(
    minute: Field, hour: Field, day: Field, month: Field, weekday: Field, zone: str, start: datetime
) -> None:
    def matches(time: datetime) -> bool:
        days = (time.day in day[1], time.isoweekday() % 7 in weekday[1])
        return (
            time.minute in minute[1] and time.hour in hour[1] and time.month in month[1] and time.second == 0
            and (all(days) if day[2] or weekday[2] else any(days))
        )  # fmt: skip

    after = start.replace(tzinfo=UTC)
    expression = f"TZ={zone} {minute[0]} {hour[0]} {day[0]} {month[0]} {weekday[0]}"
    try:
        found = datetime.fromtimestamp(next_run(expression, round(after.timestamp() * 1000)) / 1000, UTC)
    except CronError:
        found = after + timedelta(days=5 * 365)
    else:
        assert found > after
        assert matches(found.astimezone(ZoneInfo(zone)))
    earlier = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    steps = int((found - earlier) / timedelta(minutes=1))
    for n in [*range(min(steps, 2_000)), *range(max(2_000, steps - 2_000), steps)]:
        assert not matches((earlier + timedelta(minutes=n)).astimezone(ZoneInfo(zone)))
