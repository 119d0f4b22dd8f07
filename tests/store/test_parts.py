"""Parts of large values belong to a promise, or go: whatever was refused, left in the middle or removed."""

import asyncio
import json
import socket
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from rules_stage import Stage
from wire_client import FAR, Wire, code, until

from local_server.api import large
from local_server.api.routes import Request, create_promise
from local_server.engine import Engine
from local_server.errors import INTERNAL_ERROR, Refusal
from local_server.rules import due, losses
from local_server.store.parts import PART, REMOVED, marker, split, whole_size
from local_server.store.store import Store
from local_server.testing import LocalServer

MB = 2**20
UPLOAD = 2**20  # the id of one
LISTENING = 2  # sockets of a server to which nobody is connected
RESET = struct.pack("ii", 1, 0)  # for SO_LINGER: the connection is reset when it is closed


@pytest.fixture
def wire(server: LocalServer) -> Iterator[Wire]:
    wire = Wire(server)
    yield wire
    wire.close()


def stored(server: LocalServer, tmp_path: Path) -> tuple[int, list[str]]:
    """Stop a server; return how many parts its database has, and whose they are."""
    server.stop()
    with closing(sqlite3.connect(tmp_path / "resonate.db")) as db:
        owners = [row[0] for row in db.execute("SELECT promise FROM uploads ORDER BY promise")]
        return db.execute("SELECT count(*) FROM parts").fetchone()[0], owners


def value(size: int) -> dict[str, object]:
    return {"headers": {"resonate:format-py": "x" * size}, "data": "eHh4" * (size // 4)}


def test_a_promise_has_its_parts_and_what_was_refused_or_repeated_leaves_none(
    server: LocalServer, tmp_path: Path, wire: Wire
) -> None:
    wire.create("p", param=value(MB), key="k")
    again = {"id": "p", "timeout": FAR, "param": value(MB // 2)}
    assert wire.post("/promises", again, key="k").status_code == 200
    assert code(wire.post("/promises", again, key="other")) == 40900
    assert code(wire.post("/promises", json.dumps(again)[:-3])) == 40000
    assert code(wire.patch("/promises/none", {"state": "RESOLVED", "value": value(MB)})) == 40400
    assert wire.post("/promises", json.dumps({"id": "blanks"}).ljust(MB)).status_code == 201
    assert wire.get("/promises/p").json()["param"] == value(MB)

    def settled() -> bool:
        """Let the server run once more, which removes some of what has no owner."""
        server.restart()
        return stored(server, tmp_path) == (2 * MB // PART, ["p"])

    until(settled)


def test_what_clients_leave_in_the_middle_is_nobodys(server: LocalServer, tmp_path: Path, wire: Wire) -> None:
    body = json.dumps({"id": "q", "timeout": FAR, "param": value(2 * MB)})
    head = f"POST /promises HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    for resets in (True, False) * 10:
        with wire.connection() as connection:
            connection.send(head + body)
            if resets:
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    process = psutil.Process(server.child.pid)
    until(lambda: len(process.net_connections()) == LISTENING)
    assert set(stored(server, tmp_path)[1]) <= {None, "q"}


def test_the_parts_of_a_removed_promise_go_with_it_and_the_file_gets_smaller(
    server: LocalServer, tmp_path: Path, wire: Wire
) -> None:
    for name in ("p", "q"):
        wire.create(name, param=value(MB))
        assert wire.patch(f"/promises/{name}", {"state": "RESOLVED", "value": value(MB)}).status_code == 201
    assert wire.post("/ui/remove", {"id": "p"}).json() == {"promises": 1}
    assert wire.get("/promises/q").json()["value"] == value(MB)
    assert stored(server, tmp_path) == (4 * MB // PART, ["q", "q"])
    assert (tmp_path / "resonate.db").stat().st_size < 5 * MB


def test_an_upload_that_was_under_way_when_the_server_was_killed_is_removed(durable: Stage) -> None:
    def upload(upload: int, owner: str | None) -> None:
        with durable.turn() as turn:
            turn.store.parts.begin(upload)
            for part in range(20):
                turn.store.parts.add(upload + part, "x" * PART)
            if owner:
                turn.store.parts.give(upload, owner)

    upload(UPLOAD, None)
    upload(2 * UPLOAD, "p")
    durable.sweep()
    assert durable.store.parts.is_under_way(UPLOAD)
    durable.do(losses.restarted)
    for _ in range(20 // REMOVED + 1):  # a few in each turn
        assert durable.store.parts.part(UPLOAD + 19)
        durable.do(due.sweep)
    assert [durable.store.parts.part(upload + 19) is None for upload in (UPLOAD, 2 * UPLOAD)] == [True, False]
    assert durable.store.db.execute("SELECT promise FROM uploads").fetchall() == [("p",)]


def test_a_request_whose_parts_may_be_lost_stores_nothing_and_is_told_to_come_again() -> None:
    async def refused() -> int:
        engine = Engine(Store(None))
        upload = large.Upload(engine, asyncio.Lock())
        body = await upload.read(json.dumps({"id": "p", "timeout": FAR, "param": value(MB)}).encode())
        operation = upload.stored_by(create_promise(Request("", {}, body, "")))
        await engine.ask(lambda turn: turn.store.parts.end_uploads())  # as after a sync that failed
        with pytest.raises(Refusal) as refusal:
            await engine.ask(operation)
        assert await engine.ask(lambda turn: turn.store.promise("p")) is None
        engine.close()
        return refusal.value.code

    assert asyncio.run(refused()) == INTERNAL_ERROR


def test_an_upload_that_is_nobodys_is_given_to_no_promise(durable: Stage) -> None:
    durable.do(lambda turn: turn.store.parts.begin(UPLOAD))
    durable.do(lambda turn: turn.store.parts.end_uploads())  # as after a sync that failed
    durable.do(lambda turn: turn.store.parts.give(UPLOAD, "p"))
    assert not durable.store.parts.is_under_way(UPLOAD)
    assert durable.store.db.execute("SELECT promise FROM uploads").fetchall() == [(None,)]


def test_json_with_markers_comes_apart_and_has_its_size() -> None:
    text = b'{"a":"%b","b":"%b"}' % (marker(range(3, 5), 1_000), marker(range(9, 10), 7))
    assert list(split(text)) == [b'{"a":"', range(3, 5), b'","b":"', range(9, 10), b'"}']
    assert whole_size(text) == len('{"a":"","b":""}') + 1_007
