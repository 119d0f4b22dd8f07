"""Signals that end the demo: each at any moment, none at a moment at which something would be left behind."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asks to end; ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.is_ctrl_c = number == signal.SIGINT


class Interrupts:
    """From its creation on, the first signal raises Interrupted in ``raised`` and nowhere else; the others do nothing.

    A process must not be started without being noted, so the exception waits while ``deferred`` lasts. It comes once,
    so nothing interrupts what cleans up after it.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._may_raise = False
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def close(self) -> None:
        """Let no signal change the status any more: a Python that ends gives those it handles their default back."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            self._raise()

    def _raise(self) -> None:
        if self._may_raise and self._number is not None:
            self._may_raise = False
            raise Interrupted(self._number)

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Let a signal end the block, also one that came before it."""
        self._may_raise = True
        try:
            self._raise()
            yield
        finally:
            self._may_raise = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block come to its end first."""
        before, self._may_raise = self._may_raise, False
        try:
            yield
        finally:
            self._may_raise = before
            self._raise()
