"""A store for the SDK that keeps its connections: the SDK's own opens one for each call, seven for a factorial step.

    from local_server.kept import KeptConnections
    from resonate import Resonate
    from resonate.message_sources import Poller

    resonate = Resonate(group="g", pid="w1", store=KeptConnections(), message_source=Poller(group="g", id="w1"))

It needs the package ``resonate-sdk``, and works with every server of its wire.
"""

import json
import os
from collections import deque
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.utils import get_environ_proxies
from resonate.stores import RemoteStore
from urllib3.util.wait import wait_for_read


class KeptConnections(RemoteStore):
    """The SDK's client of a server, with connections that its threads share; the parameters are ``RemoteStore``'s.

    Whatever goes wrong is left to that: a call that was not answered with success is made again as the SDK makes it, on
    a connection of its own, and retried or refused as ever. So is every call where TLS or a proxy is in between.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        address = urlsplit(self.url)
        self._address = address.hostname or "", address.port
        self._keeps = address.scheme == "http" and not get_environ_proxies(self.url)
        self._patience = max(self._timeout) if isinstance(self._timeout, tuple) else self._timeout
        self._pid = os.getpid()
        self._free: deque[HTTPConnection] = deque()  # used last, taken first

    def call(self, req: PreparedRequest) -> Any:
        """Make a call; return its answer."""
        if self._keeps:
            req.prepare_auth(self._auth)
            connection = self._take()
            try:
                connection.request(req.method or "", req.path_url, req.body, req.headers)
                answer = connection.getresponse()
                body = answer.read()
                self._free.append(connection)
                if answer.status == HTTPStatus.NO_CONTENT:
                    return None
                if answer.status in (HTTPStatus.OK, HTTPStatus.CREATED):
                    return json.loads(body)
            except (OSError, HTTPException):
                connection.close()
            except ValueError:
                pass  # it broke off
        return super().call(req)

    def _take(self) -> HTTPConnection:
        if self._pid != os.getpid():  # a fork: those that are here are its parent's
            self._pid, self._free = os.getpid(), deque()
        while True:
            try:
                connection = self._free.pop()
            except IndexError:
                return HTTPConnection(*self._address, timeout=self._patience)
            if not (connection.sock and wait_for_read(connection.sock, 0)):  # else it has been closed at its other end
                return connection
            connection.close()

    def __del__(self) -> None:
        for connection in self._free:
            connection.close()
