"""A run beside which something happens to PostgreSQL: a factorial, and promises of which each answer is remembered."""

import math
from itertools import count

import requests
from fault_stage import assert_running
from wire_client import FAR, starter, until

from local_server.testing import Child
from local_server.testing.server import AnyServer

STEPS = 25  # of the factorial


class Run:
    """A factorial by two workers, and promises that are created beside it."""

    def __init__(self, server: AnyServer, children: list[Child]) -> None:
        self._server, self._numbers = server, count()
        self.answers: dict[str, int] = {}  # of each promise that was answered: the status
        start = starter(children, server)
        self._workers = [start(name, "factorial_worker.py", "--id", name, "--delay", "0.05") for name in ("w1", "w2")]
        for worker in self._workers:
            worker.wait_for("is ready")
        self._client = start("client", "factorial_client.py", str(STEPS))
        until(lambda: sum(worker.count("Calculating") for worker in self._workers) > STEPS // 3)

    def create(self) -> int | None:
        """Ask for another promise; return the status, None if there is no answer."""
        name = f"p{next(self._numbers)}"
        try:
            answer = requests.post(f"{self._server.url}/promises", json={"id": name, "timeout": FAR}, timeout=30)
        except requests.ConnectionError:
            return None
        self.answers[name] = answer.status_code
        return answer.status_code

    def ends_right(self) -> None:
        """Look at the result, at the workers, and whether just that is stored which was said to be."""
        assert self._client.wait(60) == 0
        assert self._client.lines[-1] == f"Result: {math.factorial(STEPS)}"
        assert_running(self._workers)
        for name, status in self.answers.items():
            stored = requests.get(f"{self._server.url}/promises/{name}", timeout=30).status_code == 200
            assert stored == (status == 201), (name, status)
