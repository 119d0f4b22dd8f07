"""The three examples as the processes of a run, each with the work that is asked of it and its right results."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Protocol

import requests
from calculator_stage import COMMAND, balanced
from fault_run import DEADLINE, FaultRun

from local_server.testing import Child

PATIENCE = 8  # seconds that the gateway lets a request wait
FUNCTIONS = {"a": ("foo",), "b": ("bar",), "c": ("baz",), "d": ("qux", 1), "e": ("quz", 1), "f": ("cog", 1),
             "g": ("zim", 1), "h": ("rax",), "i": ("dop",)}  # fmt: skip
ROUTES = {"await-chain": 3, "detached-chain": "detached-chain started", "fan-out-workflow": 3}


class Example(Protocol):
    """An example at work."""

    def __init__(self, run: FaultRun, random: Random) -> None:
        """Start its processes and ask for its work."""

    def check(self) -> None:
        """Check the results, once every client that is a process has its own; wait for those that are none."""


class Factorial:
    """Three workers; two clients, one of which asks for a step of the other's. Many short steps, or few long ones."""

    def __init__(self, run: FaultRun, random: Random) -> None:
        least, more, delay = random.choice([(120, 20, "0.03"), (2, 1, "6")])
        for number in (1, 2, 3):
            name = f"w{number}"
            run.add(
                name, "factorial_worker.py", "--id", name, "--delay", delay,
                probe=lambda _, name=name: (f"factorial-worker/{name}", "factorial", 1),
            )  # fmt: skip
        if delay != "6":
            run.keep_asking("factorial-worker", "factorial", 1)
        self._clients = {
            n: run.add(f"client-{n}", "factorial_client.py", str(n), client=True) for n in (least, least + more)
        }

    def check(self) -> None:
        for n, client in self._clients.items():
            assert client.child.lines[-1] == f"Result: {math.factorial(n)}"


class Calculator:
    """The two named workers, two operators, and one expression: 63 short operations, or 3 long ones."""

    def __init__(self, run: FaultRun, random: Random) -> None:
        levels, delay = random.choice([(6, "0.1"), (2, "6")])
        for name, call in (
            ("exp/lhs", ("=", 5)),
            ("exp/rhs", ("=", 5)),
            ("ops/1", ("+", 1, 2)),
            ("ops/2", ("-", 1, 2)),
        ):
            group, _, member = name.partition("/")
            options = ["--delay", delay] if group == "ops" else []
            probe = lambda _, name=name, call=call: (name, *call)  # noqa: E731 - one for each
            run.add(name, *COMMAND, *options, env={"GRP": group, "PID": member}, probe=probe)
        self._expression = balanced(levels, random.randint(1, 100))
        run.keep_asking("exp", "=", 5)
        self._client = run.add("client", *COMMAND, self._expression, client=True)

    def check(self) -> None:
        assert self._client.child.lines[-1] == str(eval(self._expression))  # noqa: S307 - made above


class Services:
    """The gateway, the nine services, and a caller for each route, who asks again until it has its answer."""

    def __init__(self, run: FaultRun, port: int, random: Random) -> None:
        self._run, self._url, self._end = run, f"http://127.0.0.1:{port}", threading.Event()
        run.add("gateway", "-m", "async_rpc.gateway", "--port", str(port), "--wait", str(PATIENCE))
        for letter, call in FUNCTIONS.items():
            probe = lambda child, letter=letter, call=call: (f"service-{letter}/{node(child)}", *call)  # noqa: E731
            run.add(f"service-{letter}", "-m", f"async_rpc.service_{letter}", probe=probe)
        run.keep_asking("service-i", "dop")
        pool = ThreadPoolExecutor(len(ROUTES))
        self._callers = [pool.submit(self._call, route, Random(random.random())) for route in ROUTES]  # noqa: S311
        pool.shutdown(wait=False)

    def _call(self, route: str, random: Random) -> int:
        """Be a caller until the end of the faults, and for one call beyond; return how many got their result."""
        calls, last = 0, False
        while not last:
            last = self._end.is_set()
            deadline = time.monotonic() + DEADLINE
            while not self._answered(route, f"call-{calls}", patience=random.uniform(1, PATIENCE + 2)):
                assert time.monotonic() < deadline, f"POST /{route} has no result after {DEADLINE} s"
                time.sleep(0.2)
            calls += 1
            self._end.wait(random.uniform(0, 0.5))
        return calls

    def _answered(self, route: str, key: str, patience: float) -> bool:
        """Send one request; a caller may lose its patience, and may be told to come back."""
        try:
            answer = requests.post(f"{self._url}/{route}", headers={"Idempotency-Key": key}, timeout=patience)
        except requests.RequestException:  # the gateway is down, stands still, or the caller's patience is at its end
            return False
        if answer.status_code in {503, 504}:
            return False
        body = answer.json()
        body.pop("note", None)  # who serves no group just then, being killed
        assert (answer.status_code, body) == (200, {"message": ROUTES[route]})
        return True

    def check(self) -> None:
        self._end.set()
        while not all(caller.done() for caller in self._callers):
            self._run.look()
            time.sleep(0.1)
        for caller in self._callers:
            assert caller.result() > 0


def node(child: Child) -> str:
    """Return the id under which a service is known: it is another in each process."""
    return child.wait_for(r"^[^/]+/(\S+) is ready,").group(1)
