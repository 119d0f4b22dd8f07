"""The server as a command: its options, what it refuses to start on, how it ends, and whom it lets in."""

import contextlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import pytest
import requests
from wire_client import DEADLINE, Wire, until

from local_server.testing import Child, LocalServer

USER = {"RESONATE_USERNAME": "jo", "RESONATE_PASSWORD": "pä:ss"}
ANYWHERE = ["--port", "0", "--poll-port", "0"]


def command(*options: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the server until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "local_server", *map(str, options)],
        capture_output=True, text=True, timeout=30, check=False, env={"PATH": "/usr/bin:/bin", **env},
    )  # fmt: skip


def refusal(ended: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the one line in which it said why it does not start."""
    assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
    *usage, line = ended.stderr.splitlines()
    assert all(re.match(r"Usage: |Try |$", text) for text in usage), ended.stderr
    return line


# the command


def test_help_tells_every_option_and_what_it_is_when_not_given() -> None:
    ended = command("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    text = " ".join(ended.stdout.split())
    for words in ("--db", "resonate.db", "--in-memory", "--host", "127.0.0.1", "--port", "8001", "--poll-port", "8002",
                  "--version", "RESONATE_USERNAME"):  # fmt: skip
        assert words in text


def test_version_tells_its_own_and_that_of_the_wire() -> None:
    assert command("--version").stdout == f"local-server {version('durable-examples')}, wire of Resonate 0.7.25\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "65536"], "65536"), (["--poll-port", "x"], "--poll-port"), (["--nope"], "--nope"),
        (["--db", "/"], "directory"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: list[str], words: str) -> None:
    assert words in refusal(command(*options), 2)


@pytest.mark.parametrize("option", ["--port", "--poll-port"])
def test_a_port_that_is_taken_is_named(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(command("--in-memory", *ANYWHERE, option, str(port)), 1)
    assert f"127.0.0.1:{port}: Address already in use; another server" in line
    assert line.endswith(", or give both --port and --poll-port others")


def test_one_port_for_both_is_refused(nowhere: int) -> None:
    line = refusal(command("--in-memory", "--port", str(nowhere), "--poll-port", str(nowhere)), 1)
    assert f":{nowhere}: Address already in use" in line


# the database


def test_a_second_server_on_a_file_names_the_process_that_has_it(server: LocalServer, tmp_path: Path) -> None:
    line = refusal(command("--db", tmp_path / "resonate.db", *ANYWHERE), 1)
    assert "resonate.db is in use by" in line
    assert f"process {server.child.pid} " in line
    assert requests.get(f"{server.url}/promises/x", timeout=DEADLINE).status_code == 404


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "garbage.db"
    file.write_bytes(b"no database, but some text of a person " * 100)
    line = refusal(command("--db", file, *ANYWHERE), 1)
    assert f"{file}: file is not a database; expected" in line
    assert file.read_bytes() == b"no database, but some text of a person " * 100


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE promises (made TEXT)")
    other.close()
    assert str(file) in refusal(command("--db", file, *ANYWHERE), 1)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "resonate.db"
    assert f"{file}: unable to open database file" in refusal(command("--db", file, *ANYWHERE), 1)


# the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_streams_cleanly_and_keeps_the_data(server: LocalServer, number: signal.Signals) -> None:
    wire = Wire(server)
    created = wire.create("kept", {"resonate:invoke": "poll://any@g"})
    streams = [wire.stream("g", "w"), wire.stream("h", "w")]
    assert streams[0].next()["type"] == "invoke"
    with wire.connection() as idle:
        server.child.signal(number)
        assert [stream.ended_cleanly() for stream in streams] == [True, True]
        assert idle.ended()
    assert server.child.wait() == 0
    assert server.child.count("Traceback|ERROR") == 0
    server.start()
    assert wire.get("/promises/kept").json() == created
    wire.close()


def test_a_server_that_stops_answers_nothing_that_would_end_a_worker(server: LocalServer) -> None:
    body = b'{"processId":"nobody"}'
    call = b"POST /tasks/heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    found: set[bytes] = set()
    stopping = threading.Event()

    def calls(url: SplitResult) -> None:
        while not stopping.is_set():
            with contextlib.suppress(OSError), socket.create_connection((url.hostname, url.port), 5) as client:
                client.sendall(call)
                found.add(client.recv(100).partition(b"\r\n")[0])

    for _ in range(5):
        stopping.clear()
        threads = [threading.Thread(target=calls, args=[urlsplit(server.url)]) for _ in range(6)]
        for thread in threads:
            thread.start()
        until(lambda: b"HTTP/1.1 200 OK" in found)
        assert server.stop() == 0
        stopping.set()
        for thread in threads:
            thread.join()
        server.start()
    assert found <= {b"HTTP/1.1 200 OK", b""}


def test_a_message_of_the_run_before_is_sent_again(server: LocalServer) -> None:
    wire = Wire(server)
    wire.create("p", {"resonate:invoke": "poll://any@g"})
    server.kill()
    server.start()
    assert wire.stream("g", "w").next()["task"]["rootPromiseId"] == "p"
    wire.close()


# who is let in


@pytest.mark.parametrize(
    ("host", "env"),
    [
        ("0.0.0.0", {}),  # noqa: S104 - it is refused
        ("::", {"RESONATE_USERNAME": "jo"}),
        ("example.com", {"RESONATE_USERNAME": "jo", "RESONATE_PASSWORD": ""}),
        ("", {}),
    ],
)
def test_an_open_address_is_refused_without_credentials(host: str, env: dict[str, str]) -> None:
    line = refusal(command("--in-memory", *ANYWHERE, "--host", host, **env), 2)
    assert repr(host) in line
    assert "RESONATE_USERNAME" in line


def test_a_password_without_a_name_is_refused() -> None:
    assert "RESONATE_USERNAME" in refusal(command("--in-memory", *ANYWHERE, RESONATE_PASSWORD="x"), 2)  # noqa: S106 - bait


def test_an_address_that_is_not_of_this_machine_is_named() -> None:
    line = refusal(command("--in-memory", *ANYWHERE, "--host", "192.0.2.1", **USER), 1)
    assert line == "Error: 192.0.2.1:0: Cannot assign requested address"


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalServer]:
    """A server that asks for credentials and listens on all addresses."""
    local = LocalServer(None, "--host", "0.0.0.0", env=USER)  # noqa: S104 - it is guarded, and ends with this module
    yield local
    assert local.stop() == 0


def ask(url: str, **options: object) -> requests.Response:
    """GET with credentials or without; the body is left unread, as it may be a stream."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=DEADLINE, stream=True, **options)


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": ""}, {"Authorization": "Basic"}, {"Authorization": "Basic !"},
        {"Authorization": "Bearer am86cMOkOnNz"}, {"Authorization": "Basic am86cMOkOnN6"},
        {"Authorization": "Basic am86cMOkOnNz am86cMOkOnNz"}, {"Authorization": "am86cMOkOnNz"},
    ],
    ids=str,
)  # fmt: skip
def test_both_ports_ask_for_the_credentials(guarded: LocalServer, headers: dict[str, str]) -> None:
    for url in (f"{guarded.url}/promises/x", f"{guarded.url}/nothing", f"{guarded.poll_url}/g/w"):
        refused = ask(url, headers=headers)
        assert (refused.status_code, refused.headers["Content-Type"]) == (401, "text/plain; charset=utf-8")
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_credentials_open_both_ports_under_any_host(guarded: LocalServer, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} am86cMOkOnNz", "Host": "server.example"}
    assert ask(f"{guarded.url}/promises/x", headers=headers).status_code == 404
    with ask(f"{guarded.poll_url}/g/w", headers=headers) as opened:
        assert (opened.status_code, opened.headers["Content-Type"]) == (200, "text/event-stream")


def test_credentials_do_not_open_the_server_to_a_foreign_page(guarded: LocalServer) -> None:
    headers = {"Authorization": "Basic am86cMOkOnNz", "Origin": "http://evil.example"}
    assert ask(f"{guarded.url}/promises/x", headers=headers).status_code == 403


def test_the_sdk_reads_the_same_credentials(guarded: LocalServer, start: Callable[..., Child], tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text(
        "from resonate import Resonate\n"
        "client = Resonate.remote()\n"
        "print(client.promises.create(id='by-sdk', timeout=2**62).state)\n"
    )
    child = start("client", script, env={**guarded.env, **USER, "RESONATE_HOST": "http://127.0.0.1"})
    assert child.wait_for(r"PENDING")
    assert ask(f"{guarded.url}/promises/by-sdk", auth=("jo", "pä:ss".encode())).json()["state"] == "PENDING"
