"""Why a promise waits or has failed, as the page tells it; and what a person can do about it there."""

import json
import re
from base64 import b64encode

import requests
from page_stage import Start, create, row, run_of
from playwright.sync_api import Page, expect
from rules_stage import Stage
from wire_client import EventStream

from local_server.model import invoke_id
from local_server.page import views
from local_server.rules.workers import OsProcess
from local_server.testing import LocalServer

WORKER = """
import threading
from resonate import Resonate

resonate = Resonate.remote(group="shop", pid="w1")


@resonate.register
def order(ctx, number):
    yield ctx.lfc(lambda ctx: None)
    return (yield ctx.rfc("charge", number).options(target="poll://any@shop"))


@resonate.register
def charge(ctx, number):
    yield ctx.lfc(lambda ctx: None)
    raise Declined(f"card of order {number}") if number else ValueError("no number")


@resonate.register
def approve(ctx):
    answer = yield ctx.promise(id="approval")
    return f"told {(yield answer)!r}"


@resonate.register
def retry(ctx):
    yield ctx.lfc(broken)


def broken(ctx):
    raise RuntimeError("not this time")


class Declined(Exception):
    pass


resonate.start()
print("ready", flush=True)
threading.Event().wait()
"""


def call(server: LocalServer, promise_id: str, func: str, *args: object) -> None:
    param = {"func": func, "args": args, "kwargs": {}, "version": 1}
    create(server, promise_id, param=param, resonate_invoke="poll://any@shop")


def details(page: Page, promise_id: str) -> None:
    row(page, promise_id).click()
    expect(page.locator("#details h2")).to_have_text(promise_id)


def claim(server: LocalServer, promise_id: str, *, counter: int = 1, ttl: int = 60_000) -> None:
    body = {"id": f"__invoke:{promise_id}", "counter": counter, "processId": "w1", "ttl": ttl}
    requests.post(f"{server.url}/tasks/claim", json=body, timeout=10).raise_for_status()


def test_an_error_is_told_by_its_type_and_message_with_a_way_to_the_call_that_failed_first(
    page: Page, server: LocalServer, start: Start
) -> None:
    start("worker", "-c", WORKER).wait_for("ready")
    for number, error in ((0, "ValueError: no number"), (7, "Declined: card of order 7")):
        call(server, f"order-{number}", "order", number)
        expect(run_of(page, f"order-{number}")).to_contain_text(error)
        run_of(page, f"order-{number}").click()
        expect(page.locator("#cause")).to_have_text(f"Failed first: order-{number}.2 {error}")
        expect(row(page, f"order-{number}")).to_contain_text(f"order({number}) {error}")
        page.locator("#cause button").click()
        expect(page.locator("#details h2")).to_have_text(f"order-{number}.2")
        expect(page.locator("#why")).to_have_text(error)
        expect(page.locator("#details dt:has-text('Stored error') + dd pre").first).to_contain_text('{"__error__": "')


def test_a_state_has_one_colour_wherever_it_is_told(page: Page, server: LocalServer) -> None:
    value = {"data": b64encode(b'{"__error__": "no"}').decode()}
    for name, state in (("canceled", "REJECTED_CANCELED"), ("rejected", "REJECTED")):
        create(server, name)
        body = {"state": state, "value": value}
        requests.patch(f"{server.url}/promises/{name}", json=body, timeout=10).raise_for_status()
        run_of(page, name).click()
        details(page, name)
        told = [page.locator(one) for one in ("#cause", "#why", "#details dd > .state, #details dd > span")]
        told += [one.locator(part) for one in (run_of(page, name), row(page, name)) for part in (".state", ".call")]
        assert len({one.first.evaluate("(one) => getComputedStyle(one).color") for one in told}) == 1


