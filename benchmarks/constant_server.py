"""An HTTP server that answers everything from a constant: what a call costs when the server costs nothing."""

import asyncio

BODY = b'{"id":"x","state":"PENDING","param":{},"value":{},"timeout":1,"tags":{},"createdOn":1,"pad":"%s"}' % (
    b"." * 300
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Constant(asyncio.Protocol):
    """Answers once the body of the one request of its connection is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport, self.seen = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer when as many bytes have come as the head has announced."""
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if end and len(body) >= length:
            self.transport.write(ANSWER)
            self.seen = b""


async def main() -> None:
    """Serve on any free port until killed."""
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", 0, backlog=2048)
    print(f"Constant server on port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
