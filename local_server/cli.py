"""``uv run local-server``: its options, and the commands that ask a server which runs already."""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from local_server import WIRE_VERSION, removal_commands, terminal, transfer
from local_server.config import LOOPBACK, Config
from local_server.removal_commands import AGE


class Where(click.ParamType[Path | str]):
    """A database: an SQLite file, or the URL of one of PostgreSQL, without a password."""

    name = "database"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Tell a URL from a file."""
        if not str(value).startswith(("postgresql://", "postgres://")):
            return click.Path(dir_okay=False, path_type=Path).convert(value, param, ctx)
        if re.search("//[^/?]*:[^/?]*@|password=", value):
            self.fail("found a password in the URL, which the list of processes would show; "
                      "expected it in PGPASSWORD, or in the file ~/.pgpass", param, ctx)  # fmt: skip
        return str(value)


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option(
    "--db", type=Where(), default="resonate.db", metavar="FILE|URL", help="Database: a file, or postgresql://..."
)
@click.option("--in-memory", is_flag=True, help="Keep no file; all is gone when the server stops.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; any but this machine's own needs credentials.")
@click.option("--port", type=click.IntRange(0, 65535), default=8001, help="Port of the API; 0: any free one.")
@click.option(
    "--poll-port", type=click.IntRange(0, 65535), default=8002, help="Port of the event streams; 0: likewise."
)
@click.option("--keep", type=AGE, help="Remove runs that completed that long ago, such as 30d or 12h; default: never.")
@click.option("--behind-proxy", is_flag=True, help="Workers come through a proxy, whose process is not theirs.")
@click.version_option(package_name="local-server", message=f"local-server %(version)s, wire of Resonate {WIRE_VERSION}")
@click.pass_context
def main(
    context: click.Context, *, db: Path | str, in_memory: bool, host: str, port: int, poll_port: int, keep: int | None,
    behind_proxy: bool,
) -> None:  # fmt: skip
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
    file = None if in_memory or isinstance(db, str) else db
    url = db if isinstance(db, str) and not in_memory else None
    config = Config(host, port, poll_port, file, credentials, url, keep, behind_proxy)
    from local_server.server import run  # noqa: PLC0415 - the commands start in 0.19 s without it, in 0.32 s with it

    run(config)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Look for damage in the database FILE of a stopped server.

    Nothing in it is changed.
    """
    from local_server.store.errors import StoreInUseError  # noqa: PLC0415 - the other commands need no SQLite
    from local_server.store.inspection import problems  # noqa: PLC0415 - likewise

    try:
        found = problems(file)
    except StoreInUseError as error:
        raise click.ClickException(f"{error}; stop that one first") from None
    click.echo("\n".join(found) or "ok")
    sys.exit(bool(found))


for command in (*terminal.COMMANDS, *removal_commands.COMMANDS, *transfer.COMMANDS):
    main.add_command(command)
