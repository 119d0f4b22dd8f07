"""Random requests for every route of the API and the page: valid ones, and such as are wrong in any part."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from wire_client import FAR

known = st.sampled_from(["a", "b", "c", "a.1"])
odd = st.sampled_from([None, True, 1.5, "", "5", [], {}, {"a": None}, [1, "a"], "\ud800"])  # in place of something else
ids = known | known | st.sampled_from(["a/b", "a:b", "*", "%", " ", "\0", "ä", "x" * 300]) | st.text(max_size=8)
tasks = st.sampled_from(["__invoke:a", "__invoke:b", "__resume:a:b", "__notify:a:b"]) | ids
numbers = st.sampled_from([FAR, 1000, 60_000]) | st.sampled_from([0, -1, 2**63 - 1, 2**63, 10**30]) | st.integers()
times = st.just(FAR) | st.just(60_000) | st.integers(0, 2**63 - 1)
words = st.text(max_size=3)
values = st.fixed_dictionaries(
    {}, optional={"headers": st.dictionaries(words, words, max_size=2), "data": st.sampled_from(["", "aGk=", [1, 200]])}
)
odd_values = st.fixed_dictionaries({}, optional={"headers": odd, "data": st.sampled_from(["a", "=", [1, 300]]) | odd})
addresses = st.sampled_from(
    ["default", "poll://any@g", "poll://g/w", "poll://uni@g/w", "poll://", "http://x", "", "{}"]
)
names = st.sampled_from(["resonate:invoke", "resonate:timeout", "resonate:delay", "resonate:parent", "k"])
tags = st.dictionaries(names, addresses, max_size=3)
crons = st.sampled_from(["* * * * *", "@hourly", "@every 1s", "* * * * * *", "0 0 31 2 *", "a", "TZ=x * * * * *"])

PROMISE = {"id": ids, "timeout": times, "param": values, "tags": tags}
CLAIM = {"processId": st.sampled_from(["w", "p"]) | ids, "ttl": times}
TASK = {"id": tasks, "counter": st.integers(1, 3)}
CALLBACK = {"rootPromiseId": ids, "recv": addresses, "timeout": times}
SUBSCRIPTION = {"id": ids, "recv": addresses, "timeout": times}
SCHEDULE = {"id": ids, "cron": crons, "promiseId": ids | st.just("{{.id}}.{{.timestamp}}"), "promiseTimeout": times,
            "promiseParam": values, "promiseTags": tags, "tags": tags, "desc": words}  # fmt: skip
STATES = st.sampled_from(["RESOLVED", "rejected", "REJECTED_CANCELED", "PENDING"])


def body(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draw a body that has all fields as they should be, or some of them with anything."""
    proper = st.fixed_dictionaries(fields)
    anything = {name: value | odd | numbers | odd_values for name, value in fields.items()}
    return proper | proper | st.fixed_dictionaries({}, optional=anything)


WRITES = {
    "POST /promises": body(PROMISE),
    "POST /promises/task": body({"promise": body(PROMISE), "task": body(CLAIM)}),
    "PATCH /promises/{}": body({"state": STATES, "value": values}),
    "POST /promises/callback/{}": body(CALLBACK),
    "POST /promises/subscribe/{}": body(SUBSCRIPTION),
    "POST /callbacks": body({"promiseId": ids, **CALLBACK}),
    "POST /subscriptions": body({"promiseId": ids, **SUBSCRIPTION}),
    "POST /tasks/claim": body({**TASK, **CLAIM}),
    "POST /tasks/complete": body(TASK),
    "POST /tasks/drop": body(TASK),
    "POST /tasks/heartbeat": body(CLAIM),
    "POST /schedules": body(SCHEDULE),
}
READS = [
    "GET /promises/{}", "GET /schedules/{}", "DELETE /schedules/{}", "GET /promises?id={}",
    "GET /promises?id=*&state={}", "GET /promises?id=*&limit={}", "GET /promises?id=*&cursor={}",
    "GET /promises?id=*&tags[k]={}", "GET /promises?id=*&tags={}", "GET /schedules?id={}",
    "GET /schedules?id=*&cursor={}", "GET /tasks/claim/{}/1", "GET /tasks/complete/{}/1", "GET /tasks/drop/{}/0",
    "GET /tasks/heartbeat/{}", "GET /ui/roots?q={}", "GET /ui/roots?below={}", "GET /ui/roots?limit={}",
    "GET /ui/tree/{}", "GET /ui/tree/a?limit={}", "GET /ui/promise/{}", "GET /ui/workers?{}", "PUT /promises/{}",
    "GET /{}", "HEAD /promises/{}", "OPTIONS /{}",
]  # fmt: skip
BROKEN = [b"", b"{", b"null", b"[]", b"5", b'"a"', b"\xff", b'{"id":1e3}', b'{"id":"a"}x', b'{"a":' * 3_000, b"\0"]
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Idempotency-Key": st.sampled_from(["", "k", "\xe4"]),
        "Strict": st.sampled_from(["true", "F", "", "yes"]),
        "Task-Id": st.sampled_from(["", "__invoke:a", "none"]),
        "Task-Counter": st.sampled_from(["", "1", "-1", "x", "9" * 19, "9" * 20]),
        "traceparent": st.sampled_from(["", "00-1", "\xe4"]),
        "tracestate": st.just("s"),
    },
)


class Request(NamedTuple):
    """One request as it is sent."""

    method: str
    target: str
    body: bytes
    headers: dict[str, str]


def _quoted(text: str) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in ".:/*") else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "surrogatepass"))


odd_paths = st.sampled_from(["%zz", "%", "%00", "a%2Fb", "+", "//", "..", "[", "", "*" * 2_000])
in_a_path = known | ids.map(_quoted) | odd_paths


@st.composite
def requests(draw: Callable[..., Any]) -> Request:
    """Draw a request."""
    route = draw(st.sampled_from([*WRITES, *WRITES, *READS]))
    method, _, path = route.partition(" ")
    sent = b""
    if route in WRITES:
        fields = json.dumps(draw(WRITES[route]), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
        sent = draw(st.sampled_from([fields] * 5 * len(BROKEN) + BROKEN))
    headers = draw(st.just({}) | st.just({}) | HEADERS)
    return Request(method, path.format(draw(in_a_path)), sent, headers)
