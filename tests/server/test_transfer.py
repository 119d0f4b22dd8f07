"""``local-server export | import``: what one server holds, another does then; nothing that has finished runs again."""

import json
import math
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from command_stage import run
from postgres_stage import Cluster
from wire_client import FAR, Wire, until

from local_server.terminal import Server, path_of
from local_server.testing import Child, LocalServer

ODD = ["a/b?c=d#e%41+ f", "日本 ü", "..", ".", "'\";--", "\\*%_", "callback/x", "x" * 300]
INVOKE = {"resonate:invoke": "poll://any@nobody"}
TIMER = {"resonate:timeout": "true"}


@pytest.fixture
def start(children: list[Child]) -> Callable[..., LocalServer]:
    """Start servers; each is empty and in memory unless told otherwise."""

    def start(where: Path | str | None = None, **env: str) -> LocalServer:
        server = LocalServer(where, env=env)
        children.append(server.child)
        return server

    return start


@pytest.fixture
def source(start: Callable[..., LocalServer]) -> Iterator[Wire]:
    """The server from which things are brought elsewhere."""
    wire = Wire(start())
    yield wire
    wire.close()


def create(wire: Wire, promise_id: str, timeout: int = FAR, key: str | None = None, **tags: str) -> None:
    value = {"headers": {"of": promise_id.encode("ascii", "replace").decode()}, "data": b64encode(b"[1]").decode()}
    body = {"id": promise_id, "timeout": timeout, "tags": tags, "param": value}
    assert wire.post("/promises", body, key=key and key.encode()).status_code == 201


def complete(wire: Wire, promise_id: str, state: str = "RESOLVED", key: str | None = None) -> None:
    body = {"state": state, "value": {"headers": {"h": "v"}, "data": b64encode(b'"done"').decode()}}
    Server(wire.url).ask("PATCH", path_of(promise_id), body, headers={"idempotency-key": key})


def fill(wire: Wire) -> None:
    """Store one of everything."""
    soon = time.time_ns() // 1_000_000 + 300
    for promise_id in ODD:
        create(wire, promise_id, key=promise_id, **INVOKE)
        complete(wire, promise_id, key=promise_id)
    for state in ("RESOLVED", "REJECTED", "REJECTED_CANCELED"):
        create(wire, f"in time {state}", soon)
        complete(wire, f"in time {state}", state)
    create(wire, "late", soon, **INVOKE)
    create(wire, "slept", soon, **TIMER)
    create(wire, "sleeps", FAR, **TIMER)
    create(wire, "pending", key="", **INVOKE)
    create(wire, "by hand")
    for name in ("daily", *ODD):
        body = {"id": name, "desc": "d", "cron": "0 3 * * *", "tags": {"t": "1"}, "promiseId": "{{.id}}-{{.timestamp}}"}
        more = {"promiseTimeout": 5_000, "promiseParam": {"data": "MQ=="}, "promiseTags": {"x": "y"}}
        assert wire.post("/schedules", body | more, key="k").status_code == 201
    until(lambda: wire.get("/promises/late").json()["state"] == "REJECTED_TIMEDOUT")
    until(lambda: wire.get("/promises/slept").json()["state"] == "RESOLVED")


def stored(wire: Wire, *left_out: str) -> dict[str, dict[str, Any]]:
    """Everything that a server tells of what it holds, without some fields."""
    found: dict[str, dict[str, Any]] = {}
    for kind in ("promises", "schedules"):
        query = "id=*"
        while query:
            page = wire.get(f"/{kind}?{query}").json()
            for one in page[kind]:
                whole = Server(wire.url).ask("GET", f"/{kind}/{quote(one['id'], safe='')}")
                found[f"{kind} {one['id']}"] = {name: whole[name] for name in whole if name not in left_out}
            query = page["cursor"] and f"id=*&cursor={page['cursor']}"
    return found


def test_all_that_a_server_holds_arrives_on_either_engine_and_a_second_import_changes_nothing(
    source: Wire, start: Callable[..., LocalServer], tmp_path: Path, postgres: Cluster
) -> None:
    fill(source)
    server, file = source.url, tmp_path / "first"
    for number, where in enumerate((tmp_path, postgres.create(), None)):  # from one to the next
        told = run("export", file, "--server", server).lines[-1]
        assert told.startswith(f"{file} holds 16 promises and 9 schedules")
        assert file.stat().st_mode & 0o777 == 0o600
        other = Wire(start(where))
        told = run("import", file, "--server", other.url).lines[-1]
        assert told == f"{other.url} holds all of {file}: 16 promises, with 1 pending call, and 9 schedules"
        times = ("createdOn", "completedOn", "timeout")
        assert stored(other, *times) == stored(source, *times)
        for promise_id in ("late", "slept", "sleeps", "pending"):  # what completes by its time-out keeps that
            assert (
                other.get(f"/promises/{promise_id}").json()["timeout"]
                == (source.get(f"/promises/{promise_id}").json()["timeout"])
            )
        before = stored(other)
        run("import", file, "--server", other.url)
        assert stored(other) == before
        other.close()
        server, file = other.url, tmp_path / f"export-{number}"


