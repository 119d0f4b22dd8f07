"""An offer asks a supplier, and does not wait for ever."""

import signal

from resonate import Resonate
from resonate.errors import ResonateTimedoutError


def offer(ctx, number):
    """Call a function of another group of workers; after three seconds the call fails."""
    try:
        return (yield ctx.rfc("quote", number).options(target="suppliers", timeout=3))
    except ResonateTimedoutError:
        return f"no quote for {number} within 3 s"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    resonate = Resonate.remote(group="offers")
    resonate.register(offer)
    print(resonate.options(target="offers").run("offer-7", offer, 7))
    resonate.stop()
