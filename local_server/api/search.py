"""Searching promises and schedules: the query, the cursor, and the walk from the newest to the oldest.

A walk reads the store in slices, with other requests served in between. What it costs in all depends on how far it has
to look for a page of matches; what it keeps others waiting does not grow with the store. If the newest do not fill the
page, it goes on by the index of ids if all that may match begin alike, or by that of the few that are pending.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from functools import partial
from heapq import nlargest
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, Refusal
from local_server.model import Promise, PromiseState, Schedule
from local_server.rules.turn import Turn
from local_server.store.searches import Searches, Wanted

PAGE = 100
LONGEST = 10_000  # characters of a pattern; SQLite has a limit of its own beyond
SLICE = 1_000  # rows a turn
NEWEST = 10  # slices, before it goes on by ids
IDS = 5_000  # ids a turn
PREFIX = re.compile(r"[ -)+-~]{0,32}")  # of a pattern: ASCII, for this has an upper and a lower case, but for *
SPELLINGS = 8  # in upper and lower case, that are looked for
FEW = 1_000  # pending promises
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

    @property
    def wanted(self) -> Wanted:
        """What the store looks for."""
        return Wanted(self.id, self.states, msgspec.json.encode(self.tags).decode() if self.tags else None)

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
        check_pattern(pattern)
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


def check_pattern(pattern: str) -> None:
    """Refuse a pattern for ids that is empty or too long."""
    if not 0 < len(pattern) <= LONGEST:
        found = f"found {len(pattern)} characters; expected 1 to {LONGEST}, in which * stands for any"
        raise Refusal(BAD_REQUEST, f"id: {found}")


async def search(engine: Engine, query: Query) -> dict[str, Any]:
    """Return a page: ``{"cursor": str | None, table: [...]}``, the newest first; a full page has a cursor."""
    end = await engine.ask(lambda turn: turn.store.last(query.table) + 1)
    below = min(query.below or end, end)  # a cursor may be forged
    floor = below - NEWEST * SLICE if query.table == "promises" else 0
    found: list[tuple[int, Promise | Schedule]] = []
    while below > 0 and len(found) < query.limit:
        wanting = query.limit - len(found)
        if below == floor and (sorts := await _by_index(engine, query, below, wanting)) is not None:
            found += await engine.ask(partial(_at, query, sorts, wanting))
            break
        found += await engine.ask(partial(_slice, query, below, wanting))
        below -= SLICE
    cursor = query.cursor(found[-1][0]) if len(found) == query.limit else None
    return {"cursor": cursor, query.table: [shown for _, shown in found]}


def _slice(query: Query, below: int, limit: int, turn: Turn) -> list[tuple[int, Promise]] | list[tuple[int, Schedule]]:
    searches = Searches(turn.store.db)
    look = searches.schedules if query.table == "schedules" else searches.promises
    return look(query.wanted, below, SLICE, limit)


async def _by_index(engine: Engine, query: Query, below: int, limit: int) -> list[int] | None:
    """Return the sorts of all that may match, or of the newest ``limit`` that do; None: no index helps."""
    if query.states == STATES["pending"]:
        pending = await engine.ask(lambda turn: Searches(turn.store.db).pending(turn.now, FEW))
        if pending is not None:
            return sorted((sort for sort in pending if sort < below), reverse=True)
    prefixes = await engine.ask(partial(_prefixes, query.id))
    if prefixes is None:
        return None
    newest: list[int] = []
    for prefix in prefixes:
        end: str | None = _behind(prefix)
        while end is not None:
            sorts = range(newest[-1] if len(newest) == limit else 0, below)
            end, more = await engine.ask(partial(_look, query, prefix, end, sorts))
            newest = nlargest(limit, newest + more)
    return newest


def _prefixes(pattern: str, turn: Turn) -> list[str] | None:
    """Return how ids begin that may match; None: in too many ways."""
    searches, found = Searches(turn.store.db), [""]
    for letter in PREFIX.match(pattern)[0]:  # type: ignore[index]  # it matches everything
        longer = [prefix + case for prefix in found for case in {letter.lower(), letter.upper()}]
        found = [prefix for prefix in longer if searches.any_id(prefix, _behind(prefix))]
        if len(found) > SPELLINGS:
            return None
    return None if found == [""] else found


def _behind(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _look(query: Query, first: str, end: str, sorts: range, turn: Turn) -> tuple[str | None, list[int]]:
    return Searches(turn.store.db).ids(query.wanted, first, end, IDS, sorts)


def _at(query: Query, sorts: list[int], limit: int, turn: Turn) -> list[tuple[int, Promise]]:
    return Searches(turn.store.db).at(query.wanted, sorts, limit)


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
