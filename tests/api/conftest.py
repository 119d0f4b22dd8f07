"""The wire is the same whatever the engine of the database: its tests run on each of them."""

import pytest


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def engine(request: pytest.FixtureRequest) -> str:
    """What the server keeps its promises in."""
    return str(request.param)
