"""What is removed goes as whole runs, from the top, and nothing that stays misses anything."""

from collections.abc import Iterable

import pytest
from rules_stage import ANY, FAR, Stage

from local_server.rules import removal, tasks


def chain(stage: Stage, *ids: str) -> None:
    """Create promises each of which calls the next, and resolve them; what is there already is shared."""
    for parent, one in zip([None, *ids], ids, strict=False):
        stage.create(one, key=one, **({"parent": parent} if parent else {}))
    for one in reversed(ids):
        stage.complete(one, key=one)


def remove(stage: Stage, *roots: str) -> list[str]:
    """Remove roots and all below; return those that had to stay."""
    staying = [root for root in roots if not stage.do(removal.start, root)]
    while stage.do(removal.collect) is not None:
        no_hole(stage)
    return staying


def no_hole(stage: Stage) -> None:
    """Check that whatever is used is there, but for what stands below promises that are being removed."""
    db = stage.store.db
    missing = db.execute(
        """SELECT parent, child FROM shared_children WHERE parent IN (SELECT id FROM promises)
            AND child NOT IN (SELECT id FROM promises)"""
    ).fetchall()
    lost = db.execute(
        """SELECT id FROM promises WHERE parent NOT IN (SELECT id FROM promises)
            AND parent NOT IN (SELECT promise FROM removed)"""
    ).fetchall()
    assert (missing, lost) == ([], [])


def left(stage: Stage) -> set[str]:
    return set(stage.promises())


def rows(stage: Stage, tables: Iterable[str]) -> int:
    return sum(stage.store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)  # noqa: S608 - constants


def test_a_run_goes_with_all_that_is_kept_about_it(stage: Stage) -> None:
    stream = stage.connect("g/a")
    stage.create("r", invoke=ANY)
    stage.create("r.1", parent="r", invoke=ANY)
    stage.create("other")
    stage.claim("__invoke:r", process_id="a")
    stage.call_back("r.1", "resume", "r", ANY)
    stage.call_back("r.1", "notify", "s", "poll://uni@x/y")
    stage.do(tasks.drop, "__invoke:r", 1)
    stage.claim("__invoke:r", 2, process_id="a")
    stage.do(tasks.complete, "__invoke:r", 2)
    stage.claim("__invoke:r.1", process_id="a")
    stage.complete("r.1", key="r.1")
    stage.do(tasks.complete, "__invoke:r.1", 1)
    stage.claim("__resume:r:r.1", process_id="a")
    stage.complete("r", key="r")
    stage.do(tasks.complete, "__resume:r:r.1", 1)
    assert stream.messages
    assert remove(stage, "r") == []
    assert left(stage) == {"other"}
    assert rows(stage, ("tasks", "callbacks", "lost_claims", "shared_children", "unsettled", "removed")) == 0
    assert stage.create("r", key="r", invoke=ANY) == 201


def test_what_another_run_uses_stays_with_all_below_it(stage: Stage) -> None:
    chain(stage, "f8", "f7", "f6", "f5", "f4")
    chain(stage, "order", "f6")
    assert remove(stage, "f8") == []
    assert left(stage) == {"order", "f6", "f5", "f4"}
    assert stage.store.removals.parent("f6") == "order"
    assert rows(stage, ["shared_children"]) == 0
    remove(stage, "order")
    assert left(stage) == set()


def test_a_root_that_another_run_uses_stays_until_that_has_gone(stage: Stage) -> None:
    chain(stage, "f5", "f4")
    chain(stage, "f8", "f7", "f6", "f5")
    assert remove(stage, "f5") == ["f5"]
    assert left(stage) == {f"f{n}" for n in (8, 7, 6, 5, 4)}
    assert remove(stage, "f8", "f5") == ["f5"]  # what stands between is collected after that
    assert left(stage) == {"f5", "f4"}
    assert remove(stage, "f5") == []
    assert left(stage) == set()


