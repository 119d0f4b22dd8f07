"""Large values pass through, and two gateways do not take each other's results."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from async_rpc_stage import Stage

from local_server.testing import Child, LocalServer

LARGE = 3_000_000  # characters; the SDK sends each value twice
WAIT = 5  # seconds that a gateway lets a request wait

# One process is both who calls and who is called; the result passes through the server.
CALLS = """
import sys
from resonate import Resonate

resonate = Resonate.remote(group="large", pid="large")

@resonate.register
def large(ctx, size):
    return "x" * size

@resonate.register
def caller(ctx, size):
    return (yield ctx.rpc("large", size).options(target="poll://any@large"))

resonate.start()
for number, size in enumerate(map(int, sys.argv[1:])):
    print("length", len(resonate.begin_run(f"caller-{number}", caller, size).result(30)), flush=True)
"""
FOO = """
@resonate.register
def foo(ctx):
    yield ctx.sleep(0)
    return 3
"""


def test_a_result_of_3_mb_passes_through_and_its_worker_goes_on(start: Callable[..., Child]) -> None:
    program = start("large", "-c", CALLS, str(LARGE), "10")
    assert program.wait(60) == 0
    assert program.lines[-2:] == [f"length {LARGE}", "length 10"]


@pytest.fixture
def stage(server: LocalServer, start: Callable[..., Child]) -> Iterator[Stage]:
    with Stage(server, start) as stage:
        yield stage


def test_two_gateways_at_once_answer_every_request(stage: Stage, tmp_path: Path, times: Callable[[int], int]) -> None:
    stage.script(tmp_path / "service.py", "service-a", FOO)
    urls = []
    for _ in range(2):
        stage.gateway("--wait", str(WAIT))
        urls.append(stage.url)

    def ask(number: int) -> int:
        key = {"Idempotency-Key": f"ask-{number}"}
        return requests.post(f"{urls[number % 2]}/await-chain", headers=key, timeout=4 * WAIT).status_code

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(times(24))))
    print(f"{len(statuses)} requests in {time.monotonic() - began:.1f} s")
    assert statuses == [200] * len(statuses)
