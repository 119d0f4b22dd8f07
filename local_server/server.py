"""The server's process: start it, say where it listens, serve until a signal."""

import asyncio
import contextlib
import errno
import signal
import socket
import sqlite3
from functools import partial

import click

from local_server.api import removing
from local_server.config import Config
from local_server.engine import Engine
from local_server.http.connection import Connection
from local_server.http.guard import Guard
from local_server.http.limits import Limits, give_large_blocks_back, raise_descriptor_limit
from local_server.listeners import ApiListener, StreamListener
from local_server.presence import Presence
from local_server.store.errors import StoreError, StoreInUseError
from local_server.store.store import Store

BACKLOG = 2048  # the SDK opens a connection per call


def run(config: Config) -> None:
    """Serve until SIGINT or SIGTERM; a port or a database that cannot be had is a ``ClickException``."""
    give_large_blocks_back()
    try:
        asyncio.run(_serve(config), loop_factory=_new_event_loop)
    except StoreInUseError as error:
        raise click.ClickException(f"{error}; stop that one, or give --db another file") from None
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
        raise click.ClickException(
            f"{config.db or 'in memory'}: {error}; expected a database of this server, or a path for a new one"
        ) from None


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(config: Config) -> None:
    with (
        contextlib.closing(_bind(config.host, config.port)) as api,
        contextlib.closing(_bind(config.host, config.poll_port)) as poll,
        contextlib.closing(Store(config.db)) as store,
    ):
        engine = Engine(store)
        limits = Limits(raise_descriptor_limit())
        presence, guard = Presence(engine, limits.for_processes), Guard(config)
        servers: list[asyncio.Server] = []
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        engine.start()
        presence.restore()
        keeping = loop.create_task(removing.keep(engine, config.keep))
        for bound, kind in ((api, ApiListener), (poll, StreamListener)):
            listener = kind(engine, presence, guard, _url(api))
            factory = partial(Connection, listener.handle, limits)
            servers.append(await loop.create_server(factory, sock=bound, backlog=BACKLOG))
        where = f"API {_url(api)}, event stream {_url(poll)}, data {config.db or 'in memory'}"
        click.echo(f"Local server is ready: {where}")
        await stop.wait()
        keeping.cancel()
        for server in servers:
            server.close()  # first: the SDK comes back at once when its stream is ended
        presence.close()
        engine.close()
        limits.close()
        await asyncio.sleep(0)  # lets them write what is buffered


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)  # only this refuses a port that another is about to listen on
    except OSError as error:
        bound.close()
        hint = "; another server may run there already" if error.errno == errno.EADDRINUSE else ""
        raise click.ClickException(f"{host}:{port}: {error.strerror}{hint}") from None
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
