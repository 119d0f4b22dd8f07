"""What is to be seen at every width and depth: names, the timeline, the list; copying, keys, addresses."""

import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from page_stage import Insert, create, row, run_of
from playwright.sync_api import Page, expect

from local_server.store.store import Store
from local_server.testing import LocalServer

LONG_NAME = "factorial-of-a-rather-long-name"
LEVELS = 200
SCROLL = """(level) => { const height = getComputedStyle(document.getElementById("rows")).getPropertyValue("--row");
    document.getElementById("tree").scrollTop = (level - 2) * parseFloat(height); }"""
BOXES = "(row, inner) => inner.map((one) => row.querySelector(one).getBoundingClientRect().toJSON())"


@pytest.fixture
def change(server: LocalServer, tmp_path: Path) -> Callable[[str], None]:
    """Run a statement on the database of the server, which is started anew."""

    def change(sql: str) -> None:
        server.stop()
        store = Store(tmp_path / "resonate.db")
        store.begin()
        store.db.execute(sql)
        store.commit()
        store.close()
        server.start()

    return change


def chain() -> Iterator[tuple[str, str, str | None]]:
    for n in range(LEVELS, 0, -1):
        yield f"{LONG_NAME}-{n:03}", "PENDING", f"{LONG_NAME}-{n + 1:03}" if n < LEVELS else None


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_the_end_of_an_id_is_seen_on_every_level_and_the_timeline_is_whole(
    page: Page, server: LocalServer, insert: Insert, width: int
) -> None:
    insert(chain())
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(server.url)
    tree = page.get_by_role("treegrid")
    expect(row(page, f"{LONG_NAME}-200")).to_be_visible()
    for level in (0, 6, 14, 18, 60, 199):
        promise_id = f"{LONG_NAME}-{LEVELS - level:03}"
        page.evaluate(SCROLL, level)
        shown = row(page, promise_id)
        expect(shown).to_be_visible()
        assert shown.locator(".id").text_content() == promise_id
        assert shown.locator(".where").text_content() == (
            "waits for its calls" if level < 199 else "waits for somebody"
        )
        tail, name, bar = shown.evaluate(BOXES, [".tail", ".name", ".bar"])  # at once: rows are drawn anew at any time
        assert tail["right"] <= name["right"] + 1
        assert bar["width"] > 80
        box = tree.bounding_box()
        assert bar["right"] <= box["x"] + box["width"]


def test_the_timeline_grows_with_the_window(page: Page, server: LocalServer) -> None:
    create(server, "job")
    widths = []
    for width in (1100, 1400, 1900):
        page.set_viewport_size({"width": width, "height": 800})
        widths.append(row(page, "job").locator(".bar").bounding_box()["width"])
    assert widths == sorted(widths)
    assert widths[2] > widths[0] + 500


def test_the_axis_names_its_places_exactly_and_can_be_zoomed_and_moved(
    page: Page, server: LocalServer, insert: Insert, change: Callable[[str], None]
) -> None:
    insert(iter([("job", "RESOLVED", None), ("job.1", "RESOLVED", "job")]))
    change("UPDATE promises SET completed_on = 1000 + 200000 WHERE id = 'job'")
    page.set_viewport_size({"width": 1700, "height": 800})
    page.goto(server.url)
    labels = page.locator("#axis span")
    expect(labels).to_have_text(["0", "30 s", "1 m", "1 m 30 s", "2 m", "2 m 30 s", "3 m"])
    bar = row(page, "job.1").locator(".bar .life")
    before = bar.bounding_box()["width"]
    tree = page.get_by_role("treegrid")
    for _ in range(3):
        tree.press("+")
    expect(labels).to_have_text(["1 m 30 s", "1 m 35 s", "1 m 40 s", "1 m 45 s", "1 m 50 s"])
    expect(bar).to_have_count(0)  # it ended before
    for _ in range(20):
        tree.press("Shift+ArrowLeft")
    expect(labels.first).to_have_text("0")
    assert bar.bounding_box()["width"] > 6 * before
    page.locator("#axis").hover()
    page.mouse.down()
    page.mouse.move(page.locator("#axis").bounding_box()["x"], 100, steps=3)
    page.mouse.up()
    expect(labels.first).not_to_have_text("0")
    page.get_by_role("button", name="Show all of the time").click()
    expect(labels.nth(1)).to_have_text("30 s")
    row(page, "job").locator(".bar").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    expect(labels.nth(1)).not_to_have_text("30 s")
    page.keyboard.up("Control")
    tree.press("0")
    expect(labels.nth(1)).to_have_text("30 s")


def test_a_link_to_a_promise_that_is_not_there_says_so_until_it_comes(page: Page, server: LocalServer) -> None:
    create(server, "other")
    page.goto("about:blank")
    page.goto(f"{server.url}/#no%20such")
    expect(page.locator("#missing")).to_contain_text("There is no promise no such")
    expect(page.locator("#graph")).to_be_hidden()
    create(server, "no such")
    expect(page.locator("#graph-title")).to_have_text("no such")
    expect(page.locator("#missing")).to_be_hidden()
    page.goto(f"{server.url}/#nor%20this")
    page.get_by_role("button", name="Show the newest run").click()
    expect(page.locator("#graph-title")).to_have_text("no such")
    expect(page.locator("#missing")).to_be_hidden()


