"""Fixtures of the page: a real Chromium that looks at the server of the test."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_stage import Insert
from playwright.sync_api import Browser, Page, expect

from local_server.store.store import Store
from local_server.testing import LocalServer

expect.set_options(timeout=15_000)  # ms; nothing here takes that long, but the machine may be busy


@pytest.fixture
def page(chromium: Browser, server: LocalServer) -> Iterator[Page]:
    """The page of the test's server in a fresh profile; a script that fails, or breaks the policy, fails the test."""
    context = chromium.new_context(viewport={"width": 1360, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(server.url)
    yield page
    context.close()
    assert not faults


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