def test_what_else_ends_a_promise_is_told(page: Page, server: LocalServer) -> None:
    body = {"state": "REJECTED", "value": {"data": b64encode(b'["not", "an error of Python"]').decode()}}
    for name, patch in (("odd", body), ("bare", {"state": "REJECTED"}), ("canceled", {"state": "REJECTED_CANCELED"})):
        create(server, name)
        requests.patch(f"{server.url}/promises/{name}", json=patch, timeout=10).raise_for_status()
    requests.post(f"{server.url}/promises", json={"id": "late", "timeout": 1}, timeout=10).raise_for_status()
    for name, text in (
        ("odd", '["not", "an error of Python"]'),
        ("bare", "It was rejected with nothing that says why."),
        ("canceled", "It was canceled."),
        ("late", re.compile("Nobody completed it in time: ")),
    ):
        run_of(page, name).click()
        details(page, name)
        expect(page.locator("#why")).to_have_text(text)


def test_a_person_resolves_the_promise_for_which_a_function_waits(
    page: Page, server: LocalServer, start: Start
) -> None:
    start("worker", "-c", WORKER).wait_for("ready")
    call(server, "order-7", "approve")
    run_of(page, "order-7").click()
    expect(page.locator("#cause")).to_have_text("Now at: approval waits for somebody")
    details(page, "order-7")
    expect(page.locator("#why")).to_have_text("It waits for the end of approval")
    page.locator("#why button").click()
    expect(page.locator("#details h2")).to_have_text("approval")
    expect(page.locator("#why")).to_have_text("No function runs for it: it waits until somebody resolves it.")
    page.get_by_role("button", name="Resolve promise").click()
    expect(page.get_by_label("Value, as JSON")).to_have_value("true")
    page.get_by_label("Value, as JSON").fill("yes")
    page.get_by_role("button", name="Resolve the promise").click()
    expect(page.get_by_role("dialog")).to_contain_text("This is no JSON")
    assert requests.get(f"{server.url}/promises/approval", timeout=10).json()["state"] == "PENDING"
    page.get_by_label("Value, as JSON").fill('{"by": "Zoë"}')
    page.get_by_role("button", name="Resolve the promise").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(row(page, "order-7")).to_contain_text("""→ "told {'by': 'Zoë'}\"""")
    expect(page.get_by_role("button", name="Resolve promise")).to_have_count(0)
    bare = "[...document.getElementById('details').childNodes].map((one) => one.nodeValue ?? '').join('')"
    assert page.evaluate(bare) == ""  # no "null" in place of a reason


def test_what_the_server_refuses_stands_below_the_question(page: Page, server: LocalServer) -> None:
    create(server, "approval")
    details(page, "approval")
    page.get_by_role("button", name="Resolve promise").click()
    requests.patch(f"{server.url}/promises/approval", json={"state": "REJECTED"}, timeout=10).raise_for_status()
    page.get_by_role("button", name="Resolve the promise").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("already been rejected")
    page.get_by_role("button", name="Not yet").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_work_that_waits_for_a_group_tells_whether_anybody_is_there(page: Page, server: LocalServer) -> None:
    call(server, "job", "work")
    details(page, "job")
    expect(page.locator("#why")).to_have_text("It waits for a worker of group shop: nobody is connected there.")
    stream = EventStream(server.poll_url, "/shop/w1")
    expect(page.locator("#why")).to_have_text("It was sent to shop/w1, which has not taken it yet.")
    claim(server, "job")
    expect(page.locator("#why li").first).to_have_text(re.compile(r"^shop/w1 runs it since \d\d:\d\d:\d\d$"))
    expect(page.locator("#why li").last).to_contain_text("only the output of that worker tells it")
    stream.close()


def test_an_address_that_reaches_nobody_is_named(page: Page, server: LocalServer) -> None:
    create(server, "lost", param={"func": "f", "args": []}, resonate_invoke="somewhere")
    details(page, "lost")
    expect(page.locator("#why")).to_have_text("It waits for a worker, but its address, somewhere, reaches nobody.")