def test_what_has_finished_does_not_run_again_and_what_has_not_goes_on(
    start: Callable[..., LocalServer], tmp_path: Path, children: list[Child]
) -> None:
    def worker(server: LocalServer, name: str, *options: str) -> Child:
        child = Child.python(name, "factorial_worker.py", "--id", name, *options, env=server.env)
        children.append(child)
        child.wait_for("is ready")
        return child

    old, new = start(), start()
    first = worker(old, "first")
    client = Child.python("client", "factorial_client.py", "5", env=old.env)
    children.append(client)
    assert client.wait() == 0  # all of that is there, for everybody
    first.kill()
    slow = worker(old, "slow", "--delay", "0.3")
    children.append(Child.python("client", "factorial_client.py", "12", env=old.env))
    slow.wait_for("Calculating factorial of 8$")
    slow.kill()
    there = worker(new, "there")  # connected before anything comes: it is sent whatever may be
    run("export", tmp_path / "file", "--server", old.url)
    run("import", tmp_path / "file", "--server", new.url)
    wire = Wire(new)
    until(lambda: wire.get("/promises/factorial-12").json()["state"] == "RESOLVED")
    wire.close()
    ran = {int(line.rpartition(" ")[2]) for line in there.lines if line.startswith("Calculating")}
    assert ran == set(range(6, 13))
    again = Child.python("client", "factorial_client.py", "12", env=new.env)
    children.append(again)
    assert again.wait() == 0
    assert again.lines[-1] == f"Result: {math.factorial(12)}"


def test_an_export_that_was_ended_goes_on_with_the_next_page(source: Wire, tmp_path: Path) -> None:
    for number in range(250):
        create(source, f"p{number}")
    file = tmp_path / "file"
    run("export", file, "--server", source.url)
    whole = file.read_bytes()
    pages = [at for at, line in enumerate(whole.splitlines()) if b'"more"' in line]
    assert len(pages) == 2
    for lines in (0, pages[0], pages[1] + 20):
        begun = b"".join(whole.splitlines(keepends=True)[: lines + 1]) + b'{"promise": {"id": "ha'
        file.write_bytes(begun)
        run("import", file, "--server", source.url, status=1)
        run("export", file, "--server", source.url)
        assert file.read_bytes() == whole


def test_an_export_goes_on_behind_a_page_that_ends_early(source: Wire, tmp_path: Path) -> None:
    data = b64encode(b"x" * 90_000).decode()
    for number in range(45):
        body = {"id": f"large-{number}", "timeout": FAR, "param": {"data": data}}
        assert source.post("/promises", body).status_code == 201
    page = source.get("/promises?id=*").json()
    assert len(page["promises"]) < 45
    assert page["cursor"]
    assert len(list(Server(source.url).search("promises", "*", limit="100"))) == 45
    assert "holds 45 promises" in run("export", tmp_path / "file", "--server", source.url).lines[-1]


def test_an_import_that_was_killed_is_completed_by_the_next(
    source: Wire, start: Callable[..., LocalServer], tmp_path: Path, children: list[Child]
) -> None:
    for number in range(600):
        create(source, f"p{number}", **INVOKE)
        complete(source, f"p{number}")
    file = tmp_path / "file"
    run("export", file, "--server", source.url)
    other = Wire(start())
    killed = Child.python("killed", "-m", "local_server", "import", file, "--server", other.url)
    children.append(killed)
    until(lambda: other.get("/promises?id=*&limit=1").json()["promises"])
    killed.kill()
    # In its hands at the kill, perhaps: created, claimed, not completed yet.
    waiting = {promise["id"] for promise in other.get("/promises?id=*&state=pending").json()["promises"]}
    assert len(waiting) <= 8
    promise = {"id": "p0", "timeout": FAR, "tags": INVOKE, "param": source.get("/promises/p0").json()["param"]}
    other.post("/promises/task", {"promise": promise, "task": {"processId": "import-x", "ttl": 60_000}})
    run("import", file, "--server", other.url)
    assert stored(other, "createdOn", "completedOn") == stored(source, "createdOn", "completedOn")
    other.close()


def test_one_is_not_told_as_several(source: Wire, start: Callable[..., LocalServer], tmp_path: Path) -> None:
    other = Wire(start())
    for wire, tags in ((source, {}), (other, {"other": "tag"})):
        create(wire, "p", **tags)
    body = {"id": "s", "cron": "0 3 * * *", "promiseId": "s.{{.timestamp}}", "promiseTimeout": 1_000}
    assert source.post("/schedules", body).status_code == 201
    told = run("export", tmp_path / "file", "--server", source.url).lines[-1]
    assert told.startswith(f"{tmp_path / 'file'} holds 1 promise and 1 schedule; an import")
    told = run("import", tmp_path / "file", "--server", source.url).lines[-1]
    assert told.endswith(": 1 promise, with 0 pending calls, and 1 schedule")
    told = run("import", tmp_path / "file", "--server", other.url, status=1).lines[-1]
    assert told == f"Error: 1 of 2 is not as in {tmp_path / 'file'}"
    other.close()


