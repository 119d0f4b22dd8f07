"""What the store asks of a database engine; ``sqlite`` has the one, ``postgres`` the other."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class Row(Protocol):
    """A row whose columns are found by their names."""

    def __getitem__(self, name: str) -> Any: ...


class Rows(Protocol):
    """The rows that a statement has found."""

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any:
        """Return the next one as a tuple, None behind the last."""

    def fetchall(self) -> list[Any]:
        """Return all others as tuples."""


class Database(Protocol):
    """A connection to a database; statements are written as SQLite takes them, with named parameters."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @property
    def total_changes(self) -> int:
        """How much was written by this connection: another number after each write."""

    def execute(self, sql: str, values: Mapping[str, Any] = {}, /) -> Rows:
        """Run a statement; only those that find rows, with SELECT or RETURNING, return any."""

    def named(self, sql: str, values: Mapping[str, Any], /) -> list[Row]:
        """Return the rows of a SELECT, for people: their columns have names."""

    def begin(self) -> None:
        """Open a transaction."""

    def commit(self, *, lasting: bool = True) -> bool:
        """Make the transaction durable, at once if it is to last; return whether nothing is left to be synced."""

    def rollback(self) -> None:
        """Take the transaction back."""

    def check(self) -> None:
        """Look whether what is written now can be found again later.

        Raises:
            StoreMovedError: it cannot.
        """

    def servers(self) -> list[tuple[str, bool]]:
        """Return the servers of this database by name, and whether each serves or stands by; none where it is alone."""

    def unsure(self) -> bool:
        """Tell whether the last fault may be that of an earlier statement; if so, the next ones are waited for."""

    def shrink(self) -> bool:
        """Give a little of the space that is unused back, within a transaction; return whether there is more of it."""

    def close(self) -> None:
        """Close the connection."""
