"""The nine service files and the table in async_rpc/README.md say the same, and each file says it all."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from async_rpc.gateway import NEEDS

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(
    r"^\| `(?P<command>[a-z])` \| `(?P<group>[^`]+)` \| `(?P<function>[^`]+)` \|(?P<callees>[^|]*)\|$", re.MULTILINE
)
CALLEE = re.compile(r"`(rfc|rfi|detached)` `(\w+)` on `([\w-]+)`")
TABLE = {row["command"]: row for row in ROW.finditer((ROOT / "async_rpc" / "README.md").read_text())}


def module_of(letter: str) -> ast.Module:
    return ast.parse((ROOT / "async_rpc" / f"service_{letter}.py").read_text())


def group_of(module: ast.Module) -> str:
    (group,) = [
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "GROUP"
    ]
    return group


def functions_of(module: ast.Module) -> list[str]:
    return [
        f"{node.name}({', '.join(arg.arg for arg in node.args.args[1:])})"
        for node in module.body
        if isinstance(node, ast.FunctionDef) and "resonate.register" in map(ast.unparse, node.decorator_list)
    ]


def callees_of(module: ast.Module) -> list[tuple[str, str, str]]:
    """Each ``ctx.<how>("<function>", ...).options(target="<group>")``, in order."""
    calls = [
        re.fullmatch(r"ctx\.(rfc|rfi|detached)\('(\w+)'.*\)\.options\(target='([\w-]+)'\)", ast.unparse(node))
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
    ]
    return [call.groups() for call in calls if call]  # type: ignore[misc]


def test_its_page_has_a_row_for_each_of_the_nine_services() -> None:
    assert sorted(TABLE) == list("abcdefghi")
    assert len(list((ROOT / "async_rpc").glob("service_*.py"))) == 9


@pytest.mark.parametrize("letter", "abcdefghi")
def test_group_function_and_callees_are_those_of_its_page(letter: str) -> None:
    module, row = module_of(letter), TABLE[letter]
    assert group_of(module) == row["group"] == f"service-{letter}"
    assert functions_of(module) == [row["function"]]
    assert callees_of(module) == CALLEE.findall(row["callees"])


@pytest.mark.parametrize("letter", "abcdefghi")
def test_every_callee_is_a_function_of_the_group_that_is_called(letter: str) -> None:
    for _, function, group in callees_of(module_of(letter)):
        registered = functions_of(module_of(group.removeprefix("service-")))
        assert [signature.partition("(")[0] for signature in registered] == [function]


@pytest.mark.parametrize("needs", NEEDS.values(), ids=NEEDS)
def test_the_gateway_knows_the_groups_through_which_each_call_goes(needs: tuple[str, ...]) -> None:
    reached = [needs[0]]
    for group in reached:
        reached += [callee for _, _, callee in callees_of(module_of(group[-1]))]
    assert reached == list(needs)


@pytest.mark.parametrize("letter", "abcdefghi")
def test_the_docstring_says_who_calls_what_it_does_whom_it_calls_and_how_it_is_started(letter: str) -> None:
    text = ast.get_docstring(module_of(letter)) or ""
    assert text.startswith(f"Service {letter.upper()}, ")
    assert re.search(rf"^    uv run {letter}\b", text, re.MULTILINE)
    labels = ("called by", "does", "calls")
    called_by, does, calls = (re.search(rf"^    {word} +(.+)$", text, re.MULTILINE) for word in labels)
    assert called_by
    assert does
    assert calls
    assert does.group(1).startswith(functions_of(module_of(letter))[0] + ":")
    for _, function, group in callees_of(module_of(letter)):
        assert f"{function} on {group}" in calls.group(1)
    callers = [
        caller for caller in "abcdefghi" if any(c[2] == f"service-{letter}" for c in callees_of(module_of(caller)))
    ]
    for caller in callers:
        assert f"{functions_of(module_of(caller))[0].partition('(')[0]} on service-{caller}" in called_by.group(1)
    assert callers or "of the gateway" in called_by.group(1)


def test_a_file_is_short_and_registers_on_its_own_connection() -> None:
    for letter in "abcdefghi":
        source = (ROOT / "async_rpc" / f"service_{letter}.py").read_text()
        assert 25 <= len(source.splitlines()) <= 70
        assert source.count("resonate = Resonate.remote(group=GROUP, pid=NODE)") == 1


def test_every_command_of_the_table_is_a_script_of_the_project() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {letter: scripts[letter] for letter in TABLE} == {x: f"async_rpc.service_{x}:main" for x in "abcdefghi"}
