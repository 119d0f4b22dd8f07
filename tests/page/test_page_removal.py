"""A run is deleted on the page, after a question that tells what goes and what stays."""

import requests
from page_stage import create, resolve, row, run_of
from playwright.sync_api import Page, expect

from local_server.testing import LocalServer


def state(server: LocalServer, promise_id: str) -> int:
    return requests.get(f"{server.url}/promises/{promise_id}", timeout=10).status_code


def test_a_run_is_deleted_after_a_question_and_what_others_use_stays(page: Page, server: LocalServer) -> None:
    for promise_id, parent in (("first", None), ("own", "first"), ("common", "first"), ("second", None)):
        create(server, promise_id, parent=parent)
        resolve(server, promise_id)
    create(server, "common", parent="second")
    run_of(page, "first").click()
    page.get_by_role("button", name="Delete run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete first?")
    expect(dialog).to_contain_text("2 promises will be gone for good")
    expect(dialog).to_contain_text("What other runs use as well stays: second")
    page.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    assert state(server, "own") == 200
    page.get_by_role("button", name="Delete run").click()
    page.get_by_role("button", name="Delete the run").click()
    expect(page.locator("#graph-title")).not_to_have_text("first")  # the newest that is left is shown
    expect(run_of(page, "first")).to_have_count(0)
    assert [state(server, one) for one in ("first", "own", "common", "second")] == [404, 404, 200, 200]


def test_what_is_pending_is_canceled_only_when_that_was_said(page: Page, server: LocalServer) -> None:
    create(server, "job")
    create(server, "job.1", parent="job")
    expect(row(page, "job.1")).to_be_visible()
    page.get_by_role("button", name="Delete run").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 promises of it are pending, and will be canceled first")
    page.get_by_role("button", name="Cancel and delete").click()
    expect(page.locator("#empty")).to_be_visible()
    assert [state(server, one) for one in ("job", "job.1")] == [404, 404]
    assert "#" not in page.url


def test_what_is_no_run_of_its_own_has_no_such_button(page: Page, server: LocalServer) -> None:
    create(server, "top")
    create(server, "inner", parent="top")
    page.goto(f"{server.url}/#inner")
    expect(page.locator("#part-of")).to_have_text("part of top")
    expect(page.get_by_role("button", name="Delete run")).to_have_count(0)
    page.locator("#part-of button").click()
    expect(page.locator("#graph-title")).to_have_text("top")
    expect(page.get_by_role("button", name="Delete run")).to_be_visible()
