"""The rules decide and nothing else; no wing of the server imports one above it; no file and no function is long."""

import ast
from pathlib import Path

import pytest

import local_server

ROOT = Path(local_server.__file__).parent
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in ROOT.rglob("*.py")}
RULES = sorted(name for name in FILES if name.startswith("rules/"))
# What they may import of others: nothing that does IO, waits, or reads a clock (zoneinfo reads the rules of a zone).
PURE = {"collections", "dataclasses", "datetime", "functools", "msgspec", "re", "typing", "urllib", "zoneinfo"}
# From the top to the ground; files at the top level are wings of their own. None imports one that stands above it.
WINGS = ["pytest_plugin", "testing", "__main__", "cli", "removal_commands", "transfer", "terminal", "watch",
         "tree_lines", "server", "standby", "listeners", "page", "api", "presence", "engine", "os_process", "rules",
         "store", "http", "clock", "kept", "deleted", "config", "model", "errors"]  # fmt: skip
# What the rules know of the world outside: the store, by its type alone.
GROUND = {"model", "errors"}
FOLDERS = ["", "async_rpc", "benchmarks", "calculator", "demo", "docs", "local_server", "tests"]
KINDS = ["py", "js", "css", "sql", "md"]


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
    assert imported(name) <= {*RULES, *GROUND, *PURE, ""}  # the last is the package itself


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_imports_nothing_that_stands_above_it(name: str) -> None:
    floor = wing(name)
    assert not {one for one in imported(name) if one in FILES and wing(one) < floor}


def test_no_file_imports_itself_by_way_of_others() -> None:
    reached = {name: {one for one in imported(name) if one in FILES} for name in FILES}
    for _ in FILES:
        for name, found in reached.items():
            reached[name] = found.union(*(reached[one] for one in found))
    assert [name for name, found in reached.items() if name in found] == []


def test_the_check_sees_the_imports_of_a_file_with_io() -> None:
    assert {"asyncio", "clock", "rules/dispatch", "store/store"} <= imported("engine")
    assert "time" in imported("clock")
    assert wing("engine") < wing("rules/dispatch") < wing("store/store")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_has_more_than_350_lines_and_no_function_more_than_50(folder: str) -> None:
    here, long = ROOT.parent / folder, set()
    for path in [*here.glob("*.py")] if not folder else [one for kind in KINDS for one in here.rglob(f"*.{kind}")]:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 350:
            long.add(path)
        for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 50:
                long.add((path, node.name))
    assert long == set()
