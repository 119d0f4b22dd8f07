"""A client of the wire without the SDK: calls by ``requests``; event streams and HTTP of every kind by sockets."""

import base64
import http.client
import json
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import requests

from local_server.testing import START_DEADLINE, Child, LocalServer
from local_server.testing.server import AnyServer

DEADLINE = 10.0  # seconds for one answer or message
FAR = 99_999_999_999_999  # a time-out that does not come


def ended_well(local: LocalServer, request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """Yield a server, stop it, and look at how it ended."""
    request.node.children = [local.child]
    yield local
    status, faults = local.stop(), local.child.count("ERROR|Traceback")
    assert (status, faults) == (0, 0), local.child.output


def starter(children: list[Child], server: AnyServer | None = None) -> Callable[..., Child]:
    """Return what starts ``python *argv`` under a name, led to a server by its environment if one is given."""

    def start(name: str, *argv: str | Path, env: Mapping[str, str] | None = None, **options: Any) -> Child:
        led = {**(server.env if server else {}), **(env or {})}
        children.append(Child.python(name, *argv, env=led, **options))
        return children[-1]

    return start


class _Now:
    """Equal to any time of the last minute, in ms."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and abs(other - time.time() * 1000) < 60_000

    __hash__ = None


NOW = _Now()


class Connection:
    """One TCP connection, on which anything can be sent."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self.socket = socket.create_connection((address.hostname, address.port), DEADLINE)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it, at once and on both sides."""
        self._file.close()
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def head(self) -> tuple[int, http.client.HTTPMessage]:
        """Read a status line and headers."""
        line = self._file.readline()
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n", line)
        assert match, f"found {line!r} in place of a status line"
        return int(match[1]), http.client.parse_headers(self._file)

    def answer(self, *, to_head: bool = False) -> tuple[int, str]:
        """Read an answer; return its status and body."""
        status, headers = self.head()
        return status, "" if to_head else self.read(int(headers.get("content-length", "0")))

    def read(self, size: int) -> str:
        """Read so many bytes of text."""
        return self._file.read(size).decode()

    def ended(self) -> bool:
        """Tell whether the server closes the connection with nothing more on it."""
        return self._file.read(1) == b""


class EventStream(Connection):
    """An event stream, as a worker opens one."""

    def __init__(self, base_url: str, path: str) -> None:
        super().__init__(base_url)
        self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.status, self.headers = self.head()

    def next(self) -> dict[str, Any]:
        """Return the next message; it is one chunk."""
        chunk = self._file.read(int(self._file.readline(), 16))
        assert self._file.readline() == b"\r\n"
        match = re.fullmatch(rb"data: ([\x20-\x7e]+)\n\n", chunk)
        assert match, f"found {chunk!r} in place of an event"
        return json.loads(match[1])

    def ended_cleanly(self) -> bool:
        """Tell whether the server ends the chunked body, with no message before, and closes the connection."""
        return self._file.readline() == b"0\r\n" and self._file.readline() == b"\r\n" and self.ended()


class Wire:
    """The API of a running server, with names of the test's own."""

    def __init__(self, server: LocalServer) -> None:
        self.url, self.poll_url = server.url, server.poll_url
        self.tag = uuid.uuid4().hex[:8]
        self._session = requests.Session()
        self._session.trust_env = False
        self._streams: list[EventStream] = []

    def id(self, name: str) -> str:
        """Return a name that no other test has."""
        return f"{name}-{self.tag}"

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        strict: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Make a call: a body of bytes or str is sent as it is, any other as JSON."""
        data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key
        if strict is not None:
            sent["Strict"] = str(strict)
        return self._session.request(
            method, self.url + path, data=data, headers=sent, timeout=DEADLINE, allow_redirects=False
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: object, **options: Any) -> requests.Response:
        """POST."""
        return self.call("POST", path, body, **options)

    def patch(self, path: str, body: object, **options: Any) -> requests.Response:
        """PATCH."""
        return self.call("PATCH", path, body, **options)

    def create(self, promise_id: str, tags: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """Create a promise that is new; return it."""
        key = fields.pop("key", None)
        body = {"id": promise_id, "timeout": FAR, "tags": tags or {}, **fields}
        created = self.post("/promises", body, key=key)
        assert created.status_code == 201, created.text
        return created.json()

    def complete(self, promise_id: str, state: str = "RESOLVED", data: str = "") -> dict[str, Any]:
        """Complete a promise that is pending; return it."""
        done = self.patch(f"/promises/{promise_id}", {"state": state, "value": {"data": data}})
        assert done.status_code == 201, done.text
        return done.json()

    def claim(self, task: Mapping[str, Any], process_id: str, ttl: int = 60_000) -> requests.Response:
        """Claim the task of a message."""
        claim = {"id": task["id"], "counter": task["counter"], "processId": process_id, "ttl": ttl}
        return self.post("/tasks/claim", claim)

    def stream(self, group: str, member: str) -> EventStream:
        """Open the event stream of a worker; it is closed after the test."""
        stream = EventStream(self.poll_url, f"/{group}/{member}")
        self._streams.append(stream)
        assert stream.status == 200
        return stream

    def connection(self, *, poll: bool = False) -> Connection:
        """Open a connection to the API, or to the port of the event streams."""
        return Connection(self.poll_url if poll else self.url)

    def close(self) -> None:
        """Close all that was opened."""
        for stream in self._streams:
            stream.close()
        self._session.close()


def call(server: LocalServer, promise_id: str, address: str, function: str, *arguments: Any) -> None:
    """Ask the worker or group at an address to run a function; may be repeated."""
    param = json.dumps({"func": function, "args": arguments, "kwargs": {}, "version": 1}).encode()
    body = {
        "id": promise_id,
        "timeout": FAR,
        "param": {"data": base64.b64encode(param).decode()},
        "tags": {"resonate:invoke": f"poll://{address}"},
    }
    key = {"Idempotency-Key": promise_id}
    requests.post(f"{server.url}/promises", json=body, headers=key, timeout=5).raise_for_status()


def until[T](condition: Callable[[], T]) -> T:
    """Ask again until the condition holds; return what it gave."""
    deadline = time.monotonic() + START_DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
    return found


def code(response: requests.Response) -> int:
    """Return the code of an error, after a look at its shape."""
    error = response.json()["error"]
    assert list(error) == ["code", "message", "details"]
    assert response.status_code == error["code"] // 100
    for detail in error["details"]:
        assert list(detail) == ["@type", "message", "domain", "metadata"]
        assert detail["message"]
        assert detail["metadata"]["url"].endswith(f"#{error['code']}")
    return error["code"]
