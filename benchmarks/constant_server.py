"""An HTTP server, the standard library's, that answers from a constant: the unit in which factorial.py counts."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b'{"id":"x","state":"PENDING","param":{},"value":{},"timeout":1,"tags":{},"createdOn":1,"pad":"%s"}' % (
    b"." * 300
)


class Constant(BaseHTTPRequestHandler):
    """Reads the request to its end and sends the constant."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Print nothing for a request."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Constant) as server:
        print(f"Constant server on port {server.server_port}", flush=True)
        server.serve_forever()
