"""Addresses: who may run a task, as the tag ``resonate:invoke`` and the field ``recv`` tell it.

    default                          the same as poll://any@default
    poll://G  poll://any@G           any member of group G
    poll://any@G/ID  poll://G/ID     member ID of group G if it is connected, else any member
    poll://uni@G/ID                  only that member
    {"type": "poll", "data": {"cast": "any", "group": "G", "id": "ID"}}

Everything else is stored and can be claimed by hand, but reaches nobody: ``parse`` returns None.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from local_server.errors import BAD_REQUEST, Refusal

UNREACHABLE = ""
LONGEST = 2_000  # characters
_GROUP = re.compile(r"[^@/?#]+")
_POLL = re.compile(r"poll://(?:([^@/?#]*)@)?([^/?#]+)(?:/([^?#]*))?(?:[?#].*)?", re.IGNORECASE | re.DOTALL)


class Address(NamedTuple):
    """A group, and the member that is preferred (any) or required (uni)."""

    cast: Literal["any", "uni"]
    group: str
    member: str  # "" names none

    def __str__(self) -> str:
        return f"poll://{self.cast}@{self.group}" + (f"/{quote(self.member, safe='')}" if self.member else "")

    @property
    def queue(self) -> str:
        """The queue of a task that found no worker: every member of the group serves that of an any@."""
        return self.own_queue if self.cast == "uni" else str(Address("any", self.group, ""))

    @property
    def own_queue(self) -> str:
        """The queue of what only the one member may be sent."""
        return str(Address("uni", self.group, self.member))


@lru_cache(4096)
def parse(text: str) -> Address | None:
    """Parse an address as ``of_tag`` and ``of_recv`` return it; None when it reaches nobody."""
    if text == "default":
        return Address("any", "default", "")
    match = _POLL.fullmatch(text)
    if not match:
        return None
    cast, group, member = (match[1] or "any").lower(), match[2], unquote(match[3] or "")
    if cast == "any":
        return Address("any", group, member)
    return Address("uni", group, member) if cast == "uni" and member else None


@lru_cache(4096)
def of_tag(tag: str) -> str | None:
    """Return the address in a tag ``resonate:invoke``; None: such a promise creates no task.

    Raises:
        Refusal: it is too long, or JSON of a kind that no server can make sense of.
    """
    _check("tag resonate:invoke", tag)
    try:
        value = msgspec.json.decode(tag)
    except (msgspec.DecodeError, RecursionError):
        return tag  # an address, or some text that reaches nobody
    if value is None:
        raise Refusal(BAD_REQUEST, 'tag resonate:invoke: found null; expected an address such as "poll://any@group"')
    if isinstance(value, dict) and set(value) == {"type", "data"} and value["type"] and isinstance(value["type"], str):
        return _of_object("tag resonate:invoke", value)
    return None


def of_recv(recv: object) -> str:
    """Return the address in a field ``recv``.

    Raises:
        Refusal: it is too long, or an object of type poll that names no group.
    """
    if isinstance(recv, str):
        _check("recv", recv)
        return recv
    return _of_object("recv", recv) if isinstance(recv, dict) else UNREACHABLE


def _check(where: str, text: str) -> None:
    if len(text) > LONGEST:
        raise Refusal(BAD_REQUEST, f"{where}: found {len(text)} characters; expected at most {LONGEST}")


def _of_object(where: str, value: dict[str, object]) -> str:
    if value.get("type") != "poll":
        return UNREACHABLE
    data = value.get("data")
    cast = data.get("cast", "any") if isinstance(data, dict) else None
    group, member = (data.get("group"), data.get("id", "")) if isinstance(data, dict) else (None, None)
    named = isinstance(group, str) and _GROUP.fullmatch(group)
    if cast not in ("any", "uni") or not named or not isinstance(member, str):
        raise Refusal(
            BAD_REQUEST,
            f"{where}: found {msgspec.json.encode(value).decode()}; expected data with cast (any or uni), group and id",
        )
    _check(where, f"{group}/{member}")
    return str(Address("uni" if cast == "uni" else "any", str(group), member))
