"""How much of the store a search looks at in one turn: as much as takes some milliseconds, whatever is stored.

A row costs next to nothing or milliseconds, since ids, patterns and tags may be long. So a search begins with few rows,
fewer for a long pattern, and takes more of them a turn as long as that is quick.
"""

import time
from collections.abc import Callable

from local_server.engine import Engine
from local_server.rules.turn import Turn

TURN = 0.005  # seconds
GROWTH = 4  # times as much as in the turn before, at most
COMPARED = 3_000  # ids times characters that are tried with each: some 50 ms if all of the ids are the longest


def tried(pattern: str) -> int:
    """Return how many characters of a pattern are tried at every place of an id: those behind its first star."""
    return len(pattern.partition("*")[2].rstrip("*"))


class Pace:
    """The pace of one search.

    Attributes:
        size: how much the next turn is to look at.
    """

    def __init__(self, most: int, pattern: str = "") -> None:
        """Begin with a tenth of the usual.

        Args:
            most: what is usual.
            pattern: with which the id of each is compared.
        """
        self._most = min(most, COMPARED // max(1, tried(pattern)))
        self.size = max(1, self._most // 10)

    async def ask[T](self, engine: Engine, look: Callable[[Turn], T]) -> T:
        """Return what a look at ``size`` of them finds, in a turn of its own."""
        size = self.size

        def timed(turn: Turn) -> T:
            began = time.perf_counter()
            found = look(turn)
            took = time.perf_counter() - began
            fitting = GROWTH * size if GROWTH * took < TURN else int(size * TURN / took)
            self.size = max(1, min(fitting, self._most))
            return found

        return await engine.ask(timed)
