"""The prompt as a person uses it: in a terminal, line by line, with Ctrl-C, Ctrl-D and a crash."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import cast

import pytest
from calculator_stage import Start, workers

from calculator.client import Progress
from calculator.prompt import Status, interrupted, leave_the_run
from demo.stage import ROOT
from local_server.testing import START_DEADLINE, Child, LocalServer

ENTER, CTRL_C, CTRL_D, UP = "\r", "\x03", "\x04", "\x1b[A"
RUN = r"run ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
PROMPT = r"❯\s*$"  # noqa: RUF001 - the published example's
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\b]")


class Terminal:
    """A calculator in a pseudo-terminal of its own, which turns Ctrl-C into SIGINT as any terminal does."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self.name = name
        self._keys, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self._process = subprocess.Popen(
            # A session's first process owns the terminal that it opens: hence the shell, which becomes the calculator.
            [
                "/bin/sh",
                "-c",
                'exec "$@" <"$0" >"$0" 2>&1',
                os.ttyname(end),
                sys.executable,
                "-m",
                "calculator.calculator",
            ],
            stdin=end,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **env},
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(end)
        self.output, self._seen = "", 0
        self._came = threading.Condition()
        threading.Thread(target=self._read, name=f"terminal of {name}", daemon=True).start()

    def _read(self) -> None:
        raw = b""
        try:
            while chunk := os.read(self._keys, 65536):
                raw += chunk
                with self._came:
                    self.output = CONTROL.sub("", raw.decode(errors="ignore"))
                    self._came.notify_all()
        except OSError:
            pass  # how Linux reports that the last process has left the terminal

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def keys(self, text: str) -> None:
        os.write(self._keys, text.encode())

    def line(self, text: str) -> None:
        """Type a line when the prompt asks for one."""
        self.sees(PROMPT)
        self.keys(text + ENTER)

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait until what came since the last match matches."""
        deadline = time.monotonic() + START_DEADLINE
        with self._came:
            while not (match := re.compile(pattern).search(self.output, self._seen)):
                assert self.running, f"ended before {pattern!r}"
                assert self._came.wait(deadline - time.monotonic()), f"{pattern!r} did not come"
            self._seen = match.end()
            return match

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        return self._process.wait(START_DEADLINE)


@pytest.fixture
def prompt(server: LocalServer, children: list[Child]) -> Callable[[], Terminal]:
    """Open a terminal with a prompt in it."""

    def prompt() -> Terminal:
        terminal = Terminal("prompt", server.env)
        children.append(cast("Child", terminal))  # a child as far as that fixture goes
        return terminal

    return prompt


def test_each_line_is_answered_and_a_bad_one_shows_where_it_is_bad(
    prompt: Callable[[], Terminal], start: Start
) -> None:
    workers(start, "exp/lhs", "exp/rhs", "ops/1")
    terminal = prompt()
    terminal.line("attach")
    terminal.sees("attach: found no id, and no run of this prompt yet; expected attach ID")
    terminal.line("help")
    terminal.sees("attach +comes back to the last run of this prompt")
    terminal.line("(1 + 2) * (3 - 4)")
    terminal.sees(RUN)
    terminal.sees(r"\(1\+2\)\*\(3-4\)\n= -3\n")
    terminal.line("1 $ 2")
    terminal.sees(r"position 3: found '\$', expected \+, -, \* or the end\n    1 \$ 2\n      \^\n")
    terminal.line("")
    terminal.line("1 + (2")
    terminal.sees(r"position 7: found the end, expected .* the \) of the \( at position 5")
    terminal.line("-2 * 3")
    terminal.sees("= -6\n")
    terminal.line("quit")
    assert terminal.wait() == 0


def test_the_arrow_brings_a_line_back_and_ctrl_d_leaves(prompt: Callable[[], Terminal], start: Start) -> None:
    workers(start, "exp/lhs", "ops/1")
    terminal = prompt()
    terminal.line("20 + 2")
    first = terminal.sees(RUN).group(1)
    terminal.sees("= 22\n")
    terminal.line(f"{UP}0")  # the line before, and one more digit
    second = terminal.sees(RUN).group(1)
    terminal.sees("= 40\n")
    assert first != second
    terminal.sees(PROMPT)
    terminal.keys("99" + CTRL_C)  # nothing runs: it only drops the line
    terminal.sees(PROMPT)
    terminal.keys(CTRL_D)
    assert terminal.wait() == 0


def test_missing_groups_are_named_and_a_run_left_by_ctrl_c_can_be_come_back_to(
    prompt: Callable[[], Terminal], start: Start
) -> None:
    terminal = prompt()
    terminal.line("6 * (3 + 4)")
    run = terminal.sees(RUN).group(1)
    terminal.sees("0 of 7 parts are done, 1 is under way, 6 are to come")
    terminal.sees("nothing from group exp for 3 s, parts waiting for it: 1; .*GRP=exp")
    workers(start, "exp/lhs")
    terminal.sees("3 of 7 parts are done, 3 are under way, 1 is to come")
    terminal.sees("nothing from group ops for 3 s, parts waiting for it: 1; .*GRP=ops")
    terminal.keys(CTRL_C)
    terminal.sees(f"left; to come back to the run: attach {run}")
    terminal.line("attach nowhere")
    terminal.sees("cannot find the run 'nowhere'")
    terminal.line("attach")
    terminal.sees("3 of 7 parts are done, 3 are under way, 1 is to come")
    workers(start, "ops/1")
    terminal.sees(r"6\*\(3\+4\)\n= 42\n")
    terminal.line("exit")
    assert terminal.wait() == 0


def test_a_run_outlives_its_prompt_and_the_next_prompt_comes_back_to_it(
    prompt: Callable[[], Terminal], start: Start
) -> None:
    (ops,) = workers(start, "ops/1", delay=2)
    workers(start, "exp/lhs", "exp/rhs")
    first = prompt()
    first.line("2 * 3 + 4")
    run = first.sees(RUN).group(1)
    ops.wait_for(r"ops/1: 2 \* 3")
    first.kill()
    second = prompt()
    second.line(f"attach {run}")
    second.sees(r"2\*3\+4\n= 10\n")
    assert ops.count(r"2 \* 3") == ops.count(r"6 \+ 4") == 1
    second.line("exit")
    assert second.wait() == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # that is how the first one gets lost
def test_a_ctrl_c_that_python_loses_in_a_finalizer_still_leaves_the_run() -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, leave_the_run)
    try:
        Finalized()  # is gone at once; its KeyboardInterrupt is told on stderr, and ignored
        with pytest.raises(KeyboardInterrupt):
            Status(1)(Progress(0, 1, {}))
    finally:
        signal.signal(signal.SIGINT, before)
        interrupted.clear()
