"""The examples start and stop in the same way: one ready line, the first signal and the second, at any moment."""

import base64
import json
import random
import re
import signal
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from async_rpc_stage import SCRIPT
from wire_client import call

from local_server.testing import START_DEADLINE, Child, LocalServer

STOP_SECONDS = 5
SIGNALS = [signal.SIGINT, signal.SIGTERM]
Start = Callable[..., Child]
SLEEPER = """
@resonate.register
def bar(ctx):
    print("bar runs", flush=True)
    time.sleep({delay})
    return 2
"""
EARLY = """if True:
    import os
    from async_rpc.life import live
    from resonate import Resonate

    resonate = Resonate.remote(group="early", pid="test")
    live(resonate, "early", "test", serve=lambda: os.kill(os.getpid(), {number:d}))
    """


@dataclass(frozen=True)
class Example:
    """A process of one of the examples, and a step that keeps it busy for the delay that it is started with."""

    group: str
    member: str
    who: str  # as its ready line calls it
    func: str
    args: tuple[int, ...]
    says: str  # the line of a step in hand
    value: int

    def start(self, start: Start, folder: Path, delay: float = 0) -> Child:
        if self.group == "factorial-worker":
            argv = ["factorial_worker.py", "--id", self.member, "--delay", str(delay)]
        elif self.group == "ops":
            argv = ["-m", "calculator.calculator", "--group", "ops", "--id", self.member, "--delay", str(delay)]
        else:  # none of the nine services has a step that takes its time: they sleep by a promise
            script = folder / f"{self.group}.py"
            script.write_text(SCRIPT.format(group=self.group, function=SLEEPER.format(delay=delay)))
            argv = [str(script)]
        child = start(self.who, *argv)
        child.wait_for(rf"^{self.who} is ready, pid {child.pid}$")
        return child

    def begin_step(self, server: LocalServer, child: Child) -> str:
        """Give it a step, and return the URL of its promise when it is in hand."""
        promise = f"life-{uuid.uuid4().hex}"
        call(server, promise, f"uni@{self.group}/{self.member}", self.func, *self.args)
        child.wait_for(self.says)
        return f"{server.url}/promises/{promise}"


def examples() -> list[Example]:
    """One process of each, under a name that no other test uses."""
    name = uuid.uuid4().hex[:8]
    return [
        Example("factorial-worker", name, name, "factorial", (1,), "^Calculating factorial of 1$", 1),
        Example("ops", name, f"ops/{name}", "+", (20, 22), rf"^ops/{name}: 20 \+ 22$", 42),
        Example(f"service-{name}", "test", f"service-{name}/test", "bar", (), "^bar runs$", 2),
    ]


def each_example() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("which", range(3), ids=["factorial", "calculator", "async-rpc"])


def each_signal() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("number", SIGNALS)


@pytest.fixture(scope="module")
def server(memory_server: LocalServer) -> LocalServer:
    """One for all tests here, each of which has processes of its own."""
    return memory_server


@each_signal()
def test_the_first_signal_ends_a_process_that_has_nothing_in_hand_with_0(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    for example in examples():
        child = example.start(start, tmp_path)
        child.signal(number)
        assert child.wait() == 0
        assert child.lines == [f"{example.who} is ready, pid {child.pid}", f"{example.who} is stopping"]


@each_signal()
@each_example()
def test_the_step_in_hand_is_finished_and_stored(
    server: LocalServer, start: Start, tmp_path: Path, number: signal.Signals, which: int
) -> None:
    example = examples()[which]
    child = example.start(start, tmp_path, delay=1)
    promise = example.begin_step(server, child)
    child.signal(number)
    assert child.wait() == 0
    stored = requests.get(promise, timeout=5).json()
    assert stored["state"] == "RESOLVED"
    assert json.loads(base64.b64decode(stored["value"]["data"])) == example.value
    assert child.lines[-1] == f"{example.who} is stopping"


@each_signal()
@each_example()
def test_a_second_signal_ends_a_process_at_once(
    server: LocalServer, start: Start, tmp_path: Path, number: signal.Signals, which: int
) -> None:
    example = examples()[which]
    child = example.start(start, tmp_path, delay=600)
    example.begin_step(server, child)
    child.signal(number)
    child.wait_for(f"^{example.who} is stopping$")
    assert child.running
    child.signal(number)
    assert child.wait(STOP_SECONDS / 2) == -number
    assert child.lines[-1] == f"{example.who} is stopping"


@pytest.mark.long
@pytest.mark.parametrize("server_is_gone", [False, True], ids=["step too long", "server gone"])
def test_a_step_that_cannot_be_finished_within_5_s_is_one_line_and_status_1(
    tmp_path: Path, children: list[Child], *, server_is_gone: bool
) -> None:
    server = LocalServer(None)
    children.append(server.child)

    def start(name: str, *argv: str) -> Child:
        children.append(child := Child.python(name, *argv, env=server.env))
        return child

    both = [(number, example) for number in SIGNALS for example in examples()]  # six processes, to wait only once
    team = [
        (number, example, example.start(start, tmp_path, delay=4.5 if server_is_gone else 600))
        for number, example in both
    ]
    for _, example, child in team:
        example.begin_step(server, child)
    if server_is_gone:
        server.kill()
    signalled = time.monotonic()
    for number, _, child in team:
        child.signal(number)
    for _, example, child in team:
        assert child.wait(STOP_SECONDS * 2) == 1
        assert child.lines[-1] == (
            f"{example.who}: could not finish the step in hand within 5 s, it is left to another process"
        )
        assert "Traceback" not in child.output
    assert STOP_SECONDS - 0.5 < time.monotonic() - signalled < STOP_SECONDS + 2
    if not server_is_gone:
        assert server.stop() == 0


# The first import behind the line from which on each of them is ready for a signal: what comes before is Python's own
# start, which ends at Ctrl-C with a traceback.
PROGRAMS = {
    "factorial worker": ("argparse", ["factorial_worker.py"]),
    "calculator": ("calculator", ["-m", "calculator.calculator", "--group", "exp"]),
    "service": ("async_rpc", ["-m", "async_rpc.service_a"]),
    "gateway": ("async_rpc", ["-m", "async_rpc.gateway", "--port", "0"]),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_at_any_moment_of_the_start_ends_a_process_without_a_traceback(program: str, start: Start) -> None:
    first_import, argv = PROGRAMS[program]
    seed = random.randrange(2**32)  # noqa: S311 - moments are no secrets
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 - moments are no secrets

    def interrupted(number: signal.Signals, moment: float) -> None:
        child = start(f"{program}, {number.name} after {moment:.3f} s", "-X", "importtime", *argv)
        child.wait_for(rf"\| +{first_import}$")
        time.sleep(moment)
        child.signal(number)
        status = child.wait(START_DEADLINE)
        told = [line for line in child.lines if not line.startswith("import time:")]
        assert all(re.search("^gateway listens on | is ready, pid | is stopping$", line) for line in told), told
        assert status == (0 if any("is ready" in line for line in told) else -number), told

    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(interrupted, number, chance.uniform(0, 1)) for number in SIGNALS * 4]
    for one in tries:
        one.result()


@each_signal()
def test_a_signal_behind_the_imports_waits_until_the_process_can_stop_in_order(
    start: Start, number: signal.Signals
) -> None:
    child = start("early", "-c", EARLY.format(number=number))
    assert child.wait() == 0
    assert child.lines == [f"early/test is ready, pid {child.pid}", "early/test is stopping"]
