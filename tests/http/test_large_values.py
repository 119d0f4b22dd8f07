"""Values of many megabytes, by the SDK: they arrive, and what is too large fails its call and nothing else."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wire_client import Wire, code

from local_server.testing import Child

MB = 2**20
WORKER = """
import threading
from resonate import Resonate

client = Resonate.remote(group="large", pid="w")

@client.register
def repeat(context, text, times):
    return text * times

@client.register
def outer(context, times):
    try:
        value = yield context.rfc("repeat", "x", times).options(target="poll://any@large")
    except Exception as error:
        return f"caught {error}"
    return len(value)

@client.register
def sender(context, times):
    try:
        value = yield context.rfc("repeat", "x" * times, 0).options(target="poll://any@large")
    except Exception as error:
        return f"caught {error}"
    return len(value)

client.start()
print("is ready", flush=True)
threading.Event().wait()
"""
CLIENT = """
import sys
from resonate import Resonate

client = Resonate.remote()
for name, *args in {calls!r}:
    handle = client.options(target="poll://any@large").begin_rpc(f"{{name}}-{{args[-1]}}", name, *args)
    try:
        value = handle.result()
        print("value", value if len(str(value)) < 200 else len(value), flush=True)
    except Exception as error:
        print("error", error, flush=True)
client.stop()
"""
Call = Callable[..., list[str]]


@pytest.fixture
def call(start: Callable[..., Child], tmp_path: Path) -> Iterator[Call]:
    """Let a client make calls, one after the other; return a line for each. The worker must outlive them."""
    (tmp_path / "worker.py").write_text(WORKER)
    worker = start("worker", tmp_path / "worker.py")
    worker.wait_for("is ready")

    def call(*calls: tuple[object, ...]) -> list[str]:
        (tmp_path / "client.py").write_text(CLIENT.format(calls=calls))
        client = start("client", tmp_path / "client.py")
        client.wait_for("^(value|error)", times=len(calls))
        return [line for line in client.lines if line.startswith(("value", "error"))]

    yield call
    assert worker.running


def test_a_result_of_some_megabytes_arrives(call: Call) -> None:
    assert call(("repeat", "x", 3 * MB), ("repeat", "x", 20 * MB)) == [f"value {3 * MB}", f"value {20 * MB}"]


def test_a_result_that_is_too_large_fails_its_call_with_a_clear_error_and_nothing_else(call: Call) -> None:
    large, small, caught = call(("repeat", "x", 40 * MB), ("repeat", "y", 5), ("outer", 41 * MB))
    assert large.startswith("error value too large: the request had more than 67108864 bytes")
    assert small == "value yyyyy"
    assert caught.startswith("value caught value too large")


def test_an_argument_that_is_too_large_fails_its_call_and_nothing_else(call: Call) -> None:
    large, small = call(("sender", 40 * MB), ("repeat", "y", 5))
    assert large.startswith("value caught value too large")
    assert small == "value yyyyy"


def test_a_call_that_is_too_large_is_rejected_if_it_has_a_key_and_refused_if_not(wire: Wire) -> None:
    large = b'{"id":"%b","x":"' % wire.id("p").encode() + bytes(64 * MB) + b'"}'
    refused = wire.post("/promises", large)
    assert (refused.status_code, refused.headers["Connection"]) == (413, "close")
    assert code(wire.get(f"/promises/{wire.id('p')}")) == 40400
    created = wire.post("/promises", large, key="k")
    assert (created.status_code, created.json()["state"]) == (201, "REJECTED")
    assert "value too large" in json.loads(b64decode(created.json()["value"]["data"]))["__error__"]
    assert wire.post("/promises", large, key="k").json() == created.json()
    wire.create(wire.id("q"))
    assert wire.patch(f"/promises/{wire.id('q')}", large).status_code == 413
    assert wire.get(f"/promises/{wire.id('q')}").json()["state"] == "PENDING"
    assert wire.patch(f"/promises/{wire.id('q')}", large, key="k").json()["state"] == "REJECTED"
    assert wire.post("/tasks/claim", large, key="k").status_code == 413
