"""``uv run local-server tree | promises | workers | cancel``: what the page shows, for people in a terminal.

They talk to a running server by its HTTP API. What the official server does not tell is asked for by its own wire:
there a tree has states and times, but not who ran what; its workers cannot be listed.
"""

import base64
import http.client
import json
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click

from local_server.page import readable

TIMEOUT = 10.0  # seconds for an answer
EVERY = 0.5  # seconds between two looks with --watch
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000  # ms
DEEPEST = 24  # levels that are indented; deeper ones tell their level instead
STATES = {  # of a promise: sign, colour, word
    "PENDING": ("◌", "blue", "pending"),
    "RESOLVED": ("✔", "green", "resolved"),
    "REJECTED": ("✘", "red", "rejected"),
    "REJECTED_CANCELED": ("⊘", "magenta", "canceled"),
    "REJECTED_TIMEDOUT": ("⧖", "yellow", "timed out"),
}

Json = dict[str, Any]


class ServerError(click.ClickException):
    """The server cannot be reached, or refuses; one line, exit status 1."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """A running server, ours or the official one."""

    def __init__(self, url: str) -> None:
        """Take its address, such as ``http://localhost:8001``; credentials come from the SDK's variables."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"--server: found {url!r}; expected an address such as http://localhost:8001")
        self._url, self._parts = url, parts
        self._headers = {"accept": "application/json"}
        if user := os.getenv("RESONATE_USERNAME"):
            basic = f"{user}:{os.getenv('RESONATE_PASSWORD', '')}"
            self._headers["authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"

    def ask(self, method: str, path: str, body: object = None) -> Json:
        """Return the answer to a request.

        Raises:
            ServerError: it is not there, or answers with an error, whose status it carries.
        """
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"no server at {self._url} ({error}); start one with: uv run local-server") from None
        finally:
            connection.close()
        try:
            content = json.loads(text)
        except ValueError:
            content = {}
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ServerError(_told(content) or f"{self._url}{path}: {answer.status} {answer.reason}", answer.status)
        if not isinstance(content, dict):
            raise ServerError(f"{self._url}{path}: found {type(content).__name__}; expected a JSON object")
        return content

    def tree(self, promise_id: str) -> Json:
        """Return ``{"now", "more", "nodes"}`` as the page gets it, made of searches where there is no page."""
        try:
            return self.ask("GET", f"/ui/tree/{quote(promise_id, safe='')}")
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        root = self.ask("GET", f"/promises/{quote(promise_id, safe='')}")  # tells it if there is no such promise
        nodes: list[Json] = []
        stack, seen = [(0, root)], set()
        while stack:
            level, promise = stack.pop()
            again = promise["id"] in seen
            seen.add(promise["id"])
            nodes.append({**_node(promise), "level": level, "again": again})
            if not again:
                children = self.search("*", **{"tags[resonate:parent]": promise["id"]})
                stack.extend((level + 1, child) for child in children if child["id"] != promise["id"])
        return {"now": time.time_ns() // 1_000_000, "more": False, "nodes": nodes}

    def search(self, pattern: str, **fields: str) -> Iterator[Json]:
        """Return the promises that match, the newest first."""
        query = {"id": pattern, **fields}
        while True:
            page = self.ask("GET", f"/promises?{urlencode(query)}")
            yield from page["promises"]
            if not page["cursor"]:
                return
            query["cursor"] = page["cursor"]


def _told(content: Any) -> str:
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return ""
    return ": ".join([error.get("message", ""), *(one.get("message", "") for one in error.get("details") or [])])


def _node(promise: Json) -> Json:
    """Shape a promise of the wire as a node of a tree."""
    func, args = readable.call(json.dumps(promise["param"]))
    return {
        "func": func, "args": args, "result": readable.result(json.dumps(promise["value"])),
        "id": promise["id"], "state": promise["state"], "created": promise["createdOn"],
        "completed": promise.get("completedOn"), "where": promise.get("tags", {}).get("resonate:invoke", ""),
    }  # fmt: skip


def _default_server() -> str:
    host = os.getenv("RESONATE_HOST_STORE") or os.getenv("RESONATE_HOST") or "http://localhost"
    return f"{host}:{os.getenv('RESONATE_PORT_STORE') or '8001'}"


def duration(ms: float) -> str:
    """Show a duration as the page does."""
    if ms < SECOND:
        return f"{max(0, round(ms))} ms"
    if ms < MINUTE:
        return f"{ms / SECOND:.{2 if ms < 10 * SECOND else 1}f} s"
    if ms < HOUR:
        return f"{ms // MINUTE:.0f} m {ms % MINUTE // SECOND:.0f} s"
    return f"{ms // HOUR:.0f} h {ms % HOUR // MINUTE:.0f} m"


def clean(text: str) -> str:
    """Make text harmless for a terminal: no control characters, whatever a promise is called."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") else c for c in text)


def _sign(state: str) -> str:
    sign, colour, _ = STATES.get(state, ("?", "white", state))
    return click.style(sign, fg=colour)


def _tree_lines(view: Json) -> Iterator[str]:
    """Draw a tree; the branches of a row tell whether further children follow on each level above it."""
    nodes, open_levels = view["nodes"], set[int]()
    last_of_level: dict[int, int] = {}
    follows: list[bool] = [False] * len(nodes)  # whether a sibling comes later
    for place in range(len(nodes) - 1, -1, -1):
        level = nodes[place].get("level", 0)
        follows[place] = level in last_of_level
        last_of_level = {deep: at for deep, at in last_of_level.items() if deep <= level}
        last_of_level[level] = place
    for node, more in zip(nodes, follows, strict=True):
        level = node.get("level", 0)
        (open_levels.add if more else open_levels.discard)(level)
        yield _branch(level, open_levels, more=more) + _line(node, view["now"])
    if view["more"]:
        yield click.style(f"... the first {len(nodes)} of this tree", dim=True)


def _branch(level: int, open_levels: set[int], *, more: bool) -> str:
    if level == 0:
        return ""
    if level > DEEPEST:
        return click.style("  " * DEEPEST + f"{level} ", dim=True)
    above = "".join("│ " if deep in open_levels else "  " for deep in range(1, level))
    return click.style(above + ("├ " if more else "└ "), dim=True)


def _line(node: Json, now: int) -> str:
    completed = node.get("completed")
    call = f"{node['func']}({node.get('args', '')})" if node.get("func") else ""
    taken = sum(1 for run in node.get("runs", []) if run.get("lost"))
    notes = [
        duration((now if completed is None else completed) - node["created"]),
        STATES.get(node["state"], ("", "", node["state"]))[2] if node["state"] != "RESOLVED" else "",
        node.get("where", ""),
        f"{node['attempts']} attempts, lost: {node['runs'][0].get('lost') or 'see --json'}" if taken else "",
        "shared" if node.get("shared") else "",
        "shown above" if node.get("again") else "",
    ]
    dim = click.style("  ".join(clean(note) for note in notes if note), dim=True)
    result = f" → {clean(node['result'])}" if node.get("result") else ""
    return f"{_sign(node['state'])} {clean(node['id'])} {clean(call)}{result}  {dim}"


def _watch(draw: Callable[[], bool]) -> None:
    """Draw anew until it says that nothing more will change."""
    while True:
        if sys.stdout.isatty():
            click.clear()
        if draw():
            return
        time.sleep(EVERY)


_server_option = click.option(
    "--server", default=_default_server, metavar="URL", show_default="the SDK's variables, else http://localhost:8001",
    help="The server to ask.",
)  # fmt: skip
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.command()
@click.argument("promise_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Follow it until it is completed.")
@_json_option
@_server_option
def tree(promise_id: str, server: str, *, watch: bool, as_json: bool) -> None:
    """Show the calls below the promise ID, who ran them, and how long they took."""
    remote = Server(server)

    def draw() -> bool:
        view = remote.tree(promise_id)
        click.echo(json.dumps(view) if as_json else "\n".join(_tree_lines(view)))
        return not watch or all(node.get("completed") is not None for node in view["nodes"])

    _watch(draw)


@click.command()
@click.argument("pattern", default="*")
@click.option("--state", type=click.Choice(["pending", "resolved", "rejected"]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@_json_option
@_server_option
def promises(pattern: str, state: str | None, limit: int, server: str, *, as_json: bool) -> None:
    """List the promises whose id fits PATTERN, in which * stands for any characters, the newest first."""
    fields = {"limit": str(min(limit, 100)), **({"state": state} if state else {})}
    found = [promise for promise, _ in zip(Server(server).search(pattern, **fields), range(limit), strict=False)]
    if as_json:
        click.echo(json.dumps(found))
        return
    now = time.time_ns() // 1_000_000
    for promise in found:
        click.echo(_line(_node(promise), now))


@click.command()
@_json_option
@_server_option
def workers(server: str, *, as_json: bool) -> None:
    """List groups and workers, what each holds, who has gone in the last minute, and what waits for a worker."""
    try:
        view = Server(server).ask("GET", "/ui/workers")
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise ServerError(f"{server} does not tell who works for it; the local server of this project does") from None
    if as_json:
        click.echo(json.dumps(view))
        return
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
@click.argument("promise_id", metavar="ID")
@_server_option
def cancel(promise_id: str, server: str) -> None:
    """Cancel the pending promise ID; whoever waits for it gets an error."""
    path = f"/promises/{quote(promise_id, safe='')}"
    promise = Server(server).ask("PATCH", path, {"state": "REJECTED_CANCELED"})
    click.echo(f"{clean(promise['id'])} is {STATES[promise['state']][2]}")


COMMANDS = (tree, promises, workers, cancel)
