"""Tasks over the wire: claimed, renewed, completed, dropped, lost; by body and by the hrefs of messages."""

import itertools
import time
from typing import Any

import pytest
from wire_client import FAR, NOW, EventStream, Wire, code, until


@pytest.fixture
def worker(wire: Wire) -> EventStream:
    """Connect a worker to the test's own group."""
    return wire.stream(wire.id("group"), "w")


def invoke(wire: Wire, name: str = "inv", **fields: Any) -> str:
    """Create a promise that the test's group runs; return its id."""
    tags = {"resonate:invoke": f"poll://any@{wire.id('group')}", **fields.pop("tags", {})}
    wire.create(wire.id(name), tags, **fields)
    return wire.id(name)


def test_an_invoke_is_sent_claimed_and_completed_as_in_the_protocol(wire: Wire, worker: EventStream) -> None:
    name = invoke(wire)
    task_id, base = f"__invoke:{name}", wire.url
    message = worker.next()
    assert list(message) == ["href", "task", "type"]
    assert message == {
        "href": {
            "base": base,
            "claim": f"{base}/tasks/claim/{task_id}/1",
            "complete": f"{base}/tasks/complete/{task_id}/1",
            "heartbeat": f"{base}/tasks/heartbeat/{task_id}/1",
        },
        "task": {"id": task_id, "counter": 1, "timeout": FAR, "rootPromiseId": name, "createdOn": NOW},
        "type": "invoke",
    }
    root = wire.get(f"/promises/{name}").json()
    claimed = wire.post("/tasks/claim", {"id": task_id, "counter": 1, "processId": "p1", "ttl": 60000})
    assert (claimed.status_code, list(claimed.json())) == (201, ["promises", "type"])
    assert claimed.json() == {
        "promises": {"root": {"data": root, "href": f"{base}/promises/{name}", "id": name}},
        "type": "invoke",
    }
    done = wire.post("/tasks/complete", {"id": task_id, "counter": 1})
    assert done.status_code == 201
    assert done.json() == message["task"] | {"completedOn": NOW}
    again = wire.post("/tasks/complete", {"id": task_id, "counter": 7})
    assert (again.status_code, again.json()) == (200, done.json())


def test_a_resume_is_claimed_with_its_leaf_and_its_root(wire: Wire, worker: EventStream) -> None:
    name, leaf = invoke(wire), wire.id("leaf")
    task = worker.next()["task"]
    wire.create(leaf)
    assert wire.claim(task, "p").status_code == 201
    recv = f"poll://any@{wire.id('group')}/w"
    called = wire.post(f"/promises/callback/{leaf}", {"rootPromiseId": name, "recv": recv, "timeout": FAR})
    assert called.status_code == 201
    assert wire.post("/tasks/complete", {"id": task["id"], "counter": 1}).status_code == 201
    done = wire.complete(leaf, data="eA==")
    message = worker.next()
    assert (message["type"], message["task"]["id"]) == ("resume", f"__resume:{name}:{leaf}")
    claimed = wire.claim(message["task"], "p").json()
    assert (list(claimed["promises"]), claimed["type"]) == (["leaf", "root"], "resume")
    assert claimed["promises"]["leaf"] == {"data": done, "href": f"{wire.url}/promises/{leaf}", "id": leaf}
    assert claimed["promises"]["root"]["data"]["id"] == name


def test_one_task_of_a_root_runs_at_a_time(wire: Wire, worker: EventStream) -> None:
    name = invoke(wire)
    first = worker.next()["task"]
    wire.claim(first, "p")
    for leaf in ("l1", "l2"):
        wire.create(wire.id(leaf))
        body = {"rootPromiseId": name, "recv": f"poll://any@{wire.id('group')}/w", "timeout": FAR}
        wire.post(f"/promises/callback/{wire.id(leaf)}", body)
        wire.complete(wire.id(leaf))
    invoke(wire, "marker")
    assert worker.next()["task"]["rootPromiseId"] == wire.id("marker")
    wire.post("/tasks/complete", {"id": first["id"], "counter": 1})
    second = worker.next()["task"]
    assert second["id"] == f"__resume:{name}:{wire.id('l1')}"
    # the one that waits may be claimed all the same
    waiting = {"id": f"__resume:{name}:{wire.id('l2')}", "counter": 1}
    assert wire.claim(waiting, "p").status_code == 201


