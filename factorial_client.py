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
from urllib.parse import urlsplit

from resonate import Resonate

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
        os.write(sys.stderr.fileno(), f"Stopped waiting for {promise_id}; {come_back}\n".encode())
        os._exit(130)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    try:
        wait_for_server(retry=not options.no_retry)
        resonate = Resonate.remote(group="factorial-client")
        # Durable: from here on the workers do it, with or without us.
        handle = resonate.options(target="poll://any@factorial-worker").begin_rpc(promise_id, "factorial", n)
        started, done = time.monotonic(), handle.done()
        while not done:
            done = wait([handle.future], timeout=1).done
            if not done:
                waited = time.monotonic() - started
                note(
                    f"{waited:.0f} s: waiting for {promise_id} (Ctrl-C leaves it running; the same command comes back)"
                )
        print("Result:", handle.result())
    except ConnectionError as error:
        note(str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - what the function raised is stored, and comes back to every client as it was
        note(f"{promise_id} failed: {type(error).__name__}: {error}")
        return 1
    return 0


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


def note(text: str) -> None:
    """Tell people something that is not the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
