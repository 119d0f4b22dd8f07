"""The two ports: what a request means, its answer once that is committed, and where a message leaves.

A message leaves by the ``EventStream`` of its worker. What a turn has decided to send is in its outbox until COMMIT;
then ``engine`` lets it out (``Turn.send``), each message on its stream. A stream opens on the port of streams, or under
/poll of the API.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec.structs import replace

from local_server import os_process
from local_server.api import bodies, large, oversize, replies
from local_server.api.routes import Operation, Reply, Request, route
from local_server.api.search import Query, search
from local_server.engine import Engine
from local_server.errors import INTERNAL_ERROR, Refusal
from local_server.http.exchange import JSON, TEXT, Exchange, PlainReply
from local_server.http.guard import Guard
from local_server.os_process import EndPoint
from local_server.page.routes import Page
from local_server.presence import Presence
from local_server.rules.workers import Delivery
from local_server.store.parts import is_split, whole_size

logger = logging.getLogger(__name__)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class EventStream:
    """The stream of one worker: a message is an event, an event is a chunk of the response."""

    def __init__(self, exchange: Exchange, engine: Engine, base_url: str, ends: tuple[EndPoint, EndPoint]) -> None:
        self._exchange, self._engine, self._base_url, self._ends = exchange, engine, base_url, ends
        self.cut = exchange.cut
        self._due = deque[Delivery]()  # what is large, or behind that
        self._sending: asyncio.Task[None] | None = None

    @property
    def unsent(self) -> int:
        """Bytes of messages that the worker has not taken yet; of a large one some of them."""
        return self._exchange.unsent

    def has_read_all(self) -> bool:
        """Tell whether its worker, on this machine, has read all that it was sent."""
        return not self.unsent and os_process.has_read_all(*self._ends)

    def send(self, delivery: Delivery) -> None:
        """Send a message; it names the addresses of the API."""
        if not self._due and not is_split(message := replies.message(delivery, self._base_url)):
            self._exchange.write(message)
            return
        self._due.append(delivery)
        self._exchange.hold(_size(delivery))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_due())

    async def _send_due(self) -> None:
        try:
            while self._due:
                message = replies.message(self._due[0], self._base_url)
                await self._exchange.write_in_parts(whole_size(message), large.whole(self._engine, message))
                self._exchange.hold(-_size(self._due.popleft()))
                await asyncio.sleep(0)  # each may be taken at once, and they may be many
        except Refusal:  # its promise was removed, or nothing can be read
            self.cut()
        self._sending = None

    def close(self) -> None:
        """End the stream; in the middle of a message that is no end, and its reader has to see that."""
        self._exchange.cut() if self._due else self._exchange.end_stream()

    def ended(self) -> None:
        """Send nothing more: it has closed."""
        if self._sending:
            self._sending.cancel()


def _size(delivery: Delivery) -> int:
    """Return about how many bytes of memory a message takes."""
    return 1 + (len(delivery.promise.param) + len(delivery.promise.value) if delivery.promise else 0)


class Listener:
    """Answers the requests of one port."""

    def __init__(self, engine: Engine, presence: Presence, guard: Guard, base_url: str, stream_url: str) -> None:
        """Take what serves, and the addresses of the API and of the event streams, as others are told them."""
        del stream_url
        self._engine, self._presence, self._guard, self._base_url = engine, presence, guard, base_url

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or when its turn is committed."""
        try:
            self._guard.check(exchange)
            self._answer(exchange, *_split(exchange.target))
        except Exception as error:  # noqa: BLE001 - it is answered
            _refuse(exchange, error)

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        raise NotImplementedError

    def _open_stream(self, exchange: Exchange, path: str) -> None:
        """Make the exchange the event stream of ``/{group}/{id}``, until either side closes it."""
        self._guard.check_program(exchange)
        group, slash, member = path.lstrip("/").partition("/")
        if not group or not slash:
            raise PlainReply(400, f"invalid request: found {path!r}; expected /group/id")
        ends = exchange.ends
        if ends is None:  # it has gone already
            exchange.cut()
            return
        stream = EventStream(exchange, self._engine, self._base_url, ends)

        def gone() -> None:
            stream.ended()
            self._presence.disconnect(worker, stream)

        if exchange.open_stream("text/event-stream", gone):
            worker = self._presence.connect(group, member, stream, *ends)