def test_the_list_tells_how_many_runs_there_are_and_when_they_began(
    page: Page, server: LocalServer, insert: Insert, change: Callable[[str], None]
) -> None:
    insert((f"job-{n}", "RESOLVED", None) for n in range(1_200))
    change("UPDATE promises SET created_on = created_on + 60000 * 60 * 24 * 20000 WHERE id = 'job-7'")
    create(server, "now-1")
    create(server, "now-2")
    page.goto(server.url)
    note = page.locator("#root-note")
    expect(note).to_have_text("1 to 50 of 1,000 or more runs")
    expect(run_of(page, "now-1").locator("time")).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
    expect(run_of(page, "now-1").locator("time")).to_have_attribute("title", re.compile(r"^started 20\d\d-\d\d-\d\d "))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollHeight") < 1_000  # the list alone scrolls
    page.get_by_label("Started").select_option("in the last hour")
    expect(note).to_have_text("2 runs")
    page.get_by_label("Started").select_option("at any time")
    page.get_by_label("Search by id").fill("job-11")
    expect(note).to_have_text("1 to 50 of 111 runs")
    page.get_by_role("button", name="Older").click()
    expect(note).to_have_text("51 to 100 of 111 runs")
    page.get_by_role("button", name="Older").click()
    expect(note).to_have_text("101 to 111 of 111 runs")


def test_what_the_list_shows_stands_in_the_address(page: Page, server: LocalServer, insert: Insert) -> None:
    insert((f"job-{n}", "RESOLVED" if n % 2 else "REJECTED", None) for n in range(120))
    page.goto(server.url)
    page.get_by_label("Runs on a page").select_option("25")
    expect(page.locator("#root-list li")).to_have_count(25)
    page.get_by_role("radio", name="failed").check()
    page.get_by_label("Search by id").fill("job-1")
    expect(page.locator("#root-note")).to_have_text("15 runs")
    page.locator("#root-list button").first.click()
    expect(page).to_have_url(f"{server.url}/?q=job-1&state=rejected&size=25#job-118")
    page.reload()
    expect(page.locator("#root-list li")).to_have_count(15)
    expect(page.get_by_role("radio", name="failed")).to_be_checked()
    expect(page.locator("#graph-title")).to_have_text("job-118")
    page.goto(f"{server.url}/?size=7&state=odd&last=x")  # no choices of the page
    expect(page.locator("#root-list li")).to_have_count(50)


def test_ids_and_values_are_copied_with_one_click(page: Page, server: LocalServer) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    create(server, "job", param={"func": "work", "args": [1]})
    row(page, "job").click()
    read = "navigator.clipboard.readText()"
    page.locator("#details").get_by_role("button", name="Copy the id").click()
    expect(page.locator("#said")).to_have_text("Copied the id")
    assert page.evaluate(read) == "job"
    page.get_by_role("button", name="Copy the parameters").click()
    expect(page.locator("#said")).to_have_text("Copied the parameters")
    assert page.evaluate(read) == json.dumps({"func": "work", "args": [1]})
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as on plain http elsewhere
    page.get_by_role("treegrid").press("c")
    expect(page.locator("#said")).to_have_text("Copied the id")


def test_a_question_mark_lists_the_keys(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("live")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("zoom the timeline in and out")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_label("Search by id").press("?")  # which is typed there
    expect(page.get_by_role("dialog")).to_be_hidden()


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [json.dumps(one, indent=1) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_questions_errors_and_where_nothing_is(
    page: Page, server: LocalServer, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("#empty pre").first).to_be_visible()
    assert serious(page) == []
    page.goto(f"{server.url}/#unknown")
    expect(page.locator("#missing")).to_be_visible()
    assert serious(page) == []
    create(server, "top")
    create(server, "approval", parent="top")
    create(server, "failed", parent="top")
    body = {"state": "REJECTED", "value": {"data": "eyJfX2Vycm9yX18iOiAibm8ifQ=="}}
    requests.patch(f"{server.url}/promises/failed", json=body, timeout=10).raise_for_status()
    page.goto(f"{server.url}/#top")
    row(page, "failed").click()
    expect(page.locator("#why")).to_have_text("no")
    assert serious(page) == []
    row(page, "approval").click()
    for button, close in (("Resolve promise", "Not yet"), ("Cancel promise", "Keep it"), ("Keys", "Close")):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert serious(page) == []
        page.get_by_role("dialog").get_by_role("button", name=close).click()


def test_the_files_of_the_page_are_small() -> None:
    sizes = [len(file.read_bytes()) for file in files("local_server.page").joinpath("static").iterdir()]
    assert sum(sizes) < 80_000
