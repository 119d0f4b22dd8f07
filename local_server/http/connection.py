"""HTTP/1.1 on a connection: requests are parsed as they come, answered in order, each answer in one write.

The parser is llhttp, by httptools. What stands here is what the SDK's pattern asks for: it opens a connection for every
call, so the cost of a request is that of a connection. Measured once against uvicorn with the same parser, a request
takes half the CPU, because no task is started for it and head and body leave in one system call.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools

from local_server import WIRE_VERSION

MAX_HEAD = 64 * 2**10
MAX_BODY = 4 * 2**20
TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
VERSION = f"resonate-version: {WIRE_VERSION}\r\n"
EndPoint = tuple[str, int]
_REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}


class PlainReply(Exception):  # noqa: N818 - an answer, not a fault
    """The request is answered in plain text: status, text, further headers."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Exchange:
    """One request, and the way to answer it.

    Attributes:
        method: in upper case.
        target: path and query as they came.
        headers: names in lower case; of repeated ones the last.
        body: whole, at most ``MAX_BODY`` bytes.
    """

    def __init__(self, connection: "Connection", method: str, target: bytes, headers: dict[str, str]) -> None:
        self._connection = connection
        self.method, self.target, self.headers = method, target, headers
        self.body = b""

    @property
    def peer(self) -> EndPoint:
        """Address and port of the client."""
        return self._end("peername")

    @property
    def here(self) -> EndPoint:
        """Address and port of the server that it has connected to."""
        return self._end("sockname")

    def _end(self, name: str) -> EndPoint:
        host, port, *_ = self._connection.transport.get_extra_info(name)
        return host, port

    def reply(self, status: int, content_type: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer, once; a client that has gone is no fault."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._connection.answer(self, status, f"content-type: {content_type}\r\n{extra}", body)

    def open_stream(self, content_type: str, gone: Callable[[], None]) -> None:
        """Answer 200 with a body that is sent bit by bit, in chunks; ``gone`` is called when the connection closes."""
        self._connection.open_stream(f"content-type: {content_type}\r\ncache-control: no-cache\r\n", gone)

    def write(self, data: bytes) -> None:
        """Send a piece of the stream."""
        self._connection.write_chunk(data)

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._connection.transport.get_write_buffer_size()

    def end_stream(self) -> None:
        """End the stream, and the connection."""
        self._connection.end_stream()

    def cut_stream(self) -> None:
        """Close the connection without an end of the stream."""
        self._connection.transport.close()


class Connection(asyncio.Protocol):
    """A connection of a client; ``handle`` is called with each request, one at a time."""

    def __init__(self, handle: Callable[[Exchange], None], connections: "set[Connection]") -> None:
        self._handle, self._connections = handle, connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: list[Exchange] = []  # parsed, in order; the first is being answered
        self._gone: Callable[[], None] | None = None
        self._closing = False
        self._refused = False  # nothing more is read as a request
        self._refusal: tuple[HTTPStatus, str] | None = None  # to be sent behind the answers that are due before it
        self._sender_done = False  # with what is refused; closing before that would take the answer from it
        self._start()

    def _start(self) -> None:
        self._target, self._headers, self._body = b"", {}, []  # type: tuple[bytes, dict[str, str], list[bytes]]
        self._head_size, self._body_size = 0, 0

    # of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who is waiting on it."""
        del exc
        self._connections.discard(self)
        self._closing = True
        if self._gone:
            self._gone()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # or CONNECT: it is answered as any request, and is the last
            self._refused, self._keep_alive = True, False
            if not self._waiting:
                self.transport.close()
        except httptools.HttpParserError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, f"found no HTTP/1.1 request: {error}")

    def eof_received(self) -> bool:
        """Keep the connection of a client that has only finished sending until it is answered."""
        self._keep_alive = False
        return bool(self._waiting) and self._gone is None

    # of the parser

    def on_message_begin(self) -> None:
        """Start a request."""
        self._start()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        key = name.decode("latin-1").lower()
        if key == "host" and key in self._headers:
            self.refuse(HTTPStatus.BAD_REQUEST, "Host: found it twice; expected it once")
        self._headers[key] = value.rstrip().decode("utf-8", "replace")
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Let a client that asks whether to send its body go on."""
        if int(self._headers.get("content-length", "0")) > MAX_BODY:
            self._too_large()
        elif "upgrade" in self._headers:  # the parser takes a body behind it for the other protocol's
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "Upgrade: expected none; only HTTP/1.1 is spoken here")
        elif self._headers.get("expect", "").lower() == "100-continue" and not self._closing:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; what is beyond the limit is read and dropped, so that the answer arrives."""
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            self._body.clear()
            self._too_large()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Handle the request, or let it wait for the one before."""
        if self._refused:
            self._sender_done = True
            if not self._waiting:
                self.transport.close()
            return
        if self._gone:  # an event stream is the last answer of its connection
            return
        method = self._parser.get_method().decode("latin-1")
        exchange = Exchange(self, method, self._target, self._headers)
        exchange.body = b"".join(self._body)
        self._keep_alive = self._parser.should_keep_alive()
        self._waiting.append(exchange)
        if len(self._waiting) == 1:
            self._handle(exchange)
        else:
            self.transport.pause_reading()

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"expected at most {MAX_HEAD} bytes of headers")

    def _too_large(self) -> None:
        self.refuse(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: found more than {MAX_BODY} bytes; expected at most that"
        )

    # of Exchange

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer what is not even a request, in its turn, and close once its sender has finished."""
        if self._refused or self._closing:
            return
        self._refused, self._refusal = True, (status, text)
        self._sender_done = status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if not self._waiting:
            self._send_refusal(status, text)

    def _send_refusal(self, status: HTTPStatus, text: str) -> None:
        self._send(status, f"content-type: {TEXT}\r\nconnection: close\r\n", text.encode())
        if self._sender_done:
            self.transport.close()

    def answer(self, exchange: Exchange, status: int, head: str, body: bytes) -> None:
        """Write an answer; go on with the next request of the connection."""
        if self._closing or not self._waiting or self._waiting[0] is not exchange:
            return
        self._waiting.pop(0)
        last = not self._keep_alive and not self._waiting
        self._send(status, head + ("connection: close\r\n" if last else ""), body, head_only=exchange.method == "HEAD")
        if last:
            self.transport.close()
        elif self._waiting:  # not at once: each may be answered at once, and they may be thousands
            asyncio.get_running_loop().call_soon(self._handle, self._waiting[0])
        elif self._refusal:
            self._send_refusal(*self._refusal)
        else:
            self.transport.resume_reading()

    def _send(self, status: int, head: str, body: bytes, *, head_only: bool = False) -> None:
        length = "" if status == HTTPStatus.NO_CONTENT else f"content-length: {len(body)}\r\n"
        first = b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status])
        self.transport.write(first + f"{VERSION}{head}{length}\r\n".encode("latin-1") + (b"" if head_only else body))

    def open_stream(self, head: str, gone: Callable[[], None]) -> None:
        """Begin a body of unknown length."""
        self._gone = gone
        self.transport.resume_reading()  # else its end would not be seen
        self.transport.write(
            f"HTTP/1.1 200 OK\r\n{head}connection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n".encode("latin-1")
        )

    def write_chunk(self, data: bytes) -> None:
        """Send a chunk."""
        if not self._closing:
            self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """Send the last chunk and close."""
        if not self._closing:
            self._closing = True
            self.transport.write(b"0\r\n\r\n")
            self.transport.close()
