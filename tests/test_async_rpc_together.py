"""``uv run async-rpc``: everything in one terminal, and nothing is left of it afterwards."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from terminal_stage import Terminal
from wire_client import until

from local_server.testing import Child, LocalServer

COMMAND = ["-m", "async_rpc.together", "--port", "0"]
SERVICES = [f"service-{letter}" for letter in "abcdefghi"]


def started_by(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_in_a_terminal_all_is_up_a_killed_service_is_told_and_ctrl_c_ends_everything(
    nowhere: int, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        poll_port = free.getsockname()[1]
    env = {"RESONATE_PORT_STORE": str(nowhere), "RESONATE_PORT_MESSAGE_SOURCE": str(poll_port), "NO_COLOR": ""}
    terminal = Terminal([sys.executable, *COMMAND, "--delay", "1"], env, cwd=tmp_path)
    terminal.wait_for("# service-b")
    processes = started_by(terminal.process.pid)
    assert len(processes) == 11
    assert (tmp_path / "resonate.db").exists()
    answers = [requests.post(url, timeout=30) for url in re.findall(r"curl -X POST (\S+?)\x1b", terminal.output)]
    assert [answer.json()["message"] for answer in answers] == [3, "detached-chain started", 3]
    assert answers[0].elapsed.total_seconds() > 1  # bar sleeps
    pid = int(re.findall(r"kill -9 (\d+)   # service-b", terminal.output)[0])
    assert f" is ready, pid {pid}" in terminal.output
    os.kill(pid, signal.SIGKILL)
    terminal.wait_for(f"service-b (pid {pid}) was ended by SIGKILL; start it again: uv run b")

    colors = {name: color for color, name in re.findall(r"\x1b\[(\d+)m(\S+) ", terminal.output)}
    assert set(colors) == {"async-rpc", "local-server", "gateway", *SERVICES}
    assert len(set(colors.values())) == len(colors)
    assert terminal.press_ctrl_c() == 0
    assert "Traceback" not in terminal.output
    assert not psutil.wait_procs(processes, timeout=5)[1]


@pytest.fixture
def run(server: LocalServer, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command on a server that runs already, in a pipe."""
    env = {**os.environ, **server.env}
    with subprocess.Popen(
        [sys.executable, *COMMAND], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def test_it_works_with_the_server_that_runs_and_sigterm_ends_all_but_that(
    server: LocalServer, run: subprocess.Popen[str]
) -> None:
    assert run.stdout
    assert run.stdout.readline() == f"async-rpc     works with the server that runs at {server.url}\n"
    until(lambda: len(started_by(run.pid)) == 10)
    processes = started_by(run.pid)
    run.send_signal(signal.SIGTERM)
    assert "\x1b" not in run.stdout.read()
    assert run.wait(30) == 0
    assert not psutil.wait_procs(processes, timeout=5)[1]
    assert server.child.running


def test_it_ends_when_the_reader_of_its_pipe_has_left(run: subprocess.Popen[str], tmp_path: Path) -> None:
    assert run.stdout
    run.stdout.close()
    assert run.wait(30) == 0
    until(lambda: not [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)])


def test_a_taken_port_is_one_line_with_the_way_out_and_nothing_is_started(
    start: Callable[..., Child], server: LocalServer
) -> None:
    port = server.url.rpartition(":")[2]
    run = start("async-rpc", "-m", "async_rpc.together", "--port", port)
    assert run.wait() == 1
    way_out = f"another port: --port {int(port) + 1}"
    assert run.lines == [f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; {way_out}"]


def test_a_server_elsewhere_that_is_not_there_is_one_line(start: Callable[..., Child], nowhere: int) -> None:
    env = {"RESONATE_HOST": "http://127.0.0.2", "RESONATE_PORT_STORE": str(nowhere)}
    run = start("async-rpc", *COMMAND, env=env)
    assert run.wait() == 1
    (line,) = run.lines
    assert re.fullmatch(rf"Error: no server at http://127.0.0.2:{nowhere} \(.*\), which is not on this machine", line)
