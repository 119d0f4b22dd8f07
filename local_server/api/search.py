"""Searching promises and schedules: the query, the cursor, and the walk from the newest to the oldest.

A walk reads the store in slices, with other requests served in between. What it costs in all depends on how far it has
to look for a page of matches; what it keeps others waiting depends neither on that nor on what is stored: see ``pace``.
If the newest do not fill the page, it goes on by the index of ids if all that may match begin alike, or by that of the
few that are pending. A page of large promises ends early.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from functools import partial
from heapq import nlargest
from itertools import batched
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from local_server.api.pace import Pace, tried
from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, Refusal
from local_server.model import Promise, PromiseState, Schedule
from local_server.rules.turn import Turn
from local_server.store.searches import Searches, Wanted

PAGE = 100
LARGE = 4 * 2**20  # bytes, behind which a page ends with fewer
LONGEST = 10_000  # characters of a pattern; SQLite has a limit of its own beyond
TRIED = 250  # characters of it behind its first star
FIELDS = 200  # of a query
TAGS = 16  # that are looked for
SLICE = 1_000  # rows a turn
TAGGED = 100  # likewise, when tags are looked for
NEWEST = 10  # slices, before it goes on by ids
IDS = 5_000  # ids a turn
PREFIX = re.compile(r"[ -)+-~]{0,32}")  # of a pattern: ASCII, for this has an upper and a lower case, but for *
LETTERS = 8  # of it that are looked at in one turn
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
        fields = fields_of(query, blank=True)
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
        known = found is not None and found.table == table and _fits(found.id) and len(found.tags) <= TAGS
        if found is None or not known or not (0 < found.limit <= PAGE and 0 < found.below < 2**63):
            raise Refusal(BAD_REQUEST, f"cursor: found {cursor[:40]!r}; expected one from a search of {table}")
        return found

    def cursor(self, below: int) -> str:
        """Return what continues this search below a row."""
        return base64.urlsafe_b64encode(msgspec.json.encode(replace(self, below=below))).decode()


def fields_of(query: str, *, blank: bool = False) -> dict[str, str]:
    """Return the fields of a query string, the first value of each; ``blank``: also those without a value.

    Raises:
        Refusal: 40000 when there are too many.
    """
    try:
        fields = parse_qsl(query, keep_blank_values=blank, errors="replace", max_num_fields=FIELDS)
    except ValueError:
        found = query.count("&") + 1
        raise Refusal(BAD_REQUEST, f"query: found {found:,} fields; expected at most {FIELDS}") from None
    return dict(reversed(fields))


def check_pattern(pattern: str) -> None:
    """Refuse a pattern for ids that is empty or too long."""
    if not _fits(pattern):
        found = f"found {len(pattern)} characters, {tried(pattern)} of them behind a *"
        raise Refusal(BAD_REQUEST, f"id: {found}; expected 1 to {LONGEST}, of them at most {TRIED} behind a *, which "
                      "stands for any characters")  # fmt: skip


def _fits(pattern: str) -> bool:
    return 0 < len(pattern) <= LONGEST and tried(pattern) <= TRIED


type Match = tuple[int, Promise | Schedule]  # with its sort


class _Room(NamedTuple):
    """What a page can take yet; it is full when there is none of either."""

    matches: int
    size: int  # bytes

    def filled(self, matches: Iterable[Match]) -> tuple["_Room", list[Match]]:
        """Take matches until it is full; return what can be taken then, and them."""
        (left, size), taken = self, list[Match]()
        for match in matches:  # SQLite reads each when it is taken
            taken.append(match)
            left, size = left - 1, size - len(msgspec.json.encode(match[1]))
            if left <= 0 or size <= 0:
                break
        return _Room(left, size), taken

    @property
    def full(self) -> bool:
        return min(self) <= 0


async def search(engine: Engine, query: Query) -> dict[str, Any]:
    """Return a page: ``{"cursor": str | None, table: [...]}``, the newest first; a full page has a cursor."""
    end = await engine.ask(lambda turn: turn.store.last(query.table) + 1)
    below = min(query.below or end, end)  # a cursor may be forged
    floor = below - NEWEST * SLICE if query.table == "promises" else 0
    room, found, pace = _Room(query.limit, LARGE), list[Match](), Pace(TAGGED if query.tags else SLICE, query.id)
    while below > 0 and not room.full:
        if below == floor and (sorts := await _by_index(engine, query, below, room.matches)) is not None:
            while sorts and not room.full:
                some, sorts = sorts[: pace.size], sorts[pace.size :]
                room, more = await pace.ask(engine, partial(_at, query, some, room))
                found += more
            break
        depth = min(pace.size, below - floor) if below > floor else pace.size
        limit = min(room.matches, 1 + pace.size // 4)  # PostgreSQL reads all of them before the first is taken
        room, more = await pace.ask(engine, partial(_slice, query, below, depth, limit, room))
        found += more
        below = more[-1][0] if len(more) == limit else below - depth
    cursor = query.cursor(found[-1][0]) if room.full else None
    return {"cursor": cursor, query.table: [shown for _, shown in found]}


def _slice(query: Query, below: int, depth: int, limit: int, room: _Room, turn: Turn) -> tuple[_Room, list[Match]]:
    searches = Searches(turn.store.db)
    look = searches.schedules if query.table == "schedules" else searches.promises
    return room.filled(look(query.wanted, below, depth, limit))


async def _by_index(engine: Engine, query: Query, below: int, limit: int) -> list[int] | None:
    """Return the sorts of all that may match, or of the newest ``limit`` that do; None: no index helps."""
    if query.states == STATES["pending"]:
        pending = await engine.ask(lambda turn: Searches(turn.store.db).pending(turn.now, FEW))
        if pending is not None:
            return sorted((sort for sort in pending if sort < below), reverse=True)
    prefixes = [""]  # of ids that may match
    for letters in batched(PREFIX.match(query.id)[0], LETTERS):  # type: ignore[index]  # it matches everything
        prefixes = await engine.ask(partial(_longer, prefixes, letters))
        if len(prefixes) > SPELLINGS:
            return None
    if prefixes == [""]:
        return None
    newest, pace = list[int](), Pace(TAGGED if query.tags else IDS, query.id)
    for prefix in prefixes:
        end: str | None = _behind(prefix)
        while end is not None:
            sorts = range(newest[-1] if len(newest) == limit else 0, below)
            end, more = await pace.ask(engine, partial(_look, query, prefix, end, pace.size, sorts))
            newest = nlargest(limit, newest + more)
    return newest


def _longer(prefixes: list[str], letters: Iterable[str], turn: Turn) -> list[str]:
    """Return how ids begin with these and some letters more, in upper and lower case; some of them, if in many ways."""
    searches = Searches(turn.store.db)
    for letter in letters:
        longer = [prefix + case for prefix in prefixes for case in {letter.lower(), letter.upper()}]
        prefixes = [prefix for prefix in longer if searches.any_id(prefix, _behind(prefix))]
        if len(prefixes) > SPELLINGS:
            break
    return prefixes


def _behind(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _look(query: Query, first: str, end: str, depth: int, sorts: range, turn: Turn) -> tuple[str | None, list[int]]:
    return Searches(turn.store.db).ids(query.wanted, first, end, depth, sorts)


def _at(query: Query, sorts: list[int], room: _Room, turn: Turn) -> tuple[_Room, list[Match]]:
    return room.filled(Searches(turn.store.db).at(query.wanted, sorts))


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _tags(fields: Mapping[str, str]) -> dict[str, str]:
    bare = fields.get("tags")
    if bare is not None and not _is_object(bare):
        raise Refusal(BAD_REQUEST, f"tags: found {bare!r}; expected tags[key]=value")
    tags = {m[1].strip('"'): value for name, value in fields.items() if (m := re.fullmatch(r"tags\[(.+)\]", name))}
    if len(tags) > TAGS:
        raise Refusal(BAD_REQUEST, f"tags: found {len(tags)}; expected at most {TAGS}")
    return tags
