"""Which process of this machine is behind a connection, and when it ends.

A worker that is killed loses its sockets a moment before its process is gone, and a living one may lose its stream:
only the process tells whether its leases can be given to others. A zombie is gone.
"""

import asyncio
import contextlib
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from local_server.rules.workers import OsProcess

EndPoint = tuple[str, int]  # address and port
POLL = 0.25  # seconds; where there is no pidfd: outside Linux, and for the last of very many processes


def machine() -> str:
    """Return a name of what process ids belong to: this machine, and the container in it."""
    names = [platform.node()]
    with contextlib.suppress(OSError):
        names += [Path("/etc/machine-id").read_text().strip(), str(Path("/proc/self/ns/pid").readlink())]
    return " ".join(names)


class _Socket(NamedTuple):
    """A connected socket of this machine."""

    unread: int  # bytes that have come and were not read
    inode: int


class Peer(NamedTuple):
    """The other end of a connection to this process."""

    there: EndPoint
    here: EndPoint
    inode: int | None  # of its socket; None: it is not on this machine, or this system does not tell


def peer(there: EndPoint, here: EndPoint) -> Peer:
    """Return the other end of a connection that is open; on Linux that takes 0.1 ms."""
    found = _socket(there, here)
    return Peer(there, here, found and found.inode)


def has_read_all(there: EndPoint, here: EndPoint) -> bool:
    """Tell whether the other end of a connection is on this machine, and its program has read all that has come."""
    found = _socket(there, here)
    return found is not None and not found.unread


def find(peers: list[Peer]) -> list[OsProcess | None]:
    """Return the processes behind connections, None where there is none, or it cannot be seen.

    It looks once through the open files of all processes (about 5 ms): call it in a thread.
    """
    found: list[OsProcess | None] = []
    for pid in _find_by_inode(peers) if sys.platform == "linux" else _find_by_table(peers):
        try:
            found.append(OsProcess(pid, psutil.Process(pid).create_time()) if pid else None)
        except psutil.Error:
            found.append(None)
    return found


def _find_by_table(peers: list[Peer]) -> list[int | None]:
    try:
        table = psutil.net_connections("tcp")
    except psutil.Error:
        return [None] * len(peers)
    owners = {(tuple(one.laddr), tuple(one.raddr)): one.pid for one in table}
    return [owners.get((one.there, one.here)) for one in peers]


def _find_by_inode(peers: list[Peer]) -> list[int | None]:
    """Look for single sockets, for which the kernel was asked one by one.

    Its whole table also has each connection that was closed in the last minute: reading it takes 180 ms with 12,000 of
    them, against 0.1 for a question.
    """
    links = [f"socket:[{one.inode}]" if one.inode else None for one in peers]
    wanted, owners = {link for link in links if link}, dict[str | None, int]()
    with contextlib.suppress(OSError):  # no /proc, or no descriptor left to read it
        for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - with paths as objects it takes 30 ms
            if len(owners) == len(wanted):
                break
            # It has ended, or is another user's.
            with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as files:
                for file in files:
                    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                        link = os.readlink(file.path)  # noqa: PTH115 - likewise
                        if link in wanted:
                            owners[link] = int(pid)
    return [owners.get(link) for link in links]


def _socket(peer: EndPoint, here: EndPoint) -> _Socket | None:
    """Return the peer's socket, by sock_diag(7) with an inet_diag_req_v2; None: it is not known here."""
    if sys.platform != "linux":
        return None
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    addresses = b"".join(socket.inet_pton(family, end[0]).ljust(16, b"\0") for end in (peer, here))
    wanted = struct.pack("!HH", peer[1], here[1]) + addresses + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + wanted
    netlink_sock_diag, sock_diag_by_family, is_request, error = 4, 20, 1, 2
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink_sock_diag) as kernel:
            kernel.settimeout(1)
            kernel.send(struct.pack("=IHHII", 16 + len(request), sock_diag_by_family, is_request, 1, 0) + request)
            answer = kernel.recv(4096)
    except OSError:
        return None
    if struct.unpack_from("=H", answer, 4)[0] == error:
        return None
    _, unread, _, _, inode = struct.unpack_from("=5I", answer, 16 + 4 + 48)  # behind header, state and id
    return _Socket(unread, inode)


def is_alive(process: OsProcess) -> bool:
    """Tell whether it runs; the same pid started at another time is another process."""
    try:
        found = psutil.Process(process.pid)
        return abs(found.create_time() - process.started) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class Watch:
    """Calls back once when a process has ended: at once if it may take a descriptor for that, else by looking."""

    def __init__(self, process: OsProcess, ended: Callable[[], None], *, by_descriptor: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._process, self._ended = process, ended
        self._fd: int | None = None
        self._timer: asyncio.Handle | None = None
        if by_descriptor and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # gone already, or no pidfd on this kernel: looking tells which
                self._fd = os.pidfd_open(process.pid)
                self._loop.add_reader(self._fd, self._finish)
        self._look()

    def _look(self) -> None:
        if not is_alive(self._process):
            self._timer = self._loop.call_soon(self._finish)
        elif self._fd is None:
            self._timer = self._loop.call_later(POLL, self._look)

    def _finish(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Stop watching."""
        if self._timer:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
