"""The prompt as a person uses it: in a terminal, line by line, with Ctrl-C, Ctrl-D and a crash."""

import re
import signal
import sys
from collections.abc import Callable
from typing import cast

import pytest
from calculator_stage import Start, workers
from terminal_stage import Terminal

from calculator.client import Progress
from calculator.prompt import Status, interrupted, leave_the_run
from local_server.testing import Child, LocalServer

ENTER, CTRL_C, CTRL_D, UP = "\r", "\x03", "\x04", "\x1b[A"
RUN = r"run ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
PROMPT = r"❯\s*$"  # noqa: RUF001 - the published example's
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\b]")


class Prompt(Terminal):
    """The prompt in a terminal; what it prints is read without what only moves the cursor."""

    name = "prompt"

    def __init__(self, env: dict[str, str]) -> None:
        argv = [sys.executable, "-m", "calculator.calculator"]
        super().__init__(argv, {"PROMPT_TOOLKIT_NO_CPR": "1", **env}, lines=24, columns=100)
        self._seen = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def line(self, text: str) -> None:
        """Type a line when the prompt asks for one."""
        self.sees(PROMPT)
        self.type(text + ENTER)

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait until what came since the last match matches."""
        match = self.until(lambda: re.compile(pattern).search(CONTROL.sub("", self.output), self._seen))
        self._seen = match.end()
        return match

    def kill(self) -> None:
        self.process.kill()
        self.wait()


@pytest.fixture
def prompt(server: LocalServer, children: list[Child]) -> Callable[[], Prompt]:
    """Open a terminal with a prompt in it."""

    def prompt() -> Prompt:
        terminal = Prompt(server.env)
        children.append(cast("Child", terminal))  # a child as far as that fixture goes
        return terminal

    return prompt


def test_each_line_is_answered_and_a_bad_one_shows_where_it_is_bad(prompt: Callable[[], Prompt], start: Start) -> None:
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


def test_the_arrow_brings_a_line_back_and_ctrl_d_leaves(prompt: Callable[[], Prompt], start: Start) -> None:
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
    terminal.type("99" + CTRL_C)  # nothing runs: it only drops the line
    terminal.sees(PROMPT)
    terminal.type(CTRL_D)
    assert terminal.wait() == 0


@pytest.mark.long
def test_missing_groups_are_named_and_a_run_left_by_ctrl_c_can_be_come_back_to(
    prompt: Callable[[], Prompt], start: Start
) -> None:
    terminal = prompt()
    terminal.line("6 * (3 + 4)")
    run = terminal.sees(RUN).group(1)
    terminal.sees("0 of 7 parts are done, 1 is under way, 6 are to come")
    terminal.sees("nothing from group exp for 3 s, parts waiting for it: 1; .*GRP=exp")
    workers(start, "exp/lhs")
    terminal.sees("3 of 7 parts are done, 3 are under way, 1 is to come")
    terminal.sees("nothing from group ops for 3 s, parts waiting for it: 1; .*GRP=ops")
    terminal.type(CTRL_C)
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
    prompt: Callable[[], Prompt], start: Start
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
