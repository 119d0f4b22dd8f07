"""Bodies of more than 128 KiB: their long strings are stored in parts, and come back as they were, wherever they go."""

import json
import re
from base64 import b64encode
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_client import FAR, Wire, code

KB, MB = 2**10, 2**20
VALUE = {
    "headers": {"x": '"é\\<€\n😀&' * 50 * KB, "y": "short"},
    "data": b64encode(bytes(range(256)) * 2 * KB).decode(),
}

# What a string may be made of, as JSON has it: each kind of character, whole escapes, halves of characters.
UNITS = ["a", "é", "€", "😀", "<", "&", '\\"', "\\\\", "\\n", "\\/", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\ude00",
         "\\u2028"]  # fmt: skip


def meant(text: bytes) -> str:
    """Return what a string in JSON means; half a character is none."""
    return json.loads(b'"%b"' % text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 12), st.lists(st.sampled_from(UNITS), min_size=1, max_size=5), st.integers(140, 400))
def test_a_string_comes_back_as_it_is_meant_wherever_it_is_cut(
    wire: Wire, offset: int, units: list[str], size: int
) -> None:
    number = uuid4()
    unit = "".join(units).encode()
    text = b"x" * offset + unit * (size * KB // len(unit))
    body = b'{"id": "%b", "timeout": %d, "param": {"headers": {"x": "%b"}}}' % (str(number).encode(), FAR, text)
    created = wire.post("/promises", body)
    assert (created.status_code, created.json()["param"]) == (201, {"headers": {"x": meant(text)}})
    assert created.content.isascii()
    assert wire.get(f"/promises/{number}").content == created.content


def test_a_value_arrives_by_every_way_out(wire: Wire) -> None:
    group, root, leaf = wire.id("g"), wire.id("root"), wire.id("leaf")
    stream = wire.stream(group, "w")
    wire.create(root, {"resonate:invoke": f"poll://any@{group}"}, param=VALUE)
    wire.create(leaf)
    task = stream.next()["task"]
    claimed = wire.claim(task, "w").json()
    assert claimed["promises"]["root"]["data"]["param"] == VALUE
    wire.post(f"/promises/callback/{leaf}", {"rootPromiseId": root, "recv": f"poll://any@{group}", "timeout": FAR})
    wire.post(f"/promises/subscribe/{leaf}", {"id": "s", "recv": f"poll://uni@{group}/w", "timeout": FAR})
    wire.post("/tasks/complete", {"id": task["id"], "counter": task["counter"]})
    done = wire.patch(f"/promises/{leaf}", {"state": "RESOLVED", "value": VALUE})
    assert (done.status_code, done.json()["value"]) == (201, VALUE)
    messages = {message["type"]: message for message in (stream.next(), stream.next())}
    assert messages["notify"]["promise"] == done.json()
    assert wire.claim(messages["resume"]["task"], "w").json()["promises"]["leaf"]["data"] == done.json()
    found = wire.get(f"/promises?id=*{wire.tag}").json()["promises"]
    assert [one["param"] for one in found if one["id"] == root] == [VALUE]
    as_stored = json.dumps(VALUE, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    assert wire.get(f"/ui/promise/{leaf}").json()["value"] == {"size": len(as_stored), "large": True}


def test_messages_behind_a_large_one_come_after_it(wire: Wire) -> None:
    names = [wire.id(f"p{number}") for number in range(4)]
    stream = wire.stream(wire.id("g"), "w")
    for name in names:
        wire.create(name)
        wire.post(f"/promises/subscribe/{name}", {"id": "s", "recv": f"poll://uni@{wire.id('g')}/w", "timeout": FAR})
    for number, name in enumerate(names):
        wire.complete(name, data="eHh4" * (1 if number % 2 else MB))
    assert [stream.next()["promise"]["id"] for _ in names] == names


def test_the_same_request_again_finds_the_promise_of_the_first(wire: Wire) -> None:
    body = {"id": wire.id("p"), "timeout": FAR, "param": VALUE}
    first, second = (wire.post("/promises", body, key="k") for _ in "12")
    assert (first.status_code, second.status_code, first.json()) == (201, 200, second.json())
    assert code(wire.post("/promises", body, key="other")) == 40900
    end = {"state": "RESOLVED", "value": VALUE}
    done = [wire.patch(f"/promises/{wire.id('p')}", end, key="k") for _ in "12"]
    assert [one.status_code for one in done] == [201, 200]
    assert done[1].json()["value"] == VALUE


LONG = "x" * 200 * KB
DEEP = '{"headers": ' * 990 + "{}" + "}" * 990
REFUSED: dict[str, tuple[Any, str]] = {
    "an id": ({"id": LONG}, "id: found a string of 204800 bytes"),
    "a tag": ({"id": "p", "tags": {"t": LONG}}, "t: found a string"),
    "the name of a tag": ({"id": "p", "tags": {LONG: ""}}, "found a string"),
    "the name of a header": ({"id": "p", "param": {"headers": {LONG: ""}}}, "found a string"),
    "no base64": ({"id": "p", "param": {"data": LONG + "é"}}, "param.data: found another character"),
    "half a group of base64": ({"id": "p", "param": {"data": LONG + "xx"}}, "param.data: found another character"),
    "padding in the middle": ({"id": "p", "param": {"data": "xxx=" + LONG}}, "param.data: found another character"),
    "many tags": (
        {"id": "p", "tags": {f"{n}": "" for n in range(20_000)}},
        "body: found more than 131072 bytes",
    ),
    "many levels": (f'{{"id": "p", "param": {DEEP}, "x": "{LONG}"}}', "body: found too many levels"),
    "no end": (b'{"id": "p", "param": {"data": "' + LONG.encode(), "body: found no end of a string"),
    "half an escape": (b'{"id": "p", "param": {"data": "' + LONG.encode() + b"\\", "body: found no end of a string"),
    "a control character": (b'{"id": "p", "param": {"headers": {"x": "\x01' + LONG.encode() + b'"}}}', "body: "),
    "no object": (b'"' + LONG.encode() + b'"', "body: found str"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_may_not_be_long_is_refused_in_one_line(wire: Wire, kind: str) -> None:
    body, message = REFUSED[kind]
    refused = wire.post("/promises", body)
    assert code(refused) == 40000
    assert message in refused.json()["error"]["details"][0]["message"]
    assert len(refused.content) < KB


def test_a_long_parameter_of_a_schedule_is_refused(wire: Wire) -> None:
    schedule = {"id": wire.id("s"), "cron": "* * * * *", "promiseId": "p", "promiseTimeout": 1, "promiseParam": VALUE}
    assert code(wire.post("/schedules", schedule)) == 40000
    assert code(wire.get(f"/schedules/{wire.id('s')}")) == 40401


def test_text_that_looks_like_a_marker_is_text(wire: Wire) -> None:
    text = "\x01" + "1:2:3" + "\x01"
    value = {"headers": {"x": text, "y": text + "é" * 200 * KB}}
    assert wire.create(wire.id("p"), param=value)["param"] == value
    assert wire.get(f"/promises/{wire.id('p')}").json()["param"] == value


def test_blanks_of_many_megabytes_between_two_strings_do_no_harm(wire: Wire) -> None:
    body = b'{"id": "%b", %b "param": {"data": "%b"}}' % (wire.id("p").encode(), b" \n" * MB, LONG.encode())
    assert wire.post("/promises", body).json()["param"] == {"data": LONG}


def test_no_refusal_tells_what_stands_for_a_long_string_while_it_is_read(wire: Wire) -> None:
    text = wire.post("/promises", {"id": "p", "param": {"headers": {LONG: ""}}}).text
    assert "a name: found a string of 204800 bytes" in text
    assert not re.search("[0-9a-f]{16}", text.replace(wire.tag, ""))


@pytest.mark.parametrize("size", [MB, 200 * KB], ids=["in steps", "at once"])
@pytest.mark.parametrize("escape", [("/", "\\/"), ("+", "\\u002b"), ("A", "\\u0041")], ids=["slash", "plus", "letter"])
def test_base64_may_be_escaped(wire: Wire, escape: tuple[str, str], size: int) -> None:
    data = "A/+x" * (size // 4)
    body = f'{{"id": "{wire.id("p")}", "param": {{"data": "{data.replace(*escape)}QQ=="}}}}'
    assert wire.post("/promises", body).json()["param"] == {"data": f"{data}QQ=="}


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize(
    "text", [b"\\n\x80", "€".encode(), "😀".encode(), b"\xe2\x82", b"\xf0\x9f\x98x", b"\xc3\\t\x80\x80\x80"]
)
def test_broken_utf8_is_read_as_in_a_small_body(wire: Wire, text: bytes, offset: int) -> None:
    read = []
    for name, times in (("small", 30), ("large", 200 * KB // len(text))):
        value = b"x" * offset + text * times
        body = b'{"id": "%b", "param": {"headers": {"x": "%b"}}}' % (wire.id(name).encode(), value)
        read.append(wire.post("/promises", body).json()["param"]["headers"]["x"][offset:])
    assert read[1] == (read[0][: len(read[0]) // 30] * len(read[1]))[: len(read[1])]
    assert len(read[1]) == len(read[0]) // 30 * (200 * KB // len(text))
