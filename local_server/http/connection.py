"""HTTP/1.1 on a connection: requests are parsed as they come, answered in order, each answer in one write.

The parser is llhttp, by httptools. What stands here is for the SDK, which opens a connection for every call: against
uvicorn with the same parser it takes half the CPU. No task is started, and head and body leave in one system call.

A connection is two things side by side. What comes in is told by its phase; what goes out is a queue of requests that
are answered one by one, in the order in which they came::

    IDLE -> HEAD -> BODY -> IDLE ...     a request comes; a GET has no BODY
    IDLE, HEAD or BODY -> LAST           no other request is read: the client wants the connection closed, has finished
                                         sending, or sent what is no request; it is closed behind the last answer
    IDLE -> STREAM                       the request became an event stream, the last answer of its connection
    any -> CLOSED

The parser calls back for each part of a request. What is no request raises a ``PlainReply`` there, which ends the
parsing and waits in the queue for its turn like any answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from enum import IntEnum
from http import HTTPStatus
from math import inf
from typing import Any, cast

import httptools

from local_server import WIRE_VERSION
from local_server.http import limits
from local_server.http.exchange import TEXT, Exchange, LargeBody, LargeHead, PlainReply
from local_server.http.incoming import NO_BODY, Body, escaped
from local_server.http.limits import Limits

VERSION = f"resonate-version: {WIRE_VERSION}\r\n"
_REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}
Phase = IntEnum("Phase", "IDLE HEAD BODY LAST STREAM CLOSED")  # see above; from LAST on, what comes is dropped


class Connection(asyncio.Protocol):
    """A connection of a client; ``handle`` is called with each request, one at a time.

    Attributes:
        transport: its sending side.
        expires: when its time is over, by the clock of the limits.
    """

    transport: asyncio.Transport  # from the start: asyncio gives it before anything else

    def __init__(self, handle: Callable[[Exchange], None], common: Limits) -> None:
        self._handle, self._limits = handle, common
        self._parser = httptools.HttpRequestParser(self)
        self._phase = Phase.IDLE
        self._current: Exchange | None = None  # is being answered
        self._due: deque[Exchange | PlainReply] = deque()  # behind it
        self._gone: Callable[[], object] | None = None  # tells a stream, or what is working on an answer
        self._to_the_end = False  # that goes on for a client that has only finished sending
        self._room: asyncio.Future[None] | None = None  # that the client makes by taking what it was sent
        self.held, self._sent, self._taken = 0, 0, 0  # bytes: to be written; written; taken when its time was over last
        self._target, self._headers = b"", dict[str, str]()
        self._head_size, self._head_read = 0, 0  # bytes of the headers that are complete; of all that has come
        self._body = NO_BODY
        self.expires = inf

    # of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast("asyncio.Transport", transport)
        self.expires = self._limits.clock + limits.HEAD_TIME
        self._limits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of asyncio
        """Tell who is waiting on it."""
        self._end()
        self._limits.remove(self)
        gone, self._gone = self._gone, None  # what has ended keeps all that it knew
        if gone:
            gone()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._phase >= Phase.LAST:
            return
        headers = self._headers
        try:
            self._parser.feed_data(escaped(data) if self._phase is Phase.IDLE and not data.isascii() else data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, PlainReply):
                raise
            self._refuse(error.__context__)
        except httptools.HttpParserUpgrade:  # CONNECT: it is answered as any request, and is the last
            if not self.eof_received():
                self.close()
        except httptools.HttpParserError as error:
            self._refuse(PlainReply(400, f"found no HTTP/1.1 request: {error}"))
        if self._phase is Phase.HEAD and self._headers is headers:  # still: the parser gives no header before its end
            self._head_read += len(data)
            if self._head_read > 2 * limits.MAX_HEAD:
                self._refuse(LargeHead())
        elif self._phase is Phase.BODY and self._body.size:
            self._limits.hold(self, len(self._body.data))

    def eof_received(self) -> bool:
        """Keep the connection of a client that has only finished sending until it is answered."""
        nothing_due = not (self._current or self._due) or (self._gone and not self._to_the_end)
        if nothing_due or self._phase >= Phase.STREAM:
            self._end()
            return False
        self._phase = Phase.LAST
        return True

    def pause_writing(self) -> None:
        """Note that the client takes less than it is sent; nothing more is handled for it meanwhile."""
        self._limits.slow.add(self)
        self._limits.check_unsent()
        if self._phase is Phase.STREAM:
            self.expires = self._limits.clock + limits.STALL_TIME

    def resume_writing(self) -> None:
        """Go on when it has taken that."""
        self._limits.slow.discard(self)
        if self._room and not self._room.done():
            self._room.set_result(None)
        if self._phase is Phase.STREAM:
            self.expires = inf
        self._next()

    # of the parser

    def on_message_begin(self) -> None:
        """Start a request."""
        if self._phase is not Phase.IDLE:
            raise PlainReply(400, "found another request behind the last")  # is not sent: nothing is, behind the last
        self._phase = Phase.HEAD
        self.expires = self._limits.clock + limits.HEAD_TIME
        self._target, self._headers, self._head_size, self._head_read = b"", {}, 0, 0
        self._body = Body()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url
        self._head_size += len(url)
        if self._head_size > limits.MAX_HEAD:
            raise LargeHead

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; of repeated ones the first counts, as in Go."""
        key = name.decode("latin-1").lower()
        if key not in self._headers:
            self._headers[key] = value.rstrip().decode("utf-8", "replace")
        elif key == "host":
            raise PlainReply(400, "Host: found it twice; expected it once")
        self._head_size += len(name) + len(value)
        if self._head_size > limits.MAX_HEAD:
            raise LargeHead

    def on_headers_complete(self) -> None:
        """Let a client that asks whether to send its body go on."""
        headers = self._headers
        size, asks = int(headers.get("content-length", "0")), headers.get("expect", "").lower() == "100-continue"
        if size > (limits.MAX_BODY if asks else limits.MAX_DROPPED):
            raise LargeBody
        if "upgrade" in headers:  # the parser takes a body behind it for the other protocol's
            raise PlainReply(501, "Upgrade: expected none; only HTTP/1.1 is spoken here")
        if "host" not in headers and self._parser.get_http_version() == "1.0":  # which knows no such header
            headers["host"] = "localhost"
        if asks:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._phase = Phase.BODY
        self.expires = self._limits.clock + limits.BODY_TIME

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body.add(body)
        self.expires += len(body) / limits.BODY_RATE

    def on_message_complete(self) -> None:
        """Handle the request, or let it wait for the one before."""
        body, self._body = self._body, NO_BODY
        method = self._parser.get_method().decode("latin-1")
        exchange = Exchange(self, method, self._target, self._headers, body.data, too_large=body.too_large)
        self._phase = Phase.IDLE if self._parser.should_keep_alive() and not body.too_large else Phase.LAST
        if self._current or self._due:
            self._due.append(exchange)
            self.transport.pause_reading()
        else:
            self._start(exchange)

    # of the limits

    @property
    def waiting(self) -> bool:
        """Whether it waits for its client, and is no event stream."""
        return self._current is None and not self._due

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.transport.get_write_buffer_size() + self.held

    def out_of_time(self) -> None:
        """Act on its time being over."""
        clock, unsent = self._limits.clock, self.unsent
        before, self._taken = self._taken, self._sent + self.held - unsent
        if self._phase is Phase.STREAM:
            if unsent > limits.STREAM_UNSENT and self._taken == before:
                self.cut("an event stream whose client did not read")
            else:
                self.expires = clock + limits.STALL_TIME
        elif unsent and self._taken != before:  # the client takes what it is sent, if slowly
            self.expires = clock + limits.SEND_TIME
        elif unsent or self._phase is Phase.CLOSED:
            self.cut("the client took nothing of what it was sent" if unsent else "")
        elif self._current or self._due:  # it waits for the server
            self.expires = clock + limits.SEND_TIME
        elif self._phase is Phase.HEAD:
            self._limits.note("no whole head of a request in time")
            self._refuse(PlainReply(408, f"found no whole head of a request in {limits.HEAD_TIME:.0f} s"))
        elif self._phase is Phase.BODY:
            self.give_up("no whole body of a request in time")
        else:
            self.close()

    def give_up(self, why: str) -> None:
        """Do without the body of a request; the status is one after which the SDK sends it again."""
        self._limits.note(why)
        if self._phase is Phase.BODY:
            self._refuse(PlainReply(500, f"{why}: found {self._body.size} bytes; send it again"))
        else:
            self.cut()

    def close(self) -> None:
        """Close the connection when its client has taken what it was sent."""
        self._end()
        self.expires = self._limits.clock + limits.SEND_TIME
        self.transport.close()

    def cut(self, why: str = "") -> None:
        """Close it at once; ``why`` is for the log."""
        if why:
            self._limits.note(why)
        self._end()
        self.expires = inf
        self.transport.abort()

    def _end(self) -> None:
        self._phase, self._current, self._body = Phase.CLOSED, None, NO_BODY
        self._due.clear()

    # answers

    def _refuse(self, reply: PlainReply) -> None:
        """Answer what is no request, in its turn, and close."""
        if self._phase >= Phase.LAST:
            return
        self._phase, self._body = Phase.LAST, NO_BODY
        self._due.append(reply)
        self._next()

    def _next(self) -> None:
        """Handle the request that has waited longest, unless another one is being answered, or not taken."""
        if self._current or not self._due or self in self._limits.slow:
            return
        first = self._due.popleft()
        if not self._due:
            self.transport.resume_reading()
        if isinstance(first, Exchange):
            self._start(first)
        else:
            self._send(first.status, f"content-type: {TEXT}\r\nconnection: close\r\n", first.text.encode())
            self._end()
            self.expires = self._limits.clock + limits.LINGER_TIME
            self.transport.write_eof()  # what still comes is read and dropped: closing now could take the answer away

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self._handle(exchange)
        (self._limits.keep if self._gone else self._limits.release)(self)

    def run(self, answering: Coroutine[Any, Any, None], *, to_the_end: bool = False) -> None:
        """Let a coroutine answer; see ``Exchange``."""
        self._to_the_end = to_the_end
        self._gone = asyncio.get_running_loop().create_task(answering).cancel

    def answer(self, exchange: Exchange, status: int, head: str, body: bytes, *, more: int = 0) -> None:
        """Write an answer, or the beginning of one with so many bytes more."""
        if self._current is exchange:
            last = "connection: close\r\n" if self._phase is Phase.LAST and not self._due else ""
            self._send(status, head + last, b"" if exchange.method == "HEAD" else body, len(body) + more)
            if not more:
                self.end_answer(exchange)

    def end_answer(self, exchange: Exchange) -> None:
        """Go on with the next request of the connection."""
        if self._current is not exchange:
            return
        self._current = self._gone = None
        self._limits.release(self)
        if self._phase is Phase.LAST and not self._due:
            self.close()
        elif self._due:  # not at once: each may be answered at once, and they may be thousands
            asyncio.get_running_loop().call_soon(self._next)
        elif self._phase is Phase.IDLE:
            self.expires = self._limits.clock + limits.IDLE_TIME

    async def room(self) -> None:
        """Wait until the client has taken most of what it was sent."""
        while self in self._limits.slow:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _send(self, status: int, head: str, body: bytes, size: int | None = None) -> None:
        length = "" if status == HTTPStatus.NO_CONTENT else f"content-length: {len(body) if size is None else size}\r\n"
        first = b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status])
        self._write(first + f"{VERSION}{head}{length}\r\n".encode("latin-1") + body)

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        self.transport.write(data)

    # streams

    def open_stream(self, head: str, gone: Callable[[], None]) -> bool:
        """Begin a body of unknown length; see ``Exchange``."""
        if not self._limits.may_stream(self):
            self.cut("too many event streams")
            return False
        self._phase, self._gone, self.expires = Phase.STREAM, gone, inf
        self._due.clear()
        self._limits.release(self)
        self.transport.resume_reading()  # else its end would not be seen
        head = f"{head}connection: keep-alive\r\ntransfer-encoding: chunked\r\n"
        self._write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode("latin-1"))
        return True

    def write(self, data: bytes) -> None:
        """Send a piece of a stream or of an answer."""
        if self._phase is Phase.STREAM or self._current:
            self._write(data)
            if self in self._limits.slow:
                self._limits.check_unsent()

    def end_stream(self) -> None:
        """Send the last chunk and close."""
        if self._phase is Phase.STREAM:
            self._write(b"0\r\n\r\n")
            self.close()