def test_the_end_of_a_root_ends_all_its_tasks(wire: Wire, worker: EventStream) -> None:
    name, process = invoke(wire), wire.id("p")
    task = worker.next()["task"]
    wire.claim(task, process)
    wire.complete(name)
    assert code(wire.claim(task, process)) == 40307
    done = wire.post("/tasks/complete", {"id": task["id"], "counter": 1})
    assert (done.status_code, done.json()) == (200, task | {"processId": process, "completedOn": NOW})
    assert wire.post("/tasks/heartbeat", {"processId": process}).json() == {"tasksAffected": 0}


# refusals


def test_a_claim_looks_at_the_state_before_the_counter(wire: Wire) -> None:
    task = {"id": f"__invoke:{invoke(wire)}", "counter": 1}
    wrong = task | {"counter": 2}
    assert code(wire.claim({"id": wire.id("none"), "counter": 1}, "p")) == 40403
    assert code(wire.claim(wrong, "p")) == 40308
    assert wire.claim(task, "p").status_code == 201
    assert code(wire.claim(task, "other")) == code(wire.claim(wrong, "p")) == code(wire.claim(wrong, "other")) == 40306
    wire.post("/tasks/complete", task)
    for claim in (task, wrong):
        assert code(wire.claim(claim, "p")) == 40307


def test_a_claim_that_is_repeated_at_once_is_refused(wire: Wire) -> None:
    numbers = itertools.count()

    def refused() -> bool:
        task = {"id": f"__invoke:{invoke(wire, f'again{next(numbers)}')}", "counter": 1}
        assert wire.claim(task, "p").status_code == 201
        again = wire.claim(task, "p")
        return again.status_code == 403 and code(again) == 40306

    until(refused)  # a server that has just started grants what may be a repetition


def test_a_completion_looks_at_the_state_before_the_counter(wire: Wire) -> None:
    task = {"id": f"__invoke:{invoke(wire)}", "counter": 1}
    wrong = task | {"counter": 2}
    assert code(wire.post("/tasks/complete", {"id": wire.id("none"), "counter": 1})) == 40403
    assert code(wire.post("/tasks/complete", task)) == code(wire.post("/tasks/complete", wrong)) == 40309
    wire.claim(task, "p")
    assert code(wire.post("/tasks/complete", wrong)) == 40308
    assert wire.post("/tasks/complete", task).status_code == 201


@pytest.mark.parametrize(
    "field",
    [
        {"id": None}, {"id": ""}, {"id": 5}, {"counter": None}, {"counter": 0}, {"counter": "1"}, {"counter": 1.5},
        {"counter": True}, {"counter": 2**63}, {"processId": None}, {"processId": ""}, {"processId": []}, {"ttl": -1},
        {"ttl": "1"}, {"ttl": 2**63},
    ],
    ids=str,
)  # fmt: skip
def test_a_claim_that_makes_no_sense_is_refused(wire: Wire, field: dict[str, object]) -> None:
    task = {"id": f"__invoke:{invoke(wire)}", "counter": 1, "processId": "p", "ttl": 5}
    assert code(wire.post("/tasks/claim", task | field)) == 40000
    if field.keys() & {"id", "counter"}:
        assert code(wire.post("/tasks/complete", task | field)) == 40000
        assert code(wire.post("/tasks/drop", task | field)) == 40000


@pytest.mark.parametrize("body", [{}, {"processId": ""}, {"processId": None}, {"processId": 1}, [], "x", ""])
def test_a_heartbeat_without_a_process_is_refused(wire: Wire, body: object) -> None:
    assert code(wire.post("/tasks/heartbeat", body)) == 40000


# leases


