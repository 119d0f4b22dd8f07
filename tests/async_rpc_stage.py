"""What the async RPC tests share: the gateway and the services as real processes, and requests to them."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import requests

from local_server.testing import Child, LocalServer

READY = r"is ready, pid \d+"
DEADLINE = 60.0  # seconds; nothing here needs more than a few on an idle machine
SCRIPT = """
import threading, time
from async_rpc.life import live
from resonate import Resonate

resonate = Resonate.remote(group="{group}", pid="test")

{function}
live(resonate, "{group}", "test")
"""


class Stage:
    """A server, a gateway (at ``url``, if it runs already) and services."""

    def __init__(self, server: LocalServer, start: Callable[..., Child], url: str = "") -> None:
        self.server = server
        self._start = start
        self._pool = ThreadPoolExecutor(256)
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def gateway(self, *options: str) -> Child:
        """Start a gateway on a free port and wait for its ready line."""
        gateway = self._start("gateway", "-m", "async_rpc.gateway", "--port", "0", *options)
        self.url = gateway.wait_for(r"listens on (http://[^;]+);").group(1)
        gateway.wait_for(READY)
        return gateway

    def service(self, letter: str, *options: str) -> Child:
        """Start one node of service-<letter> and wait for its ready line."""
        node = self._start(f"service-{letter}", "-m", f"async_rpc.service_{letter}", *options)
        node.wait_for(READY)
        return node

    def services(self, letters: str) -> list[Child]:
        """Start one node of each of these services, at the same time."""
        return list(self._pool.map(self.service, letters))

    def script(self, path: Path, group: str, function: str) -> Child:
        """Start a node of a group that is not one of the nine services: the source of its function is given."""
        path.write_text(SCRIPT.format(group=group, function=function))
        node = self._start(f"{group} of the test", path)
        node.wait_for(READY)
        return node

    def post(self, route: str, key: str | None = None, timeout: float = DEADLINE) -> requests.Response:
        """Send one request, with an Idempotency-Key if one is given."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return requests.post(f"{self.url}/{route}", headers=headers, timeout=timeout)

    def begin_post(self, route: str, key: str | None = None) -> Future[requests.Response]:
        """Send one request from a thread of its own."""
        return self._pool.submit(self.post, route, key)

    def promise(self, id: str) -> dict[str, object]:  # noqa: A002 - the server's own word
        """Return a promise as the server stores it, {} when there is none."""
        answer = requests.get(f"{self.server.url}/promises/{id}", timeout=DEADLINE)
        return answer.json() if answer.ok else {}

    def wait_for_promise(self, id: str, *states: str) -> dict[str, object]:  # noqa: A002 - the server's own word
        """Wait until a promise is in one of these states."""
        deadline = time.monotonic() + DEADLINE
        while (promise := self.promise(id)).get("state") not in states:
            assert time.monotonic() < deadline, f"{id} is {promise or 'missing'}, not {states}"
            time.sleep(0.1)
        return promise

    def cancel(self, id: str) -> None:  # noqa: A002 - the server's own word
        """Give a promise up, so that no node runs its function any more."""
        body = {"state": "REJECTED_CANCELED"}
        requests.patch(f"{self.server.url}/promises/{id}", json=body, timeout=DEADLINE).raise_for_status()
