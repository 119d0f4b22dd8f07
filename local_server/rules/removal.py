"""The rules of removal: whole runs go, and what other runs use too stays.

A run is a root and all that stands below it, by who created whom. A promise may be used by further promises, whose
functions asked for it when it was there already: also by those of other runs.

- A run is removed from its top. The root goes first; then what it created, and so on down (``collect``), a few in a
  turn. What somebody else uses stays with all that stands below it, and is that one's from then on. So whatever is
  there has all that it used, at every moment, whoever asks for it meanwhile and whenever the server is killed.
- A root that another run uses stays until that one has gone. Being used from somewhere below itself does not count.
- What is pending stays, and so does what some worker may still report of: the SDK ends its process, or works no more,
  over a call that is not found. Whole runs of that kind are left alone by those who call ``start``; what becomes so
  meanwhile is a run of its own from then on.

The SDK never forgets what it has run. A worker that is sent a promise of an id that it knows takes it for the earlier
one, and does nothing. So a worker is the last to be sent what has been removed under its hands
(``Worker.remembers``), and a task that it ends without a result is taken back (``tasks.complete``).
"""

from collections import defaultdict
from typing import Final

from local_server.rules.turn import Turn

BATCH: Final = 32  # promises looked at in one turn, one to two ms
SHARERS: Final = 100  # of one promise that are looked at
STEPS: Final = 2_000  # up from sharers in one turn, some 5 ms; the ways of one promise's sharers are gone to their ends
TASKS: Final = 256  # of one promise in one turn, a millisecond
MARK: Final = "*"  # stands for any characters


def matches(pattern: str, promise_id: str) -> bool:
    """Tell whether an id fits a pattern, in which only * is special; upper and lower case differ."""
    first, *middle = pattern.split(MARK)
    if not middle:
        return promise_id == pattern
    last = middle.pop()
    if not promise_id.startswith(first) or len(promise_id) < len(first) + len(last) or not promise_id.endswith(last):
        return False
    at, end = len(first), len(promise_id) - len(last)
    for part in middle:
        found = promise_id.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def busy(turn: Turn) -> set[str]:
    """Return the completed promises of which a worker has yet to report, or somebody has yet to be told."""
    reporting = {
        promise
        for worker in turn.workers
        for promise, until in worker.ending.items()
        if until is None or until > turn.mono
    }
    return turn.store.removals.follow_ups() | reporting


def start(turn: Turn, root: str) -> bool | None:
    """Remove a root; ``collect`` removes what stands below it.

    Returns:
        True; False if it has to stay, and nothing is done; None if this turn has only removed some of its many tasks.
    """
    promise = turn.store.removals.promise(root)
    if promise is None or promise.state == "PENDING" or root in busy(turn):
        return False
    if turn.store.removals.parent(root) is not None or _user(turn, root) is not None:
        return False
    return _remove(turn, root) or None


def untie(turn: Turn, roots: list[str]) -> str | None:
    """Of runs that use each other, give one to another, with which it goes; return its root, None if there are none."""
    for root in roots:
        user = _user(turn, root)
        if user is not None and turn.store.removals.root(user) in roots:
            turn.store.removals.adopt(root, user)
            return root
    return None


def collect(turn: Turn) -> int | None:
    """Remove some of what stands below promises that were removed; return how many, None if nothing is left to do."""
    removals, reporting, count, looked_at = turn.store.removals, busy(turn), 0, 0
    tired = removals.walked + STEPS
    while looked_at < BATCH and (gone := removals.removed()) is not None:
        looked_at += 1
        if removals.promise(gone):  # it has been created anew meanwhile, and has what was its own
            removals.forget(gone)
            continue
        below = removals.below(gone, 0, BATCH)
        for child in below:
            if removals.walked > tired:
                return count
            user = _user(turn, child.id)
            if user is None and child.state != "PENDING" and child.id not in reporting:
                if not _remove(turn, child.id):
                    return count
                count += 1
            else:
                removals.adopt(child.id, user)
                removals.call_off(gone, child.id)
        looked_at += len(below)
        if len(below) < BATCH and removals.cut_off(gone, BATCH) < BATCH:
            removals.forget(gone)
    return count if looked_at else None


def _user(turn: Turn, promise_id: str) -> str | None:
    """Return a promise that asked for this one which another had created, and that does not stand below it."""
    removals, children = turn.store.removals, defaultdict[str | None, list[str]](list)
    sharers = removals.sharers(promise_id, "", SHARERS)
    if not sharers:
        return None
    for one, parent in removals.above_sharers(promise_id, sharers[-1]):
        children[parent].append(one)
    below, new = {promise_id}, [promise_id]
    while new:
        found = [one for one in children[new.pop()] if one not in below]
        below.update(found)
        new += found
    return next((one for one in sharers if one not in below), None)


def _remove(turn: Turn, promise_id: str) -> bool:
    """Remove a promise; return False if it has so many tasks that only some of these are removed in this turn."""
    recipients = turn.store.removals.remove_tasks(promise_id, TASKS)
    for name in recipients:
        if worker := turn.workers.named(name):
            worker.remember(promise_id)
    if len(recipients) == TASKS:
        return False
    turn.store.removals.remove(promise_id)
    return True
