"""``/ui/removable`` and ``/ui/remove``: what is told before it is done, and what is done, over HTTP."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rules_stage import pending
from wire_client import FAR, Wire, until

from local_server.api import removing
from local_server.engine import Engine
from local_server.rules import promises
from local_server.store.store import Store


def chain(wire: Wire, *ids: str, ended: bool = True) -> None:
    """Create promises each of which calls the next, and resolve them; what is there already is shared."""
    for parent, one in zip([None, *ids], ids, strict=False):
        tags = {"resonate:parent": parent} if parent else {}
        assert wire.post("/promises", {"id": one, "timeout": FAR, "tags": tags}, key=one).status_code in (200, 201)
    for one in reversed(ids) if ended else ():
        assert wire.patch(f"/promises/{one}", {"state": "RESOLVED"}, key=one).status_code in (200, 201)


def removable(wire: Wire, pattern: str, **fields: str) -> dict[str, Any]:
    return wire.get(f"/ui/removable?id={pattern}{''.join(f'&{k}={v}' for k, v in fields.items())}").json()


def remove(wire: Wire, pattern: str, *, pending: bool = False) -> int:
    answer = wire.post("/ui/remove", {"id": pattern, "pending": pending})
    assert answer.status_code == 200, answer.text
    return answer.json()["promises"]


def left(wire: Wire) -> set[str]:
    found = wire.get(f"/promises?id=*{wire.tag}*").json()["promises"]
    return {one["id"].partition("-")[0] for one in found}


def names(wire: Wire, text: str) -> list[str]:
    return [wire.id(one) for one in text.split()]


def test_a_pattern_frees_its_ids_wherever_they_stand(wire: Wire) -> None:
    """The inner promises of a larger run: with them goes every run that used them, and no other."""
    chain(wire, *names(wire, "f40 f31 f30 f5 f4"))
    chain(wire, *names(wire, "order f31"))
    chain(wire, *names(wire, "small f5"))
    found = removable(wire, f"f3*{wire.tag}")
    assert sorted(found.pop("ids")) == sorted(names(wire, "f40 order"))
    assert found == {"runs": 2, "promises": 4, "pending": 0, "shared": [wire.id("small")], "staying": []}
    assert remove(wire, f"f3*{wire.tag}") == 4
    assert left(wire) == {"small", "f5", "f4"}
    (id_,) = names(wire, "f31")
    assert wire.post("/promises", {"id": id_, "timeout": FAR}, key=id_).status_code == 201


def test_a_root_under_another_run_goes_with_that(wire: Wire) -> None:
    chain(wire, *names(wire, "f5 f4"))
    chain(wire, *names(wire, "f8 f7 f6 f5"))
    found = removable(wire, wire.id("f8"))  # and another client's own run, which this one uses, stays
    assert (found["promises"], found["ids"], found["shared"]) == (3, names(wire, "f8"), [])
    assert removable(wire, wire.id("f5"))["promises"] == 5
    assert remove(wire, wire.id("f5")) == 5
    assert left(wire) == set()


def test_what_is_pending_stays_unless_told(wire: Wire) -> None:
    chain(wire, *names(wire, "done part"))
    chain(wire, *names(wire, "open part"), ended=False)
    found = removable(wire, wire.id("part"))
    assert (found["runs"], found["promises"], found["pending"]) == (1, 1, 1)
    assert (found["ids"], found["staying"]) == (names(wire, "done"), names(wire, "open"))
    assert found["shared"] == names(wire, "open")
    assert remove(wire, wire.id("part")) == 1
    assert left(wire) == {"open", "part"}
    assert removable(wire, wire.id("part"), pending="true")["promises"] == 2
    assert remove(wire, wire.id("part"), pending=True) == 2
    assert left(wire) == set()


def test_what_a_worker_has_in_hand_is_canceled_and_goes_when_it_has_reported(wire: Wire) -> None:
    stream, promise_id = wire.stream("w", "a"), wire.id("job")
    wire.post("/promises", {"id": promise_id, "timeout": FAR, "tags": {"resonate:invoke": "poll://any@w"}})
    task = stream.next()["task"]
    claim = {"id": task["id"], "counter": task["counter"], "processId": "a", "ttl": 60_000}
    assert wire.post("/tasks/claim", claim).status_code == 201
    removed: list[int] = []
    thread = threading.Thread(target=lambda: removed.append(remove(wire, promise_id, pending=True)))
    thread.start()
    until(lambda: wire.get(f"/promises/{promise_id}").json()["state"] == "REJECTED_CANCELED")
    assert wire.patch(f"/promises/{promise_id}", {"state": "RESOLVED"}, key=promise_id).status_code == 200
    assert wire.post("/tasks/complete", {"id": task["id"], "counter": task["counter"]}).status_code == 200
    thread.join()
    assert removed == [1]
    assert wire.get(f"/promises/{promise_id}").status_code == 404


def test_a_run_whose_cancellation_takes_longer_than_anybody_is_waited_for_goes_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, complete = [0.0], promises.complete

    def slowly(*args: Any, **options: Any) -> Any:
        now[0] += removing.PATIENCE
        return complete(*args, **options)

    async def removed() -> dict[str, Any]:
        engine = Engine(Store(None))
        for n in range(3):
            await engine.ask(lambda turn, n=n: promises.create(turn, pending(f"p{n}", FAR, None, {}), {}))
        found = await removing.remove(engine, "p*", pending=True)
        engine.close()
        return found

    monkeypatch.setattr(promises, "complete", slowly)
    monkeypatch.setattr(removing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert asyncio.run(asyncio.wait_for(removed(), 30)) == {"promises": 3}


def test_a_large_run_goes_in_steps_that_delay_nobody(wire: Wire) -> None:
    ids = [wire.id(f"l{n}") for n in range(600)]
    chain(wire, *ids)
    thread = threading.Thread(target=remove, args=(wire, ids[0]))
    seen = set()
    thread.start()
    while thread.is_alive():
        seen.add(len(left(wire)))  # others are served in between, and see it grow smaller
    thread.join()
    assert left(wire) == set()
    assert len(seen - {0, 600}) > 1


@pytest.mark.parametrize(
    ("body", "words"),
    [({"id": ""}, "id"), ({}, "id"), ({"id": 5}, "id"), ({"id": "x", "pending": "yes"}, "pending"), ("[]", "body")],
)
def test_a_body_that_makes_no_sense_is_refused(wire: Wire, body: object, words: str) -> None:
    answer = wire.post("/ui/remove", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 40000)
    assert words in answer.text


def test_a_pattern_that_is_missing_or_too_long_is_refused(wire: Wire) -> None:
    for query in ("", "?id=", f"?id={'x' * 10_001}"):
        answer = wire.get(f"/ui/removable{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 40000)


def test_no_other_page_removes_anything(wire: Wire) -> None:
    chain(wire, wire.id("mine"))
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Referer": "http://evil/"}):
        for path in ("/ui/remove", "/ui/prune"):
            body = {"id": "*", "olderThan": 0}
            assert wire.post(path, body, headers=headers).status_code == 403
    assert wire.get(f"/ui/remove?id={wire.id('mine')}").status_code == 404
    assert left(wire) == {"mine"}


def test_old_runs_are_pruned_and_no_others(wire: Wire) -> None:
    chain(wire, *names(wire, "old older"))
    chain(wire, *names(wire, "open"), ended=False)
    chain(wire, *names(wire, "half part"), ended=False)
    wire.patch(f"/promises/{wire.id('half')}", {"state": "RESOLVED"})
    time.sleep(0.01)
    assert wire.post("/ui/prune", {"olderThan": 3_600_000}).json() == {"promises": 0}
    assert wire.post("/ui/prune", {"olderThan": 0}).json()["promises"] >= 2
    assert left(wire) == {"open", "half", "part"}


def test_what_a_function_made_for_a_person_to_resolve_goes_with_its_run(wire: Wire) -> None:
    run, approval = wire.id("refund"), wire.id("approved")
    wire.create(run, {"resonate:invoke": f"poll://any@{wire.id('nobody')}"})
    wire.create(approval)  # as ctx.promise() does, which names no parent
    body = {"promiseId": approval, "rootPromiseId": run, "timeout": FAR, "recv": "poll://any@g/w"}
    assert wire.post(f"/promises/callback/{approval}", body).status_code == 201
    assert [node["id"] for node in wire.get(f"/ui/tree/{run}").json()["nodes"]] == [run, approval]
    wire.complete(approval)
    wire.complete(run)
    assert wire.get(f"/ui/removable?id={run}").json()["promises"] == 2
    remove(wire, run)
    assert wire.get(f"/promises/{approval}").status_code == 404
