"""Who serves a group: the local server tells (``GET /ui/workers``); of the official one it is unknown."""

import time

from requests import Request
from resonate.errors import ResonateStoreError
from resonate.stores import RemoteStore

LOOK = 0.1  # seconds for which an answer counts, so that a burst of requests asks once


class Groups:
    """The groups of a server."""

    def __init__(self, store: RemoteStore) -> None:
        """Ask the server of ``store``, with its patience."""
        self._store = store
        self._at = float("-inf")
        self._served: set[str] | None = None

    def missing(self, needed: tuple[str, ...], grace: float = 0) -> list[str]:
        """Return the groups of ``needed`` that nobody serves; none when that is unknown.

        Args:
            needed: the groups.
            grace: seconds for a worker to come that is about to: it prints that it is ready before it is connected.
        """
        deadline = time.monotonic() + grace
        while True:
            served = self._look()
            missing = [] if served is None else [group for group in needed if group not in served]
            if not missing or time.monotonic() >= deadline:
                return missing
            time.sleep(LOOK)

    def _look(self) -> set[str] | None:
        if time.monotonic() - self._at >= LOOK:
            self._served, self._at = self._ask(), time.monotonic()
        return self._served

    def _ask(self) -> set[str] | None:
        try:
            view = self._store.call(Request("GET", f"{self._store.url}/ui/workers").prepare())
        except ResonateStoreError:
            return None
        served = {group["name"] for group in view["groups"] if any(one["connected"] for one in group["workers"])}
        return None if view["more"] else served  # not all workers are listed
