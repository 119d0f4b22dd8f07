"""A crowd of time-outs that fall due at once is worked off in slices, and requests come first."""

import asyncio
from itertools import pairwise

import pytest
from msgspec import Raw

from local_server.engine import Engine
from local_server.errors import Refusal
from local_server.model import Promise
from local_server.rules import due, promises
from local_server.rules.turn import Turn
from local_server.store.store import Store

CROWD = 20 * due.SWEEP


def pending(turn: Turn) -> int:
    """Return how many promises are stored as pending."""
    return int(turn.store.db.execute("SELECT count(*) FROM promises WHERE state = 'PENDING'").fetchone()[0])


async def seen_on_the_way() -> list[int]:
    """Let a crowd fall due; return how many were left, as somebody sees it who asks all the time."""
    engine = Engine(Store(None))
    for n in range(CROWD):
        engine.store.insert_promise(Promise(f"p{n}", "PENDING", Raw(b"{}"), Raw(b"{}"), n, created_on=0), None)
    engine.start()
    last = await engine.ask(lambda turn: promises.get(turn, f"p{CROWD - 1}"))
    assert last.state == "REJECTED_TIMEDOUT"  # for who reads it, all are over
    seen = []
    while not seen or seen[-1]:
        seen.append(await engine.ask(pending))
    engine.close()
    return seen


def test_requests_are_answered_between_the_slices_of_a_crowd_of_time_outs() -> None:
    seen = asyncio.run(asyncio.wait_for(seen_on_the_way(), 30))
    steps = [before - after for before, after in pairwise(seen)]
    assert max(steps) <= due.SWEEP
    assert steps.count(0) > 5 * len(steps) / 7  # most of the time was the requests'


async def what_is_left_is_done() -> list[str]:
    """Leave something to a later turn, in a turn that is decided twice; return what was done in which order."""
    engine, done = Engine(Store(None)), list[str]()

    def leave(turn: Turn) -> None:
        turn.later.append(lambda _: done.append("what was left"))

    def fail(_: Turn) -> None:
        raise ValueError

    with pytest.raises(Refusal):
        await asyncio.gather(engine.ask(leave), engine.ask(fail))
    await engine.ask(lambda _: done.append("a request"))
    while len(done) < 2:
        await engine.ask(lambda _: None)
    await engine.ask(lambda _: done.append("another"))
    engine.close()
    return done


def test_what_a_turn_leaves_to_others_is_done_once_with_requests_in_between() -> None:
    assert asyncio.run(asyncio.wait_for(what_is_left_is_done(), 30)) == ["a request", "what was left", "another"]
