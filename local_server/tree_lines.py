"""How promises look in a terminal: a line each, and the branches of their tree."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000  # ms
DEEPEST = 24  # levels that are indented; deeper ones tell their level instead
STATES = {  # of a promise: sign, colour, word
    "PENDING": ("◌", "blue", "pending"),
    "RESOLVED": ("✔", "green", "resolved"),
    "REJECTED": ("✘", "red", "rejected"),
    "REJECTED_CANCELED": ("⊘", "magenta", "canceled"),
    "REJECTED_TIMEDOUT": ("⧖", "yellow", "timed out"),
}
COUNTDOWN = re.compile(r" in \d+ s$")  # of what is tried again
LATEST = 253_370_764_800_000  # ms; the year 9999, behind which a date has no name

Json = dict[str, Any]


class Row(NamedTuple):
    """A row of a tree.

    Attributes:
        text: as it stands in the tree.
        level: how deep.
        pending: whether it will change.
        news: its id, and what is worth a line when it changes; None: it stands further up, too.
        line: as it stands alone.
    """

    text: str
    level: int
    pending: bool
    news: tuple[str, object] | None
    line: str


def duration(ms: float) -> str:
    """Show a duration as the page does: cut off, never rounded up to what it has not reached."""
    whole = max(0, int(ms))
    if whole < SECOND:
        return f"{whole} ms"
    if whole < MINUTE:
        return f"{whole // 10 / 100:.2f} s" if whole < 10 * SECOND else f"{whole // 100 / 10:.1f} s"
    units = ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "m"), (MINUTE, "m", SECOND, "s"))
    size, unit, part, below = next(one for one in units if whole >= one[0])
    rest = whole % size // part
    return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")


def moment(ms: int) -> str:
    """Show a time as people here write it."""
    return datetime.fromtimestamp(max(0, min(ms, LATEST)) / SECOND).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, what: str) -> str:
    """Say how many of something there are: ``1 promise``, ``2 promises``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def clean(text: str) -> str:
    """Make text harmless for a terminal: no control characters, whatever a promise is called."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") else c for c in text)


def _sign(state: str) -> str:
    sign, colour, _ = STATES.get(state, ("?", "white", state))
    return click.style(sign, fg=colour)


def rows(view: Json) -> Iterator[Row]:
    """Draw a tree; the branches of a row tell whether further children follow on each level above it."""
    nodes, open_levels = view["nodes"], set[int]()
    last_of_level: dict[int, int] = {}
    follows: list[bool] = [False] * len(nodes)  # whether a sibling comes later
    for place in range(len(nodes) - 1, -1, -1):
        level = nodes[place].get("level", 0)
        follows[place] = level in last_of_level
        last_of_level = {deep: at for deep, at in last_of_level.items() if deep <= level}
        last_of_level[level] = place
    for node, more in zip(nodes, follows, strict=True):
        level = node.get("level", 0)
        (open_levels.add if more else open_levels.discard)(level)
        alone, pending = promise_line(node, view["now"]), node.get("completed") is None
        where = COUNTDOWN.sub("", node.get("where", ""))
        news = None if node.get("again") else (node["id"], (node["state"], where, node.get("attempts")))
        yield Row(_branch(level, open_levels, more=more) + alone, level, pending, news, alone)
    if view["more"]:
        text = click.style(f"... the first {len(nodes)} of this tree", dim=True)
        yield Row(text, 0, pending=False, news=None, line=text)


def _branch(level: int, open_levels: set[int], *, more: bool) -> str:
    if level == 0:
        return ""
    if level > DEEPEST:
        return click.style("  " * DEEPEST + f"{level} ", dim=True)
    above = "".join("│ " if deep in open_levels else "  " for deep in range(1, level))
    return click.style(above + ("├ " if more else "└ "), dim=True)


def _what(node: Json) -> str:
    """Name what a promise stands for; of a call within its parent's worker the SDK stores no function."""
    if node.get("func"):
        return f"{node['func']}({node.get('args', '')})"
    if node.get("kind") == "sleep":
        until = datetime.fromtimestamp(min(node.get("timeout", LATEST), LATEST) / SECOND, UTC).astimezone()
        same_day = until.date() == datetime.now(until.tzinfo).date()
        return f"a sleep until {until:{'%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S'}}"
    return "a local call" if node.get("kind") == "local" else ""


def promise_line(node: Json, now: int) -> str:
    """Tell of a promise what it is, its result, how long it took and where."""
    completed = node.get("completed")
    taken = sum(1 for run in node.get("runs", []) if run.get("lost"))
    notes = [
        duration((now if completed is None else completed) - node["created"]),
        STATES.get(node["state"], ("", "", node["state"]))[2] if node["state"] != "RESOLVED" else "",
        node.get("where", ""),
        f"{node['attempts']} attempts, lost: {node['runs'][0].get('lost') or 'see --json'}" if taken else "",
        "shared" if node.get("shared") else "",
        "shown above" if node.get("again") else "",
    ]
    dim = click.style("  ".join(clean(note) for note in notes if note), dim=True)
    result = f" → {clean(node['result'])}" if node.get("result") else ""
    if node.get("error"):
        result = " " + click.style(clean(node["error"]), fg="red")
    return f"{_sign(node['state'])} {clean(node['id'])} {clean(_what(node))}{result}  {dim}"
