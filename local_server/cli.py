"""``uv run local-server``: start the server, and say where it listens."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sqlite3
import sys
from functools import partial
from pathlib import Path

import click

from local_server import WIRE_VERSION
from local_server.config import LOOPBACK, Config
from local_server.database import StoreInUseError
from local_server.engine import Engine
from local_server.http import Api, Guard, Poll
from local_server.presence import Presence
from local_server.protocol import Connection
from local_server.store import Store
from local_server.terminal import COMMANDS

BACKLOG = 2048  # the SDK opens a connection per call


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option("--db", type=click.Path(dir_okay=False, path_type=Path), default="resonate.db", help="Database file.")
@click.option("--in-memory", is_flag=True, help="Keep no file; all is gone when the server stops.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; any but this machine's own needs credentials.")
@click.option("--port", type=click.IntRange(0, 65535), default=8001, help="Port of the API; 0: any free one.")
@click.option(
    "--poll-port", type=click.IntRange(0, 65535), default=8002, help="Port of the event streams; 0: likewise."
)
@click.version_option(
    package_name="durable-examples", message=f"local-server %(version)s, wire of Resonate {WIRE_VERSION}"
)
@click.pass_context
def main(context: click.Context, *, db: Path, in_memory: bool, host: str, port: int, poll_port: int) -> None:
    """Serve durable promises and tasks to workers of the Resonate SDK, and a page to watch them at the API's address.

    RESONATE_USERNAME and RESONATE_PASSWORD, when set, are asked of every client; the SDK reads the same variables.
    The commands ask a server that runs already.
    """
    if context.invoked_subcommand:
        return
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    user, password = os.getenv("RESONATE_USERNAME"), os.getenv("RESONATE_PASSWORD")
    credentials = (user, password or "") if user else None
    if password and not user:
        raise click.UsageError("RESONATE_PASSWORD: found it without RESONATE_USERNAME; expected both, or neither")
    if host not in LOOPBACK and not (user and password):
        raise click.UsageError(
            f"--host: found {host!r}, which others can reach; set RESONATE_USERNAME and RESONATE_PASSWORD, "
            "since whoever can write a promise can run code in a worker"
        )
    config = Config(host, port, poll_port, None if in_memory else db, credentials)
    try:
        asyncio.run(serve(config), loop_factory=_new_event_loop)
    except StoreInUseError as error:
        raise click.ClickException(f"{error}; stop that one, or give --db another file") from None
    except (sqlite3.DatabaseError, OSError) as error:
        raise click.ClickException(
            f"{db}: {error}; expected a database of this server, or a path for a new one"
        ) from None


async def serve(config: Config) -> None:
    """Serve until SIGINT or SIGTERM."""
    with (
        contextlib.closing(_bind(config.host, config.port)) as api,
        contextlib.closing(_bind(config.host, config.poll_port)) as poll,
    ):
        engine = Engine(Store(config.db), _url(api))
        presence, guard = Presence(engine), Guard(config)
        connections: set[Connection] = set()
        servers: list[asyncio.Server] = []
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        engine.start()
        presence.restore()
        for bound, listener in ((api, Api(engine, presence, guard)), (poll, Poll(engine, presence, guard))):
            factory = partial(Connection, listener.handle, connections)
            servers.append(await loop.create_server(factory, sock=bound, backlog=BACKLOG))
        where = "in memory" if config.db is None else config.db
        click.echo(f"Local server is ready: API {_url(api)}, event stream {_url(poll)}, data {where}")
        await stop.wait()
        for server in servers:
            server.close()  # first: the SDK comes back at once when its stream is ended
        presence.close()
        engine.close()
        for connection in list(connections):
            connection.transport.close()
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


for command in COMMANDS:
    main.add_command(command)
