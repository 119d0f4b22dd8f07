"""The demo as a person runs it: in a terminal and in a pipe, to the end, stopped at any moment, and with a failure."""

import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from postgres_stage import needs_postgres
from terminal_stage import Terminal

from demo.stage import ROOT
from local_server.testing import Child

DEMO = str(Path(sys.executable).with_name("demo"))
DEADLINE = 100.0
MARK = "MARK_OF_THE_DEMO_TEST"
ESCAPE = "\x1b"
LINE = re.compile(r" *(\d+\.\d)  (\S+(?: #\d)?) +(.*)")  # time, name, text


class House:
    """What a demo may use, by which all that it leaves can be found: a mark in the environment, a folder."""

    def __init__(self, folder: Path) -> None:
        self.mark, self.folder = uuid.uuid4().hex, folder
        folder.mkdir()
        self.env = {MARK: self.mark, "TMPDIR": str(folder), "TERM": "xterm", "NO_COLOR": ""}

    def check_clean(self, output: str) -> None:
        """Assert that no process, file or listening socket is left of the demo that printed ``output``."""
        assert self.processes() == [], output
        assert list(self.folder.iterdir()) == [], output
        for url in set(re.findall(r"http://127\.0\.0\.1:\d+", output)):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=5)

    def processes(self) -> list[psutil.Process]:
        """Return what still runs."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark
        except psutil.Error:  # it has just ended, or is somebody else's
            return False


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[[str], House]]:
    """Build houses by their names; what a failed test leaves in them is killed."""
    built: list[House] = []

    def build(name: str) -> House:
        built.append(House(tmp_path / name))
        return built[-1]

    yield build
    for process in (process for house in built for process in house.processes()):
        process.kill()


@pytest.fixture
def house(build: Callable[[str], House]) -> House:
    return build("house")


@pytest.fixture
def shared_house(build: Callable[[str], House]) -> Iterator[House]:
    """A house into which the user of PostgreSQL may go, on a path that is short enough for a socket."""
    needs_postgres()
    with tempfile.TemporaryDirectory(prefix="h") as folder:
        Path(folder).chmod(0o711)
        house = build(f"{folder}/house")
        house.folder.chmod(0o711)
        yield house


def table_of(output: str, title: str) -> dict[str, list[str]]:
    """Return the rows of a table: their lines by their names."""
    rows: dict[str, list[str]] = {}
    name = ""
    for line in output.partition(f"\n  {title}\n")[2].partition("\n\n")[0].splitlines():
        name = line[4:14].strip() or name
        rows.setdefault(name, []).append(line[16:])
    return rows


def check_table(rows: dict[str, list[str]], runs: list[tuple[str, str]], killed: str, recovery: float) -> None:
    """Compare a table with what the workers printed: (worker, step) of each run."""
    steps, workers = Counter(step for _, step in runs), Counter(worker for worker, _ in runs)
    assert rows["steps"] == [f"{len(steps)} ({len(steps)} resolved)"]
    assert " ".join(rows["runs"]) == ", ".join(f"{name} {workers[name]}" for name in sorted(workers))
    twice = {line.partition(": ")[0]: line.partition(": ")[2] for line in rows["run twice"]}
    assert set(twice) == {step for step, count in steps.items() if count > 1} != set()
    for step, why in twice.items():
        assert why.startswith(", then ".join(worker for worker, of in runs if of == step) + "; ")
        assert re.search(rf"; {killed} was killed (in it|while this waited for .+)$", why)
    # The table counts in hundredths of a second, the lines in tenths.
    assert float(rows["recovery"][0].partition(" ")[0]) == pytest.approx(recovery, abs=0.3)


@pytest.mark.long
def test_all_three_plays_in_a_pipe_tell_the_truth(house: House) -> None:
    demo = Child("demo", [DEMO], env=house.env)
    assert demo.wait(DEADLINE) == 0, demo.output
    house.check_clean(demo.output)
    assert ESCAPE not in demo.output
    assert re.search(r"demo +watch it in a browser: http://127\.0\.0\.1:\d+/$", demo.lines[0])
    told = [(float(m[1]), m[2], m[3]) for line in demo.lines if (m := LINE.fullmatch(line))]
    assert told[-1][0] < 60

    def recovery(killed: str, pattern: str) -> float:
        """Seconds from the announced kill to the next line that matches."""
        at, place = next(
            (at, i) for i, (at, _, text) in enumerate(told) if text.startswith("kill -9") and killed in text
        )
        return next(when for when, who, text in told[place:] if who != killed and re.search(pattern, text)) - at

    def runs(pattern: str) -> list[tuple[str, str]]:
        return [(who, m[1]) for _, who, text in told if who != "demo" and (m := re.search(pattern, text))]

    steps = [(worker, f"factorial-{n}") for worker, n in runs(r"Calculating factorial of (\d+)")]
    killed = re.search(r"kill -9 \d+   \((worker-\d), which calculates factorial of 5\)", demo.output)
    assert killed
    assert runs("Result: (.*)") == [("client", str(math.factorial(10))), ("client-2", str(math.factorial(10)))]
    assert "the same result, and 0 steps were run for it" in demo.output
    rows = table_of(demo.output, "factorial(10)")
    check_table(rows, steps, killed[1], recovery(killed[1], "factorial of 5$"))
    assert f"factorial-5: {killed[1]}, then" in "".join(rows["run twice"])

    asked = [text.partition("'")[2][:-1] for _, who, text in told if "uv run calculator '" in text]
    assert [value for who, value in runs(r"^(-?\d+)$") if who.startswith("user-")] == [str(eval(one)) for one in asked]  # noqa: S307 - ours
    assert len(asked) == 3
    parts = [(who, text) for _, who, text in told if who.startswith(("exp/", "ops/")) and "is ready" not in text]
    first = re.search(r"demo +exp/rhs takes over (.+), [\d.]+ s after the kill", demo.output)
    assert first
    rows = table_of(demo.output, "three expressions")
    check_table(rows, parts, "exp/lhs", recovery("exp/lhs", rf"^{re.escape(first[1])}$"))

    calls = [(who, step) for who, step in runs(r"\w+ runs as ([^\s,]+)$")]
    assert sorted(runs(r'^200 \{"message":(.*)\}$')) == [
        ("caller-1", '"detached-chain started"'), ("caller-2", "3"), ("caller-3", "3")
    ]  # fmt: skip
    rows = table_of(demo.output, "three requests")
    check_table(rows, calls, "service-b", recovery("service-b", "bar runs as"))
    assert rows["run twice"][0].startswith("await-chain.2: service-b, then service-b #2; ")
    end = demo.lines[demo.lines.index("The end; nothing is left of it. To try next:") :]
    assert [line.split("  ")[2] for line in end[1:-1]] == ["uv run demo --keep", "uv run async-rpc"]


@pytest.mark.long
def test_a_server_that_is_killed_is_replaced_by_the_one_that_stands_by(shared_house: House) -> None:
    demo = Child("demo", [DEMO, "failover"], env=shared_house.env)
    assert demo.wait(DEADLINE) == 0, demo.output
    shared_house.check_clean(demo.output)
    lines = [match.groups() for line in demo.lines if (match := LINE.fullmatch(line))]
    kill = next(i for i, (_, _, text) in enumerate(lines) if re.match(r"kill -9 \d+   \(server, which serves", text))
    before, after = (
        [int(text.rpartition(" ")[2]) for _, _, text in some if text.startswith("Calculating")]
        for some in (lines[:kill], lines[kill:])
    )
    assert before + after == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert "Nobody serves" not in demo.output
    rows = table_of(demo.output, "factorial(10) and two servers")
    assert (rows["steps"], rows["run twice"]) == (["10 (10 resolved)"], ["none"])
    away, recovery = (float(rows[name][0].partition(" ")[0]) for name in ("away", "recovery"))
    assert 0 < away < 5
    assert f"server-2 answers {away:.1f} s after the kill" in demo.output
    first = next(at for at, _, text in lines[kill:] if text.startswith("Calculating"))
    assert recovery == pytest.approx(float(first) - float(lines[kill][0]), abs=0.3)
    assert any((who, text) == ("client", f"Result: {math.factorial(10)}") for _, who, text in lines[kill:])


def test_the_demo_with_two_servers_ends_on_ctrl_c_and_leaves_nothing(shared_house: House) -> None:
    terminal = Terminal([DEMO, "failover"], shared_house.env)
    terminal.wait_for("stands by")
    assert terminal.press_ctrl_c() == 130
    shared_house.check_clean(terminal.output)


def test_without_postgresql_the_demo_with_two_servers_says_how_to_install_it(house: House) -> None:
    code = """if True:
        import shutil, pathlib
        shutil.which = pathlib.Path.glob = lambda *_: []
        from demo.cli import main
        main(["failover"])"""
    demo = Child("demo", [sys.executable, "-c", code], env=house.env)
    assert demo.wait(DEADLINE) == 1
    assert demo.lines == ["the demo failed: no PostgreSQL: sudo apt-get install postgresql"]
    house.check_clean(demo.output)


@pytest.mark.long
def test_in_a_terminal_each_process_has_its_colour_and_keep_leaves_all_up_until_ctrl_c(house: House) -> None:
    terminal = Terminal([DEMO, "factorial", "--keep"], house.env, lines=24, columns=80)
    terminal.wait_for("which calculates factorial of 5)")
    terminal.wait_for("# worker-3" if "(worker-3" not in terminal.output else "# worker-2")
    lines = re.findall(rf"{ESCAPE}\[(\d+)m *[\d.]+  (\S+) ", terminal.output)
    colors = {name: {color for color, of in lines if of == name} for _, name in lines}
    assert {"demo", "worker-1", "worker-2", "worker-3", "client"} <= set(colors)
    assert len(set.union(*colors.values())) == len(colors)  # one each, none shared

    exports = re.findall(r"export (\w+)=(\S+)\r\n", terminal.output)
    command = re.search(r"uv run (factorial_client\.py \d+)\r\n", terminal.output)
    assert len(exports) == 3
    assert command
    by_hand = Child.python("by hand", *command[1].split(), env={**house.env, **dict(exports)})
    assert by_hand.wait(DEADLINE) == 0, by_hand.output
    n = int(command[1].split()[1])
    assert by_hand.lines[-1] == f"Result: {math.factorial(n)}"
    runs = re.findall(r"Calculating factorial of 10\b", terminal.output)
    assert len(runs) == 1  # what the play has computed is not computed again

    worker, name = re.search(r"kill -9 (\d+)   # (\S+)", terminal.output).groups()  # type: ignore[union-attr]
    os.kill(int(worker), signal.SIGKILL)
    terminal.wait_for(f"{name} (pid {worker}) has ended with status -9")
    assert terminal.press_ctrl_c() == 0
    house.check_clean(terminal.output)
    lines = re.sub(rf"{ESCAPE}\[\d+m", "", terminal.output).split("\r\n")
    assert max(map(len, lines)) <= 80
    assert lines[1].endswith("factorial: three workers, 0.5 s of work a step,")
    assert lines[2] == " " * 20 + "factorial(10); one of them will be killed"


def test_no_color_is_plain_in_a_terminal_and_ctrl_c_in_the_play_ends_with_130(house: House) -> None:
    terminal = Terminal([DEMO, "factorial"], {**house.env, "NO_COLOR": "1"})
    terminal.wait_for("Calculating factorial of 10")
    assert terminal.press_ctrl_c() == 130
    assert "SIGINT: ending all processes" in terminal.output
    assert ESCAPE not in terminal.output
    house.check_clean(terminal.output)


def test_the_demo_ends_when_the_reader_of_its_pipe_has_left(house: House) -> None:
    demo = subprocess.Popen(
        [DEMO, "factorial"], cwd=ROOT, env={**os.environ, **house.env}, stdout=subprocess.PIPE, start_new_session=True
    )
    assert demo.stdout
    first = demo.stdout.readline().decode()
    assert "watch it in a browser" in first
    demo.stdout.close()
    assert demo.wait(DEADLINE) == 128 + signal.SIGHUP
    house.check_clean(first)


@pytest.mark.long
def test_twenty_interrupts_at_random_moments_leave_nothing(build: Callable[[str], House]) -> None:
    seed = random.randrange(2**32)  # noqa: S311 - moments are no secrets
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 - moments are no secrets

    def interrupted(
        number: int, play: str, moment: float, first: signal.Signals, second: signal.Signals | None
    ) -> None:
        house = build(str(number))
        demo = Child(f"demo {number}, {first.name} at {moment:.2f} s", [DEMO, play], env=house.env)
        time.sleep(moment)
        demo.signal(first)
        if second:
            demo.signal(second)
        status = demo.wait(DEADLINE)
        ending = re.search(r"(SIG\w+): ending all processes", demo.output)
        if ending:
            assert ending[1] in (first.name, second and second.name)  # two that come together may change places
            assert status == 128 + signal.Signals[ending[1]], demo.output
        else:  # it came before the demo had started anything
            assert status != 0, demo.output
            assert "watch it" not in demo.output
        house.check_clean(demo.output)

    with ThreadPoolExecutor(6) as pool:
        signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        tries = [
            pool.submit(
                interrupted, number, chance.choice(["factorial", "calculator", "async-rpc"]), chance.uniform(0, 6),
                chance.choice(signals), chance.choice([None, *signals]),
            )
            for number in range(20)
        ]  # fmt: skip
    for one in tries:
        one.result()


def test_signals_up_to_the_very_end_change_nothing_after_the_first(house: House) -> None:
    demo = Child("demo", [DEMO, "factorial"], env=house.env)
    demo.wait_for("watch it")
    demo.signal(signal.SIGHUP)
    deadline = time.monotonic() + DEADLINE
    while demo.running:
        demo.signal(signal.SIGINT)
        assert time.monotonic() < deadline
        time.sleep(0.002)  # of CPU for the demo to get to its end
    assert demo.wait(DEADLINE) == 128 + signal.SIGHUP
    house.check_clean(demo.output)


def test_a_process_that_fails_shows_its_log_and_the_demo_fails(house: House, tmp_path: Path) -> None:
    (tmp_path / "resonate.py").write_text("raise SystemExit('this SDK is broken')\n")
    demo = Child("demo", [DEMO, "factorial"], env={**house.env, "PYTHONPATH": str(tmp_path)})
    assert demo.wait(DEADLINE) == 1, demo.output
    failed = r"the demo failed: worker-\d \(pid \d+\) ended with status 1; its output:\nthis SDK is broken"
    assert re.search(failed, demo.output)
    house.check_clean(demo.output)


@pytest.mark.parametrize(("name", "word"), [("server", "local_server"), ("user-1", "1 + 2 * 3")])
def test_a_process_that_dies_without_announcement_is_told_and_the_demo_fails(
    house: House, name: str, word: str
) -> None:
    demo = Child("demo", [DEMO, "calculator"], env=house.env)
    demo.wait_for(r"ops/\d +2 \* 3")
    victim = next(process for process in psutil.Process(demo.pid).children() if word in process.cmdline())
    victim.kill()
    assert demo.wait(DEADLINE) == 1, demo.output
    assert f"the demo failed: {name} (pid {victim.pid}) ended with status -9; its output:" in demo.output
    assert "4 + 5" not in demo.output  # the play has not gone on to the next expression
    house.check_clean(demo.output)
