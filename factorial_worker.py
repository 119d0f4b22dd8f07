"""A factorial that calls itself across worker processes.

    uv run factorial_worker.py            start several, each in a terminal of its own
    uv run factorial_client.py 10         ask them for 10!

`factorial(n)` asks the group `factorial-worker` for `factorial(n - 1)`; any worker of the group may run it, this one
included. Each call is a durable promise with an id made from its input, `factorial-{n}`: what has been computed once is
never computed again, whichever client asks, and when a worker dies, another runs the step that was in its hands.
"""

import signal

if __name__ == "__main__":
    # During the imports nothing is in hand: Ctrl-C ends the process at once. Before this line, in the 0.05 s in which
    # Python itself starts, it does so with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import logging
import os
import sys
import threading
import time
import uuid

from resonate import Resonate
from resonate.errors import ResonateCanceledError, ResonateTimedoutError

from local_server.deleted import run_deleted_anew

SIGNALS = {signal.SIGINT, signal.SIGTERM}
STOP_SECONDS = 5

parser = argparse.ArgumentParser(description="Run steps of factorials until Ctrl-C or SIGTERM.")
parser.add_argument(
    "--id", default=f"worker-{uuid.uuid4().hex[:8]}", help="name of this worker (default: a random one)"
)
parser.add_argument(
    "--delay", type=float, default=0, metavar="SECONDS", help="work that long at each step, to be killed in"
)
options = parser.parse_args(None if __name__ == "__main__" else [])
if not 0 <= options.delay < threading.TIMEOUT_MAX:
    parser.error(f"--delay: found {options.delay}; expected seconds, 0 or more")

sys.set_int_max_str_digits(0)  # 1,559! has more than the 4,300 digits that Python converts by default
# Of an error the SDK would print a line for each step above it, a thousand for one call that somebody has canceled.
resonate = Resonate.remote(group="factorial-worker", pid=options.id, log_level=logging.CRITICAL)
run_deleted_anew(resonate)  # what somebody deletes can be computed again, by this process as well


@resonate.register
def factorial(ctx, n):
    """Return n!, leaving all factors but one to another call."""
    print(f"Calculating factorial of {n}", flush=True)
    time.sleep(options.delay)
    if n <= 1:
        return 1
    # Durable: the call is stored before anybody runs it, and this step lets go of its worker. With the result stored
    # it goes on behind the yield; if this worker is dead by then, another runs the function again up to here.
    below = f"factorial-{n - 1}"
    try:
        result = yield ctx.rpc("factorial", n - 1).options(target="poll://any@factorial-worker", id=below)
    except (ResonateCanceledError, ResonateTimedoutError) as error:
        if error.promise_id == below:
            print(f"{error.mesg}, so whatever needs it fails", file=sys.stderr, flush=True)
        raise
    return n * result  # durable: stored as the value of factorial-{n}


def main() -> None:
    """Serve until SIGINT or SIGTERM, then finish the step in hand; a second signal ends the process at once."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # in this thread and all that it starts: a signal waits
    print(f"{options.id} is ready, pid {os.getpid()}", flush=True)  # first: the threads to come print as well
    resonate.start()
    signal.sigwait(SIGNALS)
    print(f"{options.id} is stopping", flush=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the second one has its default action
    deadline = threading.Timer(STOP_SECONDS, give_up)
    deadline.daemon = True
    deadline.start()
    resonate.stop()  # returns when the step is stored; with the server gone it would wait for ever


def give_up() -> None:
    """End the process without the step in hand; the server gives it to another."""
    print(
        f"{options.id}: could not finish the step in hand within {STOP_SECONDS} s, it is left to another process",
        file=sys.stderr,
    )
    os._exit(1)


if __name__ == "__main__":
    main()
