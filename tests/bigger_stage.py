"""What docs/bigger.md describes, on one machine: servers on one PostgreSQL behind haproxy; machines as namespaces."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from local_server.testing import Child, held_port

CONFIGURATION = Path("docs/haproxy.cfg")
CREDENTIALS = {"RESONATE_USERNAME": "durable", "RESONATE_PASSWORD": "of the tests"}


class Site:
    """Two servers, haproxy, and workers that know haproxy's address only; see ``site``."""

    def __init__(self, folder: Path, database: str, ports: list[int], children: list[Child]) -> None:
        self._folder, self._database, self._ports, self._children = folder, database, ports, children
        (self.api, self.streams), self._servers = ports[:2], [ports[2:4], ports[4:]]
        make_certificate(folder)
        text = CONFIGURATION.read_text().replace("/etc/haproxy/durable.pem", str(folder / "durable.pem"))
        for written, port in zip(
            (":8001 ssl", ":8002 ssl", "10.0.0.11:8001", "10.0.0.11:8002", "10.0.0.12:8001", "10.0.0.12:8002"),
            (self.api, self.streams, *ports[2:]),
            strict=True,
        ):
            assert text.count(written) == 1, written
            text = text.replace(written, f"127.0.0.1:{port}{' ssl' * written.endswith('ssl')}")
        (folder / "haproxy.cfg").write_text(text)
        self.env = {
            **CREDENTIALS, "RESONATE_HOST": "https://localhost", "RESONATE_PORT_STORE": str(self.api),
            "RESONATE_PORT_MESSAGE_SOURCE": str(self.streams), "PYTHONPATH": str(folder),
            # of the terminal's commands, and of the SDK's event streams, if whoever runs the tests has set it
            "SSL_CERT_FILE": str(folder / "ca.pem"), "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
        }  # fmt: skip
        self.start_proxy()

    def start_proxy(self) -> None:
        """Start haproxy, also after its end."""
        self.proxy = self._start("haproxy", ["haproxy", "-db", "-f", str(self._folder / "haproxy.cfg")])

    def server(self, number: int) -> Child:
        """Start a server: the first or the second, as haproxy knows them."""
        port, poll_port = map(str, self._servers[number - 1])
        options = ["--db", self._database, "--port", port, "--poll-port", poll_port, "--behind-proxy"]
        return self.python(f"server {number}", "-m", "local_server", *options, env=CREDENTIALS)

    def python(self, name: str, *argv: str, env: dict[str, str] | None = None) -> Child:
        """Start a program that is led to haproxy."""
        child = Child.python(name, *argv, env=self.env if env is None else env)
        self._children.append(child)
        return child

    def worker(self, name: str, *options: str) -> Child:
        """Start a worker of the factorial, and wait until it is connected."""
        child = self.python(name, "factorial_worker.py", "--id", name, *options)
        child.wait_for("is ready")
        return child

    def _start(self, name: str, argv: list[str]) -> Child:
        child = Child(name, argv)
        self._children.append(child)
        return child


@contextmanager
def site(folder: Path, database: str, children: list[Child]) -> Iterator[Site]:
    """Yield servers and haproxy on ports that are theirs; skip the test where there is no haproxy."""
    if not shutil.which("haproxy"):
        pytest.skip("no haproxy: sudo apt-get install haproxy")
    with ExitStack() as held:
        yield Site(folder, database, [held.enter_context(held_port()) for _ in range(6)], children)


def make_certificate(folder: Path) -> None:
    """Make one for localhost, as if a known authority had signed it: a ``certifi`` that knows it, for the SDK."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "durable.pem").write_text((folder / "ca.pem").read_text() + (folder / "key.pem").read_text())
    (folder / "certifi").mkdir()
    (folder / "certifi" / "__init__.py").write_text(f"def where():\n    return {str(folder / 'ca.pem')!r}\n")


class Machines:
    """Network namespaces at one cable: each is a machine as far as its network goes."""

    def __init__(self, count: int) -> None:
        if os.getuid() or not shutil.which("ip"):
            pytest.skip("no network namespaces: they need root, and sudo apt-get install iproute2")
        self._bridge = f"b{os.getpid() % 10**7}"
        self.names = [f"{self._bridge}m{number}" for number in range(count)]
        self._made: list[list[str]] = []
        try:
            self._make(["link", "add", self._bridge, "type", "bridge"], ["link", "del", self._bridge])
            _ip("link", "set", self._bridge, "up")
            for number, name in enumerate(self.names):
                self._make(["netns", "add", name], ["netns", "del", name])
                cable = f"{self._bridge}c{number}"
                self._make(["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name], [])
                _ip("link", "set", cable, "master", self._bridge, "up")
                for words in (["addr", "add", f"{self.address(number)}/24", "dev", "eth0"],
                              ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):  # fmt: skip
                    _ip("-n", name, *words)
        except subprocess.CalledProcessError as error:
            self.close()
            pytest.skip(f"no network namespaces: {error.stderr}")

    def _make(self, words: list[str], undo: list[str]) -> None:
        _ip(*words)
        if undo:
            self._made.append(undo)

    @staticmethod
    def address(number: int) -> str:
        """Return the address of a machine."""
        return f"10.77.77.{number + 1}"

    def on(self, number: int) -> list[str]:
        """Return what to put before a command that is to run on a machine."""
        return ["ip", "netns", "exec", self.names[number]]

    def unplug(self, number: int) -> None:
        """Cut a machine off: nothing arrives any more, and nobody is told."""
        _ip("link", "set", f"{self._bridge}c{number}", "down")

    def close(self) -> None:
        """Remove them."""
        for undo in reversed(self._made):
            _ip(*undo)


def _ip(*words: str) -> None:
    subprocess.run([shutil.which("ip") or "ip", *words], check=True, capture_output=True, text=True)
