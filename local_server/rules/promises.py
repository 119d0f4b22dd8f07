"""The rules of promises: created once, completed once, with everybody told who waits."""

import re

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from local_server import errors
from local_server.errors import Refusal
from local_server.model import Callback, Promise, Task, TaskKind, notify_id, resume_id
from local_server.rules import addresses, tasks
from local_server.rules.states import COMPLETED_AS, PROMISE_TRANSITIONS, PromiseEvent
from local_server.rules.turn import Turn

EMPTY = Raw(b"{}")
BATCH = 64  # tasks and callbacks of one promise in one turn, some 10 ms; the clock's sweeps do the rest


def get(turn: Turn, promise_id: str) -> Promise:
    """Return a promise; a time-out that has passed is applied first.

    Raises:
        Refusal: 40400 when there is none of that id.
    """
    promise = _current(turn, promise_id)
    if promise is None:
        raise _not_found(promise_id)
    return promise


def create(
    turn: Turn,
    new: Promise,
    tags: dict[str, str],
    *,
    strict: bool = False,
    head: Raw | None = None,
    claim: tuple[str, int] | None = None,
) -> tuple[int, Promise, Task | None]:
    """Create a promise and, where its tags route it, the task that runs its function.

    Args:
        turn: the surroundings.
        new: the promise to be; ``created_on`` is set here.
        tags: its tags, decoded.
        strict: refuse to return a stored promise that is completed.
        head: trace headers for the message of the task.
        claim: (process id, ttl in ms) of the one who takes the task at once.

    Returns:
        201, the promise, and the task if it was claimed; 200, the stored promise, None if it exists and the keys match
        (or its task, if this is the same request once more, whose answer was lost).

    Raises:
        Refusal: 40900 when it exists and the keys do not match; 40000 for a tag that makes no sense.
    """
    parent = _parent(turn, new.id, tags)
    stored = _current(turn, new.id)
    if stored:
        key = new.idempotency_key_for_create
        if key is None or key != stored.idempotency_key_for_create or (strict and stored.state != "PENDING"):
            raise Refusal(
                errors.PROMISE_ALREADY_EXISTS,
                f"promise {new.id}: found it {stored.state} with idempotency key "
                f"{_shown(stored.idempotency_key_for_create)}; the request has {_shown(key)}, strict={strict}",
            )
        if parent is not None:
            turn.store.share_child(parent, new.id)
        return 200, stored, tasks.claim_again(turn, stored, new, *claim) if claim else None
    tag = tags.get("resonate:invoke")
    recv = addresses.of_tag(tag) if tag is not None else None
    promise = replace(new, created_on=turn.now)
    turn.store.insert_promise(promise, parent)
    turn.due_at(promise.timeout)
    task = None
    if recv is not None and claim:
        task = tasks.invoke_claimed(turn, promise, recv, *claim, head=head)
    elif recv is not None:
        tasks.invoke(turn, promise, recv, _delay(tags), head)
    return 201, promise, task


def complete(
    turn: Turn, promise_id: str, event: PromiseEvent, value: Raw, key: str | None, *, strict: bool
) -> tuple[int, Promise]:
    """Complete a promise on request. Return 201, or 200 with the stored promise for a repetition.

    A completion whose key is the id of the promise is a worker's, of the function that it ran. If somebody else has
    ended the promise meanwhile, that is 200, too: the SDK takes it, and after a refusal it would work no more.

    Raises:
        Refusal: 40400; 40301 to 40304, by the state that is there, for a request that is no repetition.
    """
    stored = turn.store.promise(promise_id)
    if stored is None:
        raise _not_found(promise_id)
    if stored.state == "PENDING" and stored.timeout > turn.now:
        return 201, _complete(turn, stored, event, turn.now, value, key)
    stored = _apply_timeout(turn, stored)
    if stored.state == "REJECTED_TIMEDOUT":
        repetition = not strict
    else:
        same_key = key is not None and key == stored.idempotency_key_for_complete
        overtaken = key == promise_id and not strict
        repetition = overtaken or (same_key and (not strict or stored.state == PROMISE_TRANSITIONS["PENDING", event]))
    if not repetition:
        raise Refusal(
            COMPLETED_AS[stored.state],
            f"promise {promise_id}: found it {stored.state} with idempotency key "
            f"{_shown(stored.idempotency_key_for_complete)}; the request to {event} has {_shown(key)}, strict={strict}",
        )
    return 200, stored


def time_out(turn: Turn, promise: Promise) -> Promise:
    """Complete a pending promise by its time-out, as of that time."""
    tags = msgspec.json.decode(promise.tags) if promise.tags else {}
    event: PromiseEvent = "timer" if tags.get("resonate:timeout") == "true" else "timeout"
    return _complete(turn, promise, event, promise.timeout, EMPTY, None)


