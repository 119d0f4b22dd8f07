"""What connections may take: time, number and bytes. Whoever takes more is closed, so that the others are not harmed.

==================  =====================================================  ==========================================
limit               of                                                     beyond it
==================  =====================================================  ==========================================
HEAD_TIME           a request's head, from the first byte or the           408; without a byte it is closed
                    beginning of the connection
BODY_TIME           its body, and a second more for each 64 KiB of it      500, which the SDK repeats
IDLE_TIME           a connection between two requests                      closed
SEND_TIME           a client that takes nothing of its answer              closed
MAX_HEAD            bytes of a head                                        431
MAX_BODY            bytes of a body                                        413, or the call fails (``api/oversize``)
RECEIVING           bytes of all bodies that are not answered yet          500 for the one that did not grow for
                                                                           longest, of the unfinished
STREAM_UNSENT       bytes of one stream that its client has not taken, if  cut
                    it has taken none for STALL_TIME
SENDING             bytes of all answers that clients have not taken       the largest is cut
``descriptors``     connections: three quarters                            the one whose time is up next is closed
                    streams: likewise, but for FOR_CALLS                   closed
                    processes of workers: a quarter                        these are looked at now and then
==================  =====================================================  ==========================================

Nothing is answered where the SDK could take the answer for a fault and end its process: it repeats a call when the
connection breaks and when the status is 500, and on nothing else. An event stream has no limit in time.
"""

import asyncio
import contextlib
import ctypes
import logging
from collections import Counter
from math import inf
from typing import Final, Protocol

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

# In seconds.
HEAD_TIME: Final = 10.0
BODY_TIME: Final = 30.0
IDLE_TIME: Final = 75.0
SEND_TIME: Final = 30.0
STALL_TIME: Final = 2.0
LINGER_TIME: Final = 2.0  # for the client to close, when it was answered in the middle of a request
LOOK_EVERY: Final = 1.0  # between two looks at the time of all connections
GIVE_BACK: Final = 5.0  # until what large bodies took is given back, if none come meanwhile
APART: Final = 10.0  # between two lines of the log about the same

# In bytes.
MAX_HEAD: Final = 64 * 2**10
MAX_BODY: Final = 64 * 2**20
MAX_DROPPED: Final = 2**30  # of a body that is too large: it is read before the answer, which else would not arrive
BEGINNING: Final = 64 * 2**10  # of a body that is too large: this is kept, it tells which promise it is about
BODY_RATE: Final = 64 * 2**10  # a second
RECEIVING: Final = 256 * 2**20
STREAM_UNSENT: Final = 8 * 2**20
MANY: Final = 2**20  # of one body: behind it there is memory to be given back
SENDING: Final = 512 * 2**20

# In descriptors.
MOST: Final = 16_384
FOR_CALLS: Final = 128  # streams do not take these
SPARE: Final = 64  # connections do not take these: the database, /proc


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open files as far as it may; return what it is then."""
    if resource is None:
        return MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return MOST if soft == resource.RLIM_INFINITY else soft


def give_back() -> None:
    """Give back what glibc keeps of freed memory; it takes some milliseconds."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class Limited(Protocol):
    """A connection, as far as its limits are concerned."""

    expires: float

    @property
    def waiting(self) -> bool:
        """Whether it waits for its client, and is no event stream."""

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""

    def out_of_time(self) -> None:
        """Act on its time being over."""

    def give_up(self, why: str) -> None:
        """Do without the body of a request."""

    def close(self) -> None:
        """Close when the client has taken what it was sent."""

    def cut(self, why: str = "") -> None:
        """Close at once; ``why`` is for the log."""


