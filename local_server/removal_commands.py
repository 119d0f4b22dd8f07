"""``uv run local-server cancel | delete | prune | unschedule``: what is given up or removed, said before it is done."""

import re
import sys
import time
from typing import Any
from urllib.parse import quote, urlencode

import click

from local_server.terminal import (
    TEXT,
    Server,
    ServerError,
    path_of,
    refuse_completed,
    schedule_line,
    server_option,
)
from local_server.tree_lines import STATES, Json, clean, counted, moment

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
@click.argument("promise_id", metavar="ID", type=TEXT)
@_yes_option
@server_option
def cancel(promise_id: str, server: str, *, yes: bool) -> None:
    """Cancel the pending promise ID, after a question.

    Whoever waits for it gets an error. Its id stays taken: whoever asks for it again gets that error, too, until
    `local-server delete ID`.
    """
    remote, path = Server(server), path_of(promise_id)
    refuse_completed(remote.ask("GET", path))
    for line in _hangs_on(remote, promise_id):
        click.echo(clean(line))
    _ask(f"Cancel {clean(promise_id)}?", yes=yes)
    promise = remote.ask("PATCH", path, {"state": "REJECTED_CANCELED"})
    click.echo(f"{clean(promise['id'])} is {STATES[promise['state']][2]}")


@click.command()
@click.argument("pattern", type=TEXT)
@click.option("--pending", is_flag=True, help="Cancel what is pending in these runs, and delete it too.")
@_yes_option
@server_option
def delete(pattern: str, server: str, *, pending: bool, yes: bool) -> None:
    """Delete the runs in which an id fits PATTERN, after a question.

    In PATTERN, * stands for any characters. A run is a root and all that was called below it. What other runs use too
    stays. The ids can be computed anew then.
    """
    remote = Server(server)
    query = urlencode({"id": pattern, **({"pending": "true"} if pending else {})})
    found = _ours(remote, "GET", f"/ui/removable?{query}")
    for line in _would_delete(found, pattern, pending=pending):
        click.echo(clean(line))
    if not found["runs"]:
        sys.exit(1)
    _ask(f"Delete {counted(found['promises'], 'promise')} for ever?", yes=yes)
    done = _ours(remote, "POST", "/ui/remove", {"id": pattern, "pending": pending}, timeout=None)
    click.echo(f"deleted {counted(done['promises'], 'promise')}")
    if done["promises"] < found["promises"]:
        raise ServerError("not all of it: some is in use again, or a worker still runs it; say it again later")


@click.command()
@click.option("--older-than", "age", type=AGE, required=True, help="How long ago they completed, such as 30d or 12h.")
@_yes_option
@server_option
def prune(age: int, server: str, *, yes: bool) -> None:
    """Delete the runs that completed long ago, after a question.

    Each goes with all that was called below it, if all of that had completed by then.
    """
    remote = Server(server)
    before = moment(time.time_ns() // 1_000_000 - age)
    _ask(f"Delete for ever every run that had completed by {before}?", yes=yes)
    done = _ours(remote, "POST", "/ui/prune", {"olderThan": age}, timeout=None)
    click.echo(f"deleted {counted(done['promises'], 'promise')}")


@click.command()
@click.argument("schedule_id", metavar="ID", type=TEXT)
@_yes_option
@server_option
def unschedule(schedule_id: str, server: str, *, yes: bool) -> None:
    """Delete the schedule ID, after a question.

    What it has started by now stays.
    """
    remote, path = Server(server), path_of(schedule_id, "schedules")
    click.echo(schedule_line(remote.ask("GET", path)))
    _ask(f"Delete the schedule {clean(schedule_id)}?", yes=yes)
    remote.ask("DELETE", path)
    click.echo(f"deleted the schedule {clean(schedule_id)}")


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
        raise UnaskedError("no terminal to ask on: add --yes to go on without a question")
    if not click.confirm(question):
        raise ServerError("nothing was changed")


def _hangs_on(remote: Server, promise_id: str) -> list[str]:
    """Say who waits for a promise, who runs it, and what is unfinished below it, as far as the server tells."""
    try:
        view = remote.ask("GET", f"/ui/promise/{quote(promise_id, safe='')}")
        below = [node["id"] for node in remote.tree(promise_id)["nodes"][1:] if node["state"] == "PENDING"]
    except ServerError as error:
        if error.status != 404:  # noqa: PLR2004 - of HTTP
            raise
        return []
    waiting = [one["root"] if one["kind"] == "resume" else f"the client {one['recv']}" for one in view["callbacks"]]
    lines = [f"{_names(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for {promise_id}"] if waiting else []
    lines += [
        f"{run['worker']} runs it, and is not stopped: it goes on until the function ends or has to wait"
        for run in view["node"].get("runs", []) if "end" not in run
    ]  # fmt: skip
    if below := list(dict.fromkeys(below)):
        lines.append(f"unfinished below it, and left to themselves: {_names(below)}")
    return lines


def _would_delete(found: Json, pattern: str, *, pending: bool) -> list[str]:
    runs, promises = counted(found["runs"], "run"), counted(found["promises"], "promise")
    lines = []
    if found["runs"]:
        lines.append(f"{runs} with {promises}: {_names(found['ids'], found['runs'])}")
    elif not found["staying"]:
        lines.append(f"{pattern}: no promise has such an id")
    if found["pending"]:
        one = found["pending"] == 1
        what = f"{counted(found['pending'], 'promise')} {'is' if one else 'are'} pending"
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


COMMANDS = (cancel, delete, prune, unschedule)
