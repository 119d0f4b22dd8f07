"""A store for the SDK that keeps its connections: the SDK's own opens one for each call, seven for a factorial step.

    from local_server.kept import KeptConnections
    from resonate import Resonate
    from resonate.message_sources import Poller

    resonate = Resonate(group="g", pid="w1", store=KeptConnections(), message_source=Poller(group="g", id="w1"))

It needs the package ``resonate-sdk``, and works with every server of its wire.
"""

import json
import os
import socket
from collections import deque
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser
from requests import PreparedRequest
from requests.utils import get_environ_proxies
from resonate.stores import RemoteStore
from urllib3.util.wait import wait_for_read

READ = 65_536  # bytes at once


class KeptConnections(RemoteStore):
    """The SDK's client of a server, with connections that its threads share; the parameters are ``RemoteStore``'s.

    Whatever goes wrong is left to that: a call that was not answered with success is made again as the SDK makes it, on
    a connection of its own, and retried or refused as ever. So is every call where TLS or a proxy is in between.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        address = urlsplit(self.url)
        self._address = address.hostname or "", address.port or 80
        self._host_header = address.netloc.rpartition("@")[2]  # without credentials
        self._keeps = address.scheme == "http" and not get_environ_proxies(self.url)
        self._patience = max(self._timeout) if isinstance(self._timeout, tuple) else self._timeout
        self._pid = os.getpid()
        self._free: deque[socket.socket] = deque()  # used last, taken first

    def call(self, req: PreparedRequest) -> Any:
        """Make a call; return its answer."""
        if self._keeps:
            if self._auth:  # else it has those of the address, if any
                req.prepare_auth(self._auth)
            try:
                status, body = self._exchange(self._request(req))
                if status == HTTPStatus.NO_CONTENT:
                    return None
                if status in (HTTPStatus.OK, HTTPStatus.CREATED):
                    return json.loads(body)
            except (OSError, HttpParserError, ValueError):
                pass  # it broke off
        return super().call(req)

    def _request(self, req: PreparedRequest) -> bytes:
        body = req.body.encode() if isinstance(req.body, str) else req.body or b""
        headers = "".join(f"{name}: {value}\r\n" for name, value in req.headers.items())
        head = f"{req.method} {req.path_url} HTTP/1.1\r\nHost: {self._host_header}\r\n{headers}\r\n"
        return head.encode("latin-1") + body

    def _exchange(self, request: bytes) -> tuple[int, bytearray]:
        connection, answer = self._take(), _Answer()
        parser = HttpResponseParser(answer)
        try:
            connection.sendall(request)  # at once: a head and its body would wake the server twice
            while (not answer.whole or parser.get_status_code() < HTTPStatus.OK) and (data := connection.recv(READ)):
                parser.feed_data(data)
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)  # if it has ended, that is noticed by who takes it
        return parser.get_status_code() if answer.whole else 0, answer.body

    def _take(self) -> socket.socket:
        if self._pid != os.getpid():  # a fork: those that are here are its parent's
            self._pid, self._free = os.getpid(), deque()
        while True:
            try:
                connection = self._free.pop()
            except IndexError:
                connection = socket.create_connection(self._address, self._patience)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            if not wait_for_read(connection, 0):  # else it has been closed at its other end
                return connection
            connection.close()

    def __del__(self) -> None:
        for connection in self._free:
            connection.close()


class _Answer:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.whole, self.body = False, bytearray()

    def on_message_begin(self) -> None:
        self.whole = False  # what was whole announced this one

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True
