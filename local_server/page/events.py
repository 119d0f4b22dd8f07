"""The event streams of the open pages, which tell them when to look again.

An event says only that something has changed; the page then asks for what it shows. So a page costs the server a few
bytes of state, however slowly it reads and however much changes, and no request pays for it.
"""

import asyncio

from local_server.engine import Engine
from local_server.http.exchange import Exchange

LOOK = 0.05  # seconds between two looks at whether something has changed, while a page is open
APART = 0.2  # seconds between two events at least
BEAT = 10.0  # seconds after which a page that hears nothing is told that all is well


class Events:
    """The event streams of all open pages; with none open it does nothing at all."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._pages: dict[Exchange, bool] = {}  # to whether it has been told of the latest change
        self._seen = self._state()
        self._told = 0.0  # by the clock of the loop
        self._timer: asyncio.TimerHandle | None = None

    def open(self, exchange: Exchange) -> None:
        """Make the exchange the event stream of a page, which looks at everything once by itself."""
        if not exchange.open_stream("text/event-stream", lambda: self._close(exchange)):
            return
        exchange.write(b"retry: 500\nevent: changed\ndata: \n\n")
        self._pages[exchange] = True
        if self._timer is None:
            self._seen = self._state()
            self._timer = self._loop.call_later(LOOK, self._look)

    def _close(self, exchange: Exchange) -> None:
        self._pages.pop(exchange, None)
        if not self._pages and self._timer:
            self._timer.cancel()
            self._timer = None

    def _state(self) -> tuple[int, int]:
        return self._engine.version, self._engine.workers.moves

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK, self._look)
        state, now = self._state(), self._loop.time()
        if state != self._seen:
            self._seen = state
            self._pages = dict.fromkeys(self._pages, False)
        if now - self._told < APART:
            return
        behind = [page for page, told in self._pages.items() if not told and not page.unsent]
        for page in behind:
            self._pages[page] = True
            page.write(b"event: changed\ndata: \n\n")
        if behind:
            self._told = now
        elif now - self._told > BEAT:
            self._told = now
            for page in self._pages:
                if not page.unsent:
                    page.write(b"event: beat\ndata: \n\n")
