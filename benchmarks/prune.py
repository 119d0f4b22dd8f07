"""What a prune costs those who work meanwhile: a step of a factorial beside one that removes 100,000 promises.

    uv run benchmarks/prune.py [PROMISES]

Fills a file in a temporary folder with old runs of ten promises each, which have a task each, and starts a server and a
worker. Asks for factorials, whose steps it counts, in turns: alone, and while the old runs are removed. Prints the time
of a step both ways, how long the removal took, and the size of the file before and after it.
"""

import base64
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import click
import requests
from ending import leave_no_process

from local_server.store.store import Store
from local_server.testing import Child, LocalServer

PROMISES = 100_000
BELOW = 9  # promises below each root
STEPS = 40  # of each factorial
ALONE = 4  # factorials
PARAM = '{"headers":{},"data":"eyJmdW5jIjogImZhY3RvcmlhbCIsICJhcmdzIjogWzEwXSwgImt3YXJncyI6IHt9fQ=="}'
ROWS = (
    """INSERT INTO promises (id, state, param, value, timeout, tags, created_on, completed_on, parent)
        VALUES (:id, 'RESOLVED', :param, :param, 0, '{"resonate:invoke":"poll://any@gone"}', 0, 0, :parent)""",
    """INSERT INTO tasks (id, kind, state, counter, root, recv, timeout, ttl, recipient, created_on, claimed_on)
        VALUES ('__invoke:' || :id, 'invoke', 'COMPLETED', 1, :id, 'poll://any@gone', 0, 0, 'gone/a', 0, 0)""",
)


def fill(path: Path, promises: int) -> None:
    """Make a file with so many old promises."""
    store = Store(path)
    store.begin()
    for run in range(promises // (BELOW + 1)):
        for number in range(BELOW + 1):
            one = f"old-{run}.{number}" if number else f"old-{run}"
            values = {"id": one, "param": PARAM, "parent": f"old-{run}" if number else None}
            for sql in ROWS:
                store.db.execute(sql, values)
    store.commit()
    store.close()


def factorial(server: LocalServer, first: int) -> float:
    """Compute the STEPS factorials from ``first`` on; return ms a step, by the times that the server stores."""
    n = first + STEPS - 1
    call = json.dumps({"func": "factorial", "args": [n], "kwargs": {}, "version": 1})
    body = {
        "id": f"factorial-{n}", "timeout": 2**50, "tags": {"resonate:invoke": "poll://any@factorial-worker"},
        "param": {"data": base64.b64encode(call.encode()).decode()},
    }  # fmt: skip
    key = {"Idempotency-Key": f"factorial-{n}"}  # as the SDK sends it
    requests.post(f"{server.url}/promises", json=body, headers=key, timeout=60).raise_for_status()
    while True:
        promise = requests.get(f"{server.url}/promises/factorial-{n}", timeout=60).json()
        if promise["state"] != "PENDING":
            return (promise["completedOn"] - promise["createdOn"]) / STEPS
        time.sleep(0.05)


@click.command()
@click.argument("promises", type=click.IntRange(min=1), default=PROMISES)
def main(promises: int) -> None:
    """Measure, and print a line for each."""
    leave_no_process()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resonate.db"
        fill(file, promises)
        size = file.stat().st_size
        server = LocalServer(Path(folder))
        worker = Child.python("worker", "factorial_worker.py", env=server.env)
        worker.wait_for("is ready")
        at, alone, beside, took = 1, list[float](), list[float](), list[float]()

        def prune() -> None:
            began = time.perf_counter()
            answer = requests.post(f"{server.url}/ui/prune", json={"olderThan": 3_600_000}, timeout=3_600)
            took.append(time.perf_counter() - began)
            print(f"{answer.json()['promises']:,} promises removed in {took[0]:.0f} s", flush=True)

        factorial(server, at)
        for _ in range(ALONE):
            at += STEPS
            alone.append(factorial(server, at))
        pruning = threading.Thread(target=prune)
        pruning.start()
        while pruning.is_alive():
            at += STEPS
            beside.append(factorial(server, at))
        if len(beside) > 1:
            beside.pop()  # in part alone
        for _ in range(ALONE):
            at += STEPS
            alone.append(factorial(server, at))
        a, b = statistics.median(alone), statistics.median(beside)
        print(f"a step alone {a:.1f} ms, beside the prune {b:.1f} ms: {b / a:.2f} times as long", flush=True)
        worker.kill()
        requests.post(f"{server.url}/ui/remove", json={"id": "factorial-*"}, timeout=600).raise_for_status()
        server.stop()
        print(f"the file had {size / 2**20:.1f} MB, and has {file.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
