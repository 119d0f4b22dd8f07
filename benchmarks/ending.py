"""However a benchmark is told to end, by SIGTERM as well, it ends what it has started and removes its folder.

A browser that is killed leaves its profile in the folder for temporary files, and its library complains.
"""

import os
import signal
import sys
import threading
from types import FrameType

import psutil

PATIENCE = 5.0  # seconds for the blocks that clean up, one of which may wait for a process that is gone


def leave_no_process() -> None:
    """Let a signal kill all that descends from this process, and then end it with status 128 + its number."""

    def end(number: int, _frame: FrameType | None) -> None:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        last = threading.Timer(PATIENCE, os._exit, [128 + number])
        last.daemon = True
        last.start()
        sys.exit(128 + number)  # raised in the main thread: folders are removed on the way up

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, end)
