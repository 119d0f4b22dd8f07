"""The page "your own": whoever follows it sees what it shows."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from resonate.retry_policies import Exponential
from test_readme import OWN, README, ROOT, YOURS, blocks, in_one_line

from local_server.cli import main
from local_server.testing import Child
from local_server.testing.thread import ThreadServer

DAY = 24 * 3600
FILES = ROOT / "docs" / "your_own"


@pytest.fixture
def start(resonate_server: ThreadServer, tmp_path: Path) -> Callable[..., Child]:
    """Start one of the page's programs, in a folder of the test's own."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return lambda name, *words: resonate_server.spawn(tmp_path / name, *words, name=name)


def shown(first: str) -> list[str]:
    """The lines of the block of the page that has this line."""
    return next(lines for lines in map(str.splitlines, blocks(YOURS)) if first in lines)


def told(child: Child) -> list[str]:
    """The lines of a worker as the page shows them, whatever its process id."""
    return [re.sub(r"pid \d+", "pid 4711", line) for line in child.lines]


def test_its_tests_pass_in_a_folder_of_their_own_also_where_warnings_are_errors(tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, capture_output=True, check=False, text=True, timeout=100, cwd=tmp_path)
    tests = sum(file.read_text().count("\ndef test_") for file in FILES.glob("test_*.py"))
    assert f"{tests} passed" in run.stdout, run.stdout + run.stderr


def wait_for_schedule(server: ThreadServer, program: Child) -> None:
    """Wait until daily.py has told the server of its schedule."""
    deadline = time.monotonic() + 30
    while requests.get(f"{server.url}/schedules/daily-report", timeout=5).status_code != requests.codes.ok:
        assert time.monotonic() < deadline, program.output
        time.sleep(0.02)


def test_who_comes_from_the_front_page_has_another_folder_and_is_told_of_the_server_that_runs() -> None:
    folders = [re.findall(r"uv init .* (\w+) && cd \1", "".join(blocks(page, "shell"))) for page in (README, YOURS)]
    assert folders[0] != folders[1]
    assert all(re.search("server (that )?still runs", in_one_line(page)) for page in (README, YOURS))


def test_a_second_ctrl_c_ends_a_worker_whose_step_does_not_end(start: Callable[..., Child], tmp_path: Path) -> None:
    slow = "import time\ndef order(ctx, number):\n    print(number, flush=True)\n    time.sleep(99)\n"
    (tmp_path / "orders.py").write_text(slow)
    worker = start("worker.py")
    start("client.py", 7)
    worker.wait_for("^7$")
    deadline = time.monotonic() + 10
    while worker.running:
        assert time.monotonic() < deadline
        worker.signal(signal.SIGINT)
        time.sleep(0.05)
    assert worker.wait() == -signal.SIGINT


def test_ctrl_c_ends_a_program_that_waits_without_a_traceback(
    resonate_server: ThreadServer, start: Callable[..., Child], tmp_path: Path
) -> None:
    (tmp_path / OWN).write_text(*blocks(README, "python"))
    waits_for = {
        "offer.py": "offer-7.1",
        "refund.py": "refund-7.approved",
        "client.py 9": "order-9",
        "daily.py": "",
        OWN: "order-7.2",
    }
    for words, promise_id in waits_for.items():
        program = start(*words.split())
        if promise_id:
            resonate_server.wait_for(promise_id, timeout=30, completed=False)
        else:
            wait_for_schedule(resonate_server, program)
        program.signal(signal.SIGINT)
        assert program.wait() == -signal.SIGINT, program.output
        assert "Traceback" not in program.output


def test_a_killed_worker_is_followed_by_another_as_the_page_shows(
    resonate_server: ThreadServer, start: Callable[..., Child]
) -> None:
    first = start("worker.py")
    with resonate_server.skip_time():
        assert start("client.py", 7).wait() == 0
    assert told(first) == shown("ship 7 as order-7.3")
    client = start("client.py", 8)
    resonate_server.wait_for("order-8.1")
    first.kill()
    second = start("worker.py")
    with resonate_server.skip_time():
        assert client.wait() == 0
    assert told(second) == shown("ship 8 as order-8.3")
    assert client.lines == ["order 8 is on its way, receipt R8"]
    again = start("client.py", 7)
    assert again.wait() == 0
    assert again.lines == ["order 7 is on its way, receipt R7"]
    assert second.stop() == 0
    assert told(second) == shown("ship 8 as order-8.3")


def test_a_refund_waits_for_a_person_also_when_it_is_killed_meanwhile(
    resonate_server: ThreadServer, start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = start("refund.py")
    resonate_server.wait_for("refund-7.approved", completed=False)
    killed.kill()
    again = start("refund.py")
    resonate_server.set_env(monkeypatch)
    look, answer = (line.split() for line in "\n".join(blocks(YOURS, "shell")).splitlines() if "refund-" in line)
    assert "refund-7.approved" in CliRunner().invoke(main, ["promises", look[-1].strip("'")]).output
    assert CliRunner().invoke(main, ["resolve", *answer[-2:]]).exit_code == 0
    assert again.wait() == 0
    assert again.lines == shown("refund 7 is paid")


def test_a_report_comes_each_day_until_its_schedule_is_deleted_and_starting_its_program_again_changes_nothing(
    resonate_server: ThreadServer, start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start("daily.py")
    wait_for_schedule(resonate_server, first)
    first.kill()
    second = start("daily.py")
    resonate_server.advance(2 * DAY)
    second.wait_for(r"^report report-\d+", times=2)
    assert second.running
    resonate_server.set_env(monkeypatch)
    look, delete = map(str.split, re.findall("`uv run local-server ([^`]*schedule[^`]*)`", in_one_line(YOURS)))
    assert CliRunner().invoke(main, look).output.startswith("daily-report  0 9 * * *  next ")
    assert CliRunner().invoke(main, [*delete, "--yes"]).output.endswith("deleted the schedule daily-report\n")
    assert CliRunner().invoke(main, look).output == ""


def test_retries_and_the_time_out_print_what_the_page_shows(
    resonate_server: ThreadServer, start: Callable[..., Child]
) -> None:
    retries, offer = start("retries.py"), start("offer.py")
    resonate_server.wait_for("offer-7.1", completed=False)
    assert retries.wait() == 0
    assert [line for line in retries.lines if not line.startswith("[")] == shown("attempt 4")
    resonate_server.advance(3, wait=False)
    assert offer.wait() == 0
    assert offer.lines == shown("no quote for 7 within 3 s")


def test_a_plain_function_is_tried_again_when_the_page_says() -> None:
    told = re.search(r"after ([\d, ]+) \.\.\. seconds", in_one_line(YOURS))
    assert told
    waits = [int(word) for word in told[1].split(", ")]
    assert waits == [Exponential().next(attempt) for attempt in range(1, len(waits) + 1)]
