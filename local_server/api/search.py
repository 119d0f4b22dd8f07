"""Searching promises and schedules: the query, the cursor, and the walk from the newest to the oldest.

A walk reads the store in slices, with other requests served in between. What it costs in all depends on how far it has
to look for a page of matches; what it keeps others waiting does not grow with the store.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, Refusal
from local_server.model import Promise, PromiseState, Schedule
from local_server.rules.turn import Turn

PAGE = 100
LONGEST = 10_000  # characters of a pattern; SQLite has a limit of its own beyond
SLICE = 1_000  # rows a turn
STATES: dict[str, tuple[PromiseState, ...]] = {
    "pending": ("PENDING",),
    "resolved": ("RESOLVED",),
    "rejected": ("REJECTED", "REJECTED_CANCELED", "REJECTED_TIMEDOUT"),
}


class Query(Struct, frozen=True):
    """A search; also, with where to go on, the content of a cursor."""

    table: str  # promises or schedules
    id: str
    states: tuple[PromiseState, ...] = ()
    tags: dict[str, str] = {}
    limit: int = PAGE
    below: int = 0  # 0: from the newest on

    @classmethod
    def parse(cls, table: str, query: str) -> "Query":
        """Read a query string.

        Raises:
            Refusal: 40000 that names the parameter, what was found and what was expected.
        """
        fields: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
            fields.setdefault(name, value)
        state = fields.get("state")
        if state is not None and state.lower() not in STATES:
            raise Refusal(BAD_REQUEST, f"state: found {state!r}; expected one of {', '.join(STATES)}")
        limit = fields.get("limit") or "0"
        if not re.fullmatch(r"\d{1,9}", limit) or int(limit) > PAGE:
            raise Refusal(BAD_REQUEST, f"limit: found {limit!r}; expected an integer from 0 to {PAGE}")
        tags = _tags(fields)
        if cursor := fields.get("cursor"):
            return cls._from_cursor(table, cursor)
        pattern = fields.get("id", "")
        if not 0 < len(pattern) <= LONGEST:
            found = f"found {len(pattern)} characters; expected 1 to {LONGEST}, in which * stands for any"
            raise Refusal(BAD_REQUEST, f"id: {found}")
        return cls(table, pattern, STATES[state.lower()] if state else (), tags, int(limit) or PAGE)

    @classmethod
    def _from_cursor(cls, table: str, cursor: str) -> "Query":
        try:
            found = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=cls)
        except (ValueError, binascii.Error):
            found = None
        known = found is not None and found.table == table and 0 < len(found.id) <= LONGEST
        if found is None or not known or not (0 < found.limit <= PAGE and 0 < found.below < 2**63):
            raise Refusal(BAD_REQUEST, f"cursor: found {cursor[:40]!r}; expected one from a search of {table}")
        return found

    def cursor(self, below: int) -> str:
        """Return what continues this search below a row."""
        return base64.urlsafe_b64encode(msgspec.json.encode(replace(self, below=below))).decode()


async def search(engine: Engine, query: Query) -> dict[str, Any]:
    """Return a page: ``{"cursor": str | None, table: [...]}``, the newest first; a full page has a cursor."""
    end = await engine.ask(lambda turn: turn.store.last(query.table) + 1)
    below = min(query.below or end, end)  # a cursor may be forged
    found: list[tuple[int, Promise | Schedule]] = []
    while below > 0 and len(found) < query.limit:
        found += await engine.ask(partial(_slice, query, below, query.limit - len(found)))
        below -= SLICE
    cursor = query.cursor(found[-1][0]) if len(found) == query.limit else None
    return {"cursor": cursor, query.table: [shown for _, shown in found]}


def _slice(query: Query, below: int, limit: int, turn: Turn) -> list[tuple[int, Promise]] | list[tuple[int, Schedule]]:
    tags = msgspec.json.encode(query.tags).decode() if query.tags else None
    if query.table == "schedules":
        return turn.store.search_schedules(query.id, tags, below, SLICE, limit)
    return turn.store.search_promises(query.id, query.states, tags, below, SLICE, limit)


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _tags(fields: Mapping[str, str]) -> dict[str, str]:
    bare = fields.get("tags")
    if bare is not None and not _is_object(bare):
        raise Refusal(BAD_REQUEST, f"tags: found {bare!r}; expected tags[key]=value")
    return {m[1].strip('"'): value for name, value in fields.items() if (m := re.fullmatch(r"tags\[(.+)\]", name))}
