"""Large bodies: long strings are cut out and stored in parts, a few in each turn, so that none keeps others waiting.

What is left of such a body is read like any other. There a token stands in place of each string, of which ``bodies``
makes a marker where it is part of a promise's value (see ``store.parts``), and which it refuses elsewhere.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Generator
from functools import partial
from http import HTTPStatus
from typing import Final

from local_server.api import bodies
from local_server.api.routes import Operation, Reply
from local_server.engine import Engine
from local_server.errors import BAD_REQUEST, INTERNAL_ERROR, Refusal
from local_server.model import Promise
from local_server.rules.turn import Turn
from local_server.store.parts import PART, UPLOAD, split

LONG: Final = 4 * 2**10  # bytes; a longer string is cut out
STEP: Final = 512 * 2**10  # bytes that are stored in one turn
STRINGS: Final = 1_000  # that are looked at in one turn

_INSIDE = re.compile(rb'[^"\\]*+(?:\\(?:u.{4}|[^u])[^"\\]*+)*+', re.DOTALL)  # of a string
_BLANKS = re.compile(rb"[ \t\r\n]{2,}")
_LOW_HALF = re.compile(rb"\\u[dD][c-fC-F]")  # of a character that JSON escapes in two halves
_QUOTE = ord('"')


class Upload:
    """The long strings of one body, on their way into the database."""

    def __init__(self, engine: Engine, one_at_a_time: asyncio.Lock) -> None:
        self._engine, self._one_at_a_time = engine, one_at_a_time
        self._id = self._next = secrets.randbits(40) * UPLOAD  # of the upload, and of its next part
        self._parts: list[tuple[int, str]] = []  # that are to be stored
        self._size = 0  # of these
        self._tried = self._begun = False  # whether some may be stored, or are
        self._rest = bytearray()

    async def read(self, body: bytes | bytearray) -> bytearray:
        """Cut long strings out of a body and store most of them; return what is left.

        Raises:
            Refusal: 40000 when that is too much, or the body is no JSON; 50000 when it cannot be stored.
        """
        steps = self._cut(body)
        more = True
        while more:
            async with self._one_at_a_time:
                more = next(steps, False)
                if more and self._parts:
                    self._tried = True
                    await self._engine.ask(self._store)
                    self._parts, self._size, self._begun = [], 0, True
                else:
                    await asyncio.sleep(0)
        return self._rest

    def stored_by(self, operation: Operation) -> Operation:
        """Let an operation store its promise with what was cut out, if it stores one."""

        def run(turn: Turn) -> Reply:
            self._check(turn)
            status, content = operation(turn)
            promise = content.get("promise") if isinstance(content, dict) else content
            created = status == HTTPStatus.CREATED  # or completed, but not found so
            if created and isinstance(promise, Promise) and self._next > self._id:
                self._store(turn)
                turn.store.parts.give(self._id, promise.id)
            return status, content

        return run

    def end(self) -> None:
        """Leave what was stored, and belongs to no promise, to be removed."""
        if self._tried:
            self._engine.tell(lambda turn: turn.store.parts.give(self._id, None))

    def _check(self, turn: Turn) -> None:
        if self._begun and not turn.store.parts.is_under_way(self._id):  # what was stored may be lost
            raise Refusal(INTERNAL_ERROR, "the server could not store it; its log tells why")

    def _store(self, turn: Turn) -> None:
        self._check(turn)
        if not self._begun:
            turn.store.parts.begin(self._id)
        for part, text in self._parts:
            turn.store.parts.add(part, text)

    def _cut(self, body: bytes | bytearray) -> Generator[bool]:
        """Cut out all long strings, with pauses."""
        at = strings = 0
        while (quote := body.find(b'"', at)) >= 0:
            yield from self._take(body, at, quote)
            end = _end_of_piece(body, quote + 1, LONG)
            if end < len(body) and body[end] != _QUOTE:
                at = yield from self._cut_string(body, quote + 1)
            else:
                at = end + 1
                self._keep(body[quote:at])
            strings += 1
            if strings % STRINGS == 0:
                yield True
        yield from self._take(body, at, len(body))

    def _take(self, body: bytes | bytearray, at: int, end: int) -> Generator[bool]:
        """Take what stands between two strings, with pauses; a client may fill it with blanks."""
        for start in range(at, end, STEP):
            if start > at:
                yield True
            self._keep(_BLANKS.sub(b" ", body[start : min(start + STEP, end)]))

    def _keep(self, rest: bytes | bytearray) -> None:
        self._rest += rest
        if len(self._rest) > bodies.MOST:
            raise bodies.too_much()

    def _cut_string(self, body: bytes | bytearray, at: int) -> Generator[bool, None, int]:
        """Cut out one string, with pauses; return where it goes on behind it."""
        self._rest += b'"'
        first, size, is_base64, padding = self._next, 0, True, b""
        while body[at] != _QUOTE:
            end = _end_of_piece(body, at, PART)
            if end in (at, len(body)):
                raise Refusal(BAD_REQUEST, "body: found no end of a string; expected a JSON object")
            piece = bytes(body[at:end])
            is_base64 = is_base64 and not padding
            padding = bodies.no_base64(piece)
            text = _in_ascii(piece) if padding.strip(b"=") else piece.decode()
            if b"\\" in padding:
                padding = bodies.no_base64(text.encode())
            self._parts.append((self._next, text))
            self._next += 1
            size += len(text)
            self._size += len(text)
            at = end
            if self._size >= STEP:
                yield True
        is_base64 = is_base64 and padding in (b"", b"=", b"==") and text.endswith(padding.decode()) and size % 4 == 0
        self._keep(bodies.token(range(first, self._next), size, is_base64=is_base64) + b'"')
        return at + 1


async def whole(engine: Engine, text: bytes) -> AsyncIterator[bytes]:
    """Return JSON with its parts, piece by piece.

    Raises:
        Refusal: 50000 when a part cannot be had.
    """
    for piece in split(text):
        if isinstance(piece, bytes):
            yield piece
            continue
        for part in piece:
            found = await engine.ask(partial(_part, part))
            if found is None:
                raise Refusal(INTERNAL_ERROR, f"part {part}: found none; its promise was removed")
            yield found.encode()


def _part(part: int, turn: Turn) -> str | None:
    return turn.store.parts.part(part)


def _end_of_piece(body: bytes | bytearray, at: int, size: int) -> int:
    """Return where a piece of a string ends: at the end of the string, or behind a whole character."""
    quote, end = body.find(b'"', at, at + size), min(at + size, len(body))
    if body.find(b"\\", at, quote if quote >= 0 else end) < 0:  # the usual, in a tenth of the time
        if quote >= 0:
            return quote
    elif found := _INSIDE.match(body, at, end):
        end = found.end()
    if end < len(body) and body[end] & 0xC0 == 0x80:  # noqa: PLR2004 - by UTF-8 it is behind the first of a character
        end = next((first for first in range(end - 1, end - 4, -1) if body[first] >= 0xC0), end)  # noqa: PLR2004
    return end + 6 if _LOW_HALF.match(body, end) else end


def _in_ascii(piece: bytes) -> str:
    """Return a piece of a string as it goes out, where any text may stand: see ``replies.encode``."""
    try:
        text = bodies.mended(json.loads(f'"{piece.decode("utf-8", "replace")}"'))
    except ValueError as error:
        raise Refusal(BAD_REQUEST, f"body: {error}; expected a JSON object") from None
    text = json.dumps(text)[1:-1]
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
