"""Objects of classes, of which the stored JSON tells {}, are shown by what the SDK pickled, which is only read."""

import json
from base64 import b64encode
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

import pytest
from click.testing import CliRunner
from resonate.options import Options
from wire_client import FAR, Wire

from local_server.cli import main
from local_server.page import readable


@dataclass
class Order:
    id: int
    total: float


@dataclass
class Basket:
    orders: tuple[Order, ...]
    notes: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: float


class Colour(Enum):
    RED = "red"


class Empty:
    pass


def value(data: str, made: str) -> dict[str, object]:
    return {"headers": {readable.PICKLED: made}, "data": b64encode(data.encode()).decode()}


def stored(content: object) -> dict[str, object]:
    """A parameter or value as the SDK stores it."""
    headers, data = Options().get_encoder().encode(content)
    return value(data, headers[readable.PICKLED])


def test_lists_the_tree_and_the_terminal_show_the_fields_of_dataclasses(wire: Wire) -> None:
    top = wire.id("order")
    call = {"func": "order", "args": (Order(7, 9.5), 3), "kwargs": {"at": Point(1, 2.5)}, "version": 1}
    assert wire.post("/promises", {"id": top, "timeout": FAR, "param": stored(call)}).status_code == 201
    done = {"state": "RESOLVED", "value": stored([Order(8, 1), "ä"])}
    assert wire.patch(f"/promises/{top}", done).status_code == 201
    args, result = "Order(id=7, total=9.5), 3, at=Point(1, 2.5)", '[Order(id=8, total=1), "ä"]'
    (listed,) = wire.get(f"/ui/roots?q={top}").json()["roots"]
    (node,) = wire.get(f"/ui/tree/{top}").json()["nodes"]
    assert (listed["args"], node["args"], node["result"]) == (args, args, result)
    for command in ("tree", "promises"):
        told = CliRunner().invoke(main, [command, top, "--server", wire.url]).output
        assert told.startswith(f"✔ {top} order({args}) → {result} ")


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (Basket((Order(1, 2),), {"a": None}), 'Basket(orders=[Order(id=1, total=2)], notes={"a": null})'),
        ({"red": Colour.RED, "price": [Decimal("1.5")]}, '{"red": Colour("red"), "price": [Decimal("1.5")]}'),
        (Empty(), "Empty(…)"),
        ({"py/object": "no class", "empty": {}}, '{"py/object": "no class", "empty": {}}'),
        ((1, [2.5, None], {"a": "ä"}), '[1, [2.5, null], {"a": "ä"}]'),
    ],
)
def test_what_json_cannot_tell_is_shown_and_all_else_as_it_is_stored(content: object, shown: str) -> None:
    assert readable.result(json.dumps(stored(content))) == shown


@pytest.mark.parametrize(
    "made",
    [
        '{"py/object": 7}',
        '{"py/reduce": [{"py/type": 7}, {"py/tuple": []}]}',
        '{"py/reduce": []}',
        '["py/object"]',
        '"py/object"',
        'no JSON "py/object"',
        '{"py/object": "\\ud800"}',
        '{"py/object": "A", "x": ' * 5_000 + "1" + "}" * 5_000,
        '{"py/object": "A", "x": ' + "[" * 5_000 + "]" * 5_000 + "}",
    ],
)
def test_what_cannot_be_read_stays_an_empty_object(made: str) -> None:
    assert readable.result(json.dumps(value("{}", made))) == "{}"
    data = '{"func": "f", "args": [{}], "kwargs": {"x": {}}}'
    assert readable.call(json.dumps(value(data, made))) == ("f", "{}, x={}")


def test_as_deep_as_objects_are_looked_at_they_can_be_shown() -> None:
    deep = readable.BRACKETS - 3
    lists = f"{'[' * deep}{{}}{']' * deep}"
    assert readable.result(json.dumps(value(lists, lists.replace("{}", '{"py/object": "A"}')))).startswith("[[[")
    fields = '{"py/object": "A", "x": ' * deep + "1" + "}" * deep
    assert readable.result(json.dumps(value("{}", fields))).startswith("A(x=A(x=A(")
