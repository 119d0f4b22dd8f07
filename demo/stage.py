"""The stage of a play: the local server, every process started on it, every line that they print, and the clean end."""

import base64
import json
import re
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from demo.interrupts import Interrupts
from demo.narrator import DEMO, Narrator
from local_server.testing import Child, ChildError, LocalServer
from local_server.testing.postgres import Cluster

ROOT = Path(__file__).resolve().parent.parent  # of the project, where the examples are
DEADLINE = 60.0  # seconds for whatever a play waits for; nothing of it takes 10 on an idle machine
LOOK = 0.1  # seconds between two looks whether a process has ended, which no line tells


@dataclass(frozen=True)
class Line:
    """A line of output: when it came (seconds since the epoch, like the server's times), whose, and what."""

    at: float
    who: str
    text: str


@dataclass(frozen=True)
class Kill:
    """A process killed on purpose, and when: seconds since the epoch."""

    name: str
    pid: int
    at: float


class Stage:
    """Everything that must be gone at the end. Nothing is started but by ``start``, so ``close`` misses nothing."""

    def __init__(self, narrator: Narrator, interrupts: Interrupts) -> None:
        self._lines: list[Line] = []
        self.killed: list[Child] = []
        self._narrator, self._interrupts = narrator, interrupts
        self._children: list[Child] = []
        self._changed = threading.Condition()
        self._folder: Path | None = None
        self._cluster: Cluster | None = None

    def open(self, *, postgres: bool = False) -> None:
        """Start the server on free ports, its database in a folder of its own, and name the address of its page.

        Raises:
            FileNotFoundError: the database is to be one of PostgreSQL, and this machine has none.
        """
        with self._interrupts.deferred():
            self._folder = Path(tempfile.mkdtemp(prefix="durable-demo-"))
            self._cluster = Cluster() if postgres else None
        self.server = LocalServer(self._cluster.url() if self._cluster else self._folder, start=self._start)
        self.say(f"watch it in a browser: {self.server.url}/")

    def say(self, text: str) -> None:
        """Say something in the demo's own voice."""
        self._narrator.say(DEMO, text)

    @property
    def database(self) -> list[str]:
        """The options with which another server stands by."""
        assert self._cluster  # noqa: S101 - SQLite has one server
        ports = [str(urlsplit(url).port) for url in (self.server.url, self.server.poll_url)]
        return ["--db", self._cluster.url(), "--port", ports[0], "--poll-port", ports[1]]

    def stand_by(self, name: str) -> Child:
        """Start another server on the same database of PostgreSQL and the same ports."""
        child = self.start(name, "-m", "local_server", *self.database)
        self.wait_for("stands by", of=child)
        return child

    def start(self, name: str, *argv: str) -> Child:
        """Start ``python *argv``, led to the server by its environment."""
        return self._start(name, *argv, env=self.server.env)

    def _start(self, name: str, *argv: str, **options: Any) -> Child:
        options |= {"on_line": self._on_line, "cwd": ROOT}
        with self._interrupts.deferred():
            child = Child.python(name, *argv, **options)
            self._children.append(child)
        return child

    def _on_line(self, who: str, text: str) -> None:
        with self._changed:
            self._lines.append(Line(time.time(), who, text))
            self._narrator.say(who, text)
            self._changed.notify_all()

    @property
    def lines(self) -> list[Line]:
        """Every line that any process has printed so far."""
        for child in list(self._children):
            child.catch_up()
        return self._lines

    def wait_for(self, pattern: str, *, of: Child | None = None) -> Line:
        """Return the first line that matches the regular expression, of one process or of any; see ``wait_until``."""

        def find() -> Line | None:
            lines = (line for line in list(self.lines) if of is None or line.who == of.name)
            return next((line for line in lines if re.search(pattern, line.text)), None)

        return self.wait_until(find, f"no line {pattern!r}", of)

    def wait_until[Found](self, look: Callable[[], Found | None], otherwise: str, of: Child | None = None) -> Found:
        """Return what ``look`` finds; it looks at once, after each new line, and every tenth of a second.

        Raises:
            ChildError: ``otherwise``, when the deadline passed; or a process ended that should not have, or ``of`` did
                before anything was found; the message holds its log.
        """
        deadline = time.monotonic() + DEADLINE
        while True:
            heard, ended = len(self.lines), self._ended(of)
            found = look()
            if found is not None:
                return found
            if ended:
                raise ended.error(f"ended with status {ended.status}")
            if time.monotonic() > deadline:
                otherwise = f"{otherwise} in {DEADLINE:g} s"
                raise of.error(otherwise) if of else ChildError(otherwise)
            with self._changed:
                if len(self._lines) == heard:
                    self._changed.wait(LOOK)

    def _ended(self, awaited: Child | None) -> Child | None:
        """Return a process that has ended and should not have."""
        ended = (child for child in self._children if child.status is not None and child not in self.killed)
        return next((child for child in ended if child.status != 0 or child is awaited), None)

    def finish(self, child: Child) -> None:
        """Wait for the end of a process that ends by itself.

        Raises:
            ChildError: it does not, or not with status 0.
        """
        self.wait_until(lambda: child.status == 0 or None, f"{child.name} did not end")

    def kill(self, child: Child, doing: str) -> Kill:
        """Say it, then ``kill -9`` a process in the middle of what it does."""
        self.say(f"kill -9 {child.pid}   ({child.name}, {doing})")
        self.killed.append(child)
        at = time.time()
        child.kill()
        return Kill(child.name, child.pid, at)

    def promises(self, root: str) -> dict[str, dict[str, Any]]:
        """Return the stored promises whose ids start with ``root``, by id, as the server's API gives them."""
        return {promise["id"]: promise for promise in self._search(f"{root}*") if promise["id"].startswith(root)}

    def _search(self, pattern: str) -> Iterator[dict[str, Any]]:
        query = {"id": pattern}
        while query:
            url = f"{self.server.url}/promises?{urlencode(query)}"
            try:
                with urllib.request.urlopen(url, timeout=DEADLINE) as answer:  # noqa: S310 - http, as the server said
                    page = json.load(answer)
            except OSError as error:
                raise self.server.child.error(f"gives no answer ({error})") from None
            yield from page["promises"]
            query = {"cursor": page["cursor"]} if page["cursor"] else {}

    def answers(self) -> bool:
        """Tell whether a server answers."""
        try:
            with urllib.request.urlopen(f"{self.server.url}/promises?id=*&limit=1", timeout=DEADLINE):  # noqa: S310 - see above
                return True
        except OSError:
            return False

    def show(self, text: str, indent: int = 8) -> None:
        """Print a line of a table, or one to copy; where it does not fit, it goes on behind ``indent`` blanks."""
        self._narrator.plain(text, indent)

    def keep(self) -> None:
        """Print what happens until a signal comes; whoever ends by somebody's hand is no failure now."""
        known = {child for child in self._children if child.status is not None}
        while True:
            with self._changed:
                self._changed.wait(LOOK)
            for child in self._children:
                if child.status is not None and child not in known:
                    known.add(child)
                    self.say(f"{child.name} (pid {child.pid}) has ended with status {child.status}")

    def clear(self) -> None:
        """End all processes but the server; what they held is lost, what the server has stored is not."""
        for child in reversed(self._children):  # as below
            if child is not self.server.child and child.running:
                self.killed.append(child)
                child.kill()

    def close(self) -> None:
        """End every process and remove every file. The processes are made for an end by kill -9, and it is quick."""
        self._narrator.muted = True
        for child in reversed(self._children):  # the server last, or the others complain about its absence
            if child.running:
                child.kill()
        if self._cluster:
            self._cluster.close()
        if self._folder:
            shutil.rmtree(self._folder)


def call_of(promise: dict[str, Any]) -> dict[str, Any]:
    """Return the function and arguments with which a promise was made: ``{"func": name, "args": [...], ...}``."""
    call: dict[str, Any] = json.loads(base64.b64decode(promise["param"]["data"]))
    return call
