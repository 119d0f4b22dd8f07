"""The kit for tests: a server in the test's process or in one of its own, which tells why a test has failed."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from local_server.cli import main
from local_server.terminal import ServerError
from local_server.testing import Child, ChildError, LocalServer
from local_server.testing.thread import ThreadServer

WORKER = """
import threading
from resonate import Resonate

resonate = Resonate.remote()

@resonate.register
def order(ctx, number):
    yield ctx.lfc(charge, number)
    approved = yield ctx.promise(id=f"order-{number}.approved")
    return (yield approved)

def charge(ctx, number):
    print("charge", number, flush=True)

resonate.start()
print("ready", flush=True)
threading.Event().wait()
"""
FAILING = """
import pytest
from resonate import Context, Resonate

def step(ctx: Context) -> int:
    return 41

def test_fails(resonate_server, resonate) -> None:
    child = resonate_server.spawn("-c", "print('said by a child')")
    child.wait()
    assert resonate.run("the-call", resonate.register(step).func) == 42

@pytest.fixture
def worker(resonate_server_process):
    child = resonate_server_process.spawn("-c", "print('said before the test')")
    child.wait_for("ready")

def test_does_not_begin(worker) -> None:
    pass
"""
GIVES_UP = """
import pytest

def step(ctx, n):
    yield ctx.sleep(0)

def test_a_name_is_mistyped(resonate) -> None:
    resonate.register(step)
    resonate.rpc("the-call", "stepp", 1)

@pytest.fixture
def run(resonate):
    resonate.register(step)
    return resonate.run("the-call", step)

def test_an_argument_is_forgotten(run) -> None:
    pass

def test_passes(resonate) -> None:
    resonate.register(step)
    assert resonate.run("the-call", step, 1) is None
"""
HANGS = """
def test_hangs(resonate_server, resonate, capsys) -> None:
    child = resonate_server.spawn("-c", "print('said by a child')")
    child.wait()
    handle = resonate.options(target="suppliers").begin_rpc("the-call", "quote", 7)
    with capsys.disabled():
        print("begun", flush=True)
    handle.result()
