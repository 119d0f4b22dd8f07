"""HTTP around the gateway's three routes: every error is JSON, and no request, however sent, stops the others."""

import errno
import json
import logging
import resource
import socket
import threading
import time
from urllib.parse import quote

import click
import waitress  # type: ignore[import-untyped]
from flask import Flask, Response, current_app, g, jsonify, request
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.parser import HTTPRequestParser, ParsingError  # type: ignore[import-untyped]
from waitress.task import ErrorTask  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException

RESERVE = 28  # threads beyond those that wait
DESCRIPTORS = 4096  # open files, if the process may have so many
OTHER = 256  # of these for all else than connections; more connections wait in the listen queue
IDLE = 10  # seconds that a connection may take to send a request
MAX_HEADERS = 16 * 1024  # bytes, else 431
MAX_BODY = 64 * 1024  # bytes, else 413; read without a thread and below the size at which waitress opens a file


def create_app(name: str) -> Flask:
    """Return an application without static files and redirects; it logs requests, and answers errors as JSON."""
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False  # an unknown path is a 404, never a redirect
    app.logger.setLevel(logging.INFO)
    app.before_request(lambda: setattr(g, "came", time.monotonic()))
    app.after_request(log)
    app.register_error_handler(HTTPException, as_json)
    return app


def log(response: Response) -> Response:
    """Log a line: the request, the promise that it is about, the status, and how long it took."""
    promise, seconds = response.headers.get("Promise-Id", "no promise"), time.monotonic() - g.came
    line = "%s %s, %s: %d after %.2f s"
    current_app.logger.info(line, request.method, quote(request.path[:80]), promise, response.status_code, seconds)
    return response


def as_json(error: HTTPException) -> Response:
    """Return the response of an error with its own status and headers, and its text as JSON."""
    cause = getattr(error, "original_exception", None)  # of a 500: what was raised; Flask has logged its traceback
    text = f"{type(cause).__name__}: {cause}" if cause else error.description
    response = jsonify(error=f"{request.method} {request.path[:80]}: {text}")
    response.status_code = error.code or 500
    response.headers.extend((name, value) for name, value in error.get_headers() if name != "Content-Type")
    return response


class JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what waitress itself refuses, before Flask sees it, like all other errors."""

    def execute(self) -> None:
        """Write the answer."""
        error = self.request.error
        body = json.dumps({"error": f"{error.reason}: {error.body}"}).encode() + b"\n"
        self.status, self.content_length = f"{error.code} {error.reason}", len(body)
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.write(body)
        self.channel.server.app_logger.info("no request: %s", self.status)


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what is no URL for Python, such as http://[::1, like all else that is no request."""

    def parse_header(self, header_plus: bytes) -> None:
        """Parse a head."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError(str(error)) from None


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    parser_class, error_task_class = Parser, JsonErrorTask


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        click.ClickException: it cannot be bound.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # create_server adds the address in brackets
        way_out = f"; another port: --port {port + 1}" if error.errno == errno.EADDRINUSE else ""
        raise click.ClickException(f"cannot listen on {host}:{port}: {reason}{way_out}") from None


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
        listener = listen(host, port)
        self._server = waitress.create_server(
            app,
            sockets=[listener],
            threads=waiting + RESERVE,
            connection_limit=_raise_descriptor_limit() - OTHER,
            channel_timeout=IDLE,  # of those that wait for no answer
            cleanup_interval=1,
            max_request_header_size=MAX_HEADERS,
            max_request_body_size=MAX_BODY,
            log_socket_errors=False,  # a client may go away
            asyncore_use_poll=True,
        )
        self._server.channel_class, self._server.app_logger = Channel, app.logger
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


def _raise_descriptor_limit() -> int:
    """Let this process have more open files than the usual 1024; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
