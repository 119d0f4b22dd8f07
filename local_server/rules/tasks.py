"""The rules of tasks: how they come to be, who claims them, and what ends them. ``losses`` has what goes wrong."""

from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from local_server import errors
from local_server.errors import Refusal
from local_server.model import Callback, Promise, Task, invoke_id
from local_server.rules import dispatch, losses
from local_server.rules.addresses import UNREACHABLE
from local_server.rules.states import transition
from local_server.rules.turn import Turn
from local_server.rules.workers import Worker

# All in ms.
SHORTEST_LEASE: Final = 500  # a ttl of 0 lives until the heartbeat that follows its claim, as the SDK's tests expect
REPEATED_AFTER: Final = 900  # of a holder without a stream: the SDK's tests claim a task twice, to be refused
LATE_WITHIN: Final = 60_000  # of the end of its task a late claim is granted


def get(turn: Turn, task_id: str) -> Task:
    """Return a task.

    Raises:
        Refusal: 40403 when there is none of that id.
    """
    task = turn.store.task(task_id)
    if task is None:
        raise Refusal(errors.TASK_NOT_FOUND, f"task {task_id}: found none of that id")
    return task


def fence(turn: Turn, task_id: str, counter: int) -> None:
    """Let a request go on only if the task it is part of is still claimed with that counter.

    Raises:
        Refusal: 41200 otherwise.
    """
    task = turn.store.task(task_id)
    if task is None or task.state != "CLAIMED" or task.counter != counter:
        found = f"{task.state} with counter {task.counter}" if task else "none of that id"
        raise Refusal(
            errors.TASK_PRECONDITION_FAILED, f"task {task_id}: found {found}; expected it claimed with {counter}"
        )


def invoke(turn: Turn, promise: Promise, recv: str, not_before: int | None, head: Raw | None) -> None:
    """Create the task that runs the function of a new promise, to be sent when its delay is over."""
    if not_before is not None and not_before <= turn.now:
        not_before = None
    dispatch.add(turn, replace(_invocation(turn, promise, recv), not_before=not_before, head=head))


def invoke_claimed(turn: Turn, promise: Promise, recv: str, process_id: str, ttl: int, head: Raw | None) -> Task:
    """Create that task, claimed by the one who created the promise."""
    task = _claimed(turn, replace(_invocation(turn, promise, recv), head=head), process_id, ttl)
    turn.store.insert_task(task)
    turn.workers.hold(task)
    return task


def resume_or_notify(turn: Turn, callback: Callback) -> None:
    """Turn the callback of a promise that has completed into its task, and offer that."""
    task_id = callback.id
    if turn.store.task(task_id):  # "__resume:a:b:c" is the leaf b:c of root a, and the leaf c of root a:b
        task_id = turn.store.free_task_id(task_id)
    task = Task(
        task_id, callback.kind, callback.root, callback.recv, callback.timeout, turn.now,
        leaf=callback.promise if callback.kind == "resume" else None, head=callback.head,
    )  # fmt: skip
    if callback.kind == "resume":
        root = turn.store.promise(callback.root)
        if root is None:  # registered by hand; the SDK would end its process over a root that is not there
            task = replace(task, recv=UNREACHABLE)
        elif root.state != "PENDING" or root.timeout <= turn.now:  # its message would find the root completed
            task = transition(task, "finish", completed_on=turn.now) or task
    dispatch.add(turn, task)


def claim(
    turn: Turn, task_id: str, counter: int, process_id: str, ttl: int
) -> tuple[Task, Promise | None, Promise | None]:
    """Lease a task to a process; return it with its root promise, and the leaf promise of a resume.

    The SDK ends its process over a claim that is refused. So two kinds are granted that ``states`` refuses:

    - A repeated claim: its holder claims it once more, since the answer to the first time was lost. The lease begins
      anew.
    - A late claim: the task has ended with its root while its message, or the claim, was on its way. Nothing changes.

    Raises:
        Refusal: 40403, 40306, 40307, 40308.
    """
    task = get(turn, task_id)
    if _is_repeated(turn, task, process_id, counter):
        claimed = replace(task, ttl=ttl, deadline=_lease(turn, turn.workers.named(task.recipient), ttl))
        turn.store.update_task(claimed)
    elif _is_late(turn, task, counter):
        claimed = task
        if holder := turn.workers.named(task.recipient):
            holder.ending[task.root] = None
    else:
        claimed = _claimed(turn, task, process_id, ttl)
        _check(task, counter)
        dispatch.write(turn, task, claimed)
    return claimed, turn.store.promise(task.root), turn.store.promise(task.leaf) if task.leaf is not None else None


def claim_again(turn: Turn, promise: Promise, new: Promise, process_id: str, ttl: int) -> Task | None:
    """Return the task that a process claimed as it created a promise, if it sends that very request once more.

    Its answer was lost then. Without its task the process would wait for a run that it keeps by its own heartbeats. The
    SDK counts a time-out from the time of the call: another call for the same id has another one.
    """
    task = turn.store.task(invoke_id(promise.id)) if new.timeout == promise.timeout else None
    if task is None or task.recipient is None or promise.state != "PENDING":
        return None
    return claim(turn, task.id, 1, process_id, ttl)[0] if _is_repeated(turn, task, process_id, 1) else None


