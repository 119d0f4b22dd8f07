"""One request and the way to answer it, as those see it who know nothing of connections."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from local_server.http import limits

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
EndPoint = tuple[str, int]


class PlainReply(Exception):  # noqa: N818 - an answer, not a fault
    """The request is answered in plain text: status, text, further headers."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class LargeHead(PlainReply):
    """The headers are too large."""

    def __init__(self) -> None:
        super().__init__(431, f"expected at most {limits.MAX_HEAD} bytes of headers")


class LargeBody(PlainReply):
    """The body is too large."""

    def __init__(self) -> None:
        super().__init__(413, f"body: found more than {limits.MAX_BODY} bytes; expected at most that")


class Line(Protocol):
    """The connection of a request, as far as an answer needs it."""

    transport: asyncio.Transport
    held: int  # bytes that wait until the client has taken others

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""

    def answer(self, exchange: "Exchange", status: int, head: str, body: bytes, *, more: int = 0) -> None:
        """Write an answer, or the beginning of one with so many bytes more."""

    def end_answer(self, exchange: "Exchange") -> None:
        """End an answer of which more was written."""

    async def room(self) -> None:
        """Wait until the client has taken most of what it was sent."""

    def run(self, answering: Coroutine[Any, Any, None], *, to_the_end: bool = False) -> None:
        """Let a coroutine answer."""

    def open_stream(self, head: str, gone: Callable[[], None]) -> bool:
        """Begin a body of unknown length."""

    def write(self, data: bytes) -> None:
        """Send a piece of it, or of an answer that has begun."""

    def end_stream(self) -> None:
        """Send its end."""

    def cut(self) -> None:
        """Close at once."""


class Exchange:
    """One request, and the way to answer it.

    Attributes:
        method: in upper case.
        target: path and query as they came.
        headers: names in lower case; of repeated ones the first.
        body: whole, or the beginning of one that is too large.
        too_large: the body had more than ``MAX_BODY`` bytes.
    """

    def __init__(
        self,
        connection: Line,
        method: str,
        target: bytes,
        headers: dict[str, str],
        body: bytes | bytearray,
        *,
        too_large: bool,
    ) -> None:
        self._connection = connection
        self.method, self.target, self.headers, self.body, self.too_large = method, target, headers, body, too_large

    @property
    def ends(self) -> tuple[EndPoint, EndPoint] | None:
        """Address and port of the client, and of the server that it has connected to; None: it has gone already."""
        peer, here = (self._connection.transport.get_extra_info(name) for name in ("peername", "sockname"))
        return (peer[:2], here[:2]) if peer and here else None

    def reply(self, status: int, content_type: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer, once; a client that has gone is no fault."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._connection.answer(self, status, f"content-type: {content_type}\r\n{extra}", body)

    def run(self, answering: Coroutine[Any, Any, None], *, to_the_end: bool = False) -> None:
        """Let a coroutine answer; it is cancelled when the client leaves.

        A client that has only finished sending is taken for gone, unless the coroutine is to be run ``to_the_end``.
        """
        self._connection.run(answering, to_the_end=to_the_end)

    async def reply_in_parts(self, status: int, content_type: str, size: int, parts: AsyncIterator[bytes]) -> None:
        """Answer, once, with so many bytes, of which no more are made than the client takes."""
        self._connection.answer(self, status, f"content-type: {content_type}\r\n", b"", more=size)
        await self._write_parts(parts)
        self._connection.end_answer(self)

    def open_stream(self, content_type: str, gone: Callable[[], None]) -> bool:
        """Answer 200 with a body that is sent bit by bit, in chunks; ``gone`` is called when the connection closes.

        Where that would be one stream too many the connection is closed, and the answer is False.
        """
        return self._connection.open_stream(f"content-type: {content_type}\r\ncache-control: no-cache\r\n", gone)

    def write(self, data: bytes) -> None:
        """Send a piece of the stream as a chunk; a client that leaves too much of it is cut off."""
        self._connection.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def write_in_parts(self, size: int, parts: AsyncIterator[bytes]) -> None:
        """Send a piece of so many bytes, also as one chunk: the SDK copies all chunks of a line with each new one."""
        self._connection.write(b"%x\r\n" % size)
        await self._write_parts(parts)
        self._connection.write(b"\r\n")

    async def _write_parts(self, parts: AsyncIterator[bytes]) -> None:
        async for part in parts:
            self._connection.write(part)
            await self._connection.room()

    def hold(self, size: int) -> None:
        """Note that so many bytes more wait until the client has taken others, or fewer."""
        self._connection.held += size

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._connection.unsent

    def end_stream(self) -> None:
        """End the stream, and the connection."""
        self._connection.end_stream()

    def cut(self) -> None:
        """Close the connection without an answer, or without an end of the stream."""
        self._connection.cut()
