"""Play 2: two named workers take expressions apart, two others compute; exp/lhs is killed in the second expression."""

import re
from typing import Any

from calculator.parser import canonical
from demo.report import Record, Run, print_table, tell_takeover
from demo.stage import Stage, call_of
from local_server.testing import Child

# No part occurs in two places, no number either, so that a line of a worker's output names one call.
EXPRESSIONS = "1 + 2 * 3", "(4 + 5) * (6 - 7) - (8 + 9) * (10 - 11)", "12 * (13 + 14)"
DELAY = "0.6"  # seconds that an operator takes
COMMAND = ("-m", "calculator.calculator")
WORKERS = "exp/lhs", "exp/rhs", "ops/1", "ops/2"


def play(stage: Stage) -> list[str]:
    """Play it; return the commands with which to go on by hand."""
    stage.say(f"calculator: exp/lhs and exp/rhs take expressions apart, two ops workers need {DELAY} s an operator")
    workers = {name: start_worker(stage, name) for name in WORKERS}
    for worker in workers.values():
        stage.wait_for("is ready", of=worker)
    before, during, after = EXPRESSIONS

    stage.finish(ask(stage, "user-1", before))
    client = ask(stage, "user-2", during)
    # From here on exp/lhs holds the left half, which waits for its parts; they need an operator each.
    stage.wait_for(rf"^exp/lhs: {re.escape('(4+5)*(6-7)')}$")
    stage.wait_for(r"^ops/\d: 4 \+ 5$")
    kill = stage.kill(workers["exp/lhs"], "which holds parts of the second expression")
    taken = tell_takeover(stage, kill, lambda: record(stage))
    stage.finish(client)
    stage.finish(ask(stage, "user-3", after))
    print_table(stage, "three expressions", kill, taken, record(stage))
    return [
        f"uv run calculator '{during}'   # stored",
        "uv run calculator '2 * (3 + 4) * 5'",
        "uv run calculator   # the prompt",
        "GRP=exp PID=lhs uv run calculator   # exp/lhs again",
        *(f"kill -9 {worker.pid}   # {name}" for name, worker in workers.items() if worker.running),
    ]


def start_worker(stage: Stage, name: str) -> Child:
    """Start the worker ``group/id``."""
    group, _, member = name.partition("/")
    delay = ("--delay", DELAY) if group == "ops" else ()
    return stage.start(name, *COMMAND, "--group", group, "--id", member, *delay)


def ask(stage: Stage, name: str, expression: str) -> Child:
    """Start a client with an expression."""
    stage.say(f"uv run calculator '{expression}'")
    return stage.start(name, *COMMAND, expression)


def label(promise: dict[str, Any]) -> str:
    """Return what a worker prints when it works on this call: ``4+5`` for a part, ``4 + 5`` for an operation."""
    call = call_of(promise)
    return canonical(*call["args"]) if call["func"] == "=" else f" {call['func']} ".join(map(str, call["args"]))


def record(stage: Stage) -> Record:
    """Return what has happened so far."""
    promises = stage.promises("calculator-")
    labels = {promise_id: label(promise) for promise_id, promise in promises.items()}
    step_of = {text: promise_id for promise_id, text in labels.items()}
    texts = [(line, line.text.removeprefix(f"{line.who}: ")) for line in list(stage.lines) if line.who in WORKERS]
    runs = [Run(line.who, step_of[text], line.at) for line, text in texts if text in step_of]
    return Record(runs, promises, labels)
