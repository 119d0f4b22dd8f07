"""Random requests on every route: none is a fault of the server, and every refusal says what it is."""

import http.client
import json
import re
from collections import Counter
from collections.abc import Callable

import pytest
from fault_requests import Request, requests
from hypothesis import given, settings

from local_server.testing import LocalServer

PLAIN = {"404 page not found", "400 Bad Request", "invalid request", ""}  # of what no route takes; "": 307


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def engine(request: pytest.FixtureRequest) -> str:
    """What the server keeps its promises in."""
    return str(request.param)


def test_no_request_is_a_fault_of_the_server_and_every_refusal_says_what_it_is(
    memory_server: LocalServer, times: Callable[[int], int]
) -> None:
    address = memory_server.url.removeprefix("http://")
    connection, statuses = http.client.HTTPConnection(address, timeout=10), Counter[int]()

    @settings(max_examples=times(800))
    @given(requests())
    def send(request: Request) -> None:
        connection.request(*request)
        answer = connection.getresponse()
        text = answer.read().decode()
        statuses[answer.status] += 1
        assert answer.status < 500, text
        if answer.status >= 300 and request.method != "HEAD":
            check_refusal(answer, text)

    send()
    connection.close()
    print(sorted(statuses.items()))
    assert statuses[200]
    assert statuses[201]
    assert not re.search("ERROR|Traceback", memory_server.child.output)


def check_refusal(answer: http.client.HTTPResponse, text: str) -> None:
    """Fail unless a refusal is of the documented shape."""
    if answer.headers["content-type"].startswith("text/plain"):
        assert text.partition(":")[0] in PLAIN
        return
    assert answer.headers["content-type"].startswith("application/json")
    error = json.loads(text)["error"]
    assert list(error) == ["code", "message", "details"]
    assert error["code"] // 100 == answer.status
    assert error["message"]
    for detail in error["details"]:
        assert list(detail) == ["@type", "message", "domain", "metadata"]
        assert detail["message"]
        assert detail["metadata"]["url"].endswith(f"#{error['code']}")