def complete(turn: Turn, task_id: str, counter: int) -> tuple[int, Task]:
    """End the lease: the step is stored, or its function waits for promises. Return 201, or 200 for a repetition.

    A power cut that ended the last run of the server may have undone a claim (see ``store``). If its holder, on another
    machine, completes the task, that stands: the SDK would end its process over a refusal.

    Raises:
        Refusal: 40403, 40308, 40309.
    """
    task = get(turn, task_id)
    if holder := turn.workers.named(task.recipient):
        holder.ending.pop(task.root, None)
    if task.counter == counter and task.created_on < turn.resumed and _is_unclaimed_work(task):
        task = transition(task, "claim", not_before=None, waits_for=None) or task
    done = transition(task, "complete", process=None, deadline=None, completed_on=turn.now)
    if done is None:
        return 200, task
    _check(task, counter)
    if holder and task.root in holder.remembers and _without_result(turn, task):
        losses.took_for_earlier(turn, task, holder)
        return 201, done
    dispatch.write(turn, task, done)
    turn.freed_roots[task.root] = None
    return 201, done


def drop(turn: Turn, task_id: str, counter: int) -> int:
    """Give a claimed task back, to be offered under the next counter. Return 201, or 200 if it was not claimed.

    Raises:
        Refusal: 40403, 40308.
    """
    task = get(turn, task_id)
    if transition(task, "drop") is None:
        return 200
    _check(task, counter)
    losses.lose(turn, task, "dropped by its worker", "drop")
    return 201


def heartbeat(turn: Turn, process_id: str) -> int:
    """Renew every lease that was granted under a process id; return how many."""
    alive = [worker.name for worker in turn.workers.namesakes(process_id) if worker.os_process]
    count, earliest = turn.store.claims.renew(process_id, turn.mono, SHORTEST_LEASE, alive)  # by the rule of ``_lease``
    if earliest is not None:
        turn.due_in(earliest - turn.mono)
    return count


def finish_root(turn: Turn, root: str, limit: int, but: str = "") -> int:
    """End tasks of a promise that has completed but those of one kind, at most ``limit``; return how many."""
    tasks = turn.store.live_tasks(root, limit, but)
    for task in tasks:
        done = transition(task, "finish", deadline=None, not_before=None, waits_for=None, completed_on=turn.now)
        if done:
            dispatch.write(turn, task, done)
        if task.kind != "notify" and task.state != "INIT" and (holder := turn.workers.named(task.recipient)):
            holder.ending[root] = None if task.state == "CLAIMED" else turn.mono + LATE_WITHIN
    return len(tasks)


def _without_result(turn: Turn, task: Task) -> bool:
    """Tell whether a task ends although its promise is pending, and waits for nothing."""
    root = turn.store.promise(task.root)
    others = [one for one in turn.store.live_tasks(task.root, 2) if one.id != task.id]
    return root is not None and root.state == "PENDING" and not others and not turn.store.waits(task.root)


def _invocation(turn: Turn, promise: Promise, recv: str) -> Task:
    return Task(invoke_id(promise.id), "invoke", promise.id, recv, promise.timeout, turn.now)


def _claimed(turn: Turn, task: Task, process_id: str, ttl: int) -> Task:
    """Return a task as claimed by a process, which is a worker's if the server knows one of that id."""
    holder = turn.workers.of_process(process_id, task.recipient)
    claimed = transition(
        task, "claim", process=process_id, ttl=ttl, deadline=_lease(turn, holder, ttl), claimed_on=turn.now,
        not_before=None, waits_for=None, recipient=holder.name if holder else None,
    )  # fmt: skip
    return claimed or task


def _lease(turn: Turn, holder: Worker | None, ttl: int) -> int:
    """Return the end of a lease from now on.

    The SDK sends heartbeats twice in a ttl. A process that is known to live gets 1.5 ttl, since a heartbeat may have
    been due just when a pause begins: so any pause that is shorter than the ttl keeps its work.
    """
    return turn.due_in(max(SHORTEST_LEASE, ttl + ttl // 2 if holder and holder.os_process else ttl))


def _is_unclaimed_work(task: Task) -> bool:
    return task.kind != "notify" and task.state in ("INIT", "ENQUEUED")


def _is_repeated(turn: Turn, task: Task, process_id: str, counter: int) -> bool:
    """Tell whether the holder of a task claims it once more.

    The SDK repeats a call at once over a connection that broke, then each second. A process that listens claims each
    counter once but for that. One that does not may claim anything: it is taken for the SDK if it comes later. A call
    that lay in the socket of a server that stood still is decided just before its repetition.
    """
    if (task.state, task.process, task.counter) != ("CLAIMED", process_id, counter):
        return False
    if task.recipient is not None:  # it has, or had, a stream
        return True
    at = task.claimed_on or 0
    return not 0 <= turn.now - at < REPEATED_AFTER or at < turn.resumed + REPEATED_AFTER


def _is_late(turn: Turn, task: Task, counter: int) -> bool:
    """Tell whether a task was sent with that counter, and has ended since, before anybody claimed it."""
    sent_and_never_claimed = task.kind != "notify" and task.recipient is not None and task.claimed_on is None
    ended = task.completed_on if task.state in ("COMPLETED", "TIMEDOUT") else None
    return task.counter == counter and sent_and_never_claimed and ended is not None and turn.now - ended < LATE_WITHIN


def _check(task: Task, counter: int) -> None:
    if task.counter != counter:
        raise Refusal(errors.TASK_INVALID_COUNTER, f"task {task.id}: found counter {counter}; expected {task.counter}")
