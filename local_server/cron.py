"""When a schedule runs: cron expressions of five fields, or six with the seconds first."""

import re
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from croniter import croniter
from dateutil.tz import tzlocal

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
LONGEST = 2**63 // 10**6  # ms; 292 years, all that the official server can count
_FIELD = re.compile(r"(\*|(\d+|[A-Za-z]{3})(-(\d+|[A-Za-z]{3}))?)(/\d+)?")  # croniter knows more: L, W, #, R, H
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_EXPECTED = 'expected 5 fields, 6 with the seconds first, "@every 90s", or one of ' + ", ".join(ALIASES)


class CronError(ValueError):
    """Not a cron expression, or one that never matches; the message says what was found and what was expected."""


def next_run(expression: str, after: int) -> int:
    """Return the first time that matches after ``after``; both in ms since the epoch.

    Raises:
        CronError: see there.
    """
    text = expression.strip()
    if text.startswith("@every "):
        return after // 1000 * 1000 + _every(text)
    zone, text = _zone(text)
    text = ALIASES.get(text, text).replace("?", "*")
    fields = text.split()
    if len(fields) not in (5, 6):
        raise CronError(f"found {expression!r}, which has {len(fields)} fields; {_EXPECTED}")
    for field in fields:
        if not all(_FIELD.fullmatch(part) for part in field.split(",")):
            raise CronError(f"found {expression!r} with a field {field!r}; {_EXPECTED}")
    try:
        start = datetime.fromtimestamp(after / 1000, zone)
        matches = croniter(" ".join(fields), start, second_at_beginning=True)
        return round(matches.get_next(datetime).timestamp() * 1000)
    except (ValueError, KeyError, OverflowError) as error:  # croniter's own errors are ValueErrors
        raise CronError(f"found {expression!r} ({error}); {_EXPECTED}") from None


def _zone(text: str) -> tuple[tzinfo, str]:
    prefix = re.match(r"(?:CRON_)?TZ=(\S+)\s+", text)
    if not prefix:
        return tzlocal(), text
    try:
        return ZoneInfo(prefix[1]), text[prefix.end() :]
    except (KeyError, ValueError, OSError):
        raise CronError(f"found time zone {prefix[1]!r}; expected a name such as Europe/Berlin") from None


def _every(text: str) -> int:
    parts = text.removeprefix("@every ").strip()
    if not parts or _DURATION.sub("", parts):
        raise CronError(f"found {text!r}; expected a duration such as 90s or 1h30m behind @every")
    ms = sum(float(number) * UNITS[unit] for number, unit in _DURATION.findall(parts))
    if ms > LONGEST:
        raise CronError(f"found {text[:40]!r}; expected at most 292 years behind @every")
    return max(1000, int(ms) // 1000 * 1000)
