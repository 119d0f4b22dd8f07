"""The clocks of a server, in ms: the time of the wall, and the time that leases count."""

import time

TICK = 500  # ms between two looks at the clocks at most; the wall clock may jump, and the server may have stood still


class Clock:
    """Both clocks.

    The clock of leases stands still when this process does, stopped, suspended or in a slow commit. A worker could not
    be heard meanwhile, so no lease may run out. While the server runs, the clock is read at least once a TICK; what
    passes beyond two of these is not counted.

    Attributes:
        resumed: when the clock of leases began, or last went on after it had stood still, in ms since the epoch.
    """

    def __init__(self) -> None:
        self._read = time.monotonic_ns() // 1_000_000
        self._leases = self._read
        self.resumed = self.wall()

    def wall(self) -> int:
        """Return ms since the epoch: for what people see, time-outs of promises, delays and schedules."""
        return time.time_ns() // 1_000_000

    def leases(self) -> int:
        """Read the clock of leases."""
        read = time.monotonic_ns() // 1_000_000
        if read - self._read > 2 * TICK:
            self.resumed = self.wall()
        self._leases += min(read - self._read, 2 * TICK)
        self._read = read
        return self._leases
