"""The routes of the page: its files, the JSON behind it, and its event stream."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from typing import Any

from local_server.api import bodies, removing, replies
from local_server.api.pace import Pace
from local_server.api.search import STATES, TRIED, fields_of
from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, Refusal
from local_server.http.exchange import JSON, TEXT, Exchange, LargeBody
from local_server.page import call_tree, views
from local_server.page.events import Events
from local_server.page.queries import Queries
from local_server.rules.turn import Turn
from local_server.store.searches import Wanted

WRITES = ("/ui/remove", "/ui/prune")  # by POST; all else is read
PAGE = 50  # roots
SLICE = 5_000  # roots looked at in one turn
LISTED = 25  # likewise, that are shown
MOST = 200  # roots of a page that are asked for
COUNTED, COUNTED_AMONG = 1_000, 10_000  # roots that fit are counted up to here, among so many that follow
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class Page:
    """Answers what the page and the commands ask for: GET /, and everything below /ui/."""

    def __init__(self, engine: Engine, stream_url: str) -> None:
        """Take what is shown, and the address of the event streams."""
        self._engine = engine
        self._ports = {"stream": int(stream_url.rpartition(":")[2])}
        self._files: dict[str, tuple[str, bytes]] = {}  # by path: type and content
        for file in files(__package__).joinpath("static").iterdir():
            path = "/" if file.name == "index.html" else f"/ui/{file.name}"
            self._files[path] = TYPES["." + file.name.rpartition(".")[2]], file.read_bytes()
        self._events = Events(engine)
        self._removals: set[asyncio.Task[dict[str, Any]]] = set()  # that go on when their client leaves

    @staticmethod
    def has(method: str, path: str) -> bool:
        """Tell whether a request is one for the page."""
        return (method == "GET" and (path == "/" or path.startswith("/ui/"))) or (method == "POST" and path in WRITES)

    def answer(self, exchange: Exchange, path: str, query: str) -> None:
        """Answer one request."""
        try:
            if path in WRITES and exchange.method == "POST":
                self._write(exchange, path)
            else:
                self._answer(exchange, path, query)
        except Refusal as refusal:
            _reply(exchange, refusal)

    def _write(self, exchange: Exchange, path: str) -> None:
        if exchange.too_large:
            raise LargeBody
        if path == "/ui/remove":
            what = bodies.read(exchange.body, bodies.Remove)
            removal = removing.remove(self._engine, what.id, pending=what.pending)
        else:
            removal = removing.prune(self._engine, bodies.read(exchange.body, bodies.Prune).older_than)
        task = asyncio.create_task(removal)
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)
        exchange.run(self._reply_later(exchange, asyncio.shield(task)))

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        fields = fields_of(query)
        if path in self._files:
            kind, content = self._files[path]
            exchange.reply(200, kind, content, HEADERS)
        elif path == "/ui/events":
            self._events.open(exchange)
        elif path == "/ui/roots":
            exchange.run(self._reply_later(exchange, roots(self._engine, fields)))
        elif path == "/ui/removable":
            wanted, pending = fields.get("id", ""), fields.get("pending") == "true"
            exchange.run(self._reply_later(exchange, removing.removable(self._engine, wanted, pending=pending)))
        elif path == "/ui/workers":
            self._ask(exchange, views.workers)
        elif path.startswith("/ui/tree/"):
            exchange.run(self._reply_later(exchange, self._tree(path.removeprefix("/ui/tree/"), fields)))
        elif path.startswith("/ui/promise/"):
            self._ask(exchange, partial(views.promise, promise_id=path.removeprefix("/ui/promise/")))
        elif path == "/ui/count":
            exchange.run(self._reply_later(exchange, count(self._engine, fields)))
        elif path == "/ui/ports":
            _reply(exchange, self._ports)
        else:
            exchange.reply(404, TEXT, b"404 page not found", HEADERS)

    def _ask(self, exchange: Exchange, view: Callable[[Turn], object]) -> None:
        self._engine.do(view, partial(_reply, exchange))

    async def _reply_later(self, exchange: Exchange, answer: Awaitable[dict[str, Any]]) -> None:
        try:
            _reply(exchange, await answer)
        except Refusal as refusal:
            _reply(exchange, refusal)

    async def _tree(self, promise_id: str, fields: dict[str, str]) -> dict[str, Any]:
        limit = _number(fields, "limit", call_tree.NODES, call_tree.MOST_NODES)
        return await call_tree.tree(self._engine, promise_id, limit)


async def roots(engine: Engine, fields: dict[str, str]) -> dict[str, object]:
    """Return a page of roots, the newest first; other requests are served while it looks for them.

    Args:
        engine: whose store is read.
        fields: ``q`` (part of an id, * stands for any characters), ``state`` (pending, resolved or rejected), ``since``
            (created then or later, ms since the epoch), ``below`` (where to go on, from the answer before), ``limit``.

    Returns:
        {"now": ms, "roots": [Node, ...], "below": where to go on or 0, "exact": Node or None: the promise whose id is
        ``q``, if that is no root}.

    Raises:
        Refusal: 40000 that names the parameter.
    """
    wanted, since, below = _wanted(fields)
    limit = _number(fields, "limit", PAGE, MOST)
    found, pace = list[views.Node](), Pace(SLICE, wanted.pattern)

    def look(below: int, depth: int, limit: int, turn: Turn) -> tuple[int, list[views.Node]]:
        below, rows = Queries(turn.store.db).roots(wanted, since, below, depth, limit)
        return below, [views.listed(row) for row in rows]

    while below and len(found) < limit:
        below, more = await pace.ask(engine, partial(look, below, pace.size, min(limit - len(found), LISTED)))
        found += more
    text = fields.get("q")
    exact = await engine.ask(partial(views.no_root, promise_id=text)) if text else None
    return {"now": engine.clock.wall(), "roots": found, "below": below, "exact": exact}


async def count(engine: Engine, fields: dict[str, str]) -> dict[str, object]:
    """Count the roots that follow, with the ``fields`` of ``roots``: some thousands of them are looked at.

    Returns:
        {"count": how many were found, "more": whether there may be more}.

    Raises:
        Refusal: 40000 that names the parameter.
    """
    wanted, since, below = _wanted(fields)
    found, left, pace = 0, COUNTED_AMONG, Pace(SLICE, wanted.pattern)

    def look(below: int, depth: int, limit: int, turn: Turn) -> tuple[int, int]:
        return Queries(turn.store.db).count(wanted, since, below, depth, limit)

    while below and left and found < COUNTED:
        depth = min(pace.size, left)
        below, more = await pace.ask(engine, partial(look, below, depth, COUNTED - found))
        found, left = found + more, left - depth
    return {"count": found, "more": bool(below) or found == COUNTED}


def _wanted(fields: dict[str, str]) -> tuple[Wanted, int, int]:
    """Return which roots are asked for, since when, and where to begin."""
    state, text = fields.get("state", ""), fields.get("q", "")
    if state and state not in STATES:
        raise Refusal(BAD_REQUEST, f"state: found {state!r}; expected one of {', '.join(STATES)}")
    if len(text) > TRIED:
        raise Refusal(BAD_REQUEST, f"q: found {len(text)} characters; expected at most {TRIED}")
    since, below = _number(fields, "since", 0, 2**53, least=0), _number(fields, "below", 2**62, 2**62)
    return Wanted(f"*{text}*", STATES[state] if state else ()), since, below


def _reply(exchange: Exchange, answer: object) -> None:
    if isinstance(answer, Refusal):
        exchange.reply(answer.code // 100, JSON, replies.error(answer), HEADERS)
    else:
        exchange.reply(200, JSON, replies.encode(answer), HEADERS)


def _number(fields: dict[str, str], name: str, default: int, most: int, *, least: int = 1) -> int:
    text = fields.get(name, str(default))
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII) or not least <= int(text) <= most:
        raise Refusal(BAD_REQUEST, f"{name}: found {text!r}; expected an integer from {least} to {most}")
    return int(text)
