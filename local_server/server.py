"""The server's process: start it, say where it listens, serve until a signal."""

import asyncio
import contextlib
import errno
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from functools import partial

import click

from local_server.clock import Clock
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
        asyncio.run(_serve(config), loop_factory=new_event_loop)
    except StoreInUseError as error:
        raise click.ClickException(f"{error}; stop that one, or give --db another file") from None
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
        raise click.ClickException(
            f"{config.db or 'in memory'}: {error}; expected a database of this server, or a path for a new one"
        ) from None


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop of the kind that the server runs in."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(config: Config) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(config, raise_descriptor_limit()) as (_, api, poll):
        click.echo(f"Local server is ready: API {api}, event stream {poll}, data {config.db or 'in memory'}")
        await stop.wait()


@contextlib.asynccontextmanager
async def serving(
    config: Config, descriptors: int, *, clock: Clock | None = None, api_listener: type[ApiListener] = ApiListener
) -> AsyncIterator[tuple[Engine, str, str]]:
    """Serve in the loop that runs, with at most so many open files; yield the engine and the URLs of both ports."""
    with (
        contextlib.closing(_bind(config.host, config.port)) as api,
        contextlib.closing(_bind(config.host, config.poll_port)) as poll,
        contextlib.closing(Store(config.db)) as store,
    ):
        engine = Engine(store, clock)
        limits = Limits(descriptors)
        presence, guard = Presence(engine, limits.for_processes), Guard(config)
        servers: list[asyncio.Server] = []
        engine.start()
        presence.restore()
        for bound, kind in ((api, api_listener), (poll, StreamListener)):
            listener = kind(engine, presence, guard, _url(api))
            factory = partial(Connection, listener.handle, limits)
            servers.append(await asyncio.get_running_loop().create_server(factory, sock=bound, backlog=BACKLOG))
        yield engine, _url(api), _url(poll)
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
