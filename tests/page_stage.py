"""What the tests of the page share: promises made as the SDK makes them, and where they stand on the page."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from playwright.sync_api import Browser, Locator, Page

from local_server.testing import Child, LocalServer

Start = Callable[..., Child]
Insert = Callable[[Iterator[tuple[str, str, str | None]]], None]


@contextmanager
def opened(chromium: Browser, server: LocalServer) -> Iterator[Page]:
    """Open the page of a server in a fresh profile; a script that fails, or breaks the policy, fails the test."""
    context = chromium.new_context(viewport={"width": 1360, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(server.url)
    yield page
    context.close()
    assert not faults


def create(
    server: LocalServer, promise_id: str, *, parent: str | None = None, param: object = None, **tags: str
) -> None:
    """Create a promise as the SDK does; it waits for ever, since nobody serves it."""
    tags = {key.replace("_", ":"): text for key, text in tags.items()}
    if parent is not None:
        tags["resonate:parent"] = parent
    body = {
        "id": promise_id,
        "timeout": 2**50,
        "tags": tags,
        "param": {"data": b64encode(json.dumps(param).encode()).decode()},
    }
    answer = requests.post(f"{server.url}/promises", json=body, headers={"Idempotency-Key": "key"}, timeout=10)
    answer.raise_for_status()


def resolve(server: LocalServer, promise_id: str) -> None:
    requests.patch(f"{server.url}/promises/{promise_id}", json={"state": "RESOLVED"}, timeout=10).raise_for_status()


def row(page: Page, promise_id: str) -> Locator:
    return page.locator(f"#rows [role=row][data-id={json.dumps(promise_id)}]").first


def run_of(page: Page, promise_id: str) -> Locator:
    return page.locator(f"#root-list li[data-id={json.dumps(promise_id)}] button")
