"""The life of one process: start, say so, serve until Ctrl-C or SIGTERM, stop. All that the nine services share."""

import os
import signal
import sys
import threading
from collections.abc import Callable

from resonate import Resonate

from local_server.deleted import run_deleted_anew

SIGNALS = {signal.SIGINT, signal.SIGTERM}
STOP_SECONDS = 5


def live(
    resonate: Resonate,
    group: str,
    node: str,
    serve: Callable[[], object] = lambda: None,
    finish: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the step in hand; a second signal ends the process at once.

    Args:
        resonate: connected to the server, its functions registered; started here, once, in the main thread.
        group: the group of this process.
        node: its id within the group.
        serve: starts what else this process serves, in threads of its own.
        finish: returns when that has answered what it was asked.
    """
    who = f"{group}/{node}"
    hold_signals()
    run_deleted_anew(resonate)  # by this process as well
    print(f"{who} is ready, pid {os.getpid()}", flush=True)  # first: the threads to come print as well
    resonate.start()
    serve()
    signal.sigwait(SIGNALS)
    print(f"{who} is stopping", flush=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the second one has its default action
    deadline = threading.Timer(STOP_SECONDS, give_up, [who])
    deadline.daemon = True
    deadline.start()
    finish()
    resonate.stop()  # returns when the step is stored; with the server gone it would wait for ever


def hold_signals() -> None:
    """Let a signal wait, in this thread and in all that it starts, until it is asked for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def give_up(who: str) -> None:
    """End the process without the step in hand; the server gives it to another."""
    print(
        f"{who}: could not finish the step in hand within {STOP_SECONDS} s, it is left to another process",
        file=sys.stderr,
    )
    os._exit(1)
