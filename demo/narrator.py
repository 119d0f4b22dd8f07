"""What a play prints: one line per event, a name and a colour per process, plain where there is no terminal."""

import os
import re
import shutil
import signal
import sys
import textwrap
import threading
import time
from itertools import cycle

DEMO = "demo"  # its own voice
COLORS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")  # ANSI; neither black nor white nor red
HIDDEN = re.compile(r"^Local server is ready|^\d+ s: waiting for ")  # said already, or said every second
# The rest of an id that is a UUID, and what a log puts in front of a line: the line has a time and a name here.
LEFT_OUT = re.compile(r"(?<=[0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}|^\[[-\d :,]+\] INFO in \w+: ")
WIDTH = 12  # of the longest name
TEXT = 7 + WIDTH + 1  # the column at which a text begins
NARROW = 40  # columns; in less than that nothing can be wrapped


class Narrator:
    """Prints lines from any thread, in the order in which they come."""

    def __init__(self) -> None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a latin-1 terminal is no reason to fail
        self._color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._colors = cycle(COLORS)
        self._color_of = {DEMO: "1"}
        self._wraps = sys.stdout.isatty()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.muted = False

    def say(self, who: str, text: str) -> None:
        """Print a line of one process, behind the seconds since the start and its name."""
        if HIDDEN.search(text):
            return
        with self._lock:
            text = LEFT_OUT.sub("", text).removeprefix(
                f"{who.partition(' ')[0]}: "
            )  # many workers say their names themselves
            line = self._wrapped(f"{time.monotonic() - self._started:5.1f}  {who:{WIDTH}} {text}", TEXT)
            if self._color:
                color = self._color_of.get(who) or self._color_of.setdefault(who, next(self._colors))
                line = f"\x1b[{color}m{line}\x1b[0m"
            self._print(line)

    def plain(self, text: str, indent: int) -> None:
        """Print a line without time and name; where it does not fit, it goes on behind ``indent`` blanks."""
        with self._lock:
            self._print(self._wrapped(text, indent))

    def _wrapped(self, line: str, indent: int) -> str:
        """Break a line between words where the terminal would break it anywhere; a pipe gets it whole."""
        columns = shutil.get_terminal_size((0, 0)).columns if self._wraps else 0
        if columns < NARROW or len(line) <= columns:
            return line
        return textwrap.fill(
            line, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )

    def _print(self, line: str) -> None:
        if self.muted:
            return
        try:
            print(line, flush=True)
        except OSError:  # the terminal has been closed, or the reader of the pipe has left
            self.muted = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os.kill(os.getpid(), signal.SIGHUP)  # nobody watches: the same end as when the terminal says so
