"""The rules decide and nothing else: no IO, no clock, no loop; and no wing of the server imports one above it."""

import ast
from pathlib import Path

import pytest

import local_server

ROOT = Path(local_server.__file__).parent
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in ROOT.rglob("*.py")}
RULES = sorted(name for name in FILES if name.startswith("rules/"))
FORBIDDEN = {"asyncio", "sqlite3", "socket", "ssl", "time", "psutil", "threading", "subprocess", "os", "aiohttp"}
# From the top to the ground; files at the top level are wings of their own. None imports one that stands above it.
WINGS = ["__main__", "cli", "removal_commands", "terminal", "watch", "tree_lines", "server", "listeners", "page", "api",
         "presence", "engine", "os_process", "rules", "store", "http", "testing", "config", "model",
         "errors"]  # fmt: skip
# What the rules know of the world outside: the store, by its type alone.
GROUND = {"model", "errors"}


def imported(name: str) -> set[str]:
    """Return what a file imports when it runs, ours as ``rules/turn``; what only a type checker sees does not count."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for branch in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(branch.test) == "TYPE_CHECKING":
            branch.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return {_file(name) for name in names if name}


def _file(module: str) -> str:
    """Return the file of a module of ours, or the top-level name of another's."""
    ours = module.removeprefix("local_server").removeprefix(".").replace(".", "/")
    if not module.startswith("local_server"):
        return module.partition(".")[0]
    return ours if ours in FILES else f"{ours}/__init__" if f"{ours}/__init__" in FILES else ours.rpartition("/")[0]


def wing(name: str) -> int:
    """Return on which floor a file of ours stands; the face of the package is on the ground."""
    top = name.partition("/")[0]
    return len(WINGS) if top in ("", "__init__") else WINGS.index(top)


@pytest.mark.parametrize("name", RULES)
def test_a_module_of_the_rules_imports_no_io(name: str) -> None:
    names = imported(name)
    assert not names & FORBIDDEN
    assert {one for one in names if one in FILES} <= {*RULES, *GROUND}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_imports_nothing_that_stands_above_it(name: str) -> None:
    above = {one for one in imported(name) if one in FILES and wing(one) < wing(name)}
    assert not above


def test_no_file_imports_itself_by_way_of_others() -> None:
    reached = {name: {one for one in imported(name) if one in FILES} for name in FILES}
    for _ in FILES:
        for name, found in reached.items():
            reached[name] = found.union(*(reached[one] for one in found))
    assert [name for name, found in reached.items() if name in found] == []


def test_the_check_sees_the_imports_of_a_file_with_io() -> None:
    assert {"asyncio", "time", "rules/dispatch", "store/store"} <= imported("engine")
    assert wing("engine") < wing("rules/dispatch") < wing("store/store")