def test_a_run_that_comes_while_one_is_removed_keeps_what_it_uses(stage: Stage) -> None:
    chain(stage, "r", *(f"r{n}" for n in range(100)))
    stage.do(removal.start, "r")
    stage.do(removal.collect)
    assert 20 < len(left(stage)) < 99
    chain(stage, "late", "r90")
    while stage.do(removal.collect) is not None:
        no_hole(stage)
    assert left(stage) == {"late", *(f"r{n}" for n in range(90, 100))}


def test_an_id_that_is_created_anew_while_its_run_is_removed_has_what_was_its_own(stage: Stage) -> None:
    chain(stage, "a", "b")
    stage.do(removal.start, "a")
    chain(stage, "a", "b")
    assert stage.do(removal.collect) == 0
    assert left(stage) == {"a", "b"}
    assert remove(stage, "a") == []
    assert left(stage) == set()


def test_what_calls_itself_goes_too(stage: Stage) -> None:
    chain(stage, "a", "b", "c")
    stage.create("a", key="a", parent="c")
    stage.create("b", key="b", parent="c")
    assert remove(stage, "a") == []
    assert left(stage) == set()
    assert rows(stage, ["shared_children"]) == 0


def test_of_runs_that_use_each_other_one_goes_with_the_other(stage: Stage) -> None:
    for root in "ab":
        stage.create(root, key=root)
        stage.create(f"{root}.1", key=f"{root}.1", parent=root)
    for root, other in (("a", "b"), ("b", "a")):
        stage.create(other, key=other, parent=f"{root}.1")
    for one in ("a", "a.1", "b", "b.1"):
        stage.complete(one)
    assert remove(stage, "a", "b") == ["a", "b"]
    assert stage.do(removal.untie, ["c"]) is None
    assert stage.do(removal.untie, ["a", "b"]) == "a"
    assert remove(stage, "b") == []
    assert left(stage) == set()


def test_what_is_pending_stays_and_is_a_run_of_its_own_from_then_on(stage: Stage) -> None:
    stage.create("r")
    stage.create("r.1", parent="r")
    stage.create("r.1.1", parent="r.1")
    assert remove(stage, "r") == ["r"]
    stage.call_back("r.1", "resume", "r", ANY)
    stage.complete("r")
    assert remove(stage, "r") == []
    assert left(stage) == {"r.1", "r.1.1"}
    assert rows(stage, ["callbacks"]) == 0  # nobody is resumed that is not there
    stage.complete("r.1")
    assert stage.tasks() == {}


def test_a_run_stays_as_long_as_a_worker_may_report_of_it(stage: Stage) -> None:
    stage.connect("g/a")
    stage.create("r", invoke=ANY)
    stage.claim("__invoke:r", process_id="a")
    stage.complete("r", "cancel")
    assert remove(stage, "r") == ["r"]
    assert stage.complete("r", key="r") == 200  # the worker: no 404, over which the SDK would be deaf
    assert remove(stage, "r") == ["r"]
    assert stage.do(tasks.complete, "__invoke:r", 1)[0] == 200
    assert remove(stage, "r") == []
    stage.create("s", invoke=ANY)
    stage.claim("__invoke:s", process_id="a")
    stage.complete("s", "cancel")
    stage.process_ends("g/a")
    assert remove(stage, "s") == []


def test_a_run_stays_as_long_as_a_claim_of_it_may_be_on_its_way(stage: Stage) -> None:
    stage.connect("g/a")
    for one in ("r", "s"):
        stage.create(one, invoke=ANY)
        stage.complete(one, "cancel")
    assert remove(stage, "r") == ["r"]
    stage.claim("__invoke:r", process_id="a")  # no 404, over which the SDK would end its process
    stage.advance(60_000)
    assert remove(stage, "r", "s") == ["r"]  # r is in hand, s would be refused by now
    stage.do(tasks.complete, "__invoke:r", 1)
    assert remove(stage, "r") == []


