"""What comes in: text that the parser does not take as it is, and a body that grows."""

import re

from local_server.http import limits
from local_server.http.exchange import LargeBody

_RAW = re.compile(rb"[\x80-\xff]")


def escaped(data: bytes) -> bytes:
    """Escape what is not ASCII in the first line: Go takes it in a target, and the parser does not."""
    first, newline, others = data.partition(b"\n")
    if len(first) > limits.MAX_HEAD:  # it will be refused
        return data
    return _RAW.sub(lambda raw: b"%%%02X" % raw[0][0], first) + newline + others


class Body:
    """The body of a request; of one that is too large only the beginning is kept.

    Attributes:
        data: what is kept of it; it grows in place if it comes in parts.
        size: bytes that have come.
    """

    __slots__ = ("data", "size")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.size = 0

    def add(self, part: bytes) -> None:
        """Take the next part."""
        self.size += len(part)
        if not self.data:
            self.data = part
        elif self.size > limits.MAX_DROPPED:
            raise LargeBody
        elif self.too_large:
            self.data = bytes(self.data[: limits.BEGINNING])
        else:
            if isinstance(self.data, bytes):
                self.data = bytearray(self.data)
            self.data += part

    @property
    def too_large(self) -> bool:
        """Whether it is larger than a body may be."""
        return self.size > limits.MAX_BODY


NO_BODY = Body()  # of a connection between two requests
