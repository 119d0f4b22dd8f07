"""Ask the factorial workers for n!, or for what they have stored of it.

    uv run factorial_client.py 10

The promise `factorial-{n}` is created if it is not there yet; if it is, this attaches to it. So the command can be
ended and given again at any time: nothing is computed twice, and a stored value comes back at once.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until main() handles it, Ctrl-C ends this without a traceback

import argparse
import os
import socket
import sys
import time
from concurrent.futures import wait
from datetime import datetime
from urllib.parse import urlsplit

from requests import Request
from resonate import Handle, Resonate
from resonate.errors import ResonateStoreError
from resonate.stores import RemoteStore

GROUP = "factorial-worker"
CLEAR = "\r\x1b[K" if sys.stderr.isatty() else ""  # takes the line of the cursor away
COME_BACK = 8.0  # seconds in which workers are back when a server was restarted; the SDK waits for 5 of them
LARGEST_N = 5_000  # see docs/factorial.md: what limits it is time and memory, not the depth of the calls

parser = argparse.ArgumentParser(description="Compute n! on the factorial workers.")
parser.add_argument("n", nargs="?", default="5", help=f"an integer from 0 to {LARGEST_N:,} (default: 5)")
parser.add_argument(
    "--no-retry", action="store_true", help="exit when the server is not there, instead of waiting for it"
)


def main() -> int:
    """Print the result; return the exit status: 0, 1 for a failure, 2 for bad input (130 after Ctrl-C)."""
    options = parser.parse_args()
    try:
        n = int(options.n)
    except ValueError:
        n = -1
    if not 0 <= n <= LARGEST_N:
        parser.error(f"n: found {options.n}; expected an integer from 0 to {LARGEST_N}")
    sys.set_int_max_str_digits(0)  # 1,559! has more than the 4,300 digits that Python converts by default
    promise_id = f"factorial-{n}"

    def leave(*_: object) -> None:  # raises nothing: an exception is lost if a finalizer runs just then
        come_back = f"the run goes on without this client; to come back to it: uv run factorial_client.py {n}"
        os.write(sys.stderr.fileno(), f"{CLEAR}Stopped waiting for {promise_id}; {come_back}\n".encode())
        os._exit(130)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    try:
        wait_for_server(retry=not options.no_retry)
        resonate = Resonate.remote(group="factorial-client")
        # Durable: from here on the workers do it, with or without us.
        handle = resonate.options(target=f"poll://any@{GROUP}").begin_rpc(promise_id, "factorial", n)
        wait_for(handle)
        print("Result:", handle.result())
    except ConnectionError as error:
        note(str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - what the function raised is stored, and comes back to every client as it was
        note(f"{promise_id} failed: {type(error).__name__}: {error}")
        note(way_out(promise_id, getattr(error, "promise_id", promise_id)))
        return 1
    return 0


def way_out(promise_id: str, culprit: str) -> str:
    """Say since when a failure is stored, that it stays, and how the number can be computed all the same."""
    try:
        ended = RemoteStore(retry_policy=Once()).promises.get(id=promise_id).completed_on
    except ResonateStoreError:
        ended = None
    since = f" since {datetime.fromtimestamp(ended / 1000).astimezone():%Y-%m-%d %H:%M:%S}" if ended else ""
    anew = f"uv run local-server delete {culprit}, or a server with another --db"
    return f"It is stored{since}, and stays so for every client; to have it computed anew: {anew}"


def wait_for_server(*, retry: bool) -> None:
    """Return when the server listens; say at once that it does not.

    Raises:
        ConnectionError: it does not, and retry is False.
    """
    env = os.environ
    host = env.get("RESONATE_HOST_STORE") or env.get("RESONATE_HOST") or "http://localhost"
    address = urlsplit(f"{host}:{env.get('RESONATE_PORT_STORE', '8001')}")
    told = False
    while True:
        try:
            socket.create_connection((address.hostname, address.port), timeout=5).close()
        except OSError as error:
            message = f"No server at {address.geturl()} ({error}); start one with: uv run local-server"
            if not retry:
                raise ConnectionError(message) from None
            if not told:
                note(f"{message} (waiting for it)")
            told = True
            time.sleep(0.5)
        else:
            return


def wait_for(handle: Handle[int]) -> None:
    """Return when the result is there; on a terminal one line counts the seconds, else a line when they double."""
    began, due, told = time.monotonic(), 0.0, False
    served = -COME_BACK  # when a worker was last seen; that none was ever is said at once
    done = handle.done()  # subscribes: the server tells this client of the result
    while not done:
        done = bool(wait([handle.future], timeout=1).done)
        waited = time.monotonic() - began
        if not done and not told:
            served = served if nobody_serves() else waited
            if told := waited - served >= COME_BACK:
                note(f"Nobody serves the group {GROUP}; start a worker with: uv run factorial_worker.py")
        text = f"{waited:.0f} s: waiting for {handle.id} (Ctrl-C leaves it running)"
        if CLEAR:  # the cursor goes back to the start of the line: whatever is printed next takes its place
            print(CLEAR if done else f"{CLEAR}{text}\r", end="", file=sys.stderr, flush=True)
        elif not done and waited >= due:
            note(text)
            due = 2 * waited


class Once:
    """Asks no second time, and so says nothing of a server that is away."""

    def next(self, _attempt: int) -> None:
        """Return the seconds until the next attempt: there is none."""


def nobody_serves() -> bool:
    """Tell whether the server says that no worker of the group is connected; the official one does not tell."""
    store = RemoteStore(timeout=1, retry_policy=Once())
    try:
        view = store.call(Request("GET", f"{store.url}/ui/workers").prepare())
    except ResonateStoreError:
        return False
    workers = (worker for group in view["groups"] if group["name"] == GROUP for worker in group["workers"])
    return not view["more"] and not any(worker["connected"] for worker in workers)


def note(text: str) -> None:
    """Tell people something that is not the result."""
    print(f"{CLEAR}{text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
