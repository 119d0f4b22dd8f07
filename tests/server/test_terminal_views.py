"""``local-server tree | promises | workers | schedules | cancel``, against a real server; some in a terminal."""

import json
import re
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import command_stage
import pytest
import requests
from click.testing import CliRunner
from command_stage import Told
from terminal_stage import Terminal
from wire_client import until

from local_server.cli import main
from local_server.testing import Child, LocalServer

Run = Callable[..., Told]


@pytest.fixture(scope="module")
def server(memory_server: LocalServer) -> LocalServer:
    """One for all tests here, each of which has ids of its own."""
    return memory_server


@pytest.fixture
def run(server: LocalServer) -> Run:
    """Run a command to its end; ``status`` is what it must exit with."""
    return partial(command_stage.run, env=server.env)


@pytest.fixture
def factorial(start: Callable[..., Child]) -> Child:
    """A worker after factorial-4 has been computed."""
    worker = start("worker", "factorial_worker.py", "--id", "w1")
    worker.wait_for("is ready")
    assert start("client", "factorial_client.py", "4").wait() == 0
    return worker


@pytest.fixture
def bare(server: LocalServer) -> Iterator[str]:
    """Address at which the test's server is reached as one without a page would be: /ui/ is not found."""

    class Forward(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            missing = self.path.startswith("/ui/")
            answer = None if missing else requests.get(server.url + self.path, timeout=10)
            content = b"404 page not found" if answer is None else answer.content
            self.send_response(404 if answer is None else answer.status_code)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    forward = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    threading.Thread(target=forward.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{forward.server_port}"
    forward.shutdown()
    forward.server_close()


def create(server: LocalServer, promise_id: str, **tags: str) -> None:
    data = b64encode(json.dumps({"func": "work", "args": [promise_id]}).encode()).decode()
    tags = {f"resonate:{name}": text for name, text in tags.items()}
    body = {"id": promise_id, "timeout": 2**50, "tags": tags, "param": {"data": data}}
    requests.post(f"{server.url}/promises", json=body, timeout=10).raise_for_status()


@pytest.mark.usefixtures("factorial")
def test_tree_shows_calls_states_times_and_who_ran_them(run: Run) -> None:
    lines = run("tree", "factorial-4").lines
    for place, line in enumerate(lines):
        n = 4 - place
        assert re.fullmatch(
            rf"{'  ' * (place - 1)}{'└ ' if place else ''}✔ factorial-{n} factorial\({n}\) → \d+  "
            r"[\d.]+ m?s  factorial-worker/w1",
            line,
        ), line
    assert len(lines) == 4
    nodes = json.loads(run("tree", "factorial-2", "--json").output)["nodes"]
    assert [(node["id"], node["state"]) for node in nodes] == [("factorial-2", "RESOLVED"), ("factorial-1", "RESOLVED")]


def complete(server: LocalServer, *promises: str) -> None:
    for promise_id in promises:
        requests.patch(f"{server.url}/promises/{promise_id}", json={"state": "RESOLVED"}, timeout=10).raise_for_status()


def test_in_a_pipe_watch_prints_the_tree_and_then_what_changes(
    tmp_path: Path, children: list[Child], start: Callable[..., Child]
) -> None:
    own = LocalServer(tmp_path)  # to be killed
    children.append(own.child)
    create(own, "top")
    create(own, "inner", parent="top")
    create(own, "last", parent="top")
    watch = start("watch", "-m", "local_server", "tree", "top", "--watch", "--server", own.url)
    watch.wait_for("◌ last")
    complete(own, "inner")
    watch.wait_for("^✔ inner")
    own.kill()
    watch.wait_for("^the server is away; this goes on when it is back$")
    own.start()
    children.append(own.child)
    complete(own, "last", "top")
    assert watch.wait() == 0
    told = [line.split(" work(")[0] for line in watch.lines]
    assert told[:5] == ["◌ top", "├ ◌ inner", "└ ◌ last", "✔ inner", "the server is away; this goes on when it is back"]
    ends = set(told[5:]) - {"◌ top"}  # why that is pending changes, if the watch looks between the two ends
    assert sorted(ends) == ["✔ last", "✔ top"]


def test_on_a_terminal_watch_fits_keeps_what_is_pending_in_sight_and_leaves_silently(server: LocalServer) -> None:
    create(server, "tall")
    for n in range(40):
        create(server, f"tall.{n}", parent="tall")
    complete(server, *(f"tall.{n}" for n in range(40) if n != 5))
    argv = [sys.executable, "-m", "local_server", "tree", "tall", "--watch", "--server", server.url]
    terminal = Terminal(argv, {}, lines=12, columns=60)
    until(lambda: terminal.output.count("\x1b[H\x1b[?7l") >= 2)  # drawn over itself, its lines cut at the edge
    assert terminal.press_ctrl_c() == 130
    *_, frame, after = (
        re.sub(r"\x1b\[(K|[\d;]*m)", "", terminal.output).split("\x1b[H\x1b[?7l")[-1].split("\x1b[?7h\x1b[J")
    )
    assert after.strip() in ("", "^C")
    lines = frame.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("◌ tall ")
    assert lines[1] == "… 5 more"
    assert lines[2].startswith("├ ◌ tall.5 ")
    assert lines[3] == "… 28 more"
    assert [line.split()[2] for line in lines[4:10]] == [f"tall.{n}" for n in range(34, 40)]
    assert lines[10] == "2 of 41 pending; Ctrl-C ends this view, not the run"


def test_a_call_within_a_worker_and_a_sleep_have_names(server: LocalServer, run: Run) -> None:
    create(server, "order")
    tags = {"resonate:scope": "local", "resonate:parent": "order"}
    at = datetime.now().astimezone() + timedelta(hours=1)
    for body in (
        {"id": "order.1", "timeout": 2**50, "tags": tags},
        {"id": "order.2", "timeout": int(at.timestamp() * 1000), "tags": {"resonate:timeout": "true"}},
    ):
        requests.post(f"{server.url}/promises", json=body, timeout=10).raise_for_status()
    _, call, sleep = run("tree", "order").lines
    assert call.startswith("├ ◌ order.1 a local call  ")
    assert re.match(rf"└ ◌ order\.2 a sleep until (\S+ )?{at:%H:%M:%S}  ", sleep)
    assert run("promises", "order.2").output.startswith("◌ order.2 a sleep until ")


def test_a_tree_shows_siblings_and_what_is_shared(server: LocalServer, run: Run) -> None:
    for promise_id, parent in (("a", ""), ("b", "a"), ("c", "b"), ("d", "a")):
        create(server, promise_id, **({"parent": parent} if parent else {}))
    drawn = [re.sub(r" work.*", "", line) for line in run("tree", "a").lines]
    assert drawn == ["◌ a", "├ ◌ b", "│ └ ◌ c", "└ ◌ d"]


def test_promises_are_listed_newest_first_and_filtered(server: LocalServer, run: Run) -> None:
    for n in range(3):
        create(server, f"listed-{n}")
    requests.patch(f"{server.url}/promises/listed-1", json={"state": "REJECTED"}, timeout=10).raise_for_status()
    assert [line.split()[1] for line in run("promises", "listed-*").lines] == ["listed-2", "listed-1", "listed-0"]
    assert [line.split()[1] for line in run("promises", "--limit", "1").lines] == ["listed-2"]
    assert [one["id"] for one in json.loads(run("promises", "listed*", "--state", "rejected", "--json").output)] == [
        "listed-1"
    ]
    assert run("promises", "other*").output == ""
    assert run("promises", "listed").lines == ["no promises of the id 'listed'; for a part of an id, give '*listed*'"]


def test_workers_and_what_waits_for_one_are_listed(server: LocalServer, factorial: Child, run: Run) -> None:
    create(server, "waiting", invoke="poll://any@ops")
    lines = run("workers").lines
    assert "1 task waits for poll://any@ops: no worker connected" in lines
    assert f"  w1 (pid {factorial.pid}): idle" in lines
    factorial.kill()
    worker = next(line for line in run("workers").lines if line.startswith("factorial-worker/w1"))
    assert re.fullmatch(r"factorial-worker/w1: gone [\d.]+ m?s ago", worker)


def test_cancel_ends_a_pending_promise_and_no_other(server: LocalServer, run: Run) -> None:
    create(server, "job")
    assert run("cancel", "job", "--yes").output == "job is canceled"
    assert requests.get(f"{server.url}/promises/job", timeout=10).json()["state"] == "REJECTED_CANCELED"
    for again in (run("cancel", "job", status=1), run("resolve", "job", "7", status=1)):
        (line,) = again.lines
        since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(rf"Error: job is canceled already, since {since}, and stays so", line)


def test_cancel_says_that_a_worker_goes_on_and_only_where_one_does(
    server: LocalServer, start: Callable[..., Child], run: Run
) -> None:
    worker = start("worker", "factorial_worker.py", "--id", "busy", "--delay", "100")
    worker.wait_for("is ready")
    start("client", "factorial_client.py", "90")
    worker.wait_for("Calculating factorial of 90")
    goes_on = "factorial-worker/busy runs it, and is not stopped: it goes on until the function ends or has to wait"
    assert goes_on in run("cancel", "factorial-90", "--yes").lines
    create(server, "idle", invoke="poll://any@nobody")
    assert "goes on" not in run("cancel", "idle", "--yes").output


def test_the_summary_of_each_command_fits_a_line_of_80_columns() -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=78).output.partition("Commands:\n")[2]
    assert len(listed.splitlines()) == len(main.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines()), listed


def test_schedules_are_listed_with_their_times_and_ids_and_deleted(server: LocalServer, run: Run) -> None:
    body = {"promiseId": "{{.id}}.{{.timestamp}}", "promiseTimeout": 1_000, "tags": {}}
    for name, cron in (("nightly-a", "0 3 * * *"), ("nightly-b", "30 4 * * *"), ("other", "0 0 30 2 *")):
        new = body | {"id": name, "cron": cron}
        requests.post(f"{server.url}/schedules", json=new, timeout=10)
    second, first = run("schedules", "nightly-*").lines
    assert re.fullmatch(
        r"nightly-a  0 3 \* \* \*  next \d{4}-\d\d-\d\d 03:00:00  \{\{\.id\}\}\.\{\{\.timestamp\}\}", first
    )
    assert second.startswith("nightly-b  30 4 * * *  next ")
    assert run("schedules", "nightly-*", "--limit", "1").lines == [second]
    assert [one["id"] for one in json.loads(run("schedules", "nightly-*", "--json").output)] == [
        "nightly-b",
        "nightly-a",
    ]
    assert run("schedules", "none*").output == ""
    *_, refused = run("unschedule", "nightly-a", status=2).lines
    assert refused == "Error: no terminal to ask on: add --yes to go on without a question"
    assert run("unschedule", "nightly-a", "--yes").lines == [first, "deleted the schedule nightly-a"]
    assert run("schedules", "nightly-*").lines == [second]
    gone = "Error: The specified schedule was not found: schedule nightly-a: found none of that id"
    assert run("unschedule", "nightly-a", "--yes", status=1).lines == [gone]


@pytest.mark.parametrize("command", ["tree", "cancel"])
def test_an_unknown_id_is_one_clear_line(run: Run, command: str) -> None:
    found = "Error: The specified promise was not found: promise no/such?one: found none of that id"
    assert run(command, "no/such?one", status=1).lines == [found]


@pytest.mark.parametrize("command", [["tree", "x"], ["promises"], ["workers"], ["schedules"], ["cancel", "x"]])
def test_a_server_that_is_not_there_is_one_clear_line(nowhere: int, run: Run, command: list[str]) -> None:
    url = f"http://127.0.0.1:{nowhere}"
    (line,) = run(*command, "--server", url, status=1).lines
    assert re.fullmatch(rf"Error: no server at {url} \(.*\); start one with: uv run local-server", line)


def test_a_server_option_that_is_no_address_is_refused(run: Run) -> None:
    output = run("tree", "x", "--server", "ftp://x", status=2).output
    assert "--server: found 'ftp://x'; expected an address such as http://localhost:8001" in output


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("http://[::1", 2, "--server: found 'http://[::1'; expected an address"),
        ("http://x:99999", 2, "--server: found 'http://x:99999'; expected an address"),
        ("http://x:y", 2, "--server: found 'http://x:y'; expected an address"),
        ("http://x y", 1, "no server at http://x y ("),
        ("http://x..y", 1, "no server at http://x..y (label empty or too long)"),
    ],
)
def test_a_server_that_cannot_be_is_one_clear_line(url: str, status: int, words: str) -> None:
    result = CliRunner().invoke(main, ["tree", "x", "--server", url])
    assert (result.exit_code, words in result.output) == (status, True)