def test_work_that_was_lost_tells_its_attempt_and_how_it_was_lost(page: Page, server: LocalServer) -> None:
    call(server, "job", "work")
    details(page, "job")
    stream = EventStream(server.poll_url, "/shop/w1")
    stream.next()
    claim(server, "job", ttl=300)
    expect(page.locator("#why")).to_contain_text(
        re.compile(r"This is attempt 2\. The one before was lost by shop/w1: no heartbeat within 300 ms, at \d\d:")
    )
    stream.close()


def test_a_sleep_and_a_later_start_tell_until_when(page: Page, server: LocalServer) -> None:
    now = requests.get(f"{server.url}/ui/workers", timeout=10).json()["now"]
    create(server, "job", param={"func": "f"}, resonate_invoke="poll://any@shop", resonate_delay=str(now + 90_000))
    body = {"id": "job.1", "timeout": now + 90_000, "tags": {"resonate:timeout": "true"}}
    requests.post(f"{server.url}/promises", json=body, timeout=10).raise_for_status()
    expect(row(page, "job.1")).to_contain_text("sleeps until")
    details(page, "job.1")
    expect(page.locator("#why")).to_have_text(re.compile(r"^It sleeps until .*\d\d:\d\d:\d\d, in 1 m \d+ s$"))
    before = page.locator("#why").text_content()
    expect(page.locator("#why")).not_to_have_text(before)  # it counts down
    details(page, "job")
    expect(page.locator("#why li").first).to_have_text(
        re.compile(r"^It was created to start later, at .*\d\d:\d\d:\d\d, in 1 m")
    )


def test_a_call_that_its_worker_tries_again_says_what_cannot_be_known(
    page: Page, server: LocalServer, start: Start
) -> None:
    worker = start("worker", "-c", WORKER)
    worker.wait_for("ready")
    call(server, "job", "retry")
    expect(row(page, "job.1")).to_contain_text("a local call")
    details(page, "job.1")
    expect(page.locator("#why li").first).to_have_text("It runs within the worker that runs job")
    expect(page.locator("#why")).to_contain_text("hears of an error only when the worker gives up")
    worker.kill()
    expect(page.locator("#why li").nth(1)).to_have_text(
        "It waits for a worker of group shop: nobody is connected there."
    )
    expect(page.locator("#why li").last).to_contain_text("was lost by shop/w1: process")


def test_of_many_calls_those_that_are_not_finished_are_named(page: Page, server: LocalServer) -> None:
    create(server, "top")
    for n in range(60):
        create(server, f"top.{n}", parent="top")
        if n not in (51, 55):
            requests.patch(f"{server.url}/promises/top.{n}", json={"state": "RESOLVED"}, timeout=10).raise_for_status()
    details(page, "top")
    expect(page.locator("#why")).to_have_text("Calls of it that are not finished: top.51, top.55")
    body = {"promiseId": "top.55", "rootPromiseId": "top", "recv": "poll://any@shop", "timeout": 2**50}
    requests.post(f"{server.url}/promises/callback/top.55", json=body, timeout=10).raise_for_status()
    expect(page.locator("#why")).to_have_text("It waits for the end of top.55")
    assert json.loads(requests.get(f"{server.url}/ui/promise/top", timeout=10).text)["why"] == [
        {"text": "It waits for the end of", "promises": ["top.55"]}
    ]


def test_work_that_ends_its_workers_tells_how_many_and_when_it_is_due(stage: Stage) -> None:
    stage.create("poison", invoke="poll://any@shop")
    for counter in (1, 2):
        stage.connect(f"shop/w{counter}", OsProcess(counter, 1.0))
        stage.claim(invoke_id("poison"), counter, f"w{counter}")
        stage.process_ends(f"shop/w{counter}")
    why = stage.do(views.promise, "poison")["why"]
    assert [one.text for one in why] == [
        "It has ended 2 workers; perhaps none knows its function. It is tried again at",
        "This is attempt 3. The one before was lost by shop/w2: process 1 ended, at",
    ]
    assert why[0].at == why[1].at + 1_000
