"""When a schedule runs: cron expressions as robfig/cron v3 has them, the library of the official server.

Five fields (minute, hour, day of month, month, day of week), or six with the seconds first. A schedule runs in each
second whose local time matches: not at all for a time that the clocks skip, twice for one that they repeat.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
BOUNDS: list[tuple[int, int, list[str]]] = [  # the first number, the last, and the names from the first on
    (0, 59, []), (0, 59, []), (0, 23, []), (1, 31, []), (1, 12, MONTHS), (0, 6, WEEKDAYS),
]  # fmt: skip
YEARS = 5  # in which no time matches: then none ever will
UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
LONGEST = 2**63 // 10**6  # ms; 292 years, all that the official server can count
_PART = re.compile(r"(?:([*?])|(\w{1,9})(?:-(\w{1,9}))?)(?:/(\d{1,9}))?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)", re.ASCII)
_EXPECTED = 'expected 5 fields, 6 with the seconds first, "@every 90s", or one of ' + ", ".join(ALIASES)


class CronError(ValueError):
    """Not a cron expression, or one that never matches; the message says what was found and what was expected."""


class Fields(NamedTuple):
    """The numbers that match in each field, and the fields that are a star, by their places."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    stars: frozenset[int]

    def has_day(self, time: datetime) -> bool:
        """Tell whether a day matches: day of month or day of week when both are restricted, else both."""
        matches = time.day in self.days, time.isoweekday() % 7 in self.weekdays
        return all(matches) if self.stars & {3, 5} else any(matches)


def next_run(expression: str, after: int) -> int:
    """Return the first time that matches after ``after``; both in ms since the epoch.

    Raises:
        CronError: see there.
    """
    zone, text = _zone(expression.strip())
    if text.startswith("@every "):
        return after // 1000 * 1000 + _every(text)
    fields, at = _fields(ALIASES.get(text, text)), after // 1000 + 1
    try:
        time = datetime.fromtimestamp(at, zone)  # without a zone: the server's
        last = time.year + YEARS
        while time.year <= last:
            midnight = time.replace(hour=0, minute=0, second=0, fold=0)
            if time.month not in fields.months:
                at = _later(at, (midnight.replace(day=1) + timedelta(days=32)).replace(day=1))
            elif not fields.has_day(time):
                at = _later(at, midnight + timedelta(days=1))
            elif time.hour not in fields.hours:
                at += 3600 - time.minute * 60 - time.second
            elif time.minute not in fields.minutes:
                at += 60 - time.second
            elif time.second not in fields.seconds:
                at += 1
            else:
                return at * 1000
            time = datetime.fromtimestamp(at, zone)
    except (ValueError, OverflowError, OSError):
        pass  # the end of the calendar
    raise CronError(f"found {expression!r}, which matches no time within {YEARS} years; {_EXPECTED}")


def _later(at: int, time: datetime) -> int:
    return max(at + 1, int(time.timestamp()))


def _zone(text: str) -> tuple[ZoneInfo | None, str]:
    prefix = re.match(r"(?:CRON_)?TZ=(\S+)\s+", text)
    if not prefix:
        return None, text
    try:
        return ZoneInfo(prefix[1]), text[prefix.end() :]
    except (KeyError, ValueError, OSError):
        raise CronError(f"found time zone {prefix[1]!r}; expected a name such as Europe/Berlin") from None


@lru_cache(1024)
def _fields(text: str) -> Fields:
    fields = text.split()
    if len(fields) not in (5, 6):
        raise CronError(f"found {text!r}, which has {len(fields)} fields; {_EXPECTED}")
    numbers, stars = [], set()
    for place, field in enumerate(["0", *fields][-6:]):
        found: set[int] = set()
        for part in field.split(","):
            values = _values(part, *BOUNDS[place])
            if not values:
                raise CronError(f"found {text!r} with a field {field!r}; {_EXPECTED}")
            found.update(values)
            if part[0] in "*?" and values.step == 1:
                stars.add(place)
        numbers.append(frozenset(found))
    return Fields(*(*numbers, frozenset(stars)))


def _values(part: str, low: int, high: int, names: list[str]) -> range:
    """Return the numbers of ``*``, ``N``, ``N-M``, each perhaps with ``/STEP``; none for anything else."""
    match = _PART.fullmatch(part.lower())
    if not match:
        return range(0)
    star, first, last, step = match.groups()

    def number(text: str) -> int:
        return low + names.index(text) if text in names else int(text) if text.isdecimal() else -1

    start = low if star else number(first)
    end = number(last) if last else high if star or step else start
    if not low <= start <= end <= high or (step and not int(step)):
        return range(0)
    return range(start, end + 1, int(step or 1))


def _every(text: str) -> int:
    parts = text.removeprefix("@every ").strip()
    if not parts or _DURATION.sub("", parts):
        raise CronError(f"found {text!r}; expected a duration such as 90s or 1h30m behind @every")
    ms = sum(float(number) * UNITS[unit] for number, unit in _DURATION.findall(parts))
    if ms > LONGEST:
        raise CronError(f"found {text[:40]!r}; expected at most 292 years behind @every")
    return max(1000, int(ms) // 1000 * 1000)
