"""Standing by: waiting until this server may serve a database of PostgreSQL.

What it waits for is a lock, which the server that serves holds as long as it is connected. It is asked for again and
again, rather than waited for within PostgreSQL: a statement that waits for days keeps the database from forgetting
rows that were deleted meanwhile.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

import click

from local_server.store.errors import StoreError, StoreLostError

if TYPE_CHECKING:
    from local_server.store.postgres import Postgres

APART = 0.1  # seconds between two looks at the lock
RETRY = 1.0  # seconds until a database is tried again that cannot be reached
AWAY = "nobody: the database is away"


async def stand_by(url: str, name: str, stop: asyncio.Event, *, served: bool) -> "Postgres | None":
    """Return the database as soon as no other server serves it, None if this one is to stop.

    Args:
        url: of the database.
        name: of this server, for people.
        stop: is set when it is to stop.
        served: whether this server has served it before.

    Raises:
        StoreError: it cannot be used; or not be reached, and never was.
    """
    database, reached, told = None, served, ""
    while not stop.is_set():
        try:
            if database is None:
                database = await asyncio.to_thread(_connect, url, name)
                reached = True
            if await asyncio.to_thread(database.lead):
                database.open()
                return database
            who, pause = await asyncio.to_thread(database.leader), APART
            news = who and f"{who} serves {url}; this server stands by"  # it may have gone at this moment
        except StoreLostError as error:
            if not reached:
                raise
            database, who, news, pause = None, AWAY, f"{error}; this server waits for it", RETRY
        if news and who != told:
            told = who
            click.echo(news)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
    if database:
        database.close()
    return None


def _connect(url: str, name: str) -> "Postgres":
    try:
        from local_server.store.postgres import Postgres  # noqa: PLC0415 - an extra of the package
    except ImportError as error:
        raise StoreError(
            f"{url}: found no driver for PostgreSQL ({error}); expected it by the extra local-server[postgres]"
        ) from None
    return Postgres(url, name)
