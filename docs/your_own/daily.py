"""A report each morning at nine: the server starts it, any worker that knows it runs it."""

import json
import signal
from threading import Event

from resonate import Resonate


def report(ctx):
    """Run once a day."""
    print("report", ctx.id, flush=True)


def schedule(resonate, group):
    """Tell the server when a group is to run what; the same schedule again changes nothing."""
    resonate.schedules.create(
        "daily-report",
        "0 9 * * *",  # in this machine's time; TZ=Europe/Berlin in front names another
        "report-{{.timestamp}}",  # the id of each run
        3_600_000,  # ms that a run may take
        ikey="daily-report",
        promise_data=json.dumps({"func": "report", "args": [], "kwargs": {}, "version": 1}),
        promise_tags={"resonate:invoke": f"poll://any@{group}"},
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    resonate = Resonate.remote(group="reports")
    resonate.register(report)
    resonate.start()
    schedule(resonate, "reports")
    Event().wait()