class Limits:
    """All connections of a server, and what they take together.

    Attributes:
        for_processes: how many processes may be watched by a descriptor each.
        connections: those that are open, the oldest first.
        clock: seconds for which the server has run; it stands still while the server does, so that nobody is late then.
        slow: connections that have more to take than the system keeps for them.
    """

    def __init__(self, descriptors: int) -> None:
        """Limit connections so that the process has never more than this many open files."""
        self.for_processes = min(descriptors, MOST) // 4
        self._most = min(descriptors, MOST) - self.for_processes - SPARE
        self._streams: set[Limited] = set()
        self.connections: dict[Limited, None] = {}
        self.clock = 0.0
        self.slow: set[Limited] = set()
        self._closed = False
        self._unfinished: dict[Limited, int] = {}  # to bytes of a body; who was silent longest is the first
        self._whole: dict[Limited, int] = {}  # likewise, of bodies that are being handled
        self._received = 0  # the sum of both
        self._give_back = inf  # when, by ``clock``
        self._loop = asyncio.get_running_loop()
        self._looked = 0.0  # by the clock of the loop
        self._timer: asyncio.TimerHandle | None = None
        self._noted: Counter[str] = Counter()  # what is to be logged, and how often it happened
        self._logged: dict[str, float] = {}  # to the time by ``clock``

    # number

    def add(self, connection: Limited) -> None:
        """Take a connection; close another one if there are too many."""
        if self._closed:
            connection.cut()
            return
        self.connections[connection] = None
        if self._timer is None:
            self._looked = self._loop.time()
            self._timer = self._loop.call_later(LOOK_EVERY, self._look)
        if len(self.connections) > self._most:
            waiting = [one for one in self.connections if one.waiting]
            min(waiting, key=lambda one: one.expires).cut("too many connections")

    def remove(self, connection: Limited) -> None:
        """Forget a connection that has closed."""
        self.connections.pop(connection, None)
        self.slow.discard(connection)
        self._streams.discard(connection)
        self.release(connection)

    def may_stream(self, connection: Limited) -> bool:
        """Tell whether a connection may become a stream, and count it."""
        if len(self._streams) >= self._most - FOR_CALLS:
            return False
        self._streams.add(connection)
        return True

    # bytes

    def hold(self, connection: Limited, size: int) -> None:
        """Note that so many bytes of a connection's body are here; do without another's if that is too much in all."""
        self._received += size - self._unfinished.pop(connection, 0)
        self._unfinished[connection] = size
        if size > MANY:
            self._give_back = self.clock + GIVE_BACK
        while self._received > RECEIVING and self._unfinished and len(self._unfinished) + len(self._whole) > 1:
            silent = next(iter(self._unfinished))
            self.release(silent)
            silent.give_up("too many bytes of unfinished requests")

    def keep(self, connection: Limited) -> None:
        """Note that a connection's body is whole, and needed until it is answered."""
        if connection in self._unfinished:
            self._whole[connection] = self._unfinished.pop(connection)

    def release(self, connection: Limited) -> None:
        """Note that a connection's body is handled, or gone."""
        self._received -= self._unfinished.pop(connection, 0) + self._whole.pop(connection, 0)

    def check_unsent(self) -> None:
        """Cut the connection that has most to take, if that is too much in all."""
        sizes = {one: one.unsent for one in self.slow}
        unsent = sum(sizes.values())
        if unsent > SENDING:
            max(sizes, key=lambda one: sizes[one]).cut("too many bytes that clients do not take")

    # time

    def _look(self) -> None:
        """Close whose time is over."""
        looked, self._looked = self._looked, self._loop.time()
        self.clock += min(self._looked - looked, 2 * LOOK_EVERY)
        for connection in [one for one in self.connections if one.expires <= self.clock]:
            connection.out_of_time()
        for what in list(self._noted):
            if self.clock - self._logged.get(what, -APART) >= APART:
                self._logged[what] = self.clock
                logger.warning("%d connections closed: %s", self._noted.pop(what), what)
        if self._give_back <= self.clock:
            self._give_back = inf
            give_back()
        more = self.connections or self._noted or self._give_back < inf
        self._timer = self._loop.call_later(LOOK_EVERY, self._look) if more else None

    def note(self, what: str) -> None:
        """Log why a connection was closed: a line for all that were closed for that within some seconds."""
        self._noted[what] += 1

    def close(self) -> None:
        """Close all connections, those that still come too, and stop looking."""
        self._closed = True
        for connection in list(self.connections):
            connection.close()
        if self._timer:
            self._timer.cancel()
