"""Make the three pictures of the README from the running examples, or look at the page in every state and size.

    uv run docs/screenshots.py
    uv run docs/screenshots.py --all FOLDER

Starts a local server, the workers of all three examples and Chromium (its path in CHROMIUM, else from the PATH), and
writes page-takeover.png, page-waiting.png and page-services.png next to this file. With --all it fills databases by
itself, and writes into the folder a picture of each scene, 1280, 800 and 390 pixels wide, in the light and in the dark.
"""

import argparse
import base64
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from itertools import product
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Page, expect, sync_playwright

from local_server.model import invoke_id
from local_server.store.store import Store
from local_server.testing import Child, LocalServer

HERE = Path(__file__).parent
HOLDER = """(id) => [...document.querySelectorAll("#groups li")]
    .find((item) => item.textContent.endsWith(`holds ${id}`))?.querySelector(".id").textContent"""
SIZE = {"width": 1280, "height": 640}
expect.set_options(timeout=60_000)


class Examples:
    """The processes of the examples on one server."""

    def __init__(self, folder: Path) -> None:
        self.server = LocalServer(folder)
        self.children = [self.server.child]

    def start(self, ready: str, *argv: str, **env: str) -> Child:
        """Start ``python *argv``, and wait for a line; with none to wait for, let it run."""
        child = Child.python(argv[0], *argv, env={**self.server.env, **env})
        self.children.append(child)
        if ready:
            child.wait_for(ready)
        return child


def show(page: Page, root: str, promise_id: str | None = None) -> None:
    """Choose a run, and open the details of a promise in it."""
    page.locator(f"#root-list li[data-id='{root}'] button").click()
    expect(page.locator("#graph-title")).to_have_text(root)
    if promise_id:
        page.locator(f"#rows [data-id='{promise_id}']").first.click()
        expect(page.locator("#details h2")).to_have_text(promise_id)
    page.mouse.move(640, 5)


def takeover(examples: Examples, page: Page) -> None:
    """A factorial in which a worker was killed: its step was taken over."""
    names = ("worker-1", "worker-2", "worker-3")
    workers = {
        name: examples.start("is ready", "factorial_worker.py", "--id", name, "--delay", "0.7") for name in names
    }
    examples.start("", "factorial_client.py", "9")
    held = page.wait_for_function(HOLDER, arg="factorial-6")
    page.wait_for_timeout(400)  # of work, which is lost
    workers[held.json_value()].kill()
    expect(page.locator("#gone li.lost")).to_contain_text("lost while it held")
    expect(page.locator("#rows [data-id='factorial-3'] .run")).to_be_visible()
    show(page, "factorial-9", "factorial-6")
    page.screenshot(path=HERE / "page-takeover.png")


def waiting(examples: Examples, page: Page) -> None:
    """A calculation that waits for a group in which nobody is."""
    for name in ("lhs", "rhs"):
        examples.start("is ready", "-m", "calculator.calculator", GRP="exp", PID=name)
    examples.start("nothing from group", "-m", "calculator.calculator", "(1 + 2) * (3 - 4)")
    expect(page.locator("#waiting")).to_contain_text("2 tasks wait for poll://any@ops: no worker connected")
    show(page, "calculator-(1+2)*(3-4)")
    page.screenshot(path=HERE / "page-waiting.png")


def services(examples: Examples, page: Page) -> None:
    """Services that call each other, in the dark."""
    for letter in "ghi":
        examples.start("is ready", "-m", f"async_rpc.service_{letter}", *(["--delay", "1"] if letter != "g" else []))
    gateway = examples.start("is ready", "-m", "async_rpc.gateway", "--port", "0")
    address = gateway.wait_for(r"listens on (http://[^;]+);").group(1)
    urllib.request.urlopen(f"{address}/fan-out-workflow", data=b"", timeout=60).close()  # noqa: S310 - an address of ours
    expect(page.locator("#root-list li")).to_contain_text("resolved")
    page.emulate_media(color_scheme="dark")
    show(page, "fan-out-workflow", "fan-out-workflow.2")
    page.screenshot(path=HERE / "page-services.png")


class Filled:
    """A database with runs that look as if they had been going on for a while."""

    def __init__(self, path: Path) -> None:
        self.store, self.now = Store(path), int(time.time() * 1000)
        self.store.begin()

    def close(self) -> None:
        """Store it all."""
        self.store.commit()
        self.store.close()

    def add(
        self, promise_id: str, call: str = "", *, parent: str | None = None, ago: float = 60, took: float | None = 1,
        worker: str = "", result: object = None, error: str = "", state: str = "", **tags: str,
    ) -> None:  # fmt: skip
        """Add a promise that was created ``ago`` seconds ago, and took ``took`` seconds (None: pending)."""
        began = self.now - int(ago * 1000)
        ended = None if took is None else began + int(took * 1000)
        value = {"data": _data({"__error__": error.partition(": ")[2]} if error else result)}
        if error:
            made = {"py/reduce": [{"py/type": f"builtins.{error.partition(':')[0]}"}]}
            value["headers"] = {"resonate:format-py": json.dumps(made)}
        param = {"data": _data({"func": call, "args": [], "kwargs": {}})} if call else {}
        tags = {name.replace("_", ":"): text for name, text in tags.items()}
        if call:
            tags["resonate:invoke"] = "poll://any@shop"
        columns = {
            "id": promise_id, "parent": parent, "param": json.dumps(param), "created_on": began, "completed_on": ended,
            "state": state or ("PENDING" if took is None else "REJECTED" if error else "RESOLVED"),
            "value": "{}" if took is None else json.dumps(value), "tags": json.dumps(tags),
            "timeout": began + 900_000 if tags.get("resonate:timeout") else began + 86_400_000,
        }  # fmt: skip
        self._insert("promises", columns)
        if worker:
            task = {
                "id": invoke_id(promise_id), "kind": "invoke", "state": "COMPLETED", "counter": 1, "root": promise_id,
                "recv": "poll://any@shop", "timeout": 2**50, "ttl": 10_000, "recipient": f"shop/{worker}",
                "created_on": began, "claimed_on": began + 20, "completed_on": ended or began + 200,
            }  # fmt: skip
            self._insert("tasks", task)

    def _insert(self, table: str, columns: dict[str, object]) -> None:
        names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        self.store.db.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", columns)  # noqa: S608 - names of ours