@pytest.mark.parametrize("command", ["tree", "promises", "schedules", "cancel", "resolve", "delete", "unschedule"])
def test_an_id_that_is_no_text_is_refused(command: str) -> None:
    result = CliRunner().invoke(main, [command, "\udcff", *(["1"] if command == "resolve" else [])])
    assert (result.exit_code, "found '\\udcff'; expected UTF-8" in result.output) == (2, True)


def test_a_time_before_1970_is_told_as_that(server: LocalServer) -> None:
    requests.post(f"{server.url}/promises", json={"id": "old", "timeout": -(2**60)}, timeout=10).raise_for_status()
    result = CliRunner().invoke(main, ["cancel", "old", "--server", server.url])
    assert (result.exit_code, "old is timed out already, since 1970-01-01" in result.output) == (1, True)


def test_names_cannot_write_to_the_terminal(server: LocalServer, run: Run) -> None:
    create(server, "\x1b]0;title\x07\x1b[2J\u202eevil\r")
    for child in (run("promises", "--limit", "1"), run("tree", "\x1b]0;title\x07\x1b[2J\u202eevil\r")):
        assert "�]0;title��[2J�evil�" in child.output
        assert child.output.isprintable()


def test_credentials_come_from_the_variables_of_the_sdk(
    tmp_path: Path, children: list[Child], start: Callable[..., Child]
) -> None:
    (tmp_path / "guarded").mkdir()
    secret = {"RESONATE_USERNAME": "u", "RESONATE_PASSWORD": "p"}
    guarded = LocalServer(tmp_path / "guarded", env=secret)
    children.append(guarded.child)
    refused = start("refused", "-m", "local_server", "promises", "--server", guarded.url)
    assert refused.wait() == 1
    assert refused.output == f"Error: {guarded.url}/promises?id=%2A&limit=50: 401 Unauthorized"
    assert start("let in", "-m", "local_server", "promises", "--server", guarded.url, env=secret).wait() == 0


