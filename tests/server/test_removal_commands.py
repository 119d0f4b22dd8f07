"""``local-server cancel`` and ``delete`` on a terminal: what they say before they ask, and what an answer does."""

import sys

import requests
from click.testing import CliRunner
from terminal_stage import Terminal

from local_server.cli import main
from local_server.testing import LocalServer


def create(server: LocalServer, promise_id: str, parent: str = "", *, ended: bool = False) -> None:
    tags = {"resonate:parent": parent} if parent else {}
    key = {"Idempotency-Key": promise_id}
    body = {"id": promise_id, "timeout": 2**50, "tags": tags}
    requests.post(f"{server.url}/promises", json=body, headers=key, timeout=10).raise_for_status()
    if ended:
        body = {"state": "RESOLVED"}
        requests.patch(f"{server.url}/promises/{promise_id}", json=body, headers=key, timeout=10).raise_for_status()


def asked(server: LocalServer, *words: str) -> Terminal:
    return Terminal([sys.executable, "-m", "local_server", *words, "--server", server.url], {})


def state(server: LocalServer, promise_id: str) -> str:
    return requests.get(f"{server.url}/promises/{promise_id}", timeout=10).json().get("state", "gone")


def test_cancel_says_what_hangs_on_a_promise_and_asks(memory_server: LocalServer) -> None:
    create(memory_server, "top")
    create(memory_server, "mid", "top")
    create(memory_server, "low", "mid")
    recv = "poll://any@g"
    body = {"rootPromiseId": "top", "timeout": 2**50, "recv": recv}
    requests.post(f"{memory_server.url}/promises/callback/mid", json=body, timeout=10).raise_for_status()
    body = {"id": "c", "timeout": 2**50, "recv": "poll://uni@client/c"}
    requests.post(f"{memory_server.url}/promises/subscribe/mid", json=body, timeout=10).raise_for_status()
    for answer, found in (("n", "PENDING"), ("y", "REJECTED_CANCELED")):
        terminal = asked(memory_server, "cancel", "mid")
        terminal.wait_for("Cancel mid? [y/N]: ")
        terminal.type(f"{answer}\r")
        assert terminal.wait() == (0 if answer == "y" else 1)
        assert "the client poll://uni@client/c, top wait for mid" in terminal.output
        assert "unfinished below it, and left to themselves: low" in terminal.output
        assert state(memory_server, "mid") == found


def test_unschedule_shows_the_schedule_and_asks(memory_server: LocalServer) -> None:
    path = f"{memory_server.url}/schedules"
    body = {"id": "daily", "cron": "0 9 * * *", "promiseId": "r-{{.timestamp}}", "promiseTimeout": 1_000}
    requests.post(path, json=body, timeout=10).raise_for_status()
    for answer, found in (("n", 200), ("y", 404)):
        terminal = asked(memory_server, "unschedule", "daily")
        terminal.wait_for("Delete the schedule daily? [y/N]: ")
        assert "0 9 * * *  next " in terminal.output
        terminal.type(f"{answer}\r")
        assert terminal.wait() == (0 if answer == "y" else 1)
        assert requests.get(f"{path}/daily", timeout=10).status_code == found


def test_delete_says_what_goes_and_what_stays_and_asks(memory_server: LocalServer) -> None:
    for one, parent in (("f8", ""), ("f5", "f8"), ("f4", "f5"), ("order", ""), ("f4", "order")):
        create(memory_server, one, parent, ended=True)
    for answer, found in (("n", "RESOLVED"), ("y", "gone")):
        terminal = asked(memory_server, "delete", "f5")
        terminal.wait_for("Delete 2 promises for ever? [y/N]: ")
        terminal.type(f"{answer}\r")
        assert terminal.wait() == (0 if answer == "y" else 1)
        assert "1 run with 2 promises: f8" in terminal.output
        assert "what these use of it stays: order" in terminal.output
        assert state(memory_server, "f8") == found
        assert state(memory_server, "f4") == "RESOLVED"


def test_an_age_before_all_that_there_can_be_deletes_nothing(memory_server: LocalServer) -> None:
    words = ["prune", "--older-than", "800000d", "--yes", "--server", memory_server.url]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.output) == (0, "deleted 0 promises\n")