def test_a_run_stays_until_everybody_has_been_told_of_its_end(stage: Stage) -> None:
    stage.create("r")
    for n in range(100):
        stage.call_back("r", "notify", f"s{n}", f"poll://uni@x/{n}")
    stage.complete("r")
    assert remove(stage, "r") == ["r"]
    while rows(stage, ["unsettled"]):
        stage.sweep()
    assert remove(stage, "r") == []
    assert rows(stage, ["tasks"]) == 0


def test_what_comes_again_is_sent_to_a_worker_that_has_not_run_it(stage: Stage) -> None:
    streams = {name: stage.connect(f"g/{name}") for name in "ab"}
    stage.create("r", invoke=ANY)
    (first,) = (name for name, stream in streams.items() if stream.messages)
    for _ in range(3):
        stage.claim("__invoke:r", process_id=first)
        stage.complete("r", key="r")
        stage.do(tasks.complete, "__invoke:r", 1)
        assert remove(stage, "r") == []
        stage.create("r", invoke=ANY)
        (holder,) = (name for name in "ab" if "__invoke:r" in stage.worker(f"g/{name}").unclaimed)
        assert holder != first
        stage.process_ends(f"g/{first}")  # and comes again, with nothing in mind
        streams[first] = stage.connect(f"g/{first}")
        first = holder


def run_again_after_its_removal(stage: Stage) -> None:
    """Let g/a run r to its end, remove that, and create r anew: there is nobody but g/a to send it to."""
    stage.connect("g/a")
    stage.create("r", invoke=ANY)
    stage.claim("__invoke:r", process_id="a")
    stage.complete("r", key="r")
    stage.do(tasks.complete, "__invoke:r", 1)
    remove(stage, "r")
    stage.create("r", invoke=ANY)


def test_a_worker_that_takes_it_for_the_earlier_run_gives_it_back(stage: Stage) -> None:
    run_again_after_its_removal(stage)
    for counter, wait in ((1, 0), (2, 1_000), (3, 2_000)):
        stage.claim("__invoke:r", counter, process_id="a")
        with stage.turn() as turn:
            assert tasks.complete(turn, "__invoke:r", counter)[0] == 201
        (warning,) = turn.warnings
        assert warning.startswith("promise r: g/a ran an earlier one of that id, which was deleted, and takes it for ")
        assert warning.endswith("; g/a has to be restarted, or another worker started")
        task = stage.task("__invoke:r")
        assert (task.not_before or stage.now) - stage.now == wait
        stage.advance(wait)
    stage.connect("g/b")
    stage.process_ends("g/a")
    assert stage.task("__invoke:r").recipient == "g/b"
    stage.claim("__invoke:r", 5, process_id="b")
    stage.complete("r", key="r")
    assert stage.do(tasks.complete, "__invoke:r", 5)[0] == 200


def test_a_worker_that_waits_for_a_call_has_not_taken_it_for_an_earlier_run(stage: Stage) -> None:
    run_again_after_its_removal(stage)
    stage.claim("__invoke:r", process_id="a")
    stage.create("r.1", parent="r", timeout=FAR)
    stage.call_back("r.1", "resume", "r", ANY)
    with stage.turn() as turn:
        tasks.complete(turn, "__invoke:r", 1)
    assert (turn.warnings, stage.task("__invoke:r").state) == ([], "COMPLETED")


@pytest.mark.parametrize(
    ("pattern", "fits", "differs"),
    [
        ("f-3", ["f-3"], ["f-31", "F-3", "af-3"]),
        ("f-3*", ["f-3", "f-31"], ["f-2", "F-3"]),
        ("*", ["", "x"], []),
        ("*-3", ["f-3", "-3"], ["f-31"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["ac", "acb", "ab"]),
        ("a*a", ["aa", "axa"], ["a"]),
        ("a%_\\*", ["a%_\\b"], ["axyb"]),
    ],
)
def test_a_pattern_names_ids(pattern: str, fits: list[str], differs: list[str]) -> None:
    assert [one for one in fits + differs if removal.matches(pattern, one)] == fits
