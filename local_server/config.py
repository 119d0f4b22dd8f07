"""How a server was asked to run."""

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Config:
    """Addresses, data and credentials of one server."""

    host: str = "127.0.0.1"
    port: int = 8001
    poll_port: int = 8002
    db: Path | None = Path("resonate.db")  # None: in memory
    credentials: tuple[str, str] | None = None  # user, password; guard both listeners
    url: str | None = None  # of a database of PostgreSQL; then ``db`` is None
    keep: int | None = None  # ms after which a run that has completed is removed; None: never

    @property
    def data(self) -> str:
        """Where the data is, for people."""
        return self.url or str(self.db or "in memory")
