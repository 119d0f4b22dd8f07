"""What the server answers for the page: strict headers, nothing from elsewhere, and only to those who may ask."""

import pytest
import requests

from local_server.testing import Child, LocalServer


@pytest.fixture(scope="module")
def server(memory_server: LocalServer) -> LocalServer:
    """One for all tests here, none of which stores anything."""
    return memory_server


def test_nothing_comes_from_elsewhere_and_every_answer_is_strict(server: LocalServer) -> None:
    text = requests.get(server.url, timeout=10).text
    names = [
        "",
        "ui/main.js",
        "ui/lib.js",
        "ui/words.js",
        "ui/style.css",
        "ui/icon.svg",
        "ui/roots",
        "ui/workers",
        "ui/tree/x",
        "ui/none",
    ]
    for name in names:
        answer = requests.get(f"{server.url}/{name}", timeout=10)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.status_code == (404 if name in ("ui/tree/x", "ui/none") else 200)
        text += "" if "ui/" in name and "." not in name else answer.text
    assert "https://" not in text
    assert text.count("http://") == text.count("http://www.w3.org/")  # namespaces of SVG


def test_rules_for_who_may_ask_hold_for_the_page(server: LocalServer, children: list[Child]) -> None:
    for path in ("", "ui/roots", "ui/main.js", "ui/events"):
        assert requests.get(f"{server.url}/{path}", headers={"Host": "evil.example"}, timeout=10).status_code == 403
        assert (
            requests.get(f"{server.url}/{path}", headers={"Origin": "http://evil.example"}, timeout=10).status_code
            == 403
        )
    guarded = LocalServer(None, env={"RESONATE_USERNAME": "u", "RESONATE_PASSWORD": "p"})
    children.append(guarded.child)
    for path in ("", "ui/roots", "ui/events"):
        assert requests.get(f"{guarded.url}/{path}", timeout=10).status_code == 401
    assert requests.get(guarded.url, auth=("u", "p"), timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=odd", "state: found 'odd'; expected one of pending, resolved, rejected"),
        ("limit=201", "limit: found '201'; expected an integer from 1 to 200"),
        ("since=-1", "since: found '-1'; expected an integer from 0 to"),
        ("below=x", "below: found 'x'; expected an integer from 1 to"),
        ("q=" + "a" * 251, "q: found 251 characters; expected at most 250"),
        ("a=1" + "&a=%41" * 5_000, "query: found 5,001 fields; expected at most 200"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(server: LocalServer, query: str, expected: str) -> None:
    answer = requests.get(f"{server.url}/ui/roots?{query}", timeout=10)
    assert answer.status_code == 400
    assert expected in answer.json()["error"]["details"][0]["message"]
