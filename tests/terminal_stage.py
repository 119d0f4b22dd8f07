"""A command in a pseudo-terminal, for what it does only where there is a person."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

from demo.stage import ROOT

DEADLINE = 100.0


class Terminal:
    """A command in a pseudo-terminal of its own, which turns Ctrl-C into SIGINT as any terminal does."""

    def __init__(
        self, argv: list[str], env: dict[str, str], *, lines: int = 0, columns: int = 0, cwd: Path = ROOT
    ) -> None:
        """Start it; a terminal of 0 lines and columns is one that does not know its size."""
        self.output = ""
        self._ended = False  # and all that it said is there
        self._came = threading.Condition()
        self._keys, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # The first process of a session owns the terminal that it opens: hence the shell, which becomes the command.
        shell = ["/bin/sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(end)]
        told = ("LINES", "COLUMNS")  # the size of another terminal, which readline leaves to all that comes after it
        here = {name: value for name, value in os.environ.items() if name not in told}
        self.process = subprocess.Popen(
            [*shell, *argv], stdin=end, cwd=cwd, env={**here, "TERM": "xterm", **env}, start_new_session=True
        )
        os.close(end)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        raw, chunk = b"", b" "
        while chunk:
            try:
                chunk = os.read(self._keys, 65536)
            except OSError:  # how Linux reports that the last process has left the terminal
                chunk = b""
            raw += chunk
            with self._came:
                self.output, self._ended = raw.decode(errors="ignore"), not chunk
                self._came.notify_all()
        os.close(self._keys)

    def wait_for(self, text: str) -> None:
        """Wait until it has printed something."""
        self.until(lambda: text in self.output)

    def until[Found](self, look: Callable[[], Found]) -> Found:
        """Return what is found in its output; look again whenever it has printed more."""
        deadline = time.monotonic() + DEADLINE
        with self._came:
            while not (found := look()):
                assert not self._ended, self.output
                assert self._came.wait(deadline - time.monotonic()), self.output
            return found

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._keys, text.encode())

    def wait(self) -> int:
        """Return the exit status of the command when it has ended, and all that it said is there."""
        self._reader.join(DEADLINE)
        return self.process.wait(DEADLINE)

    def press_ctrl_c(self) -> int:
        """Press it, and return the exit status of the command."""
        self.type("\x03")
        return self.wait()