"""


def test_a_server_in_the_process_of_the_test_is_ready_at_once() -> None:
    with ThreadServer():
        pass  # what it needs is imported now
    begin = time.monotonic()
    with ThreadServer() as server:
        took = time.monotonic() - begin
        assert requests.get(f"{server.url}/promises/x", timeout=5).status_code == requests.codes.not_found
    assert took < 0.5  # 0.01 on an idle machine


def test_two_servers_know_nothing_of_each_other() -> None:
    with ThreadServer() as one, ThreadServer() as other:
        requests.post(f"{one.url}/promises", json={"id": "x", "timeout": 2**62}, timeout=5)
        assert one.url != other.url
        one.resolve("x", 7)
        assert one.wait_for("x") == ("x", "RESOLVED", 7)
        with pytest.raises(TimeoutError, match=r"x was not completed within 0\.1 s"):
            other.wait_for("x", timeout=0.1)


def test_a_promise_that_is_completed_already_cannot_be_resolved(resonate_server: ThreadServer) -> None:
    requests.post(f"{resonate_server.url}/promises", json={"id": "x", "timeout": 2**62}, timeout=5)
    resonate_server.resolve("x", {"by": "me"})
    assert resonate_server.wait_for("x").value == {"by": "me"}
    with pytest.raises(ServerError, match="already been resolved"):
        resonate_server.resolve("x", 1)


def test_whoever_waits_in_vain_is_shown_the_tree(resonate_server: ThreadServer) -> None:
    requests.post(f"{resonate_server.url}/promises", json={"id": "x", "timeout": 2**62}, timeout=5)
    with pytest.raises(TimeoutError, match=r"x was not completed within 0\.1 s:\n◌ x .* pending"):
        resonate_server.wait_for("x", timeout=0.1)


def test_the_environment_leads_this_process_to_the_server_whatever_was_set_before(
    resonate_server: ThreadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resonate.stores import RemoteStore  # noqa: PLC0415 - a test of the kit needs no SDK but here

    monkeypatch.setenv("RESONATE_HOST_STORE", "http://elsewhere")
    resonate_server.set_env(monkeypatch)
    assert RemoteStore().url == resonate_server.url


def test_a_server_of_its_own_is_killed_and_restarted_and_its_workers_go_on(
    resonate_server_process: LocalServer, tmp_path: Path
) -> None:
    server = resonate_server_process
    (tmp_path / "worker.py").write_text(WORKER)
    worker = server.spawn(tmp_path / "worker.py", name="worker")
    worker.wait_for("ready")
    client = server.spawn("-c", "from resonate import Resonate; Resonate.remote().begin_rpc('order-7', 'order', 7)")
    worker.wait_for("charge 7")
    assert client.wait() == 0
    server.kill()
    server.restart()
    server.restart()
    server.resolve("order-7.approved", "yes")
    assert server.wait_for("order-7", timeout=20).value == "yes"
    assert worker.count("charge 7") == 1
    assert (tmp_path / "resonate.db").exists()


def pytest_of(text: str, folder: Path) -> list[str | Path]:
    (folder / "test_it.py").write_text(text)
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder]


def test_a_failed_test_shows_the_trees_of_its_server_and_what_its_processes_printed(tmp_path: Path) -> None:
    run = subprocess.run(pytest_of(FAILING, tmp_path), capture_output=True, check=False, text=True, timeout=60)
    assert "1 failed, 1 error" in run.stdout, run.stdout + run.stderr
    assert "✔ the-call step() → 41" in run.stdout
    assert "said by a child" in run.stdout
    for child, words in (("server", "Local server is ready"), ("-c print", "said before the test\n")):
        assert words in run.stdout.partition(f" output of {child}")[2]


def test_a_test_in_which_the_sdk_would_end_the_process_fails_and_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    run = subprocess.run(pytest_of(GIVES_UP, tmp_path), capture_output=True, check=False, text=True, timeout=60)
    assert "1 failed, 1 passed, 1 error" in run.stdout, run.stdout + run.stderr
    gave_up = "the SDK gave up, and would have ended this process: "
    assert f"{gave_up}ValueError('function stepp not found in registry')\n" in run.stdout
    assert f"{gave_up}TypeError(\"step() missing 1 required positional argument: 'n'\")\n" in run.stdout
    assert "◌ the-call stepp(1)" in run.stdout
    assert "Warning" not in run.stdout


def test_ctrl_c_shows_what_a_test_waits_for(tmp_path: Path) -> None:
    run = Child("pytest", pytest_of(HANGS, tmp_path))
    try:
        run.wait_for("^begun$")
        for _ in range(3):  # once, mostly; Python loses what is raised in a finalizer
            run.signal(signal.SIGINT)
            with suppress(ChildError):
                run.wait(10)
                break
        assert run.wait() == pytest.ExitCode.INTERRUPTED
    finally:
        run.kill()
    assert run.count(r"◌ the-call quote\(7\) .* waits: nobody in suppliers$") == 1
    assert run.count("^said by a child$") == 1


def test_what_serves_imports_neither_pytest_nor_the_kit_nor_the_sdk_and_the_plugin_no_server() -> None:
    for imported, without in (
        ("local_server.server, local_server.cli", ("pytest", "_pytest", "local_server.testing", "resonate")),
        ("local_server.pytest_plugin", ("local_server.testing", "local_server.engine", "resonate", "click")),
    ):
        look = f"import sys, {imported}; print([one for one in {without!r} if one in sys.modules])"
        assert subprocess.check_output([sys.executable, "-c", look], text=True, timeout=60) == "[]\n"


def test_a_promise_is_resolved_by_a_command(resonate_server: ThreadServer) -> None:
    for promise_id in ("a", "b"):
        requests.post(f"{resonate_server.url}/promises", json={"id": promise_id, "timeout": 2**62}, timeout=5)
    told = CliRunner().invoke(main, ["resolve", "a", '{"by": "me"}', "--server", resonate_server.url])
    assert (told.exit_code, told.output) == (0, "a is resolved\n")
    assert resonate_server.wait_for("a") == ("a", "RESOLVED", {"by": "me"})
    CliRunner().invoke(main, ["resolve", "b", "null", "--server", resonate_server.url])
    assert resonate_server.wait_for("b") == ("b", "RESOLVED", None)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["a", "yes"], 2, "VALUE: found 'yes'; expected JSON"),
        (["a", "NaN"], 2, "VALUE: found 'NaN'; expected JSON"),
        (["a", "7"], 1, "a is resolved already, since"),
        (["nothing", "7"], 1, "not found"),
    ],
)
def test_what_cannot_be_resolved_is_told_in_a_line(
    resonate_server: ThreadServer, arguments: list[str], status: int, words: str
) -> None:
    requests.post(f"{resonate_server.url}/promises", json={"id": "a", "timeout": 2**62}, timeout=5)
    resonate_server.resolve("a")
    told = CliRunner().invoke(main, ["resolve", *arguments, "--server", resonate_server.url])
    assert told.exit_code == status
    assert words in told.output
