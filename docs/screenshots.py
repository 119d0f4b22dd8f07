"""Make the three pictures of the README from the running examples.

    uv run docs/screenshots.py

Starts a local server, the workers of all three examples and Chromium (its path in CHROMIUM, else from the PATH), and
writes page-takeover.png, page-waiting.png and page-services.png next to this file.
"""

import os
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

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


def main() -> None:
    """Play all three."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("no browser: sudo apt-get install chromium, or set CHROMIUM to the path of one")
    for scene in (takeover, waiting, services):
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            examples = Examples(Path(folder))
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
