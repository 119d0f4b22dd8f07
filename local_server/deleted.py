"""For workers and clients of the SDK: what was deleted and comes again under its id is run, and waited for, anew.

    resonate = Resonate.remote(group="shop")
    run_deleted_anew(resonate)

resonate-sdk 0.6.7 keeps every run that a process has had in hand, by its id, until the process ends. When a run of
that id comes again after it was deleted, the SDK takes it for the one it knows: a worker does nothing, a client gets
the result of before, and a worker in which the deleted run waited for a call ends, as that call is not found.
"""

from typing import TYPE_CHECKING, Any

from resonate import Resonate
from resonate.models.commands import Command, Invoke, Listen, Resume
from resonate.scheduler import Done, More

if TYPE_CHECKING:
    from concurrent.futures import Future


def run_deleted_anew(resonate: Resonate) -> None:
    """Let a process forget a run when the server sends it anew, or somebody waits for it anew; before its start."""
    scheduler: Any = resonate._bridge._scheduler  # noqa: SLF001 - the SDK has no other way, and its version is fixed
    step = scheduler.step

    def forget_and_step(cmd: Command, future: "Future[Any] | None" = None) -> More | Done:
        known = scheduler.computations.get(cmd.cid)
        if known and not known.futures and isinstance(cmd, Invoke | Resume | Listen):
            # The server knows that it is pending. What still runs here is joined, as ever.
            ended = known.result() is not None
            if ended or (isinstance(cmd, Invoke) and known.suspendable()):
                del scheduler.computations[cmd.cid]
        found: More | Done = step(cmd, future)
        return found

    scheduler.step = forget_and_step