class ApiListener(Listener):
    """The API: promises, callbacks, tasks, schedules; and the page."""

    def __init__(self, engine: Engine, presence: Presence, guard: Guard, base_url: str, stream_url: str) -> None:
        super().__init__(engine, presence, guard, base_url, stream_url)
        self._page = Page(engine, stream_url)
        self._cutting = asyncio.Lock()

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        method = exchange.method
        if self._page.has(method, path):
            self._page.answer(exchange, path, query)
        elif method == "GET" and path.startswith("/poll/"):
            self._open_stream(exchange, path.removeprefix("/poll"))
        elif method == "GET" and path in ("/promises", "/schedules"):
            exchange.run(self._answer_later(exchange, self._search(Query.parse(path[1:], query))))
        else:
            handler, name = route(method, path)
            if path.startswith("/tasks/") and method == "GET":
                self._guard.check_program(exchange)
            request = Request(name, exchange.headers, exchange.body, self._base_url)
            if len(request.body) > bodies.MOST and not exchange.too_large:
                exchange.run(self._answer_later(exchange, self._decide(handler, request)), to_the_end=True)
                return
            operation = oversize.fail(method, path, request) if exchange.too_large else handler(request)
            self._engine.do(operation, lambda result: self._reply(exchange, result))

    async def _search(self, query: Query) -> Reply:
        return 200, await search(self._engine, query)

    async def _decide(self, handler: Callable[[Request], Operation], request: Request) -> Reply:
        """Decide on a request with a large body."""
        upload = large.Upload(self._engine, self._cutting)
        try:
            body = await upload.read(request.body)
            return await self._engine.ask(upload.stored_by(handler(replace(request, body=body))))
        finally:
            upload.end()

    async def _answer_later(self, exchange: Exchange, deciding: Coroutine[Any, Any, Reply]) -> None:
        try:
            self._reply(exchange, await deciding)
        except Exception as error:  # noqa: BLE001 - it is answered
            _refuse(exchange, error)

    def _reply(self, exchange: Exchange, result: Reply | Refusal) -> None:
        if isinstance(result, Refusal):
            _refuse(exchange, result)
            return
        status, content = result
        body = b"" if content is None else replies.encode(content)
        if is_split(body):
            exchange.run(self._reply_whole(exchange, status, body), to_the_end=True)
        else:
            exchange.reply(status, JSON, body)

    async def _reply_whole(self, exchange: Exchange, status: int, body: bytes) -> None:
        """Answer with what stands in a body, and its parts."""
        try:
            await exchange.reply_in_parts(status, JSON, whole_size(body), large.whole(self._engine, body))
        except Refusal:  # its promise was removed, or nothing can be read
            exchange.cut()


class StreamListener(Listener):
    """The event streams."""

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        del query
        if exchange.method != "GET":
            raise PlainReply(405, "method not allowed", {"allow": "GET"})
        self._open_stream(exchange, path)


def _refuse(exchange: Exchange, error: Exception) -> None:
    """Answer a request that is refused, or at which a fault has shown."""
    if isinstance(error, PlainReply):
        exchange.reply(error.status, TEXT, error.text.encode(), error.headers)
        return
    if not isinstance(error, Refusal):
        logger.error("%s %r could not be answered", exchange.method, exchange.target[:200], exc_info=error)
        error = Refusal(INTERNAL_ERROR, "the server has a fault; its log tells which")
    exchange.reply(error.code // 100, JSON, replies.error(error))


def _split(target: bytes) -> tuple[str, str]:
    """Return the path, its escapes decoded, and the query, as it came."""
    path, _, query = target.partition(b"?")
    if b"%" in target:
        if _BAD_ESCAPE.search(target):
            raise PlainReply(400, "400 Bad Request")
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace"), query.decode("utf-8", "replace")
