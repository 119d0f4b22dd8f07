"""Time that a test can skip.

The server's clock is put ahead of this machine's; nobody else's is. The SDK reckons every time-out by its own clock, so
a promise comes in with its times by the machine's clock, and every time that goes out is told by that, too: it is put
ahead, or back, by as much as the server's clock is ahead at that moment. For a client, 30 days that were skipped have
made everything that is stored 30 days older. A promise that is created afterwards has its whole time before it.

What is skipped is the time of time-outs, sleeps, delays and schedules. Leases and the time to claim count by the other
clock, which nothing moves: no worker loses anything.
"""

from typing import Any

import msgspec

from local_server.api import replies
from local_server.clock import Clock
from local_server.http.exchange import Exchange
from local_server.listeners import ApiListener

TIMES = {"timeout", "createdOn", "completedOn", "nextRunTime", "lastRunTime"}  # ms since the epoch
DELAY = "resonate:delay"  # a tag: likewise, as text
LATEST = 2**63 - 1


class SkippingClock(Clock):
    """A clock that is ``ahead`` of the machine's by so many ms."""

    ahead = 0

    def wall(self) -> int:
        """Return ms since the epoch."""
        return super().wall() + self.ahead

    def put_to(self, at: int) -> None:
        """Put it forward to that time; never back."""
        self.ahead += max(0, at - self.wall())


class ShiftingListener(ApiListener):
    """The API of a server with such a clock, for clients that have none. The page tells the server's time."""

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        clock, reply = self._engine.clock, exchange.reply
        if not self._page.has(exchange.method, path) and isinstance(clock, SkippingClock):
            exchange.body = shifted(exchange.body, clock.ahead)

            def shifting(status: int, content_type: str, body: bytes, headers: dict[str, str] | None = None) -> None:
                reply(status, content_type, shifted(body, -clock.ahead), headers)

            exchange.reply = shifting  # type: ignore[method-assign]
        super()._answer(exchange, path, query)


def shifted(body: bytes | bytearray, ms: int) -> bytes:
    """Return JSON with every time in it moved by so many ms; anything else as it is."""
    if not ms or not body:
        return bytes(body)
    try:
        return replies.encode(_shifted(msgspec.json.decode(body), ms))
    except ValueError:
        return bytes(body)


def _shifted(content: Any, ms: int) -> Any:
    if isinstance(content, dict):
        return {key: _moved(key, value, ms) for key, value in content.items()}
    return [_shifted(one, ms) for one in content] if isinstance(content, list) else content


def _moved(key: str, value: Any, ms: int) -> Any:
    if key in TIMES and type(value) is int:
        return max(-LATEST, min(value + ms, LATEST))
    if key == DELAY and isinstance(value, str) and value.isdecimal():
        return str(int(value) + ms)
    return _shifted(value, ms)
