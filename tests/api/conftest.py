"""The wire is the same whatever the engine of the database: its tests run on each of them."""

from collections.abc import Iterator

import pytest
from wire_client import ended_well

from local_server.testing import LocalServer


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def engine(request: pytest.FixtureRequest) -> str:
    """What the server keeps its promises in."""
    return str(request.param)


@pytest.fixture(scope="module")
def memory_server(request: pytest.FixtureRequest, engine: str) -> Iterator[LocalServer]:
    """A local server for the tests of one module; it must end well, and have logged no fault."""
    where = None if engine == "SQLite" else request.getfixturevalue("postgres").create()
    yield from ended_well(LocalServer(where), request)
