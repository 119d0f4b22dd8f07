"""``uv run local-server tree | promises | workers | schedules | resolve``: what the page shows, for a terminal.

They talk to a running server by its HTTP API. What the official server does not tell is asked for by its own wire:
there a tree has states and times, but not who ran what; its workers cannot be listed.
"""

import base64
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
import msgspec

from local_server.page import readable
from local_server.tree_lines import LATEST, STATES, Json, Row, clean, duration, moment, promise_line, rows
from local_server.watch import follow

TIMEOUT = 10.0  # seconds for an answer
OWNED = {"resonate:invoke", "resonate:parent", "resonate:timeout"}  # tags of what the SDK or the clock completes


class ServerError(click.ClickException):
    """The server cannot be reached, or refuses; one line, exit status 1."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """A running server, ours or the official one."""

    def __init__(self, url: str) -> None:
        """Take its address, such as ``http://localhost:8001``; credentials come from the SDK's variables."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:  # no address, or no port
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise click.UsageError(f"--server: found {url!r}; expected an address such as http://localhost:8001")
        self._url, self._address = url, (host, port)
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {"accept": "application/json"}
        if user := os.getenv("RESONATE_USERNAME"):
            basic = f"{user}:{os.getenv('RESONATE_PASSWORD', '')}"
            self._headers["authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"

    def ask(
        self, method: str, path: str, body: object = None, timeout: float | None = TIMEOUT,
        headers: Mapping[str, str | None] | None = None,
    ) -> Json:  # fmt: skip
        """Return the answer to a request, which may take that many seconds; None: as long as it takes.

        A header that is None is not sent.

        Raises:
            ServerError: it is not there, or answers with an error, whose status it carries.
        """
        more = {name: value.encode() for name, value in (headers or {}).items() if value is not None}
        try:
            with closing(self._kind(*self._address, timeout=timeout)) as connection:
                connection.request(method, path, None if body is None else json.dumps(body), {**self._headers, **more})
                answer = connection.getresponse()
                text = answer.read()
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: of a name that is none
            raise ServerError(f"no server at {self._url} ({error}); start one with: uv run local-server") from None
        try:
            content = json.loads(text)
        except ValueError:
            content = {}
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ServerError(_told(content) or f"{self._url}{path}: {answer.status} {answer.reason}", answer.status)
        if not isinstance(content, dict):
            raise ServerError(f"{self._url}{path}: found {type(content).__name__}; expected a JSON object")
        return content

    def resolve(self, promise_id: str, value: object) -> Json:
        """Resolve a pending promise with a JSON value; return it."""
        data = base64.b64encode(json.dumps(value).encode()).decode()
        return self.ask("PATCH", path_of(promise_id), {"state": "RESOLVED", "value": {"data": data}})

    def tree(self, promise_id: str) -> Json:
        """Return ``{"now", "more", "nodes"}`` as the page gets it, made of searches where there is no page."""
        try:
            return self.ask("GET", f"/ui/tree/{quote(promise_id, safe='')}")
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        root = self.ask("GET", path_of(promise_id))  # tells it if there is no such promise
        nodes: list[Json] = []
        stack, seen = [(0, root)], set()
        while stack:
            level, promise = stack.pop()
            again = promise["id"] in seen
            seen.add(promise["id"])
            nodes.append({**_node(promise), "level": level, "again": again})
            if not again:
                children = self.search("promises", "*", **{"tags[resonate:parent]": promise["id"]})
                stack.extend((level + 1, child) for child in children if child["id"] != promise["id"])
        return {"now": time.time_ns() // 1_000_000, "more": False, "nodes": nodes}

    def search(self, kind: str, pattern: str, **fields: str) -> Iterator[Json]:
        """Return the promises, or the schedules, that match, the newest first."""
        query = {"id": pattern, **fields}
        while True:
            page = self.ask("GET", f"/{kind}?{urlencode(query)}")
            yield from page[kind]
            if not page["cursor"]:
                return
            query["cursor"] = page["cursor"]


def path_of(one: str, of: str = "promises") -> str:
    """Return the path of a promise, or of a schedule (``of="schedules"``), in the API."""
    return f"/{of}/{quote(one, safe='')}"


def refuse_completed(promise: Json) -> None:
    """Raise a ``ServerError`` that says how a promise ended, and when, if it has."""
    if promise["state"] != "PENDING":
        end, at = STATES[promise["state"]][2], moment(promise["completedOn"])
        raise ServerError(f"{clean(promise['id'])} is {end} already, since {at}, and stays so")


def schedule_line(schedule: Json) -> str:
    """Tell of a schedule its times, the next one, and the id of its promises, which the official server keeps back."""
    due = schedule["nextRunTime"]
    notes = schedule["cron"], f"next {moment(due)}" if due < LATEST else "never again", schedule["promiseId"]
    return f"{clean(schedule['id'])}  " + click.style("  ".join(clean(note) for note in notes if note), dim=True)


def _told(content: Any) -> str:
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return ""
    return ": ".join([error.get("message", ""), *(one.get("message", "") for one in error.get("details") or [])])


def _node(promise: Json) -> Json:
    """Shape a promise of the wire as a node of a tree."""
    func, args = readable.call(json.dumps(promise["param"]))
    result, error = readable.outcome(promise["state"], json.dumps(promise["value"]))
    return {
        "func": func, "args": args, "result": result, "error": error,
        "id": promise["id"], "state": promise["state"], "created": promise["createdOn"],
        "kind": readable.kind(json.dumps(promise.get("tags", {}))), "timeout": promise["timeout"],
        "completed": promise.get("completedOn"), "where": promise.get("tags", {}).get("resonate:invoke", ""),
    }  # fmt: skip


def _default_server() -> str:
    host = os.getenv("RESONATE_HOST_STORE") or os.getenv("RESONATE_HOST") or "http://localhost"
    return f"{host}:{os.getenv('RESONATE_PORT_STORE') or '8001'}"


class Text(click.ParamType[str]):
    """Text that can be sent: no half of a character, as which Python reads a byte that is no UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail(f"found {value!r}; expected UTF-8", param, ctx)
        return str(value)


TEXT = Text()
server_option = click.option(
    "--server", default=_default_server, metavar="URL", show_default="the SDK's variables, else http://localhost:8001",
    help="The server to ask.",
)  # fmt: skip
_limit_option = click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.command()
@click.argument("promise_id", metavar="ID", type=TEXT)
@click.option("--watch", is_flag=True, help="Follow it until it is completed.")
@_json_option
@server_option
def tree(promise_id: str, server: str, *, watch: bool, as_json: bool) -> None:
    """Show the calls below the promise ID, and who ran them.

    Also how long each took.
    """
    remote, seen = Server(server), False

    def look() -> list[Row] | None:
        nonlocal seen
        try:
            view = remote.tree(promise_id)
        except ServerError as error:
            if error.status or not seen:
                raise
            return None  # it was there before: it may come back
        seen = True
        if not as_json:
            return list(rows(view))
        pending = any(node.get("completed") is None for node in view["nodes"])
        return [Row(json.dumps(view), 0, pending, (promise_id, view["nodes"]), json.dumps(view))]

    if not watch:
        click.echo("\n".join(row.text for row in look() or ()))
        return
    try:
        follow(look, screen=sys.stdout.isatty() and not as_json)
    except KeyboardInterrupt:
        sys.exit(130)


@click.command()
@click.argument("pattern", default="*", type=TEXT)
@click.option("--state", type=click.Choice(["pending", "resolved", "rejected"]), help="Only those in this state.")
@_limit_option
@_json_option
@server_option
def promises(pattern: str, state: str | None, limit: int, server: str, *, as_json: bool) -> None:
    """List the promises whose id fits PATTERN, the newest first.

    In PATTERN, * stands for any characters.
    """
    fields = {"state": state} if state else {}
    found = _first(limit, server, "promises", pattern, **fields)
    if as_json:
        click.echo(json.dumps(found))
        return
    now = time.time_ns() // 1_000_000
    for promise in found:
        click.echo(promise_line(_node(promise), now))


def _first(limit: int, server: str, kind: str, pattern: str, **fields: str) -> list[Json]:
    found = list(islice(Server(server).search(kind, pattern, limit=str(min(limit, 100)), **fields), limit))
    if not found and "*" not in pattern:
        click.echo(f"no {kind} of the id {pattern!r}; for a part of an id, give '*{pattern}*'", err=True)
    return found


@click.command()
@click.argument("pattern", default="*", type=TEXT)
@_limit_option
@_json_option
@server_option
def schedules(pattern: str, limit: int, server: str, *, as_json: bool) -> None:
    """List the schedules whose id fits PATTERN, the newest first.

    In PATTERN, * stands for any characters. `local-server unschedule ID` deletes one.
    """
    found = _first(limit, server, "schedules", pattern)
    click.echo(json.dumps(found) if as_json else "\n".join(map(schedule_line, found)), nl=as_json or bool(found))


@click.command()
@_json_option
@server_option
def workers(server: str, *, as_json: bool) -> None:
    """List groups, workers, and the work that waits for one.

    Also what each worker holds, and who has gone in the last minute.
    """
    try:
        view = Server(server).ask("GET", "/ui/workers")
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise ServerError(f"{server} does not tell who works for it; the local server of this project does") from None
    if as_json:
        click.echo(json.dumps(view))
        return
    for one in view.get("servers", []):
        click.secho(clean(f"{one['name']} {'serves' if one['serves'] else 'stands by'}"), dim=not one["serves"])
    for line in view["waiting"]:
        click.secho(clean(line["text"]), fg="yellow")
    for group in view["groups"]:
        click.secho(clean(group["name"]), bold=True)
        for worker in group["workers"]:
            held = ", ".join(task["promise"] for task in worker["tasks"])
            rest = worker["holds"] - len(worker["tasks"])
            holds = f"holds {held}{f' and {rest} more' if rest else ''}" if held else "idle"
            pid = f" (pid {worker['pid']})" if worker["pid"] else ""
            click.echo(f"  {clean(worker['name'])}{pid}: {'' if worker['connected'] else 'away, '}{clean(holds)}")
    for one in view["gone"]:
        held = f", lost while it held {', '.join(one['promises'])}" if one["promises"] else ""
        click.secho(clean(f"{one['name']}: gone {duration(view['now'] - one['at'])} ago{held}"), dim=True)


@click.command()
@click.argument("promise_id", metavar="ID", type=TEXT)
@click.argument("value")
@server_option
def resolve(promise_id: str, value: str, server: str) -> None:
    """Resolve the pending promise ID with VALUE, which is JSON.

    What it waits for has come from outside.
    """
    try:
        content = msgspec.json.decode(value)  # json would take NaN for JSON
    except (ValueError, RecursionError):
        raise click.UsageError(f"VALUE: found {value!r}; expected JSON, such as true, 7 or '\"text\"'") from None
    remote = Server(server)
    promise = remote.ask("GET", path_of(promise_id))
    refuse_completed(promise)
    if OWNED & promise.get("tags", {}).keys():
        raise ServerError(f"promise {promise_id}: found a call or a sleep, which ends by itself; "
                          "expected one that waits for somebody")  # fmt: skip
    promise = remote.resolve(promise_id, content)
    click.echo(f"{clean(promise['id'])} is {STATES[promise['state']][2]}")


COMMANDS = (tree, promises, schedules, workers, resolve)
