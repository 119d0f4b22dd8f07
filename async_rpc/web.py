"""HTTP around the gateway's three routes: every error is JSON, and no request, however sent, stops the others."""

import socket
import threading
import time

import click
import waitress  # type: ignore[import-untyped]
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

RESERVE = 28  # threads beyond those that wait
CONNECTIONS = 512  # each one file descriptor; more wait in the listen queue
MAX_HEADERS = 16 * 1024  # bytes, else 431
MAX_BODY = 64 * 1024  # bytes, else 413; read without a thread and below the size at which waitress opens a file


def create_app(name: str) -> Flask:
    """Return an application without static files and redirects, which answers its errors as ``{"error": text}``."""
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False  # an unknown path is a 404, never a redirect
    app.register_error_handler(HTTPException, as_json)
    return app


def as_json(error: HTTPException) -> Response:
    """Return the response of an error with its own status and headers, and its text as JSON."""
    cause = getattr(error, "original_exception", None)  # of a 500: what was raised; Flask has logged its traceback
    text = f"{type(cause).__name__}: {cause}" if cause else error.description
    response = jsonify(error=f"{request.method} {request.path[:80]}: {text}")
    response.status_code = error.code or 500
    response.headers.extend((name, value) for name, value in error.get_headers() if name != "Content-Type")
    return response


class Server:
    """Waitress, bound to an address; ``url`` says to which."""

    def __init__(self, app: Flask, host: str, port: int, waiting: int) -> None:
        """Bind it; it takes connections from here on and answers after ``start``.

        Args:
            app: what answers.
            host: an IPv4 address or name of this machine.
            port: 0 to 65535; 0 takes any free one.
            waiting: how many requests may hold a thread for long.

        Raises:
            click.ClickException: the address cannot be bound.
        """
        try:
            listener = socket.create_server((host, port))
        except OSError as error:
            reason = str(error.strerror).partition(" (")[0]  # create_server adds the address in brackets
            raise click.ClickException(f"cannot listen on {host}:{port}: {reason}") from None
        self._server = waitress.create_server(
            app,
            sockets=[listener],
            threads=waiting + RESERVE,
            connection_limit=CONNECTIONS,
            max_request_header_size=MAX_HEADERS,
            max_request_body_size=MAX_BODY,
            log_socket_errors=False,  # a client may go away
            asyncore_use_poll=True,
        )
        self.url = f"http://{host}:{listener.getsockname()[1]}"

    def start(self) -> None:
        """Answer, from now to the end of the process."""
        threading.Thread(target=self._server.run, name="http", daemon=True).start()

    def finish(self) -> None:
        """Accept no more connections, and return when every request that has come is answered."""
        self._server.accepting = False
        self._server.pull_trigger()  # its thread sees that now
        channels = self._server.active_channels
        while any(channel.requests or channel.total_outbufs_len for channel in list(channels.values())):
            time.sleep(0.05)
