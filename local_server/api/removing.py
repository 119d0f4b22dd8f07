"""Removal on request and by age, while other requests are served: look first, then remove in small steps.

What is looked at is noted in memory, so there is a limit. All that is decided is in ``rules.removal``, and decided anew
when it is done: what has changed since the look stays, if the rules say so.
"""

import asyncio
import contextlib
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from itertools import batched, islice
from typing import Any

from local_server.api.pace import Pace
from local_server.api.search import check_pattern
from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, Refusal
from local_server.rules import promises, removal
from local_server.rules.removal import MARK, STEPS, matches
from local_server.rules.turn import Turn
from local_server.store.removals import Removable, Root

MOST = 200_000  # promises that are looked at
IDS = 2_000  # compared with a pattern in one turn
SLICE = 200  # promises, or uses of one, looked at in one turn
ROOTS = 16  # that are removed in one turn
PAUSE = 0.03  # seconds between two turns that remove: others are not delayed by more than one of them
LOOKS = 5  # until no worker has yet to report
PATIENCE = 5.0  # seconds in which a worker may report that it has ended what it had in hand
SHORTEST_SLEEP, LONGEST_SLEEP = 0.2, 3_600.0  # seconds between two looks for old runs; else a tenth of their age
SHOWN = 20  # ids of roots
SHARED = 5


