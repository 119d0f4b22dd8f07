"""Play 4, by itself: two servers on one PostgreSQL; the one that serves is killed, and the other goes on."""

import shlex
import time

from demo.factorial import DELAY, N, record
from demo.report import print_rows, rows_of_steps
from demo.stage import Line, Stage


def play(stage: Stage) -> list[str]:
    """Play it; return the commands with which to go on by hand."""
    stage.say(f"failover: two servers, three workers, factorial({N}); the server that serves will be killed")
    other = stage.stand_by("server-2")
    workers = [
        stage.start(name, "factorial_worker.py", "--id", name, "--delay", DELAY)
        for name in ("worker-1", "worker-2", "worker-3")
    ]
    for worker in workers:
        stage.wait_for("is ready", of=worker)
    client = stage.start("client", "factorial_client.py", str(N))

    stage.wait_for(rf"Calculating factorial of {N // 2}$")
    kill = stage.kill(stage.server.child, "which serves")
    away = stage.wait_until(lambda: time.time() - kill.at if stage.answers() else None, "no server answered")
    stage.say(
        f"{other.name} answers {away:.1f} s after the kill; workers ask it for work 5 s after they lost the first"
    )

    def goes_on() -> Line | None:
        return next((line for line in list(stage.lines) if line.at > kill.at and "Calculating" in line.text), None)

    first = stage.wait_until(goes_on, "nobody went on")
    stage.wait_for("^Result: ", of=client)
    stage.finish(client)
    rows = [*rows_of_steps(kill, record(stage)), ("away", [f"{away:.1f} s from the kill until {other.name} answered"])]
    step = first.text.rpartition(" ")[2]
    rows.append(("recovery", [f"{first.at - kill.at:.1f} s from the kill until {first.who} ran factorial-{step}"]))
    print_rows(stage, f"factorial({N}) and two servers", rows)
    return [
        f"uv run factorial_client.py {N + 3}",
        f"uv run local-server {shlex.join(stage.database)}   # stands by",
        f"kill -9 {other.pid}   # {other.name}, which serves",
    ]
