"""The calculator as a person meets it: a prompt, or one expression and its value."""

import os
import signal
import sys
import threading
import time
import uuid
from types import FrameType

from resonate.errors import ResonateError

from calculator.client import Client, LimitError, Progress, RunError, read, stable_id
from calculator.parser import Expr, ParseError, canonical, measure

WELCOME = "Whole numbers, + - * and parentheses. `help` tells what else there is; `quit` or Ctrl-D leaves."
HELP = """\
(1 + 2) * (3 - 4)   is calculated, as a run of its own: whole numbers, + - * and parentheses
Ctrl-C              leaves a run; it goes on without you
attach ID           comes back to the run of that id
attach              comes back to the last run of this prompt
quit                ends the prompt, and so do `exit` and Ctrl-D"""
FAILURES = (ParseError, LimitError, RunError, ResonateError)
PROMPT = "❯ "  # noqa: RUF001 - the published example's
CLEAR = "\r\x1b[K"  # takes the line of the cursor away
SILENCE = 3.0  # seconds without a new value after which the missing groups are named
interrupted = threading.Event()  # Ctrl-C was pressed since the line was read


class Status:
    """The line below a run that takes longer than a second, and a word about workers that do not answer."""

    def __init__(self, expr: Expr) -> None:
        self._total = measure(expr)[0]
        self._last: Progress | None = None
        self._since = 0.0
        self._told: set[str] = set()

    def __call__(self, progress: Progress) -> None:
        """Show it; on a terminal over the line shown before. It is also where a Ctrl-C that got lost is found."""
        if interrupted.is_set():
            raise KeyboardInterrupt
        if progress != self._last:
            self._last, self._since = progress, time.monotonic()
        elif time.monotonic() - self._since >= SILENCE:
            self._tell_of({group: parts for group, parts in progress.waiting.items() if group not in self._told})
        if sys.stderr.isatty():
            done, sent = progress.done, progress.known - progress.done
            text = f"{done} of {self._total} parts {be(done)} done, {sent} {be(sent)} under way"
            if rest := self._total - progress.known:
                text += f", {rest} {be(rest)} to come"
            print(f"{CLEAR}{text}", end="", file=sys.stderr, flush=True)

    def _tell_of(self, waiting: dict[str, int]) -> None:
        """Say once for each group that it does not answer; whether it is slow or absent, nobody but itself can tell."""
        for group, parts in waiting.items():
            self._told.add(group)
            self.clear()
            print(
                f"nothing from group {group} for {SILENCE:.0f} s, parts waiting for it: {parts}; "
                f"its workers are slow, or there are none: GRP={group} uv run calculator",
                file=sys.stderr,
            )

    def clear(self) -> None:
        """Take the line away."""
        if sys.stderr.isatty():
            print(CLEAR, end="", file=sys.stderr, flush=True)


def once(text: str, run_id: str | None, *, fresh: bool) -> int:
    """Print the value of ``text``, or of the run ``run_id``, and nothing else; return the exit status.

    Without ``fresh`` the id is made from the expression: the same question again finds its answer stored.
    """
    client = Client()
    try:
        if run_id:
            leave_at_ctrl_c(run_id)
            expr = client.find(run_id)
        else:
            expr = read(text)
            run_id = str(uuid.uuid4()) if fresh else stable_id(expr)
            leave_at_ctrl_c(run_id)
            client.send(run_id, expr)
        print(value_of(client, run_id, expr))
    except FAILURES as error:
        print(explained(error), file=sys.stderr)
        return 2 if isinstance(error, (ParseError, LimitError)) else 1
    return 0


def leave_at_ctrl_c(run_id: str) -> None:
    """From now on, let Ctrl-C end this process with status 130 and tell the way back to the run, which goes on."""

    def leave(_number: int, _frame: FrameType | None) -> None:  # an exception could get lost in a finalizer
        clear = CLEAR if sys.stderr.isatty() else ""
        told = f"{clear}left; to come back to the run: uv run calculator --id '{run_id}'\n"
        os.write(sys.stderr.fileno(), told.encode())
        os._exit(130)

    signal.signal(signal.SIGINT, leave)


def leave_the_run(_number: int, _frame: FrameType | None) -> None:
    """Leave a run, not the prompt; the exception could get lost in a finalizer, so the status line looks again."""
    interrupted.set()
    raise KeyboardInterrupt


def repeat() -> int:
    """Answer one line after the other, each as a run of its own, until ``quit`` or the end of the input."""
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - half of the time that all else needs to start
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

    signal.signal(signal.SIGINT, leave_the_run)
    client = Client()
    session: PromptSession[str] | None = PromptSession(PROMPT) if sys.stdin.isatty() else None
    print(WELCOME)
    last = ""
    while True:
        try:
            with patch_stdout():  # what the SDK has to say goes above the prompt
                line = (session.prompt() if session else input()).strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0
        if line in ("exit", "quit"):
            return 0
        if line == "help":
            print(HELP)
        elif line == "attach" and not last:
            print("attach: found no id, and no run of this prompt yet; expected attach ID")
        elif line:
            last = answer(client, line, last)


def answer(client: Client, line: str, last: str) -> str:
    """Print the value of a line, or what is wrong with it; return the id of the last run, which may be ``last``."""
    run_id = last
    interrupted.clear()
    try:
        match line.split():
            case ["attach", *ids] if len(ids) <= 1:
                run_id = "".join(ids) or last
                expr = client.find(run_id)
            case _:
                expr = read(line)
                run_id = last = str(uuid.uuid4())
                print(f"run {run_id}")  # known before it is sent: whatever happens, this is the way back
                client.send(run_id, expr)
        last = run_id
        print(f"\n{canonical(expr)}\n= {value_of(client, run_id, expr)}\n")
    except KeyboardInterrupt:
        print(f"left; to come back to the run: attach {run_id}")
    except FAILURES as error:
        print(explained(error))
    return last


def value_of(client: Client, run_id: str, expr: Expr) -> int:
    """Wait for the value of a run, with a status line while it takes its time."""
    status = Status(expr)
    try:
        return client.wait(run_id, status)
    finally:
        status.clear()


def be(count: int) -> str:
    """Return the verb for so many."""
    return "is" if count == 1 else "are"


def explained(error: Exception) -> str:
    """Return what a person is told of an error: one line, and for a text that is no expression where it went wrong."""
    return f"{error}\n{error.picture}" if isinstance(error, ParseError) else str(error).partition("\n")[0]
