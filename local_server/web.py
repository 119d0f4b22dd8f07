"""The page: its files, the JSON behind it, and the stream of events that tells it when to look again.

An event says only that something has changed; the page then asks for what it shows. So a page costs the server a few
bytes of state, however slowly it reads and however much changes, and no request pays for it.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from urllib.parse import parse_qs

from local_server import views, wire
from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, Refusal
from local_server.protocol import TEXT, Exchange
from local_server.search import STATES
from local_server.store import like
from local_server.store_views import Views
from local_server.turn import Turn

LOOK = 0.05  # seconds between two looks at whether something has changed, while a page is open
APART = 0.2  # seconds between two events at least
BEAT = 10.0  # seconds after which a page that hears nothing is told that all is well
PAGE = 50  # roots
SLICE = 5_000  # roots looked at in one turn
JSON = "application/json; charset=utf-8"
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


class Web:
    """Answers what the page asks for: GET / and everything below /ui/."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._files: dict[str, tuple[str, bytes]] = {}  # by path: type and content
        for file in files("local_server").joinpath("static").iterdir():
            path = "/" if file.name == "index.html" else f"/ui/{file.name}"
            self._files[path] = TYPES["." + file.name.rpartition(".")[2]], file.read_bytes()
        self._events = Events(engine)
        self._searches: set[asyncio.Task[None]] = set()

    @staticmethod
    def serves(method: str, path: str) -> bool:
        """Tell whether a request is one for the page."""
        return method == "GET" and (path == "/" or path.startswith("/ui/"))

    def answer(self, exchange: Exchange, path: str, query: str) -> None:
        """Answer one request."""
        try:
            self._answer(exchange, path, query)
        except Refusal as refusal:
            _reply(exchange, refusal)

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        fields = {name: values[0] for name, values in parse_qs(query, errors="replace").items()}
        if path in self._files:
            kind, content = self._files[path]
            exchange.reply(200, kind, content, HEADERS)
        elif path == "/ui/events":
            self._events.open(exchange)
        elif path == "/ui/roots":
            search = asyncio.create_task(self._roots(exchange, fields))
            self._searches.add(search)
            search.add_done_callback(self._searches.discard)
        elif path == "/ui/workers":
            self._ask(exchange, views.workers)
        elif path.startswith("/ui/tree/"):
            limit = _number(fields, "limit", views.NODES, views.MOST_NODES)
            self._ask(exchange, partial(views.tree, promise_id=path.removeprefix("/ui/tree/"), limit=limit))
        elif path.startswith("/ui/promise/"):
            self._ask(exchange, partial(views.promise, promise_id=path.removeprefix("/ui/promise/")))
        else:
            exchange.reply(404, TEXT, b"404 page not found", HEADERS)

    def _ask(self, exchange: Exchange, view: Callable[[Turn], object]) -> None:
        self._engine.do(view, partial(_reply, exchange))

    async def _roots(self, exchange: Exchange, fields: dict[str, str]) -> None:
        try:
            _reply(exchange, await roots(self._engine, fields))
        except Refusal as refusal:
            _reply(exchange, refusal)


async def roots(engine: Engine, fields: dict[str, str]) -> dict[str, object]:
    """Return a page of roots, the newest first; other requests are served while it looks for them.

    Args:
        engine: whose store is read.
        fields: ``q`` (part of an id, * stands for any characters), ``state`` (pending, resolved or rejected), ``below``
            (where to go on, from the answer before), ``limit``.

    Returns:
        {"now": ms, "roots": [Node, ...], "below": where to go on or 0, "exact": Node or None: the promise whose id is
        ``q``, if that is no root}.

    Raises:
        Refusal: 40000 that names the parameter.
    """
    state, wanted = fields.get("state", ""), fields.get("q", "")
    if state and state not in STATES:
        raise Refusal(BAD_REQUEST, f"state: found {state!r}; expected one of {', '.join(STATES)}")
    limit = _number(fields, "limit", PAGE, PAGE)
    below = _number(fields, "below", 2**62, 2**62)
    states, pattern = STATES[state] if state else (), like(f"*{wanted}*")
    found: list[views.Node] = []

    def look(turn: Turn) -> None:
        nonlocal below
        below, rows = Views(turn.store.db).roots(pattern, states, below, SLICE, limit - len(found))
        found.extend(views.root(row) for row in rows)

    while below and len(found) < limit:
        await engine.ask(look)
    exact = await engine.ask(partial(views.no_root, promise_id=wanted)) if wanted else None
    return {"now": views.now(), "roots": found, "below": below, "exact": exact}


class Events:
    """The event streams of all open pages; with none open it does nothing at all."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._pages: dict[Exchange, bool] = {}  # to whether it has been told of the latest change
        self._seen = self._state()
        self._told = 0.0  # by the clock of the loop
        self._timer: asyncio.TimerHandle | None = None

    def open(self, exchange: Exchange) -> None:
        """Make the exchange the event stream of a page, which looks at everything once by itself."""
        exchange.open_stream("text/event-stream", lambda: self._close(exchange))
        exchange.write(b"retry: 500\nevent: changed\ndata: \n\n")
        self._pages[exchange] = True
        if self._timer is None:
            self._seen = self._state()
            self._timer = self._loop.call_later(LOOK, self._look)

    def _close(self, exchange: Exchange) -> None:
        self._pages.pop(exchange, None)
        if not self._pages and self._timer:
            self._timer.cancel()
            self._timer = None

    def _state(self) -> tuple[int, int]:
        return self._engine.version, self._engine.workers.moves

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK, self._look)
        state, now = self._state(), self._loop.time()
        if state != self._seen:
            self._seen = state
            self._pages = dict.fromkeys(self._pages, False)
        if now - self._told < APART:
            return
        behind = [page for page, told in self._pages.items() if not told and not page.unsent]
        for page in behind:
            self._pages[page] = True
            page.write(b"event: changed\ndata: \n\n")
        if behind:
            self._told = now
        elif now - self._told > BEAT:
            self._told = now
            for page in self._pages:
                if not page.unsent:
                    page.write(b"event: beat\ndata: \n\n")


def _reply(exchange: Exchange, answer: object) -> None:
    if isinstance(answer, Refusal):
        exchange.reply(answer.code // 100, JSON, wire.error(answer), HEADERS)
    else:
        exchange.reply(200, JSON, wire.encode(answer), HEADERS)


def _number(fields: dict[str, str], name: str, default: int, most: int) -> int:
    text = fields.get(name, str(default))
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII) or not 1 <= int(text) <= most:
        raise Refusal(BAD_REQUEST, f"{name}: found {text!r}; expected an integer from 1 to {most}")
    return int(text)
