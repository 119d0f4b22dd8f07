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
    db: Path | str | None = Path("resonate.db")  # None: in memory; text: the URL of a database of PostgreSQL
    credentials: tuple[str, str] | None = None  # user, password; guard both listeners
