"""What the calculator answers while its workers run, and how it refuses what it cannot answer."""

import shlex
import sys
from pathlib import Path

import pytest
import requests
from calculator_stage import COMMAND, Start, answer, connected, workers

from local_server.testing import Child, LocalServer


@pytest.fixture(scope="module")
def server(memory_server: LocalServer) -> LocalServer:
    """One for all tests here, each of which has numbers of its own."""
    return memory_server


@pytest.fixture(scope="module")
def crew(start_shared: Start) -> list[Child]:
    """The workers lhs and rhs, and two of ops."""
    ops = workers(start_shared, "ops/1", "ops/2")
    exp = workers(start_shared, "exp/lhs", "exp/rhs")
    connected(start_shared, *exp)
    return exp + ops


def test_the_halves_go_to_the_named_workers_by_preference_and_the_operators_to_the_pool(
    crew: list[Child], start: Start
) -> None:
    lhs, rhs, *ops = crew
    assert answer(start, "8 + (2 + 3) * (4 - 5) - 6 * 7") == "-39"
    for part in ("8+(2+3)*(4-5)", "8", "2+3", "2", "4", "6"):
        assert lhs.lines.count(f"exp/lhs: {part}") == 1
        assert f"exp/rhs: {part}" not in rhs.lines
    for part in ("6*7", "(2+3)*(4-5)", "4-5", "3", "5", "7"):
        assert rhs.lines.count(f"exp/rhs: {part}") == 1
        assert f"exp/lhs: {part}" not in lhs.lines
    for operation in (r"2 \+ 3", "4 - 5", r"6 \* 7", r"5 \* -1", r"8 \+ -5", "3 - 42"):
        assert sum(worker.count(f"^{worker.name}: {operation}$") for worker in ops) == 1


def test_an_operation_on_two_numbers_shows_all_three_workers_at_work(crew: list[Child], start: Start) -> None:
    lhs, rhs, *ops = crew
    assert answer(start, "501 + 502") == "1003"
    assert lhs.count("exp/lhs: 501$") == rhs.count("exp/rhs: 502$") == 1
    assert sum(worker.count(rf"^{worker.name}: 501 \+ 502$") for worker in ops) == 1


def test_the_same_expression_again_with_other_spaces_runs_nothing_and_fresh_runs_it_anew(
    crew: list[Child], start: Start
) -> None:
    assert answer(start, "(11 + 12) * (13 - 14)") == "-23"
    worked = [len(worker.lines) for worker in crew]
    assert answer(start, "((11+12))*( 13-14 )") == "-23"
    assert [len(worker.lines) for worker in crew] == worked
    assert answer(start, "--fresh", "(11 + 12) * (13 - 14)") == "-23"
    for operation in (r"11 \+ 12", "13 - 14", r"23 \* -1"):
        assert sum(worker.count(f": {operation}$") for worker in crew) == 2


def test_each_line_is_a_run_of_its_own(
    server: LocalServer, crew: list[Child], children: list[Child], tmp_path: Path
) -> None:
    (tmp_path / "lines").write_text("20 + 2\n\n20 + 2\n")
    typing = ["/bin/sh", "-c", f"exec {shlex.join([sys.executable, *COMMAND])} <{tmp_path}/lines"]
    children.append(prompt := Child("prompt", typing, env=server.env))
    assert prompt.wait() == 0
    assert prompt.lines.count("= 22") == 2
    assert sum(worker.count(r"20 \+ 2$") for worker in crew) == 2


@pytest.mark.usefixtures("crew")
def test_numbers_of_more_digits_than_python_prints_by_itself_are_no_limit(start: Start) -> None:
    nines = "9" * 3_000
    assert answer(start, f"-{nines} * {nines}") == "-" + "9" * 2_999 + "8" + "0" * 2_999 + "1"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["2/3"], 2, "position 2: found '/', expected +, -, * or the end\n    2/3\n     ^"),
        (["1", "+"], 2, "position 4: found the end, expected a number, - or (\n    1 +\n       ^"),
        ([""], 2, "position 1: found the end, expected a number, - or (\n    \n    ^"),
        (["1" + "+1" * 701], 2, "the expression has 701 operators inside each other, at most 700 can be sent"),
        (["--id", "nowhere"], 1, "cannot find the run 'nowhere': "),
        (["--id", "a?b"], 1, "'a?b' is no id of a run: blanks, ?, # and % never stand in one"),
        (["--id", "nowhere", "1"], 2, "give an expression, or the --id of a run to come back to, not both"),
        (["--group", "expo"], 2, "'expo' is not one of 'exp', 'ops'"),
        (["--group", "exp", "1+1"], 2, "a worker (--group exp) takes no expression, found '1+1'"),
        (["--group", "exp", "--fresh"], 2, "--fresh is for an expression, found none"),
        (["--group", "ops", "--delay", "-1"], 2, "-1.0 is not in the range x>=0"),
        (["--group", "exp", "--delay", "1"], 2, "--delay is for workers of group ops"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_is_sent(
    server: LocalServer, start: Start, arguments: list[str], status: int, message: str
) -> None:
    def newest() -> list[dict[str, object]]:
        return requests.get(f"{server.url}/promises?id=*", timeout=5).json()["promises"]

    before = newest()
    asked = start("asked", *COMMAND, *arguments)
    assert asked.wait() == status
    assert message in asked.output
    assert "Traceback" not in asked.output
    assert newest() == before