def test_a_heartbeat_renews_every_lease_of_a_process(wire: Wire, worker: EventStream) -> None:
    process, ttl = wire.id("p"), 2.0
    for name in ("a", "b"):
        invoke(wire, name)
        wire.claim(worker.next()["task"], process, ttl=int(ttl * 1000))
    assert wire.post("/tasks/heartbeat", {"processId": wire.id("nobody")}).json() == {"tasksAffected": 0}
    last = claimed = time.monotonic()
    while last < claimed + ttl / 2:
        last = time.monotonic()
        assert wire.post("/tasks/heartbeat", {"processId": process}).json() == {"tasksAffected": 2}
    lost = sorted(worker.next()["task"]["rootPromiseId"] for _ in "ab")
    assert time.monotonic() > last + ttl - 0.01
    assert lost == [wire.id("a"), wire.id("b")]


def test_a_lost_lease_is_offered_anew_under_the_next_counter(wire: Wire, worker: EventStream) -> None:
    invoke(wire)
    first = worker.next()["task"]
    wire.claim(first, "p", ttl=1)
    second = worker.next()["task"]
    assert second == first | {"counter": 2}
    late = {"id": first["id"], "counter": 1}
    assert code(wire.post("/tasks/complete", late)) == 40309
    assert code(wire.claim(first, "p")) == 40308
    assert wire.claim(second, "q").status_code == 201
    assert code(wire.post("/tasks/complete", late)) == 40308


def test_a_lease_of_the_longest_time_is_kept(wire: Wire) -> None:
    task = {"id": f"__invoke:{invoke(wire)}", "counter": 1}
    process = wire.id("p")
    assert wire.claim(task, process, ttl=2**63 - 1).status_code == 201
    assert wire.post("/tasks/heartbeat", {"processId": process}).json() == {"tasksAffected": 1}
    assert code(wire.claim(task, "q")) == 40306
    assert wire.post("/tasks/complete", task).status_code == 201


def test_a_task_claimed_at_creation_is_sent_only_when_its_lease_is_lost(wire: Wire, worker: EventStream) -> None:
    tags = {"resonate:invoke": f"poll://any@{wire.id('group')}"}
    promise = {"id": wire.id("run"), "timeout": FAR, "tags": tags}
    wire.post("/promises/task", {"promise": promise, "task": {"processId": "p", "ttl": 1500}})
    invoke(wire, "marker")
    assert worker.next()["task"]["rootPromiseId"] == wire.id("marker")
    message = worker.next()
    assert (message["type"], message["task"]["rootPromiseId"]) == ("invoke", wire.id("run"))
    assert (message["task"]["counter"], "processId" in message["task"]) == (2, False)


def test_a_dropped_task_is_offered_anew_under_the_next_counter(wire: Wire, worker: EventStream) -> None:
    invoke(wire)
    first = worker.next()["task"]
    drop = {"id": first["id"], "counter": 1}
    assert code(wire.post("/tasks/drop", drop | {"id": wire.id("none")})) == 40403
    assert wire.post("/tasks/drop", drop).status_code == 200
    wire.claim(first, "p")
    assert code(wire.post("/tasks/drop", drop | {"counter": 2})) == 40308
    dropped = wire.post("/tasks/drop", drop)
    assert (dropped.status_code, dropped.text) == (201, "")
    assert worker.next()["task"] == first | {"counter": 2}
    wire.complete(first["rootPromiseId"])
    assert wire.post("/tasks/drop", drop).status_code == 200


def test_the_hrefs_of_a_message_do_what_they_say(wire: Wire, worker: EventStream) -> None:
    name = invoke(wire)
    href = {action: url.removeprefix(wire.url) for action, url in worker.next()["href"].items()}
    assert wire.get(href["claim"]).json()["promises"]["root"]["id"] == name
    assert wire.get(href["claim"]).status_code in (201, 403)  # once more, by the same
    assert wire.get(href["heartbeat"]).json() == {"tasksAffected": 1}
    dropped = wire.get(href["claim"].replace("claim", "drop", 1))
    assert (dropped.status_code, dropped.text) == (201, "")
    href = {action: url.removeprefix(wire.url) for action, url in worker.next()["href"].items()}
    assert href["claim"].endswith("/2")
    assert wire.get(href["claim"]).status_code == wire.get(href["complete"]).status_code == 201


