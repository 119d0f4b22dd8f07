"""Play 1: three workers share the steps of a factorial; the one that runs the middle step is killed in it."""

import re

from demo.report import Record, Run, print_table, tell_takeover
from demo.stage import Stage

N = 10
DELAY = "0.5"  # seconds of work at each step: to be followed, and to be killed in
STEP = r"Calculating factorial of (\d+)"


def play(stage: Stage) -> list[str]:
    """Play it; return the commands with which to go on by hand."""
    stage.say(f"factorial: three workers, {DELAY} s of work a step, factorial({N}); one of them will be killed")
    workers = {
        name: stage.start(name, "factorial_worker.py", "--id", name, "--delay", DELAY)
        for name in ("worker-1", "worker-2", "worker-3")
    }
    for worker in workers.values():
        stage.wait_for("is ready", of=worker)
    client = stage.start("client", "factorial_client.py", str(N))

    line = stage.wait_for(rf"Calculating factorial of {N // 2}$")
    kill = stage.kill(workers[line.who], f"which calculates factorial of {N // 2}")
    taken = tell_takeover(stage, kill, lambda: record(stage))
    result = stage.wait_for("^Result: ", of=client)
    stage.finish(client)

    stage.say(f"a second client asks for factorial({N})")
    before = len(record(stage).runs)
    again = stage.start("client-2", "factorial_client.py", str(N))
    stage.finish(again)
    same = "the same" if again.lines[-1] == result.text else "another"
    stage.say(f"it got {same} result, and {len(record(stage).runs) - before} steps were run for it")
    print_table(stage, f"factorial({N})", kill, taken, record(stage))
    return [
        f"uv run factorial_client.py {N + 3}",
        "uv run factorial_worker.py --delay 0.5",
        *(f"kill -9 {worker.pid}   # {name}" for name, worker in workers.items() if worker.running),
    ]


def record(stage: Stage) -> Record:
    """Return what has happened so far."""
    matches = [(line, re.search(STEP, line.text)) for line in list(stage.lines)]
    runs = [Run(line.who, f"factorial-{match[1]}", line.at) for line, match in matches if match]
    return Record(runs, stage.promises("factorial-"))
