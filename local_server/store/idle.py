"""Whether anything runs: asked by tests that skip time, of a store in memory; it reads every task."""

from local_server.store.database import Database

BUSY = """
SELECT EXISTS (SELECT 1 FROM tasks WHERE kind <> 'notify' AND (
    state IN ('ENQUEUED', 'CLAIMED')
    OR state = 'INIT' AND waits_for LIKE 'poll:%'
    OR state = 'COMPLETED' AND recipient IS NOT NULL AND claimed_on IS NULL AND completed_on > :since))
"""


def is_idle(db: Database, since: int) -> bool:
    """Tell whether no task is sent, claimed, or waits for a worker.

    A task that has ended on its way to a worker counts until ``since``, in ms since the epoch, since its claim may
    still come.
    """
    return not db.execute(BUSY, {"since": since}).fetchone()[0]
