"""Child processes whose output can be waited for: to be started, watched and killed.

A child's standard output and error are read as they come, and whoever asks for the lines gets all that it has printed
by then: who has seen the effect of a step also sees the line that the child printed before it. Waiting is always for a
condition with a deadline, and ends at once when the child has died, with its log in the error.
"""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

START_DEADLINE = 30.0  # seconds; a Python process with the SDK needs 0.5 on an idle machine


class ChildError(RuntimeError):
    """A child ended, or did not do in time what was waited for; the message holds its log."""


class Child:
    """One running process.

    Attributes:
        name: what people call it, for instance ``worker-1``.
        status: its exit status (negative: the signal that ended it) once it has ended and all it said is in ``lines``.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        """Start it in a process group of its own, so that a Ctrl-C in the terminal reaches only its parent.

        Args:
            name: what to call it in errors and to ``on_line``.
            argv: the command.
            env: set on top of this process's environment.
            cwd: where it runs; by default the folder of this process.
            on_line: called with (name, line) as each line comes, from a thread or by who asks for the lines; it may not
                wait for one who does.
        """
        self.name = name
        self._lines: list[str] = []
        self._begun = b""  # of a line whose end has not come yet
        self._all = False  # no more will come
        self.status: int | None = None
        self._on_line = on_line
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - stdout=PIPE
        self._output = self._process.stdout
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @classmethod
    def python(cls, name: str, *argv: str | Path, **options: object) -> Self:
        """Start a script or ``-m module`` with this interpreter; the pid is then the worker's own, fit for kill -9."""
        return cls(name, [sys.executable, *argv], **options)  # type: ignore[arg-type]

    def _read(self) -> None:
        with self._output:
            while not self._all:
                select.select([self._output], [], [])
                self.catch_up()
        status = self._process.wait()
        with self._changed:
            self.status = status
            self._changed.notify_all()

    def catch_up(self) -> None:
        """Take all that it has printed by now."""
        with self._changed:
            while not self._all and select.select([self._output], [], [], 0)[0]:
                some = os.read(self._output.fileno(), 65_536)
                *ended, self._begun = (self._begun + some).split(b"\n")
                if not some:
                    self._all = True
                    ended += [self._begun] if self._begun else []
                for line in (text.decode(errors="replace").rstrip("\r") for text in ended):
                    self._lines.append(line)
                    if self._on_line:
                        self._on_line(self.name, line)
                self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """Every line it has printed so far, without line ends."""
        self.catch_up()
        return self._lines

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return "\n".join(self.lines)

    def count(self, pattern: str) -> int:
        """Number of lines printed so far that match the regular expression anywhere."""
        return sum(1 for line in list(self.lines) if re.search(pattern, line))

    def wait_for(self, pattern: str, *, times: int = 1, timeout: float = START_DEADLINE) -> re.Match[str]:
        """Wait until ``times`` lines match the regular expression; return the match of the last of these.

        Raises:
            ChildError: it ended, or ``timeout`` seconds passed, before that many lines came.
        """
        deadline = time.monotonic() + timeout
        seen, found = 0, 0
        with self._changed:
            while True:
                lines = self.lines
                for line in lines[seen:]:
                    if match := re.search(pattern, line):
                        found += 1
                        if found == times:
                            return match
                seen = len(lines)
                if self.status is not None:
                    raise self.error(f"ended with {self.status} before {times} x {pattern!r}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self.error(f"printed {found} of {times} x {pattern!r} in {timeout} s")
                self._changed.wait(left)

    def wait(self, timeout: float = START_DEADLINE) -> int:
        """Wait for its end; return the exit status (negative: the signal that ended it).

        Raises:
            ChildError: it still runs after ``timeout`` seconds.
        """
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.error(f"still runs after {timeout} s") from None
        self._reader.join(timeout)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """``kill -9`` and wait for the end; what the examples are made to survive."""
        self._process.kill()
        self.wait()

    def stop(self, timeout: float = 10.0) -> int:
        """Terminate, wait, and only then kill; return the exit status."""
        self._process.terminate()
        try:
            return self.wait(timeout)
        except ChildError:
            self.kill()
            return self.wait()

    def error(self, what: str) -> ChildError:
        """Return the error that says what is wrong with it, with its log."""
        return ChildError(f"{self.name} (pid {self.pid}) {what}; its output:\n{self.output or '(nothing)'}")


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a free port that goes to nobody else, also while the server that is told to listen on it is down."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that sets it too may listen beside it
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
