"""On PostgreSQL, too, no statement of requests, of the clock, of the page or of a removal reads more than it needs."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from postgres_stage import Cluster
from rules_stage import START, Stage
from test_store import everything_once, filled
from wire_client import until

from local_server.page.queries import Queries
from local_server.store import inspection
from local_server.store.searches import Wanted

ROWS = 20_000
MOST = 1_000  # rows that a step may read: the page looks at 100 roots, and every tenth promise is one
# One function has asked for many of them.
OF_ONE = """
UPDATE promises SET parent = 'old10' WHERE sort % 10 IN (7, 9);
UPDATE tasks SET root = 'old10' WHERE sort % 10 IN (7, 9)
"""
EXPLAINED = {
    "session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off", "auto_explain.log_format": "json",
}  # fmt: skip


def look(stage: Stage) -> None:
    """Ask all that the page asks."""
    queries, wanted = Queries(stage.store.db), Wanted("r*", ("PENDING",))
    queries.roots(wanted, START, 2 * ROWS, 100, 10)
    queries.count(wanted, START, 2 * ROWS, 100, 10)
    queries.unfinished("old10", 10, 10)
    queries.calls("old10", 0, "", 100)
    queries.tasks_of(["r", "old10"], 100)
    queries.lost([("__invoke:old10", 1)])
    queries.losses(["__invoke:old10"])
    queries.promise("r")
    queries.callbacks("old11", 10)
    queries.notifications("old11", 10)
    queries.sharers("r", 10)
    queries.tasks(["__invoke:old10", "none"])
    queries.waiting(10, 100)
    queries.deadly(10, 50)


def remove(stage: Stage) -> None:
    """Ask all that a removal asks."""
    removals = stage.store.removals
    removals.ids("old1", "old10", 10)
    removals.parent("old11")
    removals.sharers("old11", "", 10)
    removals.below("old10", 0, 10)
    removals.root("old11")
    removals.above_sharers("old11", "z")
    removals.roots(0, 10)
    removals.follow_ups()
    removals.remove_tasks("old11", 10)
    removals.remove("old11")
    removals.removed()
    removals.cut_off("old10", 10)
    removals.call_off("old10", "old13")
    removals.adopt("old13", None)
    removals.forget("old11")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest.mark.parametrize("analyzed", [False, True])
def test_every_statement_finds_its_rows_by_an_index_and_reads_few(postgres: Cluster, *, analyzed: bool) -> None:
    url = postgres.create()
    filled(ROWS, Stage(url)).store.close()
    postgres.run(OF_ONE, url)
    if analyzed:  # else PostgreSQL knows nothing of what is stored
        postgres.run("ANALYZE", url)
    printed = len(postgres.child.lines)
    stage = Stage(f"{url}&options={quote(' '.join(f'-c{name}={value}' for name, value in EXPLAINED.items()))}")
    everything_once(stage)
    with stage.turn():
        look(stage)
        remove(stage)
        stage.store.earliest()
        stage.store.db.named("SELECT 'the last one'", {})
    until(lambda: postgres.child.count("the last one"))
    stage.store.close()
    output = "\n".join(postgres.child.lines[printed:]) + "\n"
    plans = [json.loads(found) for found in re.findall(r"plan:\n((?:\t.*\n)+)", output)]
    assert len({plan["Query Text"] for plan in plans}) > 60
    ours = inspection.tables()
    for plan in plans:
        steps = [
            step for step in nodes(plan["Plan"]) if step.get("Relation Name") in ours and "Scan" in step["Node Type"]
        ]
        for step in steps:
            assert step["Node Type"] != "Seq Scan", plan
            read = step["Actual Rows"] * step["Actual Loops"] + step.get("Rows Removed by Filter", 0)
            assert read <= MOST, plan
