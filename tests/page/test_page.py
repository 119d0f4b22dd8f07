"""The page at the API's address, in a real Chromium, over the processes of the examples."""

import json
import re
import time
from itertools import product

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from page_stage import Insert, Start, create, resolve, row, run_of
from playwright.sync_api import Page, expect

from local_server.testing import LocalServer


def test_empty_page_tells_commands_that_lead_to_this_server(page: Page, server: LocalServer) -> None:
    ports = " ".join(f"{name}={port}" for name, port in server.env.items() if "PORT" in name)
    expect(page.locator("#empty pre")).to_have_text(
        [f"export {ports}", "uv run factorial_worker.py --delay 1", "uv run factorial_client.py 10"]
    )
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#workers")).to_contain_text("No worker is connected.")


def test_a_worker_is_seen_dying_and_its_step_taken_over(page: Page, start: Start) -> None:
    dying = start("w1", "factorial_worker.py", "--id", "w1", "--delay", "60")
    living = start("w2", "factorial_worker.py", "--id", "w2", "--delay", "0.4")
    for worker in (dying, living):
        worker.wait_for("is ready")
    client = start("client", "factorial_client.py", "6")
    dying.wait_for("Calculating factorial of")
    step = dying.lines[-1].rpartition(" ")[2]
    expect(row(page, f"factorial-{step}")).to_contain_text("on factorial-worker/w1")
    expect(page.locator("#groups li", has_text="w1")).to_contain_text(f"holds factorial-{step}")
    dying.kill()
    expect(page.locator("#gone li.lost")).to_contain_text("w1")
    expect(page.locator("#gone li.lost")).to_contain_text(f"lost while it held factorial-{step}")
    expect(row(page, f"factorial-{step}")).to_contain_text("2 attempts")
    assert client.wait() == 0
    expect(page.locator("#graph-summary")).to_contain_text("6 resolved · 2 workers · 1 taken over")
    bar = row(page, f"factorial-{step}").locator(".bar")
    expect(bar.locator(".lost")).to_have_attribute(
        "title", re.compile(r"factorial-worker/w1: .*, lost: process \d+ ended")
    )
    expect(bar.locator(".gap")).to_have_attribute("title", re.compile("taken over after "))
    expect(bar.locator(".run:not(.lost)").first).to_have_attribute("title", re.compile("factorial-worker/w2: "))
    expect(row(page, "factorial-1")).to_contain_text("factorial(1) → 1")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_name_of_a_worker_is_whole_where_there_is_room(page: Page, start: Start, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    start("worker", "factorial_worker.py", "--id", "worker-3", "--delay", "60").wait_for("is ready")
    start("client", "factorial_client.py", "9")
    where = row(page, "factorial-9").locator(".where")
    expect(where).to_have_text("on factorial-worker/worker-3")
    assert where.evaluate("(one) => [...one.children].some((part) => part.scrollWidth > part.clientWidth)") is False


def test_a_worker_that_was_killed_while_idle_is_told_by_the_end_of_its_process(page: Page, start: Start) -> None:
    idle = start("idle", "factorial_worker.py", "--id", "w1")
    expect(page.locator("#groups li")).to_contain_text(f"pid {idle.pid}")
    idle.kill()
    expect(page.locator("#gone li")).to_contain_text(f"factorial-worker: process {idle.pid} ended")


def test_work_for_which_nobody_is_there_is_told_and_goes_on_when_somebody_comes(page: Page, start: Start) -> None:
    for name in ("lhs", "rhs"):
        start(name, "-m", "calculator.calculator", env={"GRP": "exp", "PID": name}).wait_for("is ready")
    client = start("client", "-m", "calculator.calculator", "1 + 2 * 3")
    expect(page.locator("#waiting")).to_have_text("1 task waits for poll://any@ops: no worker connected")
    expect(page.locator("#rows")).to_contain_text("waits: nobody in ops")
    start("ops", "-m", "calculator.calculator", env={"GRP": "ops", "PID": "o1"})
    assert client.wait() == 0
    expect(page.locator("#graph-summary")).to_contain_text(re.compile(r"^7 resolved"))
    expect(page.locator("#waiting")).to_be_empty()


def test_services_that_call_each_other_are_seen_as_a_tree(page: Page, start: Start) -> None:
    for letter in "ghi":
        start(letter, "-m", f"async_rpc.service_{letter}").wait_for("is ready")
    gateway = start("gateway", "-m", "async_rpc.gateway", "--port", "0")
    address = gateway.wait_for(r"listens on (http://[^;]+);").group(1)
    requests.post(f"{address}/fan-out-workflow", headers={"Idempotency-Key": "run-1"}, timeout=30).raise_for_status()
    expect(page.locator("#rows [role=row][aria-level='2']")).to_have_count(3)  # a sleep and two calls
    expect(page.locator("#rows")).to_contain_text("rax()")
    expect(page.locator("#rows")).to_contain_text("dop()")
    expect(page.locator("#rows")).to_contain_text("sleep")
    expect(page.locator("#root-list li")).to_have_count(1)


def test_a_shared_promise_stands_under_both_parents(page: Page, server: LocalServer) -> None:
    create(server, "first")
    create(server, "common", parent="first")
    create(server, "below", parent="common")
    create(server, "second")
    create(server, "common", parent="second")
    for root in ("first", "second"):
        run_of(page, root).click()
        expect(page.locator("#graph-title")).to_have_text(root)
        expect(page.locator("#rows [role=row]")).to_have_count(3)
        expect(row(page, "common")).to_have_attribute("aria-level", "2")
    expect(row(page, "common")).to_contain_text("shared")
    row(page, "common").click()
    expect(page.locator("#details dt:has-text('Asked for by') + dd")).to_have_text("firstsecond")


def test_details_show_what_is_stored(page: Page, server: LocalServer) -> None:
    create(
        server, "job", param={"func": "work", "args": [1, "two"], "kwargs": {"x": None}}, resonate_invoke="poll://any@g"
    )
    row(page, "job").click()
    details = page.locator("#details")
    expect(details).to_contain_text('{"func": "work", "args": [1, "two"], "kwargs": {"x": null}}')
    expect(details).to_contain_text("resonate:invoke = poll://any@g")
    expect(details).to_contain_text("__invoke:job init, counter 1, for poll://any@g")
    resolve(server, "job")
    expect(details.locator("dt:has-text('State') + dd")).to_have_text("resolved")
    page.keyboard.press("Escape")
    page.locator("#details button", has_text="Close").click()
    expect(details).to_be_hidden()


def test_search_filter_and_pages_find_a_promise_among_100_000(page: Page, server: LocalServer, insert: Insert) -> None:
    insert((f"job-{n}", "PENDING" if n % 50_000 == 7 else "RESOLVED", None) for n in range(100_000))
    page.goto(server.url)
    runs = page.locator("#root-list li")
    expect(runs).to_have_count(50)
    expect(runs.first).to_have_attribute("data-id", "job-99999")
    page.get_by_role("button", name="Older").click()
    expect(runs.first).to_have_attribute("data-id", "job-99949")
    page.get_by_role("button", name="Newer").click()
    expect(runs.first).to_have_attribute("data-id", "job-99999")
    page.get_by_label("Search by id").fill("JOB-4242")
    expect(runs).to_have_count(11)  # job-4242 and job-42420 to job-42429
    page.get_by_label("Search by id").fill("")
    page.get_by_role("radio", name="pending").check()
    expect(runs).to_have_count(2)
    page.get_by_role("radio", name="failed").check()
    expect(page.locator("#root-note")).to_have_text("No run fits.")


def test_search_finds_a_call_by_its_whole_id_though_it_is_no_root(page: Page, server: LocalServer) -> None:
    create(server, "top")
    create(server, "inner", parent="top")
    page.get_by_label("Search by id").fill("inner")
    run_of(page, "inner").click()
    expect(page.locator("#graph-title")).to_have_text("inner")


def test_rows_of_the_run_before_are_gone_while_the_chosen_one_is_on_its_way(page: Page, server: LocalServer) -> None:
    create(server, "older")
    create(server, "newer")
    run_of(page, "newer").click()
    expect(page.locator("#rows [role=row]")).to_have_count(1)
    page.route("**/ui/tree/older*", lambda _: None)
    run_of(page, "older").click()
    expect(page.locator("#rows [role=row]")).to_have_count(0)
    page.unroute("**/ui/tree/older*")  # which lets those on the way go on
    expect(page.locator("#rows [role=row]")).to_have_count(1)
    page.locator("#rows [role=row]").click()
    expect(page.locator("#details h2")).to_have_text("older")


HOSTILE = [
    "<img src=x onerror=document.title='broken'>",
    "'\"><script>document.title='broken'</script>",
    "../../etc/passwd?x#y",
    "a b+c%41&d=e",
    "\u202egnp.exe\u0000\x1b[31m",
    "😀" * 300,
]


def test_names_and_values_are_text_whatever_they_are(page: Page, server: LocalServer) -> None:
    for place, name in enumerate(HOSTILE):
        create(server, name, param={"func": name, "args": [name]}, resonate_invoke=f"poll://any@{name}")
        create(server, f"{name}.1", parent=name)
        expect(page.locator("#root-list li")).to_have_count(place + 1)
        page.locator("#root-list button").first.click()
        expect(page.locator("#graph-title")).to_have_text(name, use_inner_text=False)
        expect(page.locator("#rows [role=row]")).to_have_count(2)
        page.locator("#rows [role=row]").first.click()
        expect(page.locator("#details h2")).to_be_visible()
        assert page.locator("#details h2").text_content() == name
        assert page.title() == f"{name} - Local server" or "\x00" in name
        assert page.locator("img, #middle script").count() == 0
        page.reload()
        expect(page.locator("#rows [role=row]")).to_have_count(2)


def test_page_connects_again_by_itself_when_the_server_is_restarted(page: Page, server: LocalServer) -> None:
    create(server, "before")
    expect(run_of(page, "before")).to_be_visible()
    server.kill()
    expect(page.locator("#connection")).to_have_text("no connection to the server, trying again")
    server.start()
    expect(page.locator("#connection")).to_have_text("live")
    resolve(server, "before")
    create(server, "after")
    expect(run_of(page, "after")).to_be_visible()
    expect(row(page, "before")).to_contain_text("resolved")


def test_cancel_asks_first_and_then_ends_the_promise(page: Page, server: LocalServer) -> None:
    create(server, "job")
    row(page, "job").click()
    page.get_by_role("button", name="Cancel promise").click()
    expect(page.get_by_role("dialog")).to_contain_text("Cancel job?")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert requests.get(f"{server.url}/promises/job", timeout=10).json()["state"] == "PENDING"
    page.get_by_role("button", name="Cancel promise").click()
    page.get_by_role("button", name="Cancel the promise").click()
    expect(page.locator("#details dt:has-text('State') + dd")).to_have_text("canceled")
    expect(row(page, "job")).to_contain_text("canceled")
    expect(page.get_by_role("button", name="Cancel promise")).to_have_count(0)
    assert requests.get(f"{server.url}/promises/job", timeout=10).json()["state"] == "REJECTED_CANCELED"


def test_everything_can_be_done_by_keyboard(page: Page, server: LocalServer) -> None:
    create(server, "top")
    for n in range(3):
        create(server, f"child-{n}", parent="top")
    create(server, "other")
    expect(run_of(page, "other")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("top")
    expect(page.locator("#root-list li")).to_have_count(1)
    run_of(page, "top").press("Enter")
    expect(page.locator("#graph-title")).to_have_text("top")
    tree = page.get_by_role("treegrid")
    tree.press("ArrowDown")
    tree.press("ArrowDown")
    tree.press("Enter")
    expect(page.locator("#details h2")).to_have_text("child-1")
    tree.press("ArrowLeft")  # to the parent
    tree.press("ArrowLeft")  # folds it
    expect(page.locator("#rows [role=row]")).to_have_count(1)
    tree.press("ArrowRight")
    expect(page.locator("#rows [role=row]")).to_have_count(4)
    tree.press("End")
    tree.press(" ")
    expect(page.locator("#details h2")).to_have_text("child-2")
    page.get_by_role("button", name="Close").press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    expect(tree).to_be_focused()


def test_a_thousand_levels_stay_readable(page: Page, server: LocalServer, insert: Insert) -> None:
    insert((f"f-{n}", "RESOLVED", f"f-{n + 1}" if n < 1000 else None) for n in range(1, 1001))
    page.goto(server.url)
    expect(page.locator("#graph-summary")).to_contain_text("1000 resolved")
    assert page.locator("#rows [role=row]").count() < 100  # only those in sight
    page.get_by_role("treegrid").press("End")
    last = row(page, "f-1")
    expect(last).to_have_attribute("aria-level", "1000")
    expect(last.locator(".level")).to_have_text("999")
    box, tree = last.locator(".id").bounding_box(), page.get_by_role("treegrid").bounding_box()
    assert tree["x"] < box["x"] < tree["x"] + 220
    assert box["width"] > 20


def test_however_much_changes_the_page_asks_five_times_a_second_at_most(page: Page, server: LocalServer) -> None:
    create(server, "first")
    expect(run_of(page, "first")).to_be_visible()
    asked: list[float] = []
    page.on("request", lambda request: asked.append(time.monotonic()) if "/ui/roots" in request.url else None)
    began = time.monotonic()
    n = 0
    while time.monotonic() - began < 3:
        n += 1
        create(server, f"job-{n}")
    expect(run_of(page, f"job-{n}")).to_be_visible()
    assert 2 <= len(asked) <= 5 * (time.monotonic() - began) + 1
    quiet = len(asked)
    page.wait_for_timeout(1_500)  # nothing changes, so nothing may be asked: there is no event to wait for
    assert len(asked) <= quiet + 1


def test_axe_finds_no_serious_fault(page: Page, server: LocalServer) -> None:
    for n, state in enumerate(["RESOLVED", "REJECTED", "REJECTED_CANCELED"]):
        create(server, f"job-{n}", parent="top" if n else None, resonate_invoke="poll://any@nobody")
        answer = requests.patch(f"{server.url}/promises/job-{n}", json={"state": state}, timeout=10)
        answer.raise_for_status()
    create(server, "top", param={"func": "work", "args": [1]}, resonate_invoke="poll://any@nobody")
    for scheme, width in product(("light", "dark"), (1360, 420)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(server.url)
        run_of(page, "top").click()
        row(page, "top").click()
        expect(page.locator("#details")).to_be_visible()
        expect(page.locator("#waiting")).to_contain_text("no worker connected")
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, json.dumps(serious, indent=1)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 27)"
        assert dark == (scheme == "dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
