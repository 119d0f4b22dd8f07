"""``tree --watch``: rows that are looked at again and again, until none is pending.

On a terminal they are drawn over each other and fit: of a tall tree, what is pending stays in sight. In a pipe the
first look is printed whole, and after that each row that has changed.
"""

import shutil
import time
from collections.abc import Callable

import click

from local_server.tree_lines import Row

EVERY = 0.5  # seconds between two looks
AWAY = "the server is away; this goes on when it is back"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"  # where to go, and what to clear
CUT, WRAP = "\x1b[?7l", "\x1b[?7h"  # what a terminal does with lines that are too long


def follow(look: Callable[[], list[Row] | None], *, screen: bool) -> None:
    """Show what ``look`` returns until nothing is pending; None stands for a server that is away."""
    show = Screen() if screen else Pipe()
    while True:
        rows = look()
        show(rows)
        if rows is not None and not any(row.pending for row in rows):
            return
        time.sleep(EVERY)


class Screen:
    """A terminal."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        click.clear()

    def __call__(self, rows: list[Row] | None) -> None:
        """Draw what fits; at the end everything, since it may be scrolled then."""
        self._rows = self._rows if rows is None else rows
        pending = sum(row.pending for row in self._rows)
        lines = [row.text for row in self._rows]
        if pending:
            lines = fit(self._rows, max(3, shutil.get_terminal_size().lines - 2))
            told = AWAY if rows is None else f"{pending} of {len(self._rows)} pending"
            lines.append(click.style(f"{told}; Ctrl-C ends this view, not the run", dim=True))
        frame = "".join(f"{line}{REST_OF_LINE}\n" for line in lines)
        click.echo(f"{HOME}{CUT if pending else ''}{frame}{WRAP}{REST_OF_SCREEN}", nl=False)


class Pipe:
    """Anything else."""

    def __init__(self) -> None:
        self._known: dict[str, object] = {}
        self._away = False

    def __call__(self, rows: list[Row] | None) -> None:
        """Print what is new."""
        if rows is None:
            if not self._away:
                click.echo(AWAY)
            self._away = True
            return
        first, self._away = not self._known, False
        for row in rows:
            if row.news is None:
                changed = False
            else:
                promise_id, state = row.news
                changed = promise_id not in self._known or self._known[promise_id] != state
                self._known[promise_id] = state
            if first or changed:
                click.echo(row.text if first else row.line)


def fit(rows: list[Row], room: int) -> list[str]:
    """Return at most ``room`` lines: the first row, what is at work, what waits for that, the last of the rest."""
    if len(rows) <= room:
        return [row.text for row in rows]
    ranks, below = [0] * len(rows), set[int]()  # below: levels on which, further down, something is pending
    for place in range(len(rows) - 1, 0, -1):
        row = rows[place]
        waits = any(level > row.level for level in below)
        below = {level for level in below if level <= row.level} | ({row.level} if row.pending else set())
        ranks[place] = (2 if waits else 1) if row.pending else 3
    wanted = sorted(range(len(rows)), key=lambda place: (ranks[place], -place))
    for count in range(room, 0, -1):
        lines, before = list[str](), -1
        for place in [*sorted(wanted[:count]), len(rows)]:
            if place > before + 1:
                lines.append(click.style(f"… {place - before - 1} more", dim=True))
            if place < len(rows):
                lines.append(rows[place].text)
            before = place
        if len(lines) <= room:
            break
    return lines
