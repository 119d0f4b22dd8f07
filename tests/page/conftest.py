"""Fixtures of the page: a real Chromium that looks at the server of the test."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_stage import Insert, opened
from playwright.sync_api import Browser, Page, expect

from local_server.store.store import Store
from local_server.testing import LocalServer

expect.set_options(timeout=15_000)  # ms; nothing here takes that long, but the machine may be busy


@pytest.fixture
def page(chromium: Browser, server: LocalServer) -> Iterator[Page]:
    """The page of the test's server."""
    with opened(chromium, server) as page:
        yield page


@pytest.fixture
def insert(server: LocalServer, tmp_path: Path) -> Insert:
    """Put promises (id, state, parent) into the database of the server, which is started anew."""

    def insert(rows: Iterator[tuple[str, str, str | None]]) -> None:
        server.stop()
        store = Store(tmp_path / "resonate.db")
        store.begin()
        store.db.executemany(
            """INSERT INTO promises (id, state, parent, param, value, timeout, created_on, completed_on)
                SELECT value ->> 0, value ->> 1, value ->> 2, '{}', '{}', 1 << 50, 1000,
                    iif(value ->> 1 = 'PENDING', NULL, 2000) FROM (SELECT ? AS value)""",
            ([json.dumps(row)] for row in rows),
        )
        store.commit()
        store.close()
        server.start()

    return insert
