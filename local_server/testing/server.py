"""A server as a test sees it, and the one that is a process of its own."""

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import click

from local_server.terminal import Server, ServerError, path_of
from local_server.testing.child import Child
from local_server.tree_lines import rows

PATIENCE = 10.0  # seconds that a test waits for what has to come
LOOK = 0.01  # seconds between two looks
ROOTS = 20  # that are shown when a test fails


class Found(NamedTuple):
    """A promise: ``state`` as on the wire, such as ``RESOLVED``; ``value`` as far as JSON can tell it."""

    id: str
    state: str
    value: Any


class Environment(Protocol):
    """What sets a variable of this process for a while, such as the fixture ``monkeypatch``."""

    def setenv(self, name: str, value: str) -> None:
        """Set one variable."""


class AnyServer:
    """A running server, and the processes that a test has led to it.

    Attributes:
        url: the address of the API, and of the page.
        poll_url: the address of the event streams.
        children: the processes that ``spawn`` has started.
    """

    url: str
    poll_url: str

    def __init__(self) -> None:
        self.children: list[Child] = []

    @property
    def processes(self) -> list[Child]:
        """All processes that belong to it, whose output tells why a test has failed."""
        return self.children

    @property
    def env(self) -> dict[str, str]:
        """The SDK's variables that lead a worker or client to this server."""
        host, _, port = self.url.rpartition(":")
        first = [name for name in ("RESONATE_HOST_STORE", "RESONATE_HOST_MESSAGE_SOURCE") if name in os.environ]
        return {
            **dict.fromkeys(["RESONATE_HOST", *first], host),  # those that somebody has set come before the other
            "RESONATE_PORT_STORE": port,
            "RESONATE_PORT_MESSAGE_SOURCE": self.poll_url.rpartition(":")[2],
        }

    def set_env(self, monkeypatch: Environment) -> None:
        """Lead this process to the server: whatever ``Resonate.remote()`` it makes from now on."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    def spawn(self, *argv: object, name: str = "", env: Mapping[str, str] | None = None) -> Child:
        """Start ``python *argv``, led to this server by its environment; it is killed at the end of the test."""
        words = [str(word) for word in argv]
        child = Child(name or " ".join(words), [sys.executable, *words], env={**self.env, **(env or {})})
        self.children.append(child)
        return child

    def wait_for(self, promise_id: str, timeout: float = PATIENCE, *, completed: bool = True) -> Found:
        """Wait until a promise is completed, or with ``completed=False`` until it is there.

        Raises:
            TimeoutError: it was not, within so many seconds; the message shows its tree.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                promise = self._server.ask("GET", path_of(promise_id))
            except ServerError:  # it is not there yet, or the server is not
                promise = None
            if promise is not None and ("completedOn" in promise or not completed):
                data = promise["value"].get("data")
                return Found(promise_id, promise["state"], json.loads(base64.b64decode(data)) if data else None)
            if time.monotonic() > deadline:
                what = "completed" if completed else "there"
                raise TimeoutError(f"{promise_id} was not {what} within {timeout} s:\n{self.tree(promise_id)}")
            time.sleep(LOOK)

    def resolve(self, promise_id: str, value: object = None, timeout: float = PATIENCE) -> None:
        """Resolve a promise from outside, as a person would; wait until it is there.

        Raises:
            TimeoutError: it was not, within so many seconds.
            ServerError: it is completed already.
        """
        self.wait_for(promise_id, timeout, completed=False)
        self._server.resolve(promise_id, value)

    def tree(self, promise_id: str) -> str:
        """Show the calls below a promise, as ``local-server tree`` does, or say in a line why that cannot be."""
        try:
            return "\n".join(click.unstyle(row.text) for row in rows(self._server.tree(promise_id)))
        except ServerError as error:
            return str(error)

    def trees(self) -> str:
        """Show what is stored, the newest first: a tree for each promise that nobody's function has asked for."""
        try:
            roots = self._server.ask("GET", f"/ui/roots?limit={ROOTS}")["roots"]
        except ServerError as error:
            return str(error)
        return "\n".join(self.tree(root["id"]) for root in roots)

    @property
    def _server(self) -> Server:
        return Server(self.url)

    def kill_children(self) -> None:
        """End what ``spawn`` has started and still runs."""
        for child in self.children:
            if child.running:
                child.kill()


class LocalServer(AnyServer):
    """A local server process on free ports, with its database in a folder, in memory (None), or where a URL leads."""

    def __init__(
        self,
        folder: Path | str | None,
        *options: str,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str, str], None] | None = None,
        start: Callable[..., Child] = Child.python,
    ) -> None:
        """Start it and wait for its ready line; ``start`` takes what ``Child.python`` takes."""
        super().__init__()
        self._start = start
        where = folder / "resonate.db" if isinstance(folder, Path) else folder
        self._where = ["--in-memory"] if where is None else ["--db", str(where)]
        self._options, self._env, self._on_line = options, env, on_line
        self._ports = ["--port", "0", "--poll-port", "0"]
        self.start()

    def start(self) -> None:
        """Start the process again on the same file and the same ports, as after a crash."""
        self.child = self._start(
            "server", "-m", "local_server", *self._where, *self._ports, *self._options,
            env=self._env, on_line=self._on_line,
        )  # fmt: skip
        ready = self.child.wait_for(r"API (http://[^ ,]+), event stream (http://[^ ,]+)")
        self.url, self.poll_url = ready.group(1), ready.group(2)
        self._ports = ["--port", self.url.rpartition(":")[2], "--poll-port", self.poll_url.rpartition(":")[2]]

    @property
    def processes(self) -> list[Child]:
        """Likewise; the server's own is the first."""
        return [self.child, *self.children]

    def restart(self) -> None:
        """End the process as Ctrl-C does, unless it was killed, and start it again."""
        if self.child.running:
            self.stop()
        self.start()

    def kill(self) -> None:
        """``kill -9`` the server."""
        self.child.kill()

    def stop(self) -> int:
        """End it as Ctrl-C does; return the exit status."""
        return self.child.stop()
