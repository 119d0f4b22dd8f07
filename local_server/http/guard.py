"""Who may ask: programs, this server's own page, and with credentials those of other machines.

Any page in a browser can make that browser send requests here: by a picture, a frame, a form, a script, a link. It
cannot choose these headers, which tell where a request comes from:

- ``Sec-Fetch-Site``, from every browser of today: ``same-origin`` (our page), ``none`` (the address was typed),
  ``same-site`` or ``cross-site`` (a page of another port, or of another name).
- ``Origin``, with every method but GET and HEAD: the server of the page that asks.
- ``Referer``, mostly: the page that asks.

Programs, such as the SDK and curl, send none of these. A foreign page may lead a person to our page by a link, and that
is all. An address that was typed may read. GET requests that write, or join a group, are for programs only.
"""

import base64
import contextlib
import hmac
from functools import lru_cache
from urllib.parse import urlsplit

from local_server.config import LOOPBACK, Config
from local_server.http.exchange import Exchange, PlainReply

_OF_BROWSERS = ("sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "origin", "referer")


class Guard:
    """Lets through who may ask. Values are pickles: whoever can write a promise can run code in a worker."""

    def __init__(self, config: Config) -> None:
        self._hosts = LOOPBACK | {config.host.lower()}
        self._basic: list[bytes] = []  # as curl encodes them, and as the SDK does
        for codec in ("utf-8", "latin-1") if config.credentials else ():
            with contextlib.suppress(UnicodeEncodeError):
                self._basic.append(base64.b64encode(":".join(config.credentials or ()).encode(codec)))

    def check(self, exchange: Exchange) -> None:
        """Refuse what a foreign page could make a browser send, and what has not the credentials."""
        headers = exchange.headers
        host = headers.get("host")
        if not self._basic and _hostname(host or "") not in self._hosts:  # a foreign name, bound to this address
            raise PlainReply(403, f"Host: found {host or ''!r}; expected localhost or the address of this server")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin.partition("://")[2] != host:
            raise PlainReply(403, f"Origin: found {origin!r}; expected none, or that of this server")
        if site is not None and site != "same-origin" and not (site == "none" and exchange.method in {"GET", "HEAD"}):
            self._check_link(exchange, f"Sec-Fetch-Site: found {site!r}; expected none, or 'same-origin'")
        referer = headers.get("referer")
        if referer is not None and site is None and _server(referer) != host:
            self._check_link(exchange, f"Referer: found {referer!r}; expected none, or this server")
        if self._basic:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            token = given.strip().encode()
            if scheme.lower() != "basic" or not any(hmac.compare_digest(token, one) for one in self._basic):
                raise PlainReply(401, "Unauthorized", {"www-authenticate": 'Basic realm="local-server"'})

    @staticmethod
    def _check_link(exchange: Exchange, otherwise: str) -> None:
        """Let a foreign page lead to our page, in a window of its own."""
        mode, dest = (exchange.headers.get(f"sec-fetch-{name}") for name in ("mode", "dest"))
        page = exchange.method == "GET" and exchange.target.partition(b"?")[0] == b"/"
        if not page or mode not in {None, "navigate"} or dest not in {None, "document"}:
            raise PlainReply(403, otherwise)

    @staticmethod
    def check_program(exchange: Exchange) -> None:
        """Refuse a GET that writes, or joins a group, if a browser sends it, from whatever page."""
        signs = [name for name in _OF_BROWSERS if name in exchange.headers]
        if exchange.headers.get("user-agent", "").startswith("Mozilla/"):
            signs.append("user-agent")  # all there is where the address is not this machine's, and the page hides
        if signs:
            raise PlainReply(403, f"found {', '.join(signs)} of a browser; expected a program, for instance curl")


@lru_cache(64)  # a request asks for it, and they are few
def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _server(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None
