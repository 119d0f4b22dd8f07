"""All of it in one terminal: a server unless one runs, the gateway and the nine services, each a process of its own.

    uv run async-rpc

Each line carries the name of the process that printed it. Kill one by the pid of its ready line, and watch: the others
go on, and wait for what it served. Ctrl-C ends all.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

import click
from resonate.stores import RemoteStore

from async_rpc import web

ME, SERVER = "async-rpc", "local-server"
COLORS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94", "90")  # ANSI; neither black nor white nor red
# The rest of an id that is a UUID, what a log puts in front of a line, and a process's own name: the line has it here.
LEFT_OUT = re.compile(r"(?<=[0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}|^\[[-\d :,]+\] INFO in \w+: |^service-\w: ")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 8.0  # seconds for all to end; each allows itself 5
HERE = ("localhost", "127.0.0.1", "::1")


class Process:
    """One of the commands, in a session of its own: Ctrl-C reaches only its parent, which ends all in order."""

    def __init__(self, name: str, module: str, options: Iterable[str], tell: Callable[["Process", str | None], None]):
        """Start it; ``tell`` is called from a thread with each line that it prints, and with None when it has ended."""
        self.name = name
        self.is_ready = False
        self.status: int | None = None  # as long as nobody was told of its end
        self._tell = tell
        self.popen = subprocess.Popen(
            [sys.executable, "-m", module, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.popen.stdout or ():
            self._tell(self, line.rstrip())
        self.popen.wait()
        self._tell(self, None)


class Stopped(Exception):  # noqa: N818 - no error
    """A signal asks to end; its number is the argument."""


class Together:
    """All processes, and the one thread that prints what they print."""

    def __init__(self) -> None:
        """From here on a signal waits until it is asked for."""
        self._events: SimpleQueue[int | tuple[Process, str | None]] = SimpleQueue()
        self._processes: list[Process] = []
        self._color = sys.stdout.isatty() and not os.getenv("NO_COLOR") and os.getenv("TERM") != "dumb"
        self.gateway_url = ""
        self._ending = False
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._events.put(number))

    def start(self, name: str, module: str, *options: str) -> Process:
        """Start ``python -m module *options``."""
        process = Process(name, module, options, lambda *event: self._events.put(event))
        self._processes.append(process)
        return process

    def follow(self, over: Callable[[], bool], deadline: float = float("inf")) -> None:
        """Print what comes until ``over()``, or until ``time.monotonic()`` is at the deadline.

        Raises:
            Stopped: a signal came.
        """
        while not over():
            left = deadline - time.monotonic()
            try:
                event = self._events.get(timeout=None if left == float("inf") else max(0, left))
            except Empty:
                return
            if isinstance(event, int):
                raise Stopped(event)
            process, line = event
            if line is None:
                process.status = process.popen.returncode
                self._tell_end(process, process.status)
            else:
                process.is_ready |= " is ready" in line
                if url := re.match("gateway listens on ([^;]+);", line):
                    self.gateway_url = url[1]
                self.say(process.name, LEFT_OUT.sub("", line))

    def _tell_end(self, process: Process, status: int) -> None:
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if not self._ending:
            again = f"start it again: uv run {process.name.removeprefix('service-')}"
            self.say(ME, f"{process.name} (pid {process.popen.pid}) {how}; {again}")
        elif status:
            self.say(ME, f"{process.name} {how}")

    def say(self, who: str, text: str) -> None:
        """Print a line of one process, or in the own voice."""
        names = [process.name for process in self._processes]
        color = COLORS[names.index(who) % len(COLORS)] if who in names else "1"
        line = f"{who:{len(SERVER)}}  {text}"
        try:
            print(f"\x1b[{color}m{line}\x1b[0m" if self._color else line, flush=True)
        except OSError:  # the terminal is closed, or the reader of the pipe has left: nobody watches
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._events.put(signal.SIGHUP)

    def start_server(self) -> None:
        """Start a server where the SDK looks for one, and wait until it is ready; or say that one runs already.

        Raises:
            click.ClickException: there is none, and none can be started.
        """
        url = RemoteStore().url
        address = urlsplit(url)
        try:
            socket.create_connection((address.hostname, address.port), timeout=5).close()
        except OSError as error:
            if address.hostname not in HERE:
                raise click.ClickException(f"no server at {url} ({error}), which is not on this machine") from None
        else:
            self.say(ME, f"works with the server that runs at {url}")
            return
        poll_port = os.getenv("RESONATE_PORT_MESSAGE_SOURCE", "8002")
        server = self.start(SERVER, "local_server", "--port", str(address.port), "--poll-port", poll_port)
        self.follow(lambda: server.is_ready or server.status is not None)
        if server.status is not None:
            raise click.ClickException(f"no server at {url}, and none could be started")

    def start_all(self, port: int, delay: int) -> None:
        """Start gateway and services, and say what to try when they are ready."""
        self.start("gateway", "async_rpc.gateway", "--port", str(port))
        for letter in "abcdefghi":
            options = ("--delay", str(delay)) if letter == "b" else ()
            self.start(f"service-{letter}", f"async_rpc.service_{letter}", *options)
        self.follow(lambda: all(one.is_ready or one.status is not None for one in self._processes))
        self.say(ME, f"The page: {RemoteStore().url}/   Ctrl-C ends all. To try, in another terminal:")
        for route in ("await-chain", "detached-chain", "fan-out-workflow"):
            self.say(ME, f"    curl -X POST {self.gateway_url}/{route}")
        service = next(one for one in self._processes if one.name == "service-b")
        self.say(ME, f"    kill -9 {service.popen.pid}   # service-b; likewise any other")

    def follow_all(self) -> None:
        """Print what comes until a signal does.

        Raises:
            click.ClickException: nobody is left.
        """
        self.follow(partial(have_ended, self._processes))
        raise click.ClickException("every process has ended")

    def end(self) -> None:
        """Tell all to end, the server last, and wait for as long as the step in hand of each may take.

        Raises:
            Stopped: there was a second signal.
        """
        self._ending = True
        deadline = time.monotonic() + PATIENCE
        servers = [one for one in self._processes if one.name == SERVER]
        for some in ([one for one in self._processes if one not in servers], servers):
            for process in some:
                process.popen.terminate()
            self.follow(partial(have_ended, some), deadline)

    def kill(self) -> None:
        """End whatever is left."""
        for process in self._processes:
            process.popen.kill()
            process.popen.wait()


def have_ended(processes: list[Process]) -> bool:
    """Tell whether none runs."""
    return all(one.status is not None for one in processes)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="Of the gateway; 0: any.")
@click.option(
    "--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that bar (b) sleeps."
)
def main(port: int, delay: int) -> None:
    """Run a server (unless one runs), the gateway and the nine services until Ctrl-C."""
    web.listen("127.0.0.1", port).close()  # if it is taken, that is said before anything starts
    together = Together()
    try:
        together.start_server()
        together.start_all(port, delay)
        together.follow_all()
    except Stopped:
        try:
            together.end()
        except Stopped as again:
            sys.exit(128 + again.args[0])
    finally:
        together.kill()


if __name__ == "__main__":
    main()
