"""What the prompt and the one-shot command do on the wire: send a run, find it again, wait for it, watch it.

A client holds no work, so it may end at any time; the id of a run is all that is needed to come back to it.
"""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from requests import Request
from resonate import Resonate
from resonate.errors import ResonateStoreError
from resonate.stores import RemoteStore

from calculator.parser import Expr, canonical, measure, parse
from local_server.deleted import run_deleted_anew

# The SDK writes a tree as nested JSON, two levels of it for each level of operators, and CPython's JSON code follows
# 1,500 levels, whatever the recursion limit: 744 levels of operators passed on 3.12.1, 745 did not.
MAX_LEVELS = 700
# No value has more digits than its text has characters, and the worst text takes 21 bytes a character in a request (two
# copies, one of them in base64), where the server takes 64 MiB: so this bounds every request of a run.
MAX_LENGTH = 100_000
LONGEST_PLAIN_ID = 80  # an id stands in URLs, and each level of a run adds two characters to it


class LimitError(ValueError):
    """An expression that no run can carry; the message names the limit."""


class RunError(Exception):
    """A run that cannot be found, or has failed; the message says which and why."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: parts with a value, parts known so far, and parts that wait for a worker of each group."""

    done: int
    known: int
    waiting: dict[str, int]


def read(text: str) -> Expr:
    """Return the expression that ``text`` denotes, if a run can carry it.

    Raises:
        ParseError: it is no expression.
        LimitError: it is too long or too deep.
    """
    if len(text) > MAX_LENGTH:
        raise LimitError(f"the expression has {len(text):,} characters, at most {MAX_LENGTH:,} can be sent")
    expr = parse(text)
    if (levels := measure(expr)[1]) > MAX_LEVELS:
        raise LimitError(
            f"the expression has {levels:,} operators inside each other, at most {MAX_LEVELS} can be sent; "
            "a long sum needs parentheses that halve it: (1+2)+(3+4)"
        )
    return expr


def stable_id(expr: Expr) -> str:
    """Return the id under which all texts of one expression share one run: its canonical form, or the hash of that."""
    text = canonical(expr)
    return f"calculator-{text if len(text) <= LONGEST_PLAIN_ID else hashlib.sha256(text.encode()).hexdigest()}"


class Client:
    """One connection to the server of ``RESONATE_HOST`` (by default localhost, ports 8001 and 8002)."""

    def __init__(self) -> None:
        # A group of its own: a member of group "default" would be handed the work of other programs.
        self._resonate = Resonate.remote(group="calculator")
        run_deleted_anew(self._resonate)
        self._store = RemoteStore()

    def send(self, run_id: str, expr: Expr) -> None:
        """Start the run, or do nothing if the id is there already. Durable: from here on the run needs no client."""
        self._resonate.options(target="poll://exp").begin_rpc(run_id, "=", expr)

    def find(self, run_id: str) -> Expr:
        """Return the expression of a run.

        Raises:
            RunError: there is no such run.
        """
        if not re.fullmatch(r"[^\s?#%]+", run_id):
            raise RunError(f"{run_id!r} is no id of a run: blanks, ?, # and % never stand in one")
        try:
            call = json.loads(self._resonate.promises.get(id=run_id).param.data or "null")
            if call["func"] == "=":
                return parse(canonical(*call["args"]))
        except ResonateStoreError as error:
            raise RunError(f"cannot find the run {run_id!r}: {error.mesg}") from None
        except (LookupError, TypeError, ValueError):
            pass  # a promise of another program, in words of its own
        raise RunError(f"{run_id!r} is no run of the calculator")

    def wait(self, run_id: str, report: Callable[[Progress], None]) -> int:
        """Return the value of a run; call ``report`` about once a second until it is there.

        Raises:
            RunError: the run has failed, or somebody has canceled it.
        """
        pause = 1.0
        while True:
            try:
                # Asked for anew each time: a notification that is lost with its connection costs a second.
                value: int = self._resonate.get(run_id).result(pause)
            except TimeoutError:
                started = time.monotonic()
                report(self.progress(run_id))
                pause = max(1.0, 20 * (time.monotonic() - started))  # 30,000 parts are not counted every second
            except Exception as error:  # a run can fail with any exception that a worker raised
                raise RunError(f"the run {run_id} failed: {self._told(run_id, error)}") from error
            else:
                return value

    def _told(self, run_id: str, error: Exception) -> str:
        """Return an error in one line, with since when it is stored, that it stays, and what to do."""
        line, _, _ = str(error).partition("\n")
        try:
            ended = self._resonate.promises.get(id=run_id).completed_on
        except ResonateStoreError:
            return line
        if ended is None:  # it is not the run that failed, but this client
            return line
        since = f"{datetime.fromtimestamp(ended / 1000).astimezone():%Y-%m-%d %H:%M:%S}"
        anew = f"--fresh and the prompt calculate anew, or: uv run local-server delete '{run_id}'"
        return f"{line}; it is stored since {since}, and stays; {anew}"

    def progress(self, run_id: str) -> Progress:
        """Count the parts of a run by what the server shows to everybody: its promises.

        A part that waits for none of its own parts waits for a worker: one that has yet to come, or one at work.
        """
        parts = [part for part in self._search(f"{run_id}.*") if part["id"].startswith(f"{run_id}.")]
        pending = [part for part in parts if part["state"] == "PENDING"]
        parents = {part["tags"]["resonate:parent"] for part in pending}
        groups = [urlsplit(part["tags"]["resonate:invoke"]).netloc for part in pending if part["id"] not in parents]
        return Progress(len(parts) - len(pending), len(parts) + 1, dict(Counter(groups or ["exp"])))

    def _search(self, pattern: str) -> Iterator[dict[str, Any]]:
        """Yield every promise whose id matches, where ``*`` stands for anything: 100 to a page."""
        query = {"id": pattern}
        while query:
            page = self._store.call(Request("GET", f"{self._store.url}/promises", params=query).prepare())
            yield from page["promises"]
            query = {"cursor": page["cursor"]} if page["cursor"] else {}