def test_what_another_server_holds_under_the_same_id_stays_and_is_named(
    source: Wire, start: Callable[..., LocalServer], tmp_path: Path
) -> None:
    other = Wire(start())
    for name in ("same", "value", "pending", "mine"):
        create(source, name)
        complete(source, name)
        if name != "mine":
            create(other, name, **({"other": "tag"} if name == "pending" else {}))
    complete(other, "value", "REJECTED")
    run("export", tmp_path / "file", "--server", source.url)
    lines = run("import", tmp_path / "file", "--server", other.url, status=1).lines
    assert [line for line in lines if "under this id" in line] == [
        f"{name}: found another there under this id, which stays" for name in ("value", "pending")
    ]
    assert lines[-1] == f"Error: 2 of 4 are not as in {tmp_path / 'file'}"
    states = {name: other.get(f"/promises/{name}").json()["state"] for name in ("same", "value", "pending", "mine")}
    assert states == {"same": "RESOLVED", "value": "REJECTED", "pending": "PENDING", "mine": "RESOLVED"}
    other.close()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "found no end; expected a whole export"),
        (b"hello", "line 1: JSON is malformed: invalid character (byte 0); expected a line of an export"),
        (b'{"export": 2}\n', "found version 2 in its first line; expected 1"),
        (b'{"export": 1}\n{"promise": {"id": "x"}}\n', "line 2: Object missing required field `state`"),
        (b'{"export": 1}\n{"promise": {"id": "x", "state": "DONE"}}\n', "line 2: Invalid enum value 'DONE'"),
        (b'{"export": 1}\n{"end": {"promises": 1, "schedules": 0}}\n', "found no end; expected a whole export"),
        pytest.param(b'{"export": 1}\n{"promise": ' + 9_999 * b'{"param": ' + b"\n", "line 2: maximum", id="deep"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused_in_one_line_and_left_as_it_is(
    wire: Wire, tmp_path: Path, text: bytes, line: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(text)
    assert line in run("import", file, "--server", wire.url, status=1).lines[-1]
    if text and b"end" not in text:
        run("export", file, "--server", wire.url, status=1)
        assert file.read_bytes() == text
    assert wire.get("/promises?id=*").json()["promises"] == []


def test_a_full_disk_is_told_in_one_line_and_the_same_export_goes_on(
    source: Wire, tmp_path: Path, children: list[Child]
) -> None:
    for number in range(250):
        create(source, f"p{number}")
    file, limited = tmp_path / "file", ["sh", "-c", 'ulimit -f 64; exec "$@"', "sh", sys.executable]
    full = Child("full", [*limited, "-m", "local_server", "export", file, "--server", source.url])
    children.append(full)
    assert full.wait() == 1
    assert full.lines[-1] == f"Error: {file}: File too large; expected a path for an export"
    run("export", file, "--server", source.url)
    run("import", file, "--server", source.url)


@pytest.mark.parametrize("command", ["export", "import"])
def test_in_a_pipe_or_a_device_one_cannot_go_back(
    memory_server: LocalServer, children: list[Child], command: str
) -> None:
    child = Child.python("transfer", "-m", "local_server", command, "/dev/stdin", "--server", memory_server.url)
    children.append(child)
    assert child.wait() == 1
    assert child.lines[-1] == "Error: /dev/stdin: found a pipe or a device; expected a file, in which one can go back"


def test_an_export_is_not_mixed_with_that_of_another_server_and_not_written_over(
    source: Wire, start: Callable[..., LocalServer], nowhere: int, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    away = run("export", file, "--server", f"http://127.0.0.1:{nowhere}", status=1)
    assert "no server at" in away.lines[-1]
    assert not file.exists()
    run("export", file, "--server", source.url)
    whole = file.read_bytes()
    assert "found a whole export" in run("export", file, "--server", source.url, status=1).lines[-1]
    file.write_bytes(whole.splitlines(keepends=True)[0])
    refused = run("export", file, "--server", start().url, status=1).lines[-1]
    assert f"found an export of {source.url}, begun before" in refused
    assert json.loads(whole.splitlines()[-1]) == {"end": {"schedules": 0, "promises": 0}}


def test_credentials_are_asked_for_before_anything_is_written(
    start: Callable[..., LocalServer], tmp_path: Path
) -> None:
    guarded = start(RESONATE_USERNAME="u", RESONATE_PASSWORD="p")  # noqa: S106 - of the test
    assert "401 Unauthorized" in run("export", tmp_path / "file", "--server", guarded.url, status=1).lines[-1]
    assert not (tmp_path / "file").exists()
    assert requests.get(guarded.url, timeout=10).status_code == 401
