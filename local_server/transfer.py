"""``uv run local-server export | import``: promises and schedules as JSON lines, between any two servers of the wire.

The file has a head, then schedules and promises, the newest first. Behind each page of them stands where the search
goes on, so that an export goes on where it was ended; the last line tells how many there are.

An import runs nothing that has finished. What has completed is created together with the claim of its task, so that no
worker is sent it, and is completed at once. All of it is there before the first pending promise comes, whose function
runs anew and finds the results of its calls. What is there already stays as it is: an import may be run again.

Completed is what has a time of completion; that is the time-out itself if the clock has completed it.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from itertools import batched
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

import click
import msgspec
from msgspec import Struct

from local_server.model import PromiseState
from local_server.terminal import Server, ServerError, path_of, server_option
from local_server.tree_lines import DAY, Json, clean, counted

VERSION = 1
CALLERS, BATCH = 8, 500
SHOWN = 10  # differences
KINDS = {"schedules": "schedule", "promises": "promise"}  # a list of the API, and what a line of the file calls one
ITS_OWN = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Promise(Struct):
    """A promise, as the API shows it."""

    id: str
    state: PromiseState
    timeout: int
    param: Json = {}
    value: Json = {}
    tags: dict[str, str] = {}
    key: str | None = msgspec.field(name="idempotencyKeyForCreate", default=None)
    last_key: str | None = msgspec.field(name="idempotencyKeyForComplete", default=None)
    completed_on: int | None = msgspec.field(name="completedOn", default=None)


class Schedule(Struct, rename="camel"):
    """A schedule, as the API shows it; what changes from run to run is left out."""

    id: str
    cron: str
    promise_id: str
    promise_timeout: int = 0
    desc: str = ""
    tags: dict[str, str] = {}
    promise_param: Json = {}
    promise_tags: dict[str, str] = {}
    idempotency_key: str | None = None


class Line(Struct, forbid_unknown_fields=True):
    """A line of the file; one of these."""

    export: int | None = None  # the first: the version of the file
    server: str | None = None
    schedule: Schedule | None = None
    promise: Promise | None = None
    more: tuple[str, str | None] | None = None  # of which list, and the cursor behind the lines before
    end: dict[str, int] | None = None  # how many of each list


# export


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@server_option
def export_command(file: Path, server: str) -> None:
    """Write all promises and schedules of a server to FILE.

    It goes on with a FILE that was ended. Stop the workers first: what completes meanwhile may be missing. Tasks and
    callbacks are not in it, and no times.
    """
    remote = _reached(server)
    try:
        with _opened(file) as out:
            counts, where = _begun(out, file, server)
            with click.progressbar(_copied(remote, out, *where), label="export", show_pos=True, file=sys.stderr) as bar:
                for name in bar:
                    counts[name] += 1
            _write(out, {"end": counts})
            os.fsync(out.fileno())
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}; expected a path for an export") from None
    told = " and ".join(counted(counts[name], KINDS[name]) for name in ("promises", "schedules"))
    click.echo(f"{file} holds {told}; an import runs the functions of those that are pending anew")


def _reached(url: str) -> Server:
    """Return a server that is there and lets us in."""
    server = Server(url)
    server.ask("GET", "/promises?id=*&limit=1")
    return server


def _opened(file: Path) -> IO[bytes]:
    """Open it, for its owner only if it is new."""
    _refuse_stream(file)
    return os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _refuse_stream(file: Path) -> None:
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise click.ClickException(f"{file}: found a pipe or a device; expected a file, in which one can go back")


def _begun(out: IO[bytes], file: Path, server: str) -> tuple[dict[str, int], tuple[str, str | None]]:
    """Go to where an export goes on; return how many of each list are there, and that list and cursor."""
    more: tuple[str, str | None]
    seen, place = dict.fromkeys(KINDS, 0), 0
    counts, more = dict(seen), (next(iter(KINDS)), None)
    for number, at, line in _lines(out, file):
        if number == 1 and line.server != server:
            raise click.ClickException(f"{file}: found an export of {line.server}, begun before; expected {server}, "
                                       "or another file")  # fmt: skip
        if line.end is not None:
            raise click.ClickException(f"{file}: found a whole export; expected a new file, or one that was ended")
        for name, kind in KINDS.items():
            seen[name] += getattr(line, kind) is not None
        if number == 1 or line.more is not None:
            counts, more, place = dict(seen), line.more or more, at
    out.seek(place)
    out.truncate()  # half a page
    if not place:
        _write(out, {"export": VERSION, "server": server})
    return counts, more


def _copied(server: Server, out: IO[bytes], first: str, cursor: str | None) -> Iterator[str]:
    """Write page after page; return the name of its list for each thing that is written."""
    names = list(KINDS)
    for name in names[names.index(first) :]:
        query = {"id": "*", "limit": "100"}
        while True:
            if cursor:
                query["cursor"] = cursor
            page = server.ask("GET", f"/{name}?{urlencode(query)}")
            stored = page[name] if name == "promises" else list(_whole(server, page[name]))
            cursor = page["cursor"]
            _write(out, *({KINDS[name]: one} for one in stored), *([{"more": (name, cursor)}] if cursor else []))
            yield from [name] * len(stored)
            if not cursor:
                break


def _whole(server: Server, schedules: list[Json]) -> Iterator[Json]:
    """Ask for schedules one by one: a list of them tells half."""
    for schedule in schedules:
        try:
            yield server.ask("GET", path_of(schedule["id"], "schedules"))
        except ServerError as error:  # it was deleted meanwhile
            if error.status != HTTPStatus.NOT_FOUND:
                raise


def _write(out: IO[bytes], *lines: Json) -> None:
    out.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    out.flush()


def _lines(source: IO[bytes], file: Path) -> Iterator[tuple[int, int, Line]]:
    """Return the number of each line, where it ends, and what it says; half a line at the end is left out."""
    at = 0
    for number, text in enumerate(source, 1):
        if not text.endswith(b"\n") and number > 1:
            return
        at += len(text)
        try:
            line = msgspec.json.decode(text, type=Line)
        except (ValueError, RecursionError) as error:
            raise click.ClickException(f"{file}, line {number}: {error}; expected a line of an export") from None
        if number == 1 and line.export != VERSION:
            raise click.ClickException(f"{file}: found version {line.export} in its first line; expected {VERSION}")
        yield number, at, line


# import


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@server_option
def import_command(file: Path, server: str) -> None:
    """Bring what FILE holds to a server.

    The same command goes on with an import that was ended. What has finished does not run again; pending calls do.
    Stop the schedules' first server: both would run them.
    """
    _refuse_stream(file)
    remote = _reached(server)
    with file.open("rb") as source, ThreadPoolExecutor(CALLERS) as pool:
        steps = _in_order(source, file)
        problems: list[str] = []
        into = _Import(remote)
        with click.progressbar(length=sum(map(len, steps)), label="import", file=sys.stderr) as bar:
            for step in steps:
                for batch in batched(step, BATCH):
                    problems += filter(None, pool.map(into.bring, [_at(source, place) for place in batch]))
                    bar.update(len(batch))
    for problem in problems[:SHOWN]:
        click.echo(clean(problem), err=True)
    if problems:
        verb = "is" if len(problems) == 1 else "are"
        raise click.ClickException(f"{len(problems):,} of {sum(map(len, steps)):,} {verb} not as in {file}")
    completed, waiting, calls, schedules = map(len, steps)
    click.echo(f"{server} holds all of {file}: {counted(completed + waiting + calls, 'promise')}, with "
               f"{counted(calls, 'pending call')}, and {counted(schedules, 'schedule')}")  # fmt: skip


def _in_order(source: IO[bytes], file: Path) -> tuple[list[int], ...]:
    """Return where the lines begin: of what has completed, of what waits, of pending calls, of schedules.

    The oldest of what has completed comes first, as it did there; of pending calls the children, which are the newest.
    """
    completed: list[int] = []
    waiting: list[int] = []
    calls: list[int] = []
    schedules: list[int] = []
    begin, end = 0, None
    for _, at, line in _lines(source, file):
        if line.schedule:
            schedules.append(begin)
        elif line.promise:
            pending = calls if "resonate:invoke" in line.promise.tags else waiting
            (pending if line.promise.completed_on is None else completed).append(begin)
        begin, end = at, line.end
    steps = completed, waiting, calls, schedules
    if end != {"schedules": len(schedules), "promises": sum(map(len, steps[:3]))}:
        raise click.ClickException(f"{file}: found no end; expected a whole export, so run that again to go on with it")
    for step in (completed, waiting, schedules):
        step.reverse()
    return steps


def _at(source: IO[bytes], place: int) -> Line:
    source.seek(place)
    return msgspec.json.decode(source.readline(), type=Line)


class _Import:
    """Brings one thing after the other to a server; from several threads at once."""

    def __init__(self, server: Server) -> None:
        self._server, self._holder = server, f"import-{uuid.uuid4()}"

    def bring(self, line: Line) -> str:
        """Make sure that it is there; return what is wrong, else nothing."""
        wanted = line.promise or line.schedule
        assert wanted  # noqa: S101 - the others are left out
        try:
            same = self._promise(wanted) if isinstance(wanted, Promise) else self._schedule(wanted)
        except ServerError as error:
            if error.status not in ITS_OWN:
                raise
            return f"{wanted.id}: {error.message}"
        except ValueError as error:  # no server has given this
            return f"{wanted.id}: {error}"
        return "" if same else f"{wanted.id}: found another there under this id, which stays"

    def _promise(self, wanted: Promise) -> bool:
        path, key = path_of(wanted.id), {"idempotency-key": wanted.key}
        by_clock = wanted.completed_on is not None and wanted.completed_on >= wanted.timeout
        timeout = wanted.timeout
        if wanted.completed_on is not None and not by_clock:  # in time, which that time-out may not be any more
            timeout = max(timeout, time.time_ns() // 1_000_000 + DAY)
        new = {"id": wanted.id, "param": wanted.param, "timeout": timeout, "tags": wanted.tags}

        def create() -> Json:
            if wanted.completed_on is None:
                return self._server.ask("POST", "/promises", new, headers=key)
            claim = {"processId": self._holder, "ttl": DAY}
            promise: Json = self._server.ask("POST", "/promises/task", {"promise": new, "task": claim}, headers=key)[
                "promise"
            ]
            return promise

        found = self._there(create, path, Promise)
        if (found.param, found.tags, found.key) != (wanted.param, wanted.tags, wanted.key):
            return False
        if wanted.completed_on is None:
            return True
        if found.completed_on is None:
            end = {"state": wanted.state, "value": wanted.value}
            key = {"idempotency-key": wanted.last_key}
            patch = partial(self._server.ask, "PATCH", path, end, headers=key)
            found = self._there(partial(self._server.ask, "GET", path) if by_clock else patch, path, Promise)
        early = by_clock and found.completed_on is None  # the clock there is behind; it will come to that
        return early or (found.state, found.value) == (wanted.state, wanted.value)

    def _schedule(self, wanted: Schedule) -> bool:
        new = msgspec.to_builtins(wanted)
        key = {"idempotency-key": new.pop("idempotencyKey")}
        path = path_of(wanted.id, "schedules")
        return self._there(lambda: self._server.ask("POST", "/schedules", new, headers=key), path, Schedule) == wanted

    def _there[Kind](self, ask: Callable[[], Json], path: str, kind: type[Kind]) -> Kind:
        """Ask for something; if it is there already, or not as it was any more, take that."""
        try:
            answer = ask()
        except ServerError as error:
            if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN):
                raise
            answer = self._server.ask("GET", path)
        return msgspec.convert(answer, kind)


COMMANDS = (export_command, import_command)
