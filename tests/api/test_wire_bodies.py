"""What may stand in a JSON body, and how answers spell it: as tolerant and as strict as the official server."""

import json

import pytest
from wire_client import Wire, code


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"id":"ID"} trailing bytes', {}),
        (' \t\r\n{"id":"ID"}{"id":"second"}', {}),
        ('{"id":"first","id":"ID"}', {}),
        ('{"ID":"ID","TimeOut":7,"PARAM":{"Data":"eA=="}}', {"timeout": 7, "param": {"data": "eA=="}}),
        ('{"id":"ID","unknown":{"a":[1,{}]},"x":1e400}', {}),
        ('{"id":"ID","param":null,"timeout":null,"tags":null}', {}),
        ('{"id":"ID","param":{"headers":null,"data":null}}', {}),
        ('{"id":"ID","param":{"headers":{},"data":""},"tags":{}}', {}),
        ('{"id":"ID","tags":{"a":null,"B":"x"}}', {"tags": {"B": "x", "a": ""}}),
        ('{"id":"ID","param":{"headers":{"a":null,"Data":"d"}}}', {"param": {"headers": {"Data": "d", "a": ""}}}),
        ('{"id":"ID","timeout":-9223372036854775808}', {"timeout": -(2**63)}),
        ('{"id":"ID","timeout":9223372036854775807}', {"timeout": 2**63 - 1}),
        ('{"id":"ID","timeout":-0}', {}),
        ('{"id":"ID","param":{"data":"aG\\r\\nk="}}', {"param": {"data": "aGk="}}),
        ('{"id":"ID","param":{"data":[104,105]}}', {"param": {"data": "aGk="}}),
        ('{"id":"ID","param":{"data":[]}}', {}),
        ('{"id":"ID","param":{"data":"+/+/"}}', {"param": {"data": "+/+/"}}),
        (b'{"id":"ID","tags":{"a":"\xff\xfe"}}', {"tags": {"a": "\ufffd\ufffd"}}),
        ('{"id":"ID","tags":{"a":"\\ud800","b":"\\ud83d\\ude00"}}', {"tags": {"a": "\ufffd", "b": "😀"}}),
    ],
)
def test_a_body_is_read_as_go_reads_it(wire: Wire, body: str | bytes, shown: dict[str, object]) -> None:
    text = body.encode() if isinstance(body, str) else body
    created = wire.post("/promises", text.replace(b':"ID"', b':"%b"' % wire.tag.encode()))
    assert created.status_code == 201, created.text
    found = {key: value for key, value in created.json().items() if key != "createdOn"}
    assert found == {"id": wire.tag, "state": "PENDING", "param": {}, "value": {}, "timeout": 0} | shown


@pytest.mark.parametrize(
    "body",
    [
        "", " ", "null", "5", '"x"', "[]", "true", "nonsense", "{", '{"id":', '{"id":"x"', '{"id":"x",}', "{'id':'x'}",
        '\ufeff{"id":"x"}', "{}", '{"id":null}', '{"id":""}', '{"id":5}', '{"id":["x"]}', '{"id":"a\nb"}',
        '{"id":"x","timeout":1e3}', '{"id":"x","timeout":1.0}', '{"id":"x","timeout":1.5}', '{"id":"x","timeout":"5"}',
        '{"id":"x","timeout":true}', '{"id":"x","timeout":9223372036854775808}', '{"id":"x","timeout":NaN}',
        '{"id":"x","timeout":-9223372036854775809}', '{"id":"x","timeout":1' + "0" * 5000 + "}",
        '{"id":"x","tags":[]}', '{"id":"x","tags":"k"}', '{"id":"x","tags":{"a":1}}', '{"id":"x","tags":{"a":{}}}',
        '{"id":"x","param":"x"}', '{"id":"x","param":[]}', '{"id":"x","param":{"headers":{"a":1}}}',
        '{"id":"x","param":{"headers":[]}}', '{"id":"x","param":{"data":5}}', '{"id":"x","param":{"data":{}}}',
        '{"id":"x","param":{"data":"aGk"}}', '{"id":"x","param":{"data":"-_-_"}}', '{"id":"x","param":{"data":"a"}}',
        '{"id":"x","param":{"data":"aGk= "}}', '{"id":"x","param":{"data":"aGk=eA=="}}',
        '{"id":"x","param":{"data":"ü"}}', '{"id":"x","param":{"data":[256]}}', '{"id":"x","param":{"data":[-1]}}',
        '{"id":"x","param":{"data":[1.5]}}', '{"id":"x","param":{"data":["x"]}}', "[" * 100_000,
        '{"id":"x","param":{"data":' + "[" * 100_000,
    ],
    ids=lambda body: body[:40],
)  # fmt: skip
def test_a_body_that_makes_no_sense_is_refused_in_one_line(wire: Wire, body: str) -> None:
    refused = wire.post("/promises", body.encode())
    assert code(refused) == 40000
    error = refused.json()["error"]
    assert error["message"] == "The request is invalid"
    assert [detail["@type"] for detail in error["details"]] == ["FieldValidationError"]
    assert len(error["details"][0]["message"].splitlines()) == 1


def test_a_refusal_says_what_was_found_and_what_was_expected(wire: Wire) -> None:
    for body, words in [
        ({"id": "x", "timeout": "5"}, ["timeout", "int", "str"]),
        ({"timeout": 5}, ["id"]),
        ({"id": "x", "param": {"data": "!"}}, ["param.data", "base64"]),
        ([], ["list", "object"]),
    ]:
        message = wire.post("/promises", body).json()["error"]["details"][0]["message"]
        assert [word for word in words if word not in message] == []


def test_headers_and_tags_are_shown_in_the_order_of_their_keys(wire: Wire) -> None:
    pairs = '{"b":"1","a":"2","ä":"3","A":"4"}'
    created = wire.post("/promises", f'{{"id":"{wire.tag}","param":{{"headers":{pairs}}},"tags":{pairs}}}'.encode())
    assert created.text.count('{"A":"4","a":"2","b":"1","ä":"3"}') == 2


def test_what_could_end_a_script_is_escaped_in_answers_and_other_text_is_not(wire: Wire) -> None:
    odd = "<b>&\u2028\u2029 é日🎲\"'\\"
    created = wire.create(wire.id("p"), {odd: odd}, param={"headers": {"k": odd}})
    assert (created["tags"], created["param"]["headers"]["k"]) == ({odd: odd}, odd)
    text = wire.get(f"/promises/{wire.id('p')}").content.decode()
    assert text.count("\\u003cb\\u003e\\u0026\\u2028\\u2029 é日🎲\\\"'\\\\") == 3


def test_data_of_a_million_bytes_comes_back_unchanged(wire: Wire) -> None:
    data = "QUJD" * 350_000
    wire.create(wire.id("p"), param={"data": data})
    done = wire.complete(wire.id("p"), data=data)
    assert done["param"]["data"] == done["value"]["data"] == data
    assert json.loads(wire.get(f"/promises/{wire.id('p')}").text) == done