def _data(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def fill_some(filled: Filled) -> None:
    """Add a run for each scene."""
    for n in range(200, 0, -1):
        parent = f"factorial-of-a-long-name-{n + 1}" if n < 200 else None
        at, took = 900 - (200 - n) * 0.5, 100 - (200 - n) * 0.25
        filled.add(f"factorial-of-a-long-name-{n}", "factorial", parent=parent, ago=at, took=took,
                   worker=f"w{n % 3}", result=10**n if n < 20 else None)  # fmt: skip
    filled.add("resize-all", "resize_all", ago=600, took=31, worker="w1", result=100)
    for n in range(100):
        filled.add(
            f"resize-all.{n + 1}", "resize", parent="resize-all", ago=599 - n * 0.2, took=2 + n % 7, worker=f"w{n % 4}"
        )
    filled.add(
        "order-7", "order", ago=300, took=4.2, worker="w1", error="ValueError: card 4000-0000-0000-0002 was declined"
    )
    filled.add("order-7.1", parent="order-7", ago=299.9, took=0.4, result=True, resonate_scope="local")
    filled.add(
        "order-7.2",
        "charge",
        parent="order-7",
        ago=299,
        took=3,
        worker="w2",
        error="ValueError: card 4000-0000-0000-0002 was declined",
    )
    filled.add(
        "order-7.2.1",
        "ask_the_bank",
        parent="order-7.2",
        ago=298,
        took=1.5,
        worker="w3",
        error="ValueError: card 4000-0000-0000-0002 was declined",
    )
    filled.add("order-9", "order", ago=250, took=None, worker="w1")
    filled.add("order-9.1", parent="order-9", ago=249, took=0.3, result=True, resonate_scope="local")
    filled.add("order-9.2", "approval", parent="order-9", ago=248, took=None, worker="w2")
    filled.add("approve-order-9", parent="order-9.2", ago=247, took=None)
    filled.add("order-9.3", parent="order-9", ago=240, took=None, resonate_timeout="true")
    filled.add("order-8", "order", ago=3, took=2, worker="w1", result="order 8 is on its way")


def fill_many(filled: Filled) -> None:
    """Add 10,000 runs."""
    for n in range(10_000):
        filled.add(f"job-{n}", "job", ago=50_000 - n * 5, took=None if n % 500 == 499 else 0.1 + n % 9,
                   error="KeyError: 'price'" if n % 70 == 69 else "", worker=f"w{n % 5}")  # fmt: skip


SCENES = {  # by the database: name, run, call of which the details are shown
    "empty": [("empty", "", ""), ("unknown", "order-10", "")],
    "some": [
        ("deep", "factorial-of-a-long-name-200", ""), ("wide", "resize-all", ""), ("failed", "order-7", "order-7"),
        ("waiting", "order-9", "approve-order-9"), ("resolved", "order-8", "order-8"),
    ],
    "many": [("many", "job-9999", "")],
}  # fmt: skip


def all_scenes(browser: Browser, folder: Path) -> None:
    """Write a picture of each scene in each size and scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    for database, scenes in SCENES.items():
        with tempfile.TemporaryDirectory() as place:
            filled = Filled(Path(place) / "resonate.db")
            {"empty": lambda _: None, "some": fill_some, "many": fill_many}[database](filled)
            filled.close()
            server = LocalServer(Path(place))
            page = browser.new_page()
            for (name, run, call), width, scheme in product(scenes, (1280, 800, 390), ("light", "dark")):
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme=scheme)
                page.goto("about:blank")
                page.goto(f"{server.url}/#{quote(run)}")
                expect(page.locator("#connection")).to_have_text("live")
                if name not in ("empty", "unknown"):
                    expect(page.locator("#graph-title")).to_have_text(run)
                if call:
                    page.locator(f"#rows [data-id='{call}']").first.click()
                    expect(page.locator("#details h2")).to_have_text(call)
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=width < 720)
            page.close()
            server.child.kill()


def main() -> None:
    """Play all three, or show every scene."""
    parser = argparse.ArgumentParser(description="Make pictures of the page.")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="of every state and size, into that folder")
    folder = parser.parse_args().all
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("no browser: sudo apt-get install chromium, or set CHROMIUM to the path of one")
    if folder:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            all_scenes(browser, folder)
            browser.close()
        return
    for scene in (takeover, waiting, services):
        with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
            examples = Examples(Path(place))
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            try:
                page = browser.new_page(viewport=SIZE)
                page.goto(examples.server.url)
                scene(examples, page)
            finally:
                browser.close()
                for child in reversed(examples.children):
                    child.kill()


if __name__ == "__main__":
    main()
