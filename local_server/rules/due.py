"""The rules of the clock: everything that falls due, in one sweep, or in many if much does: see ``engine``."""

from typing import Final

from local_server.rules import dispatch, losses, promises, schedules
from local_server.rules.turn import Turn

SWEEP: Final = 16  # of each kind in one turn, a millisecond; more of them take more turns, with requests in between


def sweep(turn: Turn) -> bool:
    """Act on what is due; return whether there may be more."""
    due_promises = turn.store.due_promises(turn.now, SWEEP)
    for promise in due_promises:
        promises.time_out(turn, promise)
    due_tasks = turn.store.due_tasks(turn.mono, SWEEP)
    for task in due_tasks:
        losses.deadline_passed(turn, task)
    delayed = turn.store.delayed_tasks(turn.now, SWEEP)
    for task in delayed:
        dispatch.delay_passed(turn, task)
    due_schedules = turn.store.due_schedules(turn.now, SWEEP)
    for schedule in due_schedules:
        schedules.run(turn, schedule)
    followed = turn.store.next_follow_up()
    if followed is not None and promises.go_on(turn, followed):
        turn.store.remove_follow_up(followed)
    unused = turn.store.parts.remove_some()
    full = max(len(due_promises), len(due_tasks), len(delayed)) == SWEEP
    return full or bool(due_schedules) or followed is not None or unused
