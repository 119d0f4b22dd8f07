"""On PostgreSQL, too, no statement of requests, of the clock or of the page costs more because much is stored."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from postgres_stage import Cluster
from rules_stage import Stage
from test_store import everything_once, filled
from wire_client import until

from local_server.page.queries import Queries
from local_server.store import inspection

ROWS = 20_000
MOST = 1_000  # rows that a step may read: the page looks at 100 roots, and every tenth promise is one
EXPLAINED = {
    "session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off", "auto_explain.log_format": "json",
}  # fmt: skip


def look(stage: Stage) -> None:
    """Ask all that the page asks."""
    queries, states = Queries(stage.store.db), ("PENDING",)
    queries.roots("r%", states, 2 * ROWS, 100, 10)
    queries.calls("old10", 100)
    queries.tasks_of(["r", "old10"], 100)
    queries.lost(["__invoke:old10"])
    queries.promise("r")
    queries.callbacks("old11", 10)
    queries.notifications("old11", 10)
    queries.sharers("r", 10)
    queries.tasks(["__invoke:old10", "none"])
    queries.waiting(10, 100)
    queries.deadly(10, 50)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest.mark.parametrize("analyzed", [False, True])
def test_every_statement_finds_its_rows_by_an_index_and_reads_few(postgres: Cluster, *, analyzed: bool) -> None:
    url = postgres.create()
    filled(ROWS, Stage(url)).store.close()
    if analyzed:  # else PostgreSQL knows nothing of what is stored
        postgres.run("ANALYZE", url)
    printed = len(postgres.child.lines)
    stage = Stage(f"{url}&options={quote(' '.join(f'-c{name}={value}' for name, value in EXPLAINED.items()))}")
    everything_once(stage)
    with stage.turn():
        look(stage)
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
