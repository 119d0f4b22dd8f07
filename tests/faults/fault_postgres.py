"""What the runs under faults have on PostgreSQL: two servers on the same ports, the database, and the ways to it."""

import re
from collections.abc import Callable
from random import Random

from fault_plan import LAST, REST, Fault, Kind
from fault_run import LIVE, FaultRun, Role
from postgres_stage import Cluster
from proxy_stage import Proxy

from local_server.testing import Child
from local_server.testing.server import AnyServer

SERVERS = ("server-1", "server-2")
WAYS = {"server-1": "way-1", "server-2": "way-2"}
KINDS: dict[str, Kind] = {"postgres": "kill", **dict.fromkeys(WAYS.values(), "stop")}  # all that is done to these
# What a server may log, since it is what has happened.
EXPECTED = re.compile(r"ERROR postgresql://")
REFUSES = re.compile(r"Error: postgresql://(?!.*; expected)|Error: 127\.0\.0\.1:\d+: Address already in use")


class Server(Role):
    """One of the servers."""

    def look(self) -> str:
        """Start it again, as its supervisor would, if it could not be started without its database or its port."""
        if not self.child.running and not self.asked_to_end and re.match(REFUSES, self.child.output):
            self.start()
        return super().look()


class Database(Role):
    """PostgreSQL itself, which is ended at once and started again."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        super().__init__("postgres", lambda: cluster.child)

    def start(self) -> None:
        """Start it, unless it runs."""
        if not self._cluster.child.running:
            self._cluster.start()
        super().start()

    def kill(self) -> None:
        """End it: its processes know nothing of a kill -9 of one of them alone."""
        self._cluster.crash()


class Pair(AnyServer):
    """Two servers of one database, on the same ports."""

    def __init__(self, ports: list[str], start: Callable[..., Child]) -> None:
        super().__init__()
        self.url, self.poll_url = (f"http://127.0.0.1:{port}" for port in ports)
        self._ports, self._start = ports, start

    def start(self, name: str, url: str) -> Child:
        """Start one of them."""
        options = ("--db", url, "--port", self._ports[0], "--poll-port", self._ports[1])
        return self._start(name, "-m", "local_server", *options)


class PostgresRun(FaultRun):
    """A run with two servers."""

    def __init__(self, cluster: Cluster, proxies: list[Proxy], children: list[Child], *ports: str) -> None:
        self._cluster, self._url, self._proxies = cluster, cluster.create(), proxies
        self._ports = list(ports)
        super().__init__(children)

    def _serve(self) -> None:
        self.server = Pair(self._ports, self._start)
        for name, proxy in zip(SERVERS, self._proxies, strict=True):
            url = proxy.url(self._url)
            server = Server(name, lambda name=name, url=url: self.server.start(name, url))
            self.roles |= {name: server, WAYS[name]: Role(WAYS[name], lambda proxy=proxy: proxy.child)}
            server.child.wait_for("is ready" if name == SERVERS[0] else "stands by")
        self.roles["postgres"] = Database(self._cluster)

    def check_servers(self) -> None:
        """Stop them, and look at how they ended and at what is left in the database."""
        for child in self.children:
            if child.name in SERVERS:
                assert "Traceback" not in child.output, child.output
                faults = [line for line in child.lines if "ERROR" in line and not EXPECTED.match(line)]
                assert not faults, faults
        for name in SERVERS:
            status = self.roles[name].child.stop()
            assert status == 0, f"{name} ended with {status}"
        left = self._cluster.run(LIVE, self._url)
        assert not left, f"tasks that are left although all promises are completed: {left}"


def with_both_killed(faults: list[Fault], random: Random) -> list[Fault]:
    """Add a kill of both servers at once to a plan, in place of what happens to them at that time."""
    at = random.uniform(1, LAST)
    apart = [
        one for one in faults if one.victim not in SERVERS or one.at + one.seconds + REST < at or one.at > at + 2 + REST
    ]
    return [*apart, *(Fault(at, "kill", name, random.uniform(0, 2)) for name in SERVERS)]
