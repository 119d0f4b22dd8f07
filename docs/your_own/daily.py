"""A report each morning at nine: the server starts it, any worker that knows it runs it."""

import json
from threading import Event

from resonate import Resonate


def report(ctx):
    """Run once a day."""
    print("report", ctx.id, flush=True)


def schedule(resonate):
    """Tell the server when to call which function; the same schedule again changes nothing."""
    resonate.schedules.create(
        "daily-report",
        "0 9 * * *",  # in this machine's time; TZ=Europe/Berlin in front names another
        "report-{{.timestamp}}",  # the id of each run
        3_600_000,  # ms that a run may take
        ikey="daily-report",
        promise_data=json.dumps({"func": "report", "args": [], "kwargs": {}, "version": 1}),
        promise_tags={"resonate:invoke": "poll://any@default"},
    )


if __name__ == "__main__":
    resonate = Resonate.remote()
    resonate.register(report)
    resonate.start()
    schedule(resonate)
    Event().wait()
