"""A refund waits until a person has said yes or no, for three days at most."""

import signal

from resonate import Resonate
from resonate.errors import ResonateTimedoutError


def refund(ctx, number):
    """Wait for a promise that nobody's function resolves; its id is how a person finds it."""
    answer = yield ctx.promise(id=f"refund-{number}.approved").options(timeout=3 * 24 * 3600)
    try:
        approved = yield answer
    except ResonateTimedoutError:
        approved = False
    if approved:
        yield ctx.lfc(pay_back, number)
    return f"refund {number} is {'paid' if approved else 'refused'}"


def pay_back(_, number):
    """Do what was approved."""
    print("pay back", number, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    resonate = Resonate.remote(group="refunds")
    resonate.register(refund)
    print(resonate.options(target="refunds").run("refund-7", refund, 7))
    resonate.stop()