def test_a_server_without_the_page_is_asked_by_the_wire_alone(server: LocalServer, bare: str, run: Run) -> None:
    create(server, "first", parent="first")
    create(server, "second", parent="first", invoke="poll://any@others")
    lines = run("tree", "first", "--server", bare).lines
    assert [line.split("  ")[0] for line in lines] == ['◌ first work("first")', '└ ◌ second work("second")']
    assert "poll://any@others" in lines[1]
    assert "found none of that id" in run("tree", "none", "--server", bare, status=1).output
    assert run("promises", "--server", bare).lines[0].startswith("◌ second")
    output = run("workers", "--server", bare, status=1).output
    assert output == f"Error: {bare} does not tell who works for it; the local server of this project does"


def test_an_error_is_told_by_its_type_and_message_also_without_a_page(run: Run, server: LocalServer, bare: str) -> None:
    requests.post(f"{server.url}/promises", json={"id": "failed-1", "timeout": 2**50}, timeout=10).raise_for_status()
    made = '{"py/reduce": [{"py/type": "builtins.ValueError"}, {"py/tuple": ["no stock"]}]}'
    data = b64encode(b'{"__error__": "no stock"}').decode()
    body = {"state": "REJECTED", "value": {"data": data, "headers": {"resonate:format-py": made}}}
    requests.patch(f"{server.url}/promises/failed-1", json=body, timeout=10).raise_for_status()
    for url in (server.url, bare):
        lines = run("tree", "failed-1", "--server", url).lines
        assert re.fullmatch(r"✘ failed-1  ValueError: no stock  \d+ ms  rejected", lines[0]), lines


def test_resolve_ends_what_waits_for_somebody_and_nothing_that_ends_by_itself(server: LocalServer, run: Run) -> None:
    far = 99_999_999_999_999
    for name, tags in (("approval", {}), ("call", {"resonate:invoke": "poll://any@nobody"})):
        body = {"id": f"resolve-{name}", "timeout": far, "tags": tags}
        assert requests.post(f"{server.url}/promises", json=body, timeout=5).status_code == 201
    assert run("resolve", "resolve-approval", "true").lines == ["resolve-approval is resolved"]
    refused = run("resolve", "resolve-call", "true", status=1)
    assert "promise resolve-call: found a call or a sleep, which ends by itself" in refused.output
    assert requests.get(f"{server.url}/promises/resolve-call", timeout=5).json()["state"] == "PENDING"
    run("resolve", "resolve-call", status=2)  # without a value
