"""Who may ask: requests of this machine's own programs, and with credentials those of others."""

import base64
import contextlib
import hmac
from urllib.parse import urlsplit

from local_server.config import LOOPBACK, Config
from local_server.http.connection import PlainReply


class Guard:
    """Lets through who may ask. Values are pickles: whoever can write a promise can run code in a worker."""

    def __init__(self, config: Config) -> None:
        self._hosts = LOOPBACK | {config.host.lower()}
        self._basic: list[bytes] = []  # as curl encodes them, and as the SDK does
        for codec in ("utf-8", "latin-1") if config.credentials else ():
            with contextlib.suppress(UnicodeEncodeError):
                self._basic.append(base64.b64encode(":".join(config.credentials or ()).encode(codec)))

    def check(self, headers: dict[str, str]) -> None:
        """Refuse what a foreign page could make a browser send, and what has not the credentials."""
        host = headers.get("host", "")
        if not self._basic and _hostname(host) not in self._hosts:  # a foreign name that was bound to this address
            raise PlainReply(403, f"Host: found {host!r}; expected localhost or the address of this server")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise PlainReply(403, f"Origin: found {origin!r}; expected none, or that of this server")
        if self._basic:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            token = given.strip().encode()
            if scheme.lower() != "basic" or not any(hmac.compare_digest(token, one) for one in self._basic):
                raise PlainReply(401, "Unauthorized", {"www-authenticate": 'Basic realm="local-server"'})


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
