"""What docs/guarantees.md and docs/security.md say is shown by the tests that they name."""

import ast
import re
from pathlib import Path

import jsonpickle
import pytest
import requests
from resonate.options import Options
from wire_client import FAR

from local_server.testing import LocalServer

ROOT = Path(__file__).parent.parent.parent
DOCS = ["guarantees.md", "security.md"]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def functions(path: str) -> set[str]:
    """Return the names of the functions of a file."""
    module = ast.parse((ROOT / path).read_text())
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", DOCS)
def test_every_point_names_a_test_and_every_test_exists(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    points = re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)
    assert len(points) > 10
    assert [point for point in points if not NAMED.search(point)] == []
    assert [(path, test) for path, test in NAMED.findall(text) if test not in functions(path)] == []
    assert len(NAMED.findall(text)) == text.count("::test_")


class Code:
    """Becomes the result of a call when it is loaded."""

    def __reduce__(self):
        return eval, ("6 * 7",)


def test_a_value_is_code_for_whoever_reads_it_with_the_sdk() -> None:
    header = {"resonate:format-py": jsonpickle.encode(Code(), keys=True)}
    assert Options().get_encoder().decode((header, None)) == 42


def test_any_program_of_this_machine_may_write_until_there_are_credentials(memory_server: LocalServer) -> None:
    body = {"id": "anybody", "timeout": FAR}
    assert requests.post(f"{memory_server.url}/promises", json=body, timeout=5).status_code == 201
    guarded = LocalServer(None, env={"RESONATE_USERNAME": "jo", "RESONATE_PASSWORD": "secret"})
    try:
        assert requests.post(f"{guarded.url}/promises", json=body, timeout=5).status_code == 401
        assert requests.get(f"{guarded.poll_url}/group/anybody", timeout=5).status_code == 401
        known = requests.post(f"{guarded.url}/promises", json=body, timeout=5, auth=("jo", "secret"))
        assert known.status_code == 201
    finally:
        guarded.stop()
