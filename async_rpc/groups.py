"""Who serves a group, and for which one a call waits: the local server tells; of the official one it is unknown."""

import time
from typing import Any

from requests import Request
from resonate.errors import ResonateStoreError
from resonate.stores import RemoteStore

LOOK = 0.1  # seconds for which an answer counts, so that a burst of requests asks once
NOBODY = "waits: nobody in "  # before the name of a group, in the tree of a call


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

    def awaited(self, promise: str) -> list[str]:
        """Return the groups that nobody serves and a call, or one below it, waits for; none when that is unknown."""
        tree = self._view(f"tree/{promise}")
        waits = [node.get("where", "") for node in tree["nodes"]] if tree else []
        return list(dict.fromkeys(text.removeprefix(NOBODY) for text in waits if text.startswith(NOBODY)))

    def _look(self) -> set[str] | None:
        if time.monotonic() - self._at >= LOOK:
            self._served, self._at = self._ask(), time.monotonic()
        return self._served

    def _ask(self) -> set[str] | None:
        view = self._view("workers")
        if view is None or view["more"]:  # not all workers are listed
            return None
        return {group["name"] for group in view["groups"] if any(one["connected"] for one in group["workers"])}

    def _view(self, path: str) -> Any:
        try:
            return self._store.call(Request("GET", f"{self._store.url}/ui/{path}").prepare())
        except ResonateStoreError:
            return None
