"""What the calculator tests share: its workers and its one-shot command as real processes."""

import time
from collections.abc import Callable

from local_server.testing import START_DEADLINE, Child

COMMAND = ["-m", "calculator.calculator"]
Start = Callable[..., Child]


def workers(start: Start, *names: str, delay: float = 0) -> list[Child]:
    """Start workers by their ``group/id`` and wait until all are ready; ``delay`` is for those of ops."""
    started = []
    for name in names:
        group, _, member = name.partition("/")
        options = ["--delay", str(delay)] if delay and group == "ops" else []
        started.append(start(name, *COMMAND, *options, env={"GRP": group, "PID": member}))
    for worker in started:
        worker.wait_for(f"{worker.name} is ready, pid {worker.pid}")
    return started


def value(asked: Child) -> str:
    """Return the value that a one-shot command prints in the end; it may have a word to say about workers first."""
    assert asked.wait(60) == 0, asked.output
    return asked.lines[-1]


def answer(start: Start, *arguments: str) -> str:
    """Run the one-shot command to its good end and return the value that it printed."""
    return value(start(f"calculator {' '.join(arguments)}", *COMMAND, *arguments))


def connected(start: Start, *exp: Child) -> None:
    """Return when each of these workers has served a part sent to it by preference."""
    deadline = time.monotonic() + START_DEADLINE
    while not all(worker.count(rf"{worker.name}: 1\+1$") for worker in exp):
        assert time.monotonic() < deadline
        answer(start, "--fresh", "(1 + 1) * (1 + 1)")


def balanced(levels: int, first: int = 1) -> str:
    """Return an expression of ``2**levels - 1`` operators, no branch of which is deeper than another."""
    if levels == 0:
        return str(first)
    lhs, rhs = balanced(levels - 1, first), balanced(levels - 1, first + 2 ** (levels - 1))
    return f"({lhs}){'+*-'[levels % 3]}({rhs})"
