"""The server's process: start it, say where it listens, serve until a signal.

On SQLite it serves at once. On PostgreSQL it first stands by until no other server serves the same database, with its
ports closed; and when it loses the database, it closes its connections and ports and stands by again.
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any

import click

from local_server.api import removing
from local_server.clock import Clock
from local_server.config import Config
from local_server.engine import Engine
from local_server.http.connection import Connection
from local_server.http.guard import Guard
from local_server.http.limits import Limits, raise_descriptor_limit
from local_server.listeners import ApiListener, StreamListener
from local_server.presence import Presence
from local_server.standby import stand_by
from local_server.store.database import Database
from local_server.store.errors import StoreError, StoreInUseError, StoreLostError
from local_server.store.store import Store

BACKLOG = 2048  # the SDK opens a connection per call
LOOK = 1.0  # seconds between two looks at whether the database is there
PATIENCE = 3.0  # seconds in which the server that served before may give its ports up; PostgreSQL allows 4 s of silence


class PortTakenError(click.ClickException):
    """Another program listens there."""


def run(config: Config) -> None:
    """Serve until SIGINT or SIGTERM; a port or a database that cannot be had is a ``ClickException``."""
    try:
        asyncio.run(_serve(config), loop_factory=new_event_loop)
    except PortTakenError as error:
        raise click.ClickException(f"{error}, or give both --port and --poll-port others") from None
    except StoreInUseError as error:
        raise click.ClickException(f"{error}; stop that one, or give --db another file") from None
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
        raise click.ClickException(
            f"{config.data}: {error}; expected a database of this server, or a path for a new one"
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
    if config.url is None:
        async with serving(config, raise_descriptor_limit()) as (engine, *urls):
            await _until_over(config, urls, stop.wait())
        return
    address = f"{config.host}:{config.port}" if config.port else config.host  # 0: of no use to anybody
    name = f"local-server {address} pid {os.getpid()} on {socket.gethostname()}"
    known = False
    while True:
        database, waited = await stand_by(config.url, name, stop, known=known)
        if database is None:
            return
        known = known or waited
        try:
            async with serving(config, raise_descriptor_limit(), database=database) as (engine, *urls):
                known = True
                await _until_over(config, urls, stop.wait(), engine.lost.wait(), _look(engine))
        except (PortTakenError, StoreLostError) as error:  # by a server that is stopped, perhaps; before it was ready
            database.close()
            if not known and isinstance(error, PortTakenError):
                raise
            click.echo(f"{error}; this server stands by")
            await asyncio.sleep(LOOK)  # in which a third may serve


async def _until_over(config: Config, urls: list[str], *ends: Coroutine[Any, Any, object]) -> None:
    """Say where it serves, and wait for one of these."""
    click.echo(f"Local server is ready: API {urls[0]}, event stream {urls[1]}, data {config.data}")
    tasks = [asyncio.ensure_future(end) for end in ends]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _look(engine: Engine) -> None:
    """Look every second whether the database is still there."""
    while True:
        await asyncio.sleep(LOOK)
        engine.tell(lambda turn: turn.store.earliest())


@contextlib.asynccontextmanager
async def serving(
    config: Config,
    descriptors: int,
    *,
    database: Database | None = None,
    clock: Clock | None = None,
    api_listener: type[ApiListener] = ApiListener,
) -> AsyncIterator[tuple[Engine, str, str]]:
    """Serve in the loop that runs, with at most so many open files; yield the engine and the URLs of both ports.

    Args:
        config: addresses, and the SQLite file.
        descriptors: how many.
        database: instead of that file. The ports may still be those of the server that served it before.
        clock: of the engine.
        api_listener: what answers at the port of the API.
    """
    deadline = asyncio.get_running_loop().time() + (PATIENCE if database else 0.0)
    with (
        contextlib.closing(await _bind(config.host, config.port, deadline)) as api,
        contextlib.closing(await _bind(config.host, config.poll_port, deadline)) as poll,
        contextlib.closing(Store(database or config.db)) as store,
    ):
        engine = Engine(store, clock)
        limits = Limits(descriptors)
        presence, guard = Presence(engine, limits.for_processes, looks=not config.behind_proxy), Guard(config)
        servers: list[asyncio.Server] = []
        engine.start()
        presence.restore()
        keeping = asyncio.get_running_loop().create_task(removing.keep(engine, config.keep))
        for bound, kind in ((api, api_listener), (poll, StreamListener)):
            listener = kind(engine, presence, guard, _url(api), _url(poll))
            factory = partial(Connection, listener.handle, limits)
            servers.append(await asyncio.get_running_loop().create_server(factory, sock=bound, backlog=BACKLOG))
        yield engine, _url(api), _url(poll)
        keeping.cancel()
        for server in servers:
            server.close()  # first: the SDK comes back at once when its stream is ended
        presence.close()
        engine.close()
        limits.close()
        await asyncio.sleep(0)  # lets them write what is buffered


async def _bind(host: str, port: int, deadline: float) -> socket.socket:
    """Bind a socket; wait until a time by the loop's clock for a port that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            bound.listen(BACKLOG)  # only this refuses a port that another is about to listen on
        except OSError as error:
            bound.close()
            taken = error.errno == errno.EADDRINUSE
            if taken and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.05)
                continue
            line = f"{host}:{port}: {error.strerror}"
            if taken:
                raise PortTakenError(f"{line}; another server may run there already") from None
            raise click.ClickException(line) from None
        return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
