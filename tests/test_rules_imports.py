"""The rules decide and nothing else: no IO, no clock, no loop, neither by themselves nor by a module they import."""

import ast
from pathlib import Path

import pytest

import local_server

RULES = [
    "states",
    "promises",
    "tasks",
    "dispatch",
    "schedules",
    "routing",
    "workers",
    "turn",
    "model",
    "errors",
    "cron",
]
FORBIDDEN = {"asyncio", "sqlite3", "socket", "ssl", "time", "psutil", "threading", "subprocess", "os", "aiohttp"}


def imported(module: str) -> set[str]:
    """Return what a module of the server imports when it runs; what only a type checker sees does not count."""
    tree = ast.parse(Path(local_server.__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    for branch in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(branch.test) == "TYPE_CHECKING":
            branch.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "local_server":
            names |= {f"local_server.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("module", RULES)
def test_a_module_of_the_rules_imports_no_io(module: str) -> None:
    names = imported(module)
    assert not {name.partition(".")[0] for name in names} & FORBIDDEN
    assert {name for name in names if name.startswith("local_server.")} <= {f"local_server.{rule}" for rule in RULES}


def test_the_check_sees_the_imports_of_a_module_with_io() -> None:
    assert {"asyncio", "time", "local_server.tasks", "local_server.store"} <= imported("engine")
