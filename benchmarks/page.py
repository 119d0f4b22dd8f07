"""What the page of the local server costs, and how quick it is, with 100,000 promises in the store.

    uv run benchmarks/page.py

Needs Chromium (`sudo apt-get install chromium`, or its path in CHROMIUM). Starts a server on a file in a temporary
folder. Exits 1 if, at the median, the first paint takes 1 s or more, or the list takes 300 ms or more to show a search
or a filter, or a change takes 300 ms or more to be seen.
"""

import http.client
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
from ending import leave_no_process
from playwright.sync_api import Browser, Page, sync_playwright

from local_server.store.store import Store
from local_server.testing import LocalServer

PROMISES = 100_000
LEVELS = 1_000
ROUNDS = 10
WRITES = 1_500  # of each measurement of the request path
PARAM = '{"data":"eyJmdW5jIjoid29yayIsImFyZ3MiOlsxXX0="}'  # {"func":"work","args":[1]}
SHOWN = """([act, expected]) => new Promise((resolve) => {
    const began = performance.now();
    const look = () => {
        const items = document.querySelectorAll("#root-list li");
        if (items.length === expected[0] && (items[0]?.dataset.id ?? null) === expected[1])
            resolve(performance.now() - began);
        else requestAnimationFrame(look);
    };
    const [name, value] = act;
    const field = document.querySelector(name === "q" ? "#search" : `[name=${name}][value="${value}"]`);
    if (name === "q") {
        field.value = value;
        field.dispatchEvent(new Event("input"));
    } else field.click();
    look();
})"""
SEEN = """() => {
    window.seen = {};
    const note = (item) => { if (item.dataset?.id?.startsWith("change-")) window.seen[item.dataset.id] = Date.now(); };
    new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(note)))
        .observe(document.getElementById("root-list"), { childList: true });
}"""


class Results:
    """Prints what is measured, and keeps what is too slow."""

    def __init__(self) -> None:
        self.slow: list[str] = []

    def add(self, name: str, ms: list[float], limit: float | None = None) -> None:
        """Print one row; with a limit in ms, hold the median to it."""
        middle = statistics.median(ms)
        print(f"{name:<58} {middle:8.1f} ms  ({min(ms):.1f} to {max(ms):.1f})", flush=True)
        if limit is not None and middle >= limit:
            self.slow.append(f"{name}: {middle:.0f} ms, the limit is {limit:.0f} ms")


def fill(path: Path) -> None:
    """Store many roots, one of a thousand pending, and below the newest a chain of calls."""
    store = Store(path)
    store.begin()
    sql = """INSERT INTO promises (id, state, parent, param, value, timeout, tags, created_on, completed_on)
        VALUES (?, ?, ?, ?, '{}', 1 << 60, '{"resonate:invoke":"poll://any@g"}', 1000, ?)"""
    store.db.executemany(
        sql,
        (
            (f"job-{n}", "PENDING", None, PARAM, None)
            if n % 1_000 == 0
            else (f"job-{n}", "RESOLVED", None, PARAM, 1005)
            for n in range(PROMISES)
        ),
    )
    for n in range(LEVELS, 0, -1):
        store.db.execute(sql, (f"f-{n}", "RESOLVED", f"f-{n + 1}" if n < LEVELS else None, PARAM, 1005))
    store.commit()
    store.close()


def ask(url: str, method: str, path: str, body: str | None = None) -> dict[str, object]:
    """Send one request on a connection of its own, and return the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, path, body)
    answer: dict[str, object] = json.load(connection.getresponse())
    connection.close()
    return answer


def create(url: str, promise_id: str) -> None:
    """Create one promise."""
    ask(url, "POST", "/promises", f'{{"id":"{promise_id}","timeout":{2**60}}}')


def write(url: str, name: str) -> list[float]:
    """Create promises one after the other; return what each took in ms."""
    times = []
    for n in range(WRITES):
        began = time.perf_counter()
        create(url, f"{name}-{n}")
        times.append((time.perf_counter() - began) * 1000)
    return times


def first_paint(browser: Browser, url: str) -> tuple[float, float]:
    """Return the ms until something is painted, and until the list of runs and the newest tree are there."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("#rows [role=row]")
        listed: float = page.evaluate("performance.now()")
        paint: float = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    return paint, listed


def heap(page: Page) -> float:
    """Return the MiB that the page's scripts hold after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used / 2**20


def measure(browser: Browser, server: LocalServer, results: Results) -> None:
    """Run every measurement."""
    paints = [first_paint(browser, server.url) for _ in range(ROUNDS)]
    results.add("first paint", [paint for paint, _ in paints], 1_000)
    results.add(f"list and tree of {LEVELS} levels are there", [listed for _, listed in paints], 1_000)
    page = browser.new_page()
    page.goto(server.url)
    page.wait_for_selector("#rows [role=row]")
    for name, act, undo, expected in (
        ("search for a part of an id", ("q", "job-77"), ("q", ""), [50, "job-77999"]),
        ("search that finds nothing", ("q", "nowhere"), ("q", ""), [0, None]),
        ("filter by pending", ("state", "pending"), ("state", ""), [50, f"job-{PROMISES - 1_000}"]),
        ("filter that finds nothing (rejected)", ("state", "rejected"), ("state", ""), [0, None]),
    ):
        times = []
        for _ in range(ROUNDS):
            times.append(page.evaluate(SHOWN, [act, expected]))
            page.evaluate(SHOWN, [undo, [50, f"f-{LEVELS}"]])
        results.add(name, times, 300)

    page.evaluate(SEEN)
    for n in range(3 * ROUNDS):
        page.wait_for_timeout(137)  # so that the changes fall anywhere between two looks
        create(server.url, f"change-{n}")
    page.wait_for_function("() => window.seen['change-29']")
    seen: dict[str, float] = page.evaluate("seen")
    late = [seen[name] - float(str(ask(server.url, "GET", f"/promises/{name}")["createdOn"])) for name in seen]
    results.add("a change is seen", late, 300)

    rows: dict[str, list[float]] = {"without a page": [], "with a page open": []}
    for n in range(3):
        page.goto(server.url)
        rows["with a page open"] += write(server.url, f"open-{n}")
        page.goto("about:blank")
        rows["without a page"] += write(server.url, f"closed-{n}")
    for name, times in rows.items():
        results.add(f"a request, {name}", times)

    page.goto(server.url)
    page.wait_for_selector("#rows [role=row]")
    before, asked, began = heap(page), [], time.perf_counter()
    page.on("request", lambda request: asked.append(request.url) if "/ui/roots" in request.url else None)
    for n in range(3):
        write(server.url, f"load-{n}")
        page.wait_for_timeout(1)  # lets the events of the page arrive here
    print(f"{'updates of the page under that load':<58} {len(asked) / (time.perf_counter() - began):8.1f} /s")
    print(f"{f'memory of the page before and after {3 * WRITES} changes':<58} {before:8.1f} MiB, {heap(page):.1f} MiB")


@click.command()
def main() -> None:
    """Start everything, measure, end everything."""
    leave_no_process()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("no browser: sudo apt-get install chromium, or set CHROMIUM to the path of one")
    results = Results()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        fill(Path(folder) / "resonate.db")
        server = LocalServer(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            measure(browser, server, results)
        finally:
            browser.close()
            server.child.kill()
    if results.slow:
        sys.exit("\n".join(results.slow))


if __name__ == "__main__":
    main()
