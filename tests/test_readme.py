"""The pages are true: what they name exists, what they show is what happens, and their links lead somewhere."""

import functools
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from calculator_stage import answer, workers
from click.testing import CliRunner

from async_rpc import gateway, web
from calculator import client, parser, prompt
from local_server.testing import Child, LocalServer
from local_server.testing.thread import ThreadServer

ROOT = Path(__file__).parent.parent
README, SERVER, CALCULATOR, ASYNC_RPC = (
    ROOT / folder / "README.md" for folder in ("", "local_server", "calculator", "async_rpc")
)
FACTORIAL, DEMO, BENCHMARKS, YOURS, KIT = (
    ROOT / "docs" / f"{name}.md" for name in ("factorial", "demo", "benchmarks", "your-own", "kit")
)
PAGES = {page: page.read_text() for page in (README, SERVER, CALCULATOR, ASYNC_RPC, *sorted(ROOT.glob("docs/*.md")))}
SCRIPTS = {
    name: entry
    for project in (ROOT / "pyproject.toml", *ROOT.glob("*/pyproject.toml"))
    for name, entry in tomllib.loads(project.read_text())["project"].get("scripts", {}).items()
}
OWN = "order.py"  # the program that a user is told to write
YOUR_OWN = {file.name: file.read_text() for file in (ROOT / "docs" / "your_own").glob("*.py")}  # likewise, by a page
OF_THE_OFFICIAL_SERVER = "--system-signal-timeout"
EXAMPLE = "Run it", "Expected output", "Kill a", "Code map"  # the order of the sections of an example

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a page in a language."""
    return [
        text
        for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)
        if kind == language
    ]


def headings(page: Path) -> list[str]:
    """The headings of a page, and not the comments of its commands."""
    return re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", PAGES[page], flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )


def in_one_line(page: Path) -> str:
    """The text of a page, wherever its lines are broken."""
    return " ".join(PAGES[page].split())


def anchors(page: Path) -> set[str]:
    """What a link may name on a page, as GitHub makes it from the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)}


@functools.cache
def help_of(name: str) -> str:
    """What a command, or a script of the repository, says with --help; of all its subcommands too."""
    if name in SCRIPTS:
        module, _, function = SCRIPTS[name].partition(":")
        main = getattr(importlib.import_module(module), function)
        ways = [["--help"], *([sub, "--help"] for sub in getattr(main, "commands", {}))]
        return "".join(CliRunner().invoke(main, way).output for way in ways)
    command = ["-m", "pytest"] if name == "pytest" else [ROOT / name]
    return subprocess.run(
        [sys.executable, *command, "--help"], capture_output=True, check=True, text=True, timeout=60
    ).stdout


def test_there_is_a_page_for_each_example_and_for_the_server_and_the_readme_leads_to_all() -> None:
    for page in PAGES:
        assert page == README or f"]({page.relative_to(ROOT)})" in PAGES[README], page


def test_the_readme_is_a_front_door() -> None:
    assert len(PAGES[README].splitlines()) <= 160


def test_the_first_command_stands_within_the_first_40_lines() -> None:
    start = "\n".join(PAGES[README].splitlines()[:40])
    assert "uv run demo" in start
    assert "uv run pytest" in start


@pytest.mark.parametrize("page", [FACTORIAL, CALCULATOR, ASYNC_RPC], ids=lambda page: page.parent.name)
def test_an_example_says_what_it_shows_how_to_run_it_what_comes_how_to_kill_it_and_what_each_file_is(
    page: Path,
) -> None:
    rest = iter(headings(page)[1:])
    assert next(rest) == "What it shows"
    for part in EXAMPLE:
        assert any(heading.startswith(part) for heading in rest), part


def test_every_command_is_one_that_uv_can_run() -> None:
    commands = set()
    for text in PAGES.values():
        commands |= set(re.findall(r"uv run (?:--no-dev )?([\w./-]+)", text))
        commands |= set(re.findall(r'uvx --from (?:"[^"]*"|\S+) ([\w./-]+)', text))
    assert {"demo", "pytest", "local-server", "factorial_worker.py"} <= commands
    assert not {
        name for name in commands - {"pytest", OWN, *YOUR_OWN} if name not in SCRIPTS and not (ROOT / name).is_file()
    }