@dataclass
class Runs:
    """Some runs, as they were found.

    Attributes:
        home: the root of each promise in them, from the top to the bottom.
        parents: who created each promise.
        sharers: who else uses a promise, for those that others use.
        pending: the promises that are pending, by root.
        busy: the roots of runs of which a worker has yet to report.
        latest: when the last promise of a run completed, by root.
    """

    home: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    sharers: dict[str, list[str]] = field(default_factory=dict)
    pending: dict[str, list[str]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    latest: dict[str, int] = field(default_factory=dict)

    def add(self, promise: Removable, parent: str | None, sharers: list[str], reporting: set[str]) -> None:
        """Note a promise, below another or as a root."""
        home = self.home[promise.id] = self.home[parent] if parent is not None else promise.id
        if parent is not None:
            self.parents[promise.id] = parent
        if sharers:
            self.sharers[promise.id] = sharers
        if promise.state == "PENDING":
            self.pending.setdefault(home, []).append(promise.id)
        if promise.id in reporting:
            self.busy.add(home)
        self.latest[home] = max(self.latest.get(home, 0), promise.completed_on or 0)

    def going(self, *, pending: bool) -> list[str]:
        """Return the roots of the runs that may go; ``pending``: as if what is pending were canceled."""
        roots = [one for one, home in self.home.items() if one == home]
        return [one for one in roots if one not in self.busy and (pending or one not in self.pending)]

    def kept(self, going: Iterable[str]) -> tuple[set[str], set[str]]:
        """Return which promises of those runs stay as others use them, and which of the others' use them."""
        roots = set(going)
        mine = {one for one, home in self.home.items() if home in roots}
        others = {child: [one for one in self.sharers[child] if one not in mine] for child in mine & set(self.sharers)}
        uses: dict[str, list[str]] = defaultdict(list)
        for child in mine:
            for user in {self.parents.get(child), *self.sharers.get(child, ())} & mine:
                uses[user or ""].append(child)
        stay, new = set[str](), deque(child for child, users in others.items() if users)
        while new:
            if (one := new.popleft()) not in stay:
                stay.add(one)
                new.extend(uses[one])
        return stay, {user for users in others.values() for user in users}


async def removable(engine: Engine, pattern: str, *, pending: bool = False) -> dict[str, Any]:
    """Tell what ``remove`` would do; other requests are served meanwhile.

    Returns:
        {"runs": how many, "promises": how many, "pending": how many promises are pending in runs that the pattern names
        (these runs stay unless ``pending``), "shared": a few ids of roots of other runs that use some of it, which
        stays, "ids": the first roots that go, "staying": the first roots that stay, since they are pending or at work}.

    Raises:
        Refusal: 40000 for a pattern that is empty or too long, or names too many.
    """
    for _ in range(LOOKS):
        runs = await _look_below(engine, await _roots_of(engine, pattern))
        if not runs.busy:  # else mostly for a moment: between its result and the end of its task
            break
        await asyncio.sleep(10 * PAUSE)
    found, users = await asyncio.to_thread(_summary, runs, pending=pending)  # they may be many: others are served
    found["shared"] = await engine.ask(partial(_roots_above, users))
    return found


def _summary(runs: Runs, *, pending: bool) -> tuple[dict[str, Any], list[str]]:
    """Return what is told of some runs, and some of the promises that use what stays."""
    going = dict.fromkeys(runs.going(pending=pending))
    stay, users = runs.kept(going)
    roots = [root for root in going if root not in stay]
    gone = set(roots)
    return {
        "runs": len(roots),
        "promises": sum(home in going for home in runs.home.values()) - len(stay),
        "pending": sum(map(len, runs.pending.values())),
        "shared": [],
        "ids": roots[:SHOWN],
        "staying": list(islice((one for one, home in runs.home.items() if one == home and one not in gone), SHOWN)),
    }, sorted(users)[:SHARED]


def _roots_above(users: Iterable[str], turn: Turn) -> list[str]:
    return sorted({turn.store.removals.root(one) or one for one in users})


async def remove(engine: Engine, pattern: str, *, pending: bool = False) -> dict[str, Any]:
    """Remove the runs that use a promise which fits the pattern; return {"promises": how many were removed}.

    A run in which something is pending stays, or, with ``pending``, is canceled and removed. One of which a worker has
    yet to report is waited for a while.

    Raises:
        Refusal: as for ``removable``.
    """
    until, count = time.monotonic() + PATIENCE, 0
    while True:
        runs = await _look_below(engine, await _roots_of(engine, pattern))
        if pending:
            began = time.monotonic()
            for one in [one for found in runs.pending.values() for one in found]:
                await engine.ask(partial(_cancel, one))
            until += time.monotonic() - began
        count += await _remove(engine, runs.going(pending=False))
        unfinished = runs.busy or (pending and runs.pending)
        if not unfinished or time.monotonic() > until:
            await _shrink(engine)
            return {"promises": count}
        await asyncio.sleep(10 * PAUSE)


async def prune(engine: Engine, age: int) -> dict[str, Any]:
    """Remove the runs of which all completed that long ago, in ms; return {"promises": how many}."""
    before = await engine.ask(lambda turn: turn.now) - age
    after, count = 0, 0
    while roots := await engine.ask(partial(_roots_behind, after)):
        if all(root.created_on >= before for root in roots):  # and so are those behind them
            break
        after = roots[-1].sort
        old = [root.id for root in roots if root.completed_on is not None and root.completed_on < before]
        runs = await _look_below(engine, old, None)
        count += await _remove(engine, [one for one in runs.going(pending=False) if runs.latest[one] < before])
    await _shrink(engine)
    return {"promises": count}


async def keep(engine: Engine, age: int | None) -> None:
    """Remove what an earlier run of the server had begun to remove; then, again and again, runs of that age in ms."""
    while True:
        with contextlib.suppress(Refusal):  # a turn could not be stored, and the log tells why
            if await _collect(engine):
                await _shrink(engine)
            if age is None:
                return
            await prune(engine, age)
        await asyncio.sleep(min(LONGEST_SLEEP, max(SHORTEST_SLEEP, (age or 0) / 10_000)))


async def _remove(engine: Engine, roots: list[str]) -> int:
    """Remove roots and what stands below them; return how many promises that were."""
    count, left = 0, roots[::-1]  # what uses others was found after them, and goes first
    while left:
        staying: list[str] = []
        for some in batched(left, ROOTS):
            while some:
                stay, done = await engine.ask(partial(_start, some))
                staying += stay
                some = some[done:]  # noqa: PLW2901 - the rest
                await asyncio.sleep(PAUSE)
        count += len(left) - len(staying) + await _collect(engine)
        if len(staying) == len(left):
            tied = await engine.ask(partial(_untie, staying[:SLICE]))
            if tied is None:
                break
            staying.remove(tied)
        left = staying
    return count


async def _collect(engine: Engine) -> int:
    """Remove what stands below what was removed; return how many promises that were."""
    count = 0
    while (some := await engine.ask(removal.collect)) is not None:
        count += some
        await asyncio.sleep(PAUSE)
    return count


async def _shrink(engine: Engine) -> None:
    """Give the space back."""
    more = True
    while more:
        more = await engine.ask(lambda turn: turn.store.parts.remove_some() or turn.store.shrink())
        await asyncio.sleep(PAUSE)


def _roots_behind(after: int, turn: Turn) -> list[Root]:
    return turn.store.removals.roots(after, ROOTS)


def _start(roots: Sequence[str], turn: Turn) -> tuple[list[str], int]:
    """Remove roots, as many as one turn may take; return those that stay, and how many are done with."""
    staying, tired = list[str](), turn.store.removals.walked + STEPS
    for done, root in enumerate(roots):
        removed = removal.start(turn, root) if turn.store.removals.walked <= tired else None
        if removed is None:
            return staying, done
        if not removed:
            staying.append(root)
    return staying, len(roots)


def _untie(roots: list[str], turn: Turn) -> str | None:
    return removal.untie(turn, roots)


def _cancel(one: str, turn: Turn) -> None:
    """Cancel one promise in a turn: it may have many tasks, and others that wait for it."""
    if turn.store.removals.promise(one):
        promises.complete(turn, one, "cancel", promises.EMPTY, one, strict=False)  # with this key it cannot fail


async def _roots_of(engine: Engine, pattern: str) -> list[str]:
    """Return the roots of all runs that use a promise which fits a pattern."""
    check_pattern(pattern)
    pattern = re.sub(r"\*+", MARK, pattern)
    roots, seen, after, pace = dict[str, None](), set[str](), "", Pace(IDS, pattern)
    while True:
        matching, ids = await pace.ask(engine, partial(_matching, pattern, after, pace.size))
        todo = deque((one, "") for one in matching if one not in seen)
        seen.update(matching)
        while todo:
            for one, place, parent, sharers in await engine.ask(partial(_users, list(islice(todo, SLICE)))):
                todo.popleft()
                if len(sharers) == SLICE:
                    todo.append((one, sharers[-1]))
                if parent is None and not place:
                    roots[one] = None
                new = [user for user in (parent, *sharers) if user is not None and user not in seen]
                seen.update(new)
                todo.extend((user, "") for user in new)
            _check(seen, MOST)
        if not ids:
            return list(roots)
        after = ids[-1]


def _matching(pattern: str, after: str, limit: int, turn: Turn) -> tuple[list[str], list[str]]:
    """Return the ids that fit among the next ones, and all of these; none, if no other can fit."""
    first, star, _ = pattern.partition(MARK)
    ids = turn.store.removals.ids(first, after, limit if star else 1)
    return [one for one in ids if matches(pattern, one)], ids if star and ids and ids[-1].startswith(first) else []


def _users(todo: list[tuple[str, str]], turn: Turn) -> list[tuple[str, str, str | None, list[str]]]:
    """Return (id, place, parent, sharers) of the first of these (id, place); the sharers are those behind the place."""
    found: list[tuple[str, str, str | None, list[str]]] = []
    removals, looked_at = turn.store.removals, 0
    for one, place in todo:
        found.append((one, place, removals.parent(one), removals.sharers(one, place, SLICE)))
        looked_at += 1 + len(found[-1][3])
        if looked_at >= SLICE:
            break
    return found


async def _look_below(engine: Engine, roots: list[str], most: int | None = MOST) -> Runs:
    """Return the runs of some roots."""
    runs, todo = Runs(), deque[tuple[str, int]]()
    for some in batched(roots, SLICE):
        await engine.ask(partial(_add_roots, runs, todo, some))
    while todo:
        await engine.ask(partial(_add_below, runs, todo))
        _check(runs.home, most)
    return runs


def _add_roots(runs: Runs, todo: deque[tuple[str, int]], roots: Iterable[str], turn: Turn) -> None:
    removals, reporting = turn.store.removals, removal.busy(turn)
    for root in roots:
        if (promise := removals.promise(root)) and root not in runs.home:
            runs.add(promise, None, removals.sharers(root, "", SLICE), reporting)
            todo.append((root, 0))


def _add_below(runs: Runs, todo: deque[tuple[str, int]], turn: Turn) -> None:
    """Look below some promises: (id, the sort behind which to look)."""
    removals, reporting, looked_at = turn.store.removals, removal.busy(turn), 0
    while todo and looked_at < SLICE:
        parent, place = todo[0]
        below = removals.below(parent, place, SLICE)
        for child in below:
            if child.id not in runs.home:  # but for loops that somebody has made by hand
                runs.add(child, parent, removals.sharers(child.id, "", SLICE), reporting)
                todo.append((child.id, 0))
        todo.popleft()
        if len(below) == SLICE:
            todo.appendleft((parent, below[-1].sort))
        looked_at += 1 + len(below)


def _check(found: Sized, most: int | None) -> None:
    if most is not None and len(found) > most:
        raise Refusal(BAD_REQUEST, f"id: found more than {most:,} promises; expected a pattern that names fewer")