def follow_up(turn: Turn, promise_id: str) -> bool:
    """End the tasks of a completed promise and tell who waits for it, a batch of each; return whether that was all."""
    finished = tasks.finish_root(turn, promise_id, BATCH, but="notify")  # earlier batches have become these
    callbacks = turn.store.take_callbacks(promise_id, BATCH)
    for callback in callbacks:
        tasks.resume_or_notify(turn, callback)
    return max(finished, len(callbacks)) < BATCH


def go_on(turn: Turn, promise_id: str) -> bool:
    """Go on with a promise to be followed up; return whether that was all.

    One that is pending, or not there, has more tasks than ``dispatch.drain`` has offered: that goes on with them, and
    notes it again if these are not all.
    """
    promise = turn.store.removals.promise(promise_id)
    if promise is None or promise.state == "PENDING":
        turn.freed_roots[promise_id] = None
        return True
    return follow_up(turn, promise_id)


def add_callback(
    turn: Turn, promise_id: str, kind: TaskKind, name: str, recv: str, timeout: int, head: Raw | None
) -> tuple[int, Promise, Callback | None]:
    """Ask to be told when a promise completes; reading it and asking is one step, so that no end is missed.

    Args:
        turn: the surroundings.
        promise_id: the promise to wait for.
        kind: resume (go on with the function of promise ``name``) or notify (send the end to the client ``name``).
        name: see above.
        recv: address of who is told.
        timeout: of the task that tells, ms since the epoch.
        head: trace headers for the message.

    Returns:
        201, the pending promise, the callback; 200, the promise, None when there is such a callback or it is completed.

    Raises:
        Refusal: 40400; 40000 when a promise is to wait for itself.
    """
    if kind == "resume" and name == promise_id:
        raise Refusal(errors.BAD_REQUEST, f"rootPromiseId: found {name}; expected another promise than the one awaited")
    promise = turn.store.promise(promise_id)
    if promise is None:
        raise _not_found(promise_id)
    promise = _apply_timeout(turn, promise)
    if promise.state != "PENDING":
        return 200, promise, None
    callback_id = resume_id(name, promise_id) if kind == "resume" else notify_id(promise_id, name)
    root = name if kind == "resume" else promise_id
    callback = Callback(callback_id, promise_id, kind, root, recv, timeout, turn.now, head)
    if turn.store.insert_callback(callback):
        if kind == "resume":
            _note_asker(turn, promise, root)
        return 201, promise, callback
    return 200, promise, None


def _note_asker(turn: Turn, promise: Promise, asker: str) -> None:
    """Note whose function asked for a promise, where neither the SDK has said it nor (a sleep) its id does.

    What no function runs, as ``ctx.promise()`` makes it, is part of the run that was the first to ask for it.
    """
    tags = msgspec.json.decode(promise.tags) if promise.tags else {}
    if "resonate:parent" in tags or tags.get("resonate:timeout") == "true":
        return
    removals = turn.store.removals
    if "resonate:invoke" in tags or removals.parent(promise.id) or removals.below(promise.id, 0, 1):
        turn.store.share_child(asker, promise.id)
    else:
        removals.adopt(promise.id, asker)


def _current(turn: Turn, promise_id: str) -> Promise | None:
    promise = turn.store.promise(promise_id)
    return promise and _apply_timeout(turn, promise)


def _apply_timeout(turn: Turn, promise: Promise) -> Promise:
    return time_out(turn, promise) if promise.state == "PENDING" and promise.timeout <= turn.now else promise


def _complete(turn: Turn, promise: Promise, event: PromiseEvent, at: int, value: Raw, key: str | None) -> Promise:
    """Complete a promise: the only path by which one does, whether by request or by the clock."""
    state = PROMISE_TRANSITIONS[promise.state, event]
    done = replace(promise, state=state, value=value, completed_on=at, idempotency_key_for_complete=key)
    turn.store.complete_promise(done, by_clock=event in ("timeout", "timer"))
    if not follow_up(turn, promise.id):
        turn.store.add_follow_up(promise.id)
        turn.due_at(turn.now)
    return done


def _parent(turn: Turn, promise_id: str, tags: dict[str, str]) -> str | None:
    """Return the promise whose function asks for this one.

    The SDK names a root as its own parent. It gives a sleep none, but an id that is numbered below the sleeper's.
    """
    if "resonate:parent" in tags or tags.get("resonate:timeout") != "true":
        parent = tags.get("resonate:parent")
        return None if parent == promise_id else parent
    sleeper, dot, number = promise_id.rpartition(".")
    return sleeper if dot and number.isdecimal() and turn.store.promise(sleeper) else None


def _delay(tags: dict[str, str]) -> int | None:
    text = tags.get("resonate:delay", "")
    return min(int(text), 2**63 - 1) if re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII) else None


def _not_found(promise_id: str) -> Refusal:
    return Refusal(errors.PROMISE_NOT_FOUND, f"promise {promise_id}: found none of that id")


def _shown(key: str | None) -> str:
    return "(none)" if key is None else repr(key)
