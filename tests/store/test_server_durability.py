"""What the server has answered is stored: whatever ends it, and at whatever moment."""

import itertools
import signal
import threading
from pathlib import Path

import psutil
import pytest
import requests

from local_server.testing import Child, ChildError, LocalServer


@pytest.mark.parametrize("answers", [40, 250])
def test_kill_9_under_load_loses_nothing_that_was_answered(server: LocalServer, answers: int) -> None:
    stored: list[str] = []
    enough = threading.Event()

    def write(caller: int) -> None:
        for number in itertools.count():
            promise = f"p-{caller}-{number}"
            try:
                requests.post(f"{server.url}/promises", json={"id": promise, "timeout": 2**60}, timeout=5)
                value = {"state": "RESOLVED", "value": {"data": "MQ=="}}
                requests.patch(f"{server.url}/promises/{promise}", json=value, timeout=5)
            except requests.ConnectionError:
                return
            stored.append(promise)
            if len(stored) >= answers:
                enough.set()

    callers = [threading.Thread(target=write, args=(caller,)) for caller in range(6)]
    for caller in callers:
        caller.start()
    assert enough.wait(60)
    server.kill()
    for caller in callers:
        caller.join(60)
    server.start()
    try:
        for promise in stored:
            found = requests.get(f"{server.url}/promises/{promise}", timeout=5).json()
            assert (found["state"], found["value"]) == ("RESOLVED", {"data": "MQ=="})
    finally:
        server.stop()


def test_the_file_alone_holds_everything_once_the_server_has_stopped(server: LocalServer, tmp_path: Path) -> None:
    requests.post(f"{server.url}/promises", json={"id": "kept", "timeout": 2**60}, timeout=5)
    assert server.stop() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["resonate.db"]
    server.start()
    try:
        assert requests.get(f"{server.url}/promises/kept", timeout=5).json()["state"] == "PENDING"
    finally:
        server.stop()


def test_a_second_server_on_the_file_names_the_process_that_holds_it(server: LocalServer, tmp_path: Path) -> None:
    db = str(tmp_path / "resonate.db")
    with pytest.raises(ChildError, match=rf"{db} is in use by process {server.child.pid} .*--db another file"):
        LocalServer(tmp_path)
    assert requests.get(f"{server.url}/promises/none", timeout=5).status_code == 404


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_streams_and_the_process_with_0(server: LocalServer, number: signal.Signals) -> None:
    with requests.get(f"{server.poll_url}/group/id", stream=True, timeout=10) as stream:
        server.child.signal(number)
        assert list(stream.iter_content(None)) == []  # a clean end: a broken one raises
    assert server.child.wait(10) == 0
    assert server.child.lines[1:] == []


def test_connections_are_closed_and_no_descriptor_is_kept(server: LocalServer) -> None:
    process = psutil.Process(server.child.pid)
    requests.get(f"{server.url}/promises/none", timeout=5)
    before = process.num_fds()
    for number in range(200):
        requests.post(f"{server.url}/promises", json={"id": f"fd-{number}"}, timeout=5)
    assert process.num_fds() <= before + 1


def test_a_message_that_was_not_claimed_when_its_worker_died_goes_to_another_at_once(
    server: LocalServer, children: list[Child]
) -> None:
    holding = (
        "import requests, sys\n"
        "with requests.get(sys.argv[1], stream=True) as stream:\n"
        "    print('listening', flush=True)\n"
        "    for line in stream.iter_lines(chunk_size=None, decode_unicode=True):\n"
        "        print(line, flush=True)\n"
    )
    first = Child.python("first", "-c", holding, f"{server.poll_url}/workers/first")
    children.append(first)
    first.wait_for("listening")
    tags = {"resonate:invoke": "poll://any@workers"}
    requests.post(f"{server.url}/promises", json={"id": "p", "timeout": 2**60, "tags": tags}, timeout=5)
    first.wait_for(r'"id":"__invoke:p","counter":1')
    second = Child.python("second", "-c", holding, f"{server.poll_url}/workers/second")
    children.append(second)
    second.wait_for("listening")
    first.kill()
    second.wait_for(r'"id":"__invoke:p","counter":2', timeout=5)  # the time to claim is 10 s