def test_every_folder_that_uv_is_led_to_is_a_project_of_that_name() -> None:
    led = set()
    for text in PAGES.values():
        led |= set(re.findall(r"#subdirectory=(\w+)|uvx --from \./(\w+)|--editable [\w./]*?(\w+)$", text, re.MULTILINE))
    assert {"".join(found) for found in led} == {"local_server"}
    project = tomllib.loads((ROOT / "local_server" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "local-server"
    assert "local-server" in project["scripts"]
    named = re.search(r"It brings ([\w, ]+) and (\w+), and nothing of the examples", in_one_line(SERVER))
    assert named
    assert sorted([*named[1].split(", "), named[2]]) == sorted(
        re.match(r"[\w-]+", one)[0] for one in project["dependencies"]
    )


@every_page
def test_every_option_shown_with_a_command_exists(page: Path) -> None:
    for name, rest in re.findall(r"uv run (?:--no-dev )?([\w./-]+)([^\n#`|]*)", PAGES[page]):
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in help_of(name), f"uv run {name}{rest}"


@every_page
def test_every_option_told_of_is_one_of_some_command(page: Path) -> None:
    known = "".join(map(help_of, [*SCRIPTS, "factorial_worker.py", "factorial_client.py"]))
    for option in set(re.findall(r"`(--[a-z-]+)", PAGES[page])) - {OF_THE_OFFICIAL_SERVER}:
        assert option in known, option


@every_page
def test_every_file_and_folder_it_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:\w[\w.-]*/)*\w[\w.-]*\.(?:py|sql|toml|png)|(?:\w[\w.-]*/)+|\.ci/\w+)`", PAGES[page])
    missing = {name for name in named if not any((place / name).exists() for place in (page.parent, ROOT))}
    assert not missing - {OWN, *(YOUR_OWN if page == YOURS else ())}


@every_page
def test_every_link_to_a_page_a_heading_a_file_or_a_picture_resolves(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        if not path.startswith("https://"):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [SERVER, CALCULATOR, ASYNC_RPC], ids=lambda page: page.parent.name)
def test_the_code_map_names_every_file_and_every_folder_of_code(page: Path) -> None:
    code_map = PAGES[page].partition("## Code map")[2]
    modules = {str(file.relative_to(page.parent)) for file in page.parent.rglob("*.py") if file.stem.strip("_")}
    modules -= {file for file in modules if "__" in file or re.fullmatch(r"service_[b-h]\.py", file)}
    folders = {f"{file.partition('/')[0]}/" for file in modules if "/" in file}
    in_full = {file for file in modules if "/" not in file or file.startswith("rules/")}
    assert not {name for name in in_full | folders if f"`{name}`" not in code_map}


def test_the_code_it_shows_is_the_code() -> None:
    assert {page for page in PAGES if blocks(page, "python")} == {README, FACTORIAL, YOURS, KIT}
    assert sorted(blocks(YOURS, "python") + blocks(KIT, "python")) == sorted(YOUR_OWN.values())
    (block,) = blocks(FACTORIAL, "python")
    worker = (ROOT / "factorial_worker.py").read_text()
    for line in block.splitlines():
        assert line in worker, line


@every_page
def test_no_place_for_a_figure_is_left_empty(page: Path) -> None:
    assert not re.findall(r"@@\w+@@|<!--", PAGES[page])


@every_page
def test_a_figure_quoted_from_the_benchmarks_stands_there(page: Path) -> None:
    for paragraph in PAGES[page].split("\n\n"):
        if "benchmarks.md" in paragraph:
            for figure in re.findall(r"\d[\d.,]* (?:ms|s|MB|GB)\b", paragraph):
                assert figure in PAGES[BENCHMARKS], figure


def test_what_the_readme_shows_of_the_demo_is_a_part_of_what_its_page_shows() -> None:
    shown = blocks(README)[0].splitlines()
    assert len(shown) > 5
    assert not {line for line in shown if line.strip() != "..."} - set(PAGES[DEMO].splitlines())


def test_the_pages_say_the_same_of_how_long_the_demo_takes() -> None:
    told = [re.search(r"(\d+ to \d+) seconds", in_one_line(page)) for page in (README, DEMO)]
    assert [match and match[1] for match in told] == ["20 to 30", "20 to 30"]


def test_the_limits_it_states_are_those_of_the_code() -> None:
    for page, limit in (
        (CALCULATOR, f"{client.MAX_LENGTH:,} characters"),
        (CALCULATOR, f"{client.MAX_LEVELS} operators inside each other"),
        (ASYNC_RPC, f"At most {gateway.MAX_WAITING} requests wait; {web.RESERVE} further threads"),
        (ASYNC_RPC, f"over {web.MAX_BODY // 1024} KiB; headers over {web.MAX_HEADERS // 1024} KiB"),
    ):
        assert limit in in_one_line(page), limit


def test_the_prompt_greets_and_shows_an_error_as_its_page_says() -> None:
    greeting, error = (block for block in blocks(CALCULATOR) if prompt.PROMPT in block)
    assert greeting.splitlines()[0] == prompt.WELCOME
    line, *shown = error.splitlines()
    with pytest.raises(parser.ParseError) as refused:
        client.read(line.removeprefix(prompt.PROMPT))
    assert prompt.explained(refused.value).splitlines() == shown


def test_the_workers_of_the_calculator_print_what_its_page_says(start_shared: Callable[..., Child]) -> None:
    (shown,) = (block for block in blocks(CALCULATOR) if block.startswith("exp/lhs:"))
    parts = re.split(r"\n| {2,}", shown)
    names = {part.partition(":")[0] for part in parts if part.strip()}
    team = workers(start_shared, *sorted(names))
    answer(start_shared, "--fresh", "1 + 1")  # all are connected then; their lines so far do not count
    before = {worker: len(worker.lines) for worker in team}
    assert answer(start_shared, "--fresh", "(1 + 2) * (3 - 4) - 5") == "-8"
    printed = {line.split(": ", 1)[1] for worker in team for line in worker.lines[before[worker] :]}
    assert printed == {part.split(": ", 1)[1] for part in parts if part.strip()}


def test_the_server_is_ready_with_the_line_that_its_page_shows(memory_server: LocalServer) -> None:
    (shown,) = (block.strip() for block in blocks(SERVER) if "is ready" in block)
    line = shown.replace("http://127.0.0.1:8001", memory_server.url).replace(
        "http://127.0.0.1:8002", memory_server.poll_url
    )
    assert line.replace("resonate.db", "in memory") == memory_server.child.lines[0]


def test_the_program_of_the_readme_goes_on_where_it_was_killed(resonate_server: ThreadServer, tmp_path: Path) -> None:
    (program,) = blocks(README, "python")
    (tmp_path / OWN).write_text(program)
    killed = resonate_server.spawn(tmp_path / OWN)
    resonate_server.wait_for("order-7.2", completed=False)  # it sleeps
    killed.kill()
    assert killed.lines == ["charge the card for order 7"]
    again = resonate_server.spawn(tmp_path / OWN)
    with resonate_server.skip_time():
        assert again.wait() == 0
    assert again.lines == ["ship order 7", "order 7 is on its way"]


def test_in_a_group_of_its_own_it_goes_on_as_well_when_run_as_the_page_of_the_server_says(
    start_shared: Callable[..., Child], tmp_path: Path
) -> None:
    (program,) = blocks(README, "python")
    group, run = re.findall(r"`(Resonate\.remote\(.+?\)|resonate\.options\(.+?\)\.run\(.+?\))`", in_one_line(SERVER))
    assert group in program
    assert run in program
    # Killed in its first step: what runs again is the order itself, by the group that its promise names.
    program = program.replace("order-7", "order-8").replace("ctx.sleep(10)", "ctx.sleep(0)")
    slow = program.replace("flush=True)", "flush=True); time.sleep(0.5)")
    (tmp_path / OWN).write_text(f"import time\n{slow}")
    killed = start_shared("order", tmp_path / OWN)
    killed.wait_for("charge the card for order 7")
    killed.kill()
    again = start_shared("order again", tmp_path / OWN)
    assert again.wait() == 0
    assert again.lines == ["charge the card for order 7", "ship order 7", "order 7 is on its way"]