@pytest.mark.parametrize("path", ["x", "x/", "x/0", "x/-1", "x/one", "/1", "x/99999999999999999999", ""])
@pytest.mark.parametrize("action", ["claim", "complete", "drop", "heartbeat"])
def test_an_href_without_id_or_counter_is_refused(wire: Wire, action: str, path: str) -> None:
    assert code(wire.get(f"/tasks/{action}/{path}")) == 40000


# fences


def test_a_fenced_request_needs_its_task_claimed(wire: Wire) -> None:
    name, leaf = invoke(wire), wire.id("leaf")
    task = {"id": f"__invoke:{name}", "counter": 1}
    wire.create(leaf)

    def requests(counter: str, task_id: str = task["id"]) -> list[int]:
        fence = {"headers": {"Task-Id": task_id, "TASK-COUNTER": counter}}
        other = {"rootPromiseId": name, "recv": "default", "timeout": FAR}
        return [
            wire.post("/promises", {"id": wire.id("new")}, key="k", **fence).status_code,
            wire.post(f"/promises/callback/{leaf}", other, **fence).status_code,
            wire.patch(f"/promises/{leaf}", {"state": "RESOLVED"}, key="k", **fence).status_code,
        ]

    assert requests("1") == requests("1", wire.id("none")) == [412, 412, 412]
    wire.claim(task, "p")
    assert requests("2") == requests("0") == [412, 412, 412]
    assert requests("1") == [201, 201, 201]
    assert requests("99", task_id="") == [200, 200, 200]
    wire.post("/tasks/complete", task)
    assert requests("1") == [412, 412, 412]
    refused = wire.patch(f"/promises/{leaf}", {"state": "RESOLVED"}, headers={"task-id": "x"})
    assert (code(refused), refused.json()["error"]["details"][0]["@type"]) == (41200, "ServerError")


@pytest.mark.parametrize("counter", ["x", "1.0", "+", "0x1", "1" * 20])
def test_a_counter_that_is_none_is_refused(wire: Wire, counter: str) -> None:
    assert code(wire.post("/promises", {"id": wire.id("p")}, headers={"task-counter": counter})) == 40000


# delays, time-outs, traces


def test_a_delayed_task_is_sent_when_its_delay_is_over(wire: Wire, worker: EventStream) -> None:
    due = int(time.time() * 1000) + 1000
    invoke(wire, "delayed", tags={"resonate:delay": str(due)})
    invoke(wire, "marker", tags={"resonate:delay": "soon"})
    assert worker.next()["task"]["rootPromiseId"] == wire.id("marker")
    assert worker.next()["task"]["rootPromiseId"] == wire.id("delayed")
    assert time.time() * 1000 >= due


def test_a_task_whose_time_is_over_is_not_sent(wire: Wire, worker: EventStream) -> None:
    invoke(wire, "late", timeout=5)
    invoke(wire, "marker")
    assert worker.next()["task"]["rootPromiseId"] == wire.id("marker")
    assert code(wire.claim({"id": f"__invoke:{wire.id('late')}", "counter": 1}, "p")) == 40307


def test_trace_headers_travel_with_the_message(wire: Wire, worker: EventStream) -> None:
    tags = {"resonate:invoke": f"poll://any@{wire.id('group')}"}
    for name, headers in [
        ("both", {"Traceparent": "00-ab-cd-01", "tracestate": "a=<b>"}),
        ("parent", {"traceparent": "00-ab-cd-01"}),
        ("state", {"tracestate": "a=b"}),
    ]:
        wire.post("/promises", {"id": wire.id(name), "timeout": FAR, "tags": tags}, headers=headers)
    both, parent, state = (worker.next() for _ in range(3))
    assert list(both) == ["head", "href", "task", "type"]
    assert both["head"] == {"traceparent": "00-ab-cd-01", "tracestate": "a=<b>"}
    assert parent["head"] == {"traceparent": "00-ab-cd-01"}
    assert "head" not in state
