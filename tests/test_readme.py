"""The README is true: what it names exists, its code is the code, and it starts with the command to run."""

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from async_rpc import gateway
from calculator import calculator
from demo import cli as demo
from local_server import cli as local_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_the_first_command_stands_within_the_first_40_lines() -> None:
    assert "uv run demo" in "\n".join(README.splitlines()[:40])


def test_every_command_is_one_that_uv_can_run() -> None:
    commands = set(re.findall(r"uv run (?:python )?([\w./-]+)", README))
    assert {"demo", "pytest", "local-server", "factorial_worker.py"} <= commands
    missing = {name for name in commands if name not in SCRIPTS and name != "pytest" and not (ROOT / name).is_file()}
    assert not missing


def test_every_option_shown_with_a_command_exists() -> None:
    helps = {
        "local-server": local_server.main,
        "demo": demo.main,
        "calculator": calculator.main,
        "gateway": gateway.main,
    }
    for name, command in helps.items():
        known = CliRunner().invoke(command, ["--help"]).output
        known += "".join(
            CliRunner().invoke(command, [sub, "--help"]).output for sub in getattr(command, "commands", {})
        )
        for line in re.findall(rf"uv run {name}\b([^\n#`]*)", README):
            for option in re.findall(r"(?<!\S)--[a-z-]+", line):
                assert option in known, f"uv run {name}{line}"


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`([\w./]+\.(?:py|sql|toml|png))`|\]\(([\w./]+)\)", README))
    for name in (one or other for one, other in named):
        places = [ROOT / name, ROOT / "local_server" / name, ROOT / "async_rpc" / name]
        assert any(place.exists() for place in places), name


def test_the_code_it_shows_is_the_code() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    worker = (ROOT / "factorial_worker.py").read_text()
    for line in block.splitlines():
        assert line in worker, line


def test_no_place_for_a_figure_is_left_empty() -> None:
    assert not re.findall(r"@@\w+@@|<!--", README)
