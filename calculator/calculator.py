"""A distributed calculator: ``=`` takes an expression apart over two named workers, a pool of operators computes.

    you -> ``=`` in group exp -> the left half:  ``=`` in group exp, by preference the worker exp/lhs
                              -> the right half: ``=`` in group exp, by preference the worker exp/rhs
                              -> ``+``, ``-`` or ``*`` of the two values: any worker of group ops

Start a server and the workers, each in a terminal of its own, and calculate:

    uv run local-server
    GRP=exp PID=lhs uv run calculator
    GRP=exp PID=rhs uv run calculator
    GRP=ops uv run calculator
    uv run calculator "(1 + 2) * (3 - 4)"     one value; without an expression: a prompt

Each half is an ``=`` again, a lone number too, so that ``1 + 2`` already shows all three workers at work.

Every call is a durable promise: the expression is stored before it is sent, the value before anybody sees it. A worker
that dies costs the step it was in; another member of its group does that step again and no other. A name such as
``exp/lhs`` is a preference: while that worker is away, any member of exp serves.

The root of a run is a call to group exp like all other parts. In the published example the prompt runs it itself, in
a group where nobody else is, so the run ends with the prompt. Here the prompt only asks (client.py), and may die.
"""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Generator
from typing import Any

import click
from resonate import Context, Resonate

from calculator import prompt
from calculator.parser import Expr, canonical
from local_server.deleted import run_deleted_anew

SIGNALS = {signal.SIGINT, signal.SIGTERM}
STOP_SECONDS = 5
SHOWN = 100  # characters of an expression that a worker prints


def calculate(ctx: Context, expr: Expr) -> Generator[Any, Any, int]:
    """``=``: the value of an expression. Runs in group exp."""
    match expr:
        case int(number):
            announce(ctx, str(number))
            return number
        case ("+" | "-" | "*" as op, lhs, rhs):
            announce(ctx, canonical(expr))
            # Each yield is durable: a run that starts over from the top finds these promises, and sends nothing twice.
            left = yield ctx.rfi("=", lhs).options(target="poll://exp/lhs")
            right = yield ctx.rfi("=", rhs).options(target="poll://exp/rhs")
            value: int = yield ctx.rfc(op, (yield left), (yield right)).options(target="poll://ops")
            return value
        case _:
            raise ValueError(f"expected a number or (operator, left, right), found {expr!r}")


def add(ctx: Context, x: int, y: int) -> int:
    """``+``. Runs in group ops."""
    operate(ctx, f"{x} + {y}")
    return x + y


def sub(ctx: Context, x: int, y: int) -> int:
    """``-``. Runs in group ops."""
    operate(ctx, f"{x} - {y}")
    return x - y


def mul(ctx: Context, x: int, y: int) -> int:
    """``*``. Runs in group ops."""
    operate(ctx, f"{x} * {y}")
    return x * y


def operate(ctx: Context, what: str) -> None:
    """Say it, and take the time that ``--delay`` asks for."""
    announce(ctx, what)
    time.sleep(ctx.get_dependency("delay"))


def announce(ctx: Context, what: str) -> None:
    """Print who works on what."""
    print(f"{ctx.get_dependency('worker')}: {what if len(what) <= SHOWN else what[:SHOWN] + '...'}", flush=True)


def work(group: str, name: str, delay: float) -> None:
    """Serve until SIGINT or SIGTERM, then finish the step in hand; a second signal ends the process at once."""
    worker = f"{group}/{name}"
    # One operator at a time in each process, so that two workers are twice one on any machine.
    resonate = Resonate.remote(group=group, pid=name, workers=1)
    run_deleted_anew(resonate)  # what somebody deletes can be calculated again, by this process as well
    resonate.set_dependency("worker", worker)
    resonate.set_dependency("delay", delay)
    resonate.register(calculate, name="=")
    resonate.register(add, name="+")
    resonate.register(sub, name="-")
    resonate.register(mul, name="*")

    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # in this thread and all that it starts: a signal waits
    print(f"{worker} is ready, pid {os.getpid()}", flush=True)  # first: the threads to come print as well
    resonate.start()
    signal.sigwait(SIGNALS)
    print(f"{worker} is stopping", flush=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the second one has its default action
    deadline = threading.Timer(STOP_SECONDS, give_up, [worker])
    deadline.daemon = True
    deadline.start()
    resonate.stop()  # returns when the step is stored; with the server gone it would wait for ever


def give_up(worker: str) -> None:
    """End the process without the step in hand; the server gives it to another."""
    print(
        f"{worker}: could not finish the step in hand within {STOP_SECONDS} s, it is left to another process",
        file=sys.stderr,
    )
    os._exit(1)


@click.command(context_settings={"ignore_unknown_options": True})  # for expressions such as -1+2
@click.argument("expression", nargs=-1)
@click.option("--group", envvar="GRP", type=click.Choice(["exp", "ops"]), help="Be a worker of this group (or GRP=).")
@click.option("--id", "name", envvar="PID", help="The worker's name (or PID=); without --group: a run to come back to.")
@click.option("--delay", type=click.FloatRange(min=0), default=0.0, help="Seconds that an ops worker takes to operate.")
@click.option("--fresh", is_flag=True, help="Calculate it anew, even if the value of EXPRESSION is stored.")
def main(expression: tuple[str, ...], group: str | None, name: str | None, delay: float, *, fresh: bool) -> None:
    """Calculate EXPRESSION, or show a prompt; with --group, work for those who do."""
    if group and expression:
        raise click.UsageError(f"a worker (--group {group}) takes no expression, found {' '.join(expression)!r}")
    if fresh and not expression:
        raise click.UsageError("--fresh is for an expression, found none")
    if delay and group != "ops":
        raise click.UsageError("--delay is for workers of group ops")
    if expression and name:
        raise click.UsageError("give an expression, or the --id of a run to come back to, not both")
    if group:
        work(group, name or uuid.uuid4().hex[:8], delay)
    elif expression or name:
        sys.exit(prompt.once(" ".join(expression), name, fresh=fresh))
    else:
        sys.exit(prompt.repeat())


if __name__ == "__main__":
    main()
