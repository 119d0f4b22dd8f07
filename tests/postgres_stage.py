"""A PostgreSQL of the tests' own: a cluster in a temporary folder, with a database for whoever asks for one."""

from itertools import count
from typing import Any

import psycopg
import pytest

from local_server.testing import postgres


def needs_postgres() -> None:
    """Skip the test where there is no PostgreSQL."""
    try:
        postgres.programs()
    except FileNotFoundError as error:
        pytest.skip(str(error))


class Cluster(postgres.Cluster):
    """A running PostgreSQL, as the kit starts it; the test is skipped where there is none."""

    def __init__(self, **options: Any) -> None:
        self._names = (f"database{number}" for number in count())
        needs_postgres()
        super().__init__(**options)

    def create(self) -> str:
        """Create a database; return its URL."""
        name = next(self._names)
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, sql: str, url: str = "") -> list[tuple[object, ...]]:
        """Run a statement as somebody else; return its rows."""
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []
