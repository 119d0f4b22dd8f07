"""``uv run local-server cancel | delete | prune``: what is given up or removed, said before it is done."""

import re
import sys
import time
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import click

from local_server.terminal import Json, Server, ServerError, server_option
from local_server.tree_lines import STATES, clean

UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # ms
NAMED = 5  # ids in a line


class Age(click.ParamType[int]):
    """A length of time such as 30d, 12h, 90m or 45s, in ms."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        match = re.fullmatch(r"(\d{1,9})([smhd])", str(value), re.ASCII)
        if not match:
            self.fail(f"found {value!r}; expected a number with d, h, m or s, such as 30d", param, ctx)
        return int(match[1]) * UNITS[match[2]]


class UnaskedError(click.ClickException):
    """What has to be asked cannot be; one line, exit status 2."""

    exit_code = 2


AGE = Age()
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command()
@click.argument("promise_id", metavar="ID")
@_yes_option
@server_option
def cancel(promise_id: str, server: str, *, yes: bool) -> None:
    """Cancel the pending promise ID, after a question; whoever waits for it gets an error.

    Its id stays taken: whoever asks for it again gets that error, too, until `local-server delete ID`.
    """
    remote, path = Server(server), f"/promises/{quote(promise_id, safe='')}"
    promise = remote.ask("GET", path)
    if promise["state"] != "PENDING":
        end = STATES[promise["state"]][2]
        found = f"found it completed; it was {end} at {moment(promise['completedOn'])}".replace("was timed", "timed")
        raise ServerError(f"The promise has already been {end}: promise {clean(promise_id)}: {found}")
    for line in _hangs_on(remote, promise_id):
        click.echo(clean(line))
    _ask(f"Cancel {clean(promise_id)}?", yes=yes)
    promise = remote.ask("PATCH", path, {"state": "REJECTED_CANCELED"})
    click.echo(f"{clean(promise['id'])} is {STATES[promise['state']][2]}")


@click.command()
@click.argument("pattern")
@click.option("--pending", is_flag=True, help="Cancel what is pending in these runs, and delete it too.")
@_yes_option
@server_option
def delete(pattern: str, server: str, *, pending: bool, yes: bool) -> None:
    """Delete the runs with a promise whose id fits PATTERN (* stands for any characters), after a question.

    A run is a root and all that was called below it. What other runs use too stays. The ids can be computed anew then.
    """
    remote = Server(server)
    query = urlencode({"id": pattern, **({"pending": "true"} if pending else {})})
    found = _ours(remote, "GET", f"/ui/removable?{query}")
    for line in _would_delete(found, pattern, pending=pending):
        click.echo(clean(line))
    if not found["runs"]:
        sys.exit(1)
    _ask(f"Delete {_count(found['promises'], 'promise')} for ever?", yes=yes)
    done = _ours(remote, "POST", "/ui/remove", {"id": pattern, "pending": pending}, timeout=None)
    click.echo(f"deleted {_count(done['promises'], 'promise')}")
    if done["promises"] < found["promises"]:
        raise ServerError("not all of it: some is in use again, or a worker still runs it; say it again later")


@click.command()
@click.option("--older-than", "age", type=AGE, required=True, help="How long ago they completed, such as 30d or 12h.")
@_yes_option
@server_option
def prune(age: int, server: str, *, yes: bool) -> None:
    """Delete the runs that completed that long ago, all of them and with all below, after a question."""
    remote = Server(server)
    before = moment(time.time_ns() // 1_000_000 - age)
    _ask(f"Delete for ever every run that had completed by {before}?", yes=yes)
    done = _ours(remote, "POST", "/ui/prune", {"olderThan": age}, timeout=None)
    click.echo(f"deleted {_count(done['promises'], 'promise')}")


def _ours(remote: Server, method: str, path: str, body: object = None, timeout: float | None = 60.0) -> Json:
    """Ask for what only this server has."""
    try:
        return remote.ask(method, path, body, timeout)
    except ServerError as error:
        if error.status != 404:  # noqa: PLR2004 - of HTTP
            raise
        raise ServerError("this server cannot delete; the local server of this project can") from None


def _ask(question: str, *, yes: bool) -> None:
    """Go on after a yes; in a pipe, nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UnaskedError("found no terminal on which to ask; expected --yes")
    if not click.confirm(question):
        raise ServerError("nothing was changed")


def _hangs_on(remote: Server, promise_id: str) -> list[str]:
    """Say who waits for a promise, and what is unfinished below it, as far as the server tells."""
    try:
        view = remote.ask("GET", f"/ui/promise/{quote(promise_id, safe='')}")
        below = [node["id"] for node in remote.tree(promise_id)["nodes"][1:] if node["state"] == "PENDING"]
    except ServerError as error:
        if error.status != 404:  # noqa: PLR2004 - of HTTP
            raise
        return []
    waiting = [one["root"] if one["kind"] == "resume" else f"the client {one['recv']}" for one in view["callbacks"]]
    lines = [f"{_names(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for {promise_id}"] if waiting else []
    if below := list(dict.fromkeys(below)):
        lines.append(f"unfinished below it, and left to themselves: {_names(below)}")
    return lines


def _would_delete(found: Json, pattern: str, *, pending: bool) -> list[str]:
    runs, promises = _count(found["runs"], "run"), _count(found["promises"], "promise")
    lines = []
    if found["runs"]:
        lines.append(f"{runs} with {promises}: {_names(found['ids'], found['runs'])}")
    elif not found["staying"]:
        lines.append(f"{pattern}: no promise has such an id")
    if found["pending"]:
        one = found["pending"] == 1
        what = f"{_count(found['pending'], 'promise')} {'is' if one else 'are'} pending"
        stays = "its run stays" if one else "their runs stay"
        lines.append(f"{what}, and will be canceled" if pending else f"{what}: {stays}, unless with --pending")
    if found["staying"]:
        lines.append(f"stays, as it is pending, in use or at work: {_names(found['staying'])}")
    if found["shared"]:
        lines.append(f"what these use of it stays: {_names(found['shared'])}")
    return lines


def _names(ids: list[str], count: int = 0) -> str:
    rest = max(count, len(ids)) - len(ids[:NAMED])
    return ", ".join(ids[:NAMED]) + (f" and {rest:,} more" if rest else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def moment(ms: int) -> str:
    """Return a time as people here write it."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


COMMANDS = (cancel, delete, prune)
