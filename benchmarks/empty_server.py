"""The parts that the local server is made of, uvloop and httptools, and nothing else: it answers from a constant.

So what it takes for a request on a connection of its own is the least that a server in Python can take.
"""

import asyncio
import socket

import httptools
import uvloop

BODY = b'{"id":"x"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Empty(asyncio.Protocol):
    """A connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take it."""
        self._transport, self._parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(ANSWER)


async def serve() -> None:
    """Serve on a free port, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = await asyncio.get_running_loop().create_server(Empty, sock=bound)
        print(f"Empty server on port {bound.getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
