"""How the page writes durations, places on the axis, and JSON; and that a terminal writes durations the same way."""

import json
from collections.abc import Iterator

import pytest
from page_stage import opened
from playwright.sync_api import Browser, Page

from local_server.testing import LocalServer
from local_server.tree_lines import duration

S, M, H, D = 1_000, 60_000, 3_600_000, 86_400_000
DURATIONS = [
    (-5, "0 ms"), (0, "0 ms"), (1, "1 ms"), (999, "999 ms"), (999.9, "999 ms"),
    (S, "1.00 s"), (1_005, "1.00 s"), (1_150, "1.15 s"), (9_994, "9.99 s"), (9_999, "9.99 s"),
    (10 * S, "10.0 s"), (40 * S, "40.0 s"), (59_949, "59.9 s"), (59_999, "59.9 s"),
    (60 * S, "1 m"), (61 * S, "1 m 1 s"), (64 * S, "1 m 4 s"), (100 * S, "1 m 40 s"), (10 * M, "10 m"),
    (H - 1, "59 m 59 s"),
    (H, "1 h"), (H + 59 * S, "1 h"), (H + 5 * M, "1 h 5 m"), (D - 1, "23 h 59 m"),
    (D, "1 d"), (D + 10 * H, "1 d 10 h"), (364 * D, "364 d"),
]  # fmt: skip
TICKS = [
    (0, "0"), (1, "1 ms"), (500, "500 ms"), (S, "1 s"), (1_500, "1.5 s"), (10 * S, "10 s"), (40 * S, "40 s"),
    (60 * S, "1 m"), (100 * S, "1 m 40 s"), (120 * S, "2 m"), (600 * S, "10 m"), (H, "1 h"), (H + 30 * M, "1 h 30 m"),
    (H + 5_250, "1 h 5.25 s"), (D, "1 d"), (10 * D, "10 d"), (D + 12 * H, "1 d 12 h"),
]  # fmt: skip
GROUPED = [(0, "0"), (999, "999"), (1_000, "1,000"), (65_536, "65,536"), (1_234_567, "1,234,567")]
AGO = [(0, "now"), (S, "1 s ago"), (59_999, "59 s ago"), (M, "1 m ago"), (H, "1 h ago"), (30 * D, "30 d ago")]


@pytest.fixture(scope="module")
def page(chromium: Browser, memory_server: LocalServer) -> Iterator[Page]:
    """One for all tests here, none of which changes it."""
    with opened(chromium, memory_server) as page:
        yield page


@pytest.mark.parametrize(("ms", "text"), DURATIONS)
def test_a_duration_in_a_terminal(ms: float, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("name", "table"), [("duration", DURATIONS), ("tick", TICKS), ("ago", AGO), ("grouped", GROUPED)]
)
def test_times_and_numbers_on_the_page(page: Page, name: str, table: list[tuple[float, str]]) -> None:
    write = "async ([name, all]) => { const w = await import('/ui/words.js'); return all.map((ms) => w[name](ms)); }"
    assert page.evaluate(write, [name, [ms for ms, _ in table]]) == [text for _, text in table]


def test_the_time_to_come_is_counted_down(page: Page) -> None:
    write = """async () => { const { when, moment } = await import("/ui/words.js");
        const now = new Date(2026, 5, 1, 12).getTime();
        return [when(now - 1, now), when(now + 90_000, now), when(now + 36e5 * 24, now)]; }"""
    assert page.evaluate(write) == ["11:59:59", "12:01:30, in 1 m 30 s", "2026-06-02 12:00:00, in 1 d"]


LONG = {"func": "work", "args": [list(range(40)), "a, b: {c}"], "kwargs": {}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":1,"b":[true,null]}', '{"a": 1, "b": [true, null]}'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),  # no rounding
        ("1.50e3", "1.50e3"),
        ('"a\\u0041\\"{"', '"a\\u0041\\"{"'),
        ("[]", "[]"),
        ("no JSON, {", "no JSON, {"),
        ('{"a":1,"a":2}', '{"a": 1, "a": 2}'),  # as it is stored
        (json.dumps(["x" * 30, "y" * 30, {"z": "w" * 30}]),
         f'[\n  "{"x" * 30}",\n  "{"y" * 30}",\n  {{"z": "{"w" * 30}"}}\n]'),
    ],
)  # fmt: skip
def test_json_is_broken_into_lines_and_stays_as_it_is_stored(page: Page, text: str, shown: str) -> None:
    assert page.evaluate("async (text) => (await import('/ui/words.js')).pretty(text)", text) == shown


def test_json_of_any_depth_can_be_shown(page: Page) -> None:
    pretty = "async (text) => (await import('/ui/words.js')).pretty(text)"
    for text in (json.dumps(LONG), "[" * 5_000 + "]" * 5_000):
        shown = page.evaluate(pretty, text)
        assert shown.replace("\n", "").replace(" ", "") == text.replace(" ", "")
