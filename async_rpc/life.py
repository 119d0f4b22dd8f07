"""The life of one process: start, say so, serve until Ctrl-C or SIGTERM, stop. All that the nine services share."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from resonate import Resonate

STOP_SECONDS = 5.0


def live(resonate: Resonate, group: str, node: str, serve: Callable[[], object] | None = None) -> None:
    """Be one node of a group until SIGINT or SIGTERM, then return; a second signal ends the process at once.

    Args:
        resonate: connected to the server, its functions registered; started here, once, in the main thread.
        group: the group of this process, for the ready line.
        node: its id within the group, for the ready line.
        serve: what the main thread does meanwhile; it may return on SystemExit. By default it only waits.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    resonate.start()
    try:
        print(f"{group} is ready: id {node}, pid {os.getpid()}", flush=True)
        (serve or _wait)()
    except SystemExit:
        pass
    # stop() ends the step that runs and stores it, and would wait for ever for a server that is gone.
    guard = threading.Timer(STOP_SECONDS, _give_up, [group])
    guard.daemon = True
    guard.start()
    resonate.stop()


def _wait() -> None:
    while True:
        time.sleep(1)  # in slices: a signal that comes just before one begins does not end it


def _leave(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    raise SystemExit


def _give_up(group: str) -> None:
    print(f"{group}: a task could not be finished within {STOP_SECONDS:g} s; it goes to another node", file=sys.stderr)
    os._exit(1)
