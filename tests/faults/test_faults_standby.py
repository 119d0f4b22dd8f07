"""Two servers of one database of PostgreSQL: one serves, the other stands by, whatever is killed, stopped or cut."""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests
from fault_database import Run
from fault_postgres import Pair
from fault_stage import assert_running
from postgres_stage import Cluster
from proxy_stage import Proxy
from wire_client import FAR, Wire, starter, until

from local_server.testing import Child, held_port
from local_server.testing.server import AnyServer

TAKES_OVER_WITHIN = 1.0  # seconds after a kill -9; mostly 0.2
SILENCE = 4.0  # seconds until a server that says nothing loses its place


@pytest.fixture
def ports() -> Iterator[list[str]]:
    """Two ports, which stay free for servers to come back to."""
    with held_port() as api, held_port() as poll:
        yield [str(api), str(poll)]


@pytest.fixture
def other_ports() -> Iterator[list[str]]:
    """Likewise, of a second server."""
    with held_port() as api, held_port() as poll:
        yield [str(api), str(poll)]


@pytest.fixture
def new(children: list[Child]) -> Callable[..., Child]:
    """Start a process of the test."""
    return starter(children)


def two(new: Callable[..., Child], ports: list[str], others: list[str], url: str) -> tuple[Pair, Child, Pair, Child]:
    """Start a server, and a second one that stands by."""
    first, second = Pair(ports, new), Pair(others, new)
    serves = first.start("first", url)
    serves.wait_for("is ready")
    stands_by = second.start("second", url)
    named = stands_by.wait_for(r"^local-server 127\.0\.0\.1:(\d+) pid (\d+) on \S+ serves .*; this server stands by$")
    assert named.groups() == (ports[0], str(serves.pid))
    return first, serves, second, stands_by


def wait_until_served(server: AnyServer) -> float:
    """Return how many seconds it takes until it answers."""
    began = time.monotonic()
    until(lambda: answers(server))
    return time.monotonic() - began


def answers(server: AnyServer) -> bool:
    """Tell whether a server answers."""
    try:
        return requests.get(f"{server.url}/promises/none", timeout=5).status_code == 404
    except requests.ConnectionError:
        return False


@pytest.mark.long
def test_kill_9_of_the_server_that_serves_and_the_other_one_goes_on(
    postgres: Cluster, ports: list[str], new: Callable[..., Child], children: list[Child]
) -> None:
    server, serves, _, stands_by = two(new, ports, ports, postgres.create())
    run = Run(server, children)
    serves.kill()
    assert wait_until_served(server) < TAKES_OVER_WITHIN
    run.ends_right()
    back = server.start("first", stands_by.lines[-1].rpartition("data ")[2])  # the ready line names the database
    back.wait_for(f" pid {stands_by.pid} on .* serves")
    assert stands_by.stop() == 0  # a planned change
    back.wait_for("is ready")
    assert stands_by.count("ERROR|Traceback") == 0


@pytest.mark.long
def test_postgresql_ends_and_comes_back_and_the_run_goes_on(
    cluster: Cluster, ports: list[str], new: Callable[..., Child], children: list[Child]
) -> None:
    server, serves, _, stands_by = two(new, ports, ports, cluster.create())
    run = Run(server, children)
    cluster.crash()
    for each in (serves, stands_by):
        each.wait_for("this server waits for it")
    with pytest.raises(requests.ConnectionError):  # both keep their ports closed
        requests.get(server.url, timeout=5)
    cluster.start()
    children.append(cluster.child)
    run.ends_right()
    assert_running([serves, stands_by])


@pytest.mark.long
def test_a_server_that_is_stopped_for_7_s_loses_its_place_and_writes_and_sends_nothing_more(
    postgres: Cluster, ports: list[str], other_ports: list[str], new: Callable[..., Child]
) -> None:
    url = postgres.create()
    first, serves, second, stands_by = two(new, ports, other_ports, url)
    slow_commit(postgres, url, "__invoke:stored")
    wire, other = Wire(first), Wire(second)
    stream = wire.stream("g", "w")
    stopped = time.monotonic()
    with ThreadPoolExecutor() as pool:
        requested = [pool.submit(create, first, "stored")]
        until(lambda: postgres.run("SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"))
        serves.signal(signal.SIGSTOP)  # its COMMIT will be told to it, and it will be late
        requested.append(pool.submit(create, first, "not-stored"))
        stands_by.wait_for("is ready")
        assert SILENCE <= time.monotonic() - stopped < SILENCE + 3
        other.create("meanwhile")
        time.sleep(max(0.0, stopped + 7 - time.monotonic()))
        serves.signal(signal.SIGCONT)
        for each in requested:
            with pytest.raises(requests.ConnectionError):  # no answer at all: nobody knew
                each.result()
    serves.wait_for(f" pid {stands_by.pid} on .* serves .*; this server stands by")
    assert stream.read(1) in ("", "0"), "a message was sent by a server that had lost its place"
    assert other.get("/promises/stored").json()["state"] == "PENDING"
    assert other.get("/promises/not-stored").status_code == 404
    assert other.get("/promises/meanwhile").status_code == 200
    wire.close()
    other.close()


def slow_commit(postgres: Cluster, url: str, task: str) -> None:
    """Let the COMMIT of the transaction that makes a task take half a second."""
    postgres.run(
        f"""CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.id = '{task}') EXECUTE FUNCTION wait()""",
        url,
    )


def create(server: AnyServer, promise_id: str) -> requests.Response:
    """Ask for a call."""
    body = {"id": promise_id, "timeout": FAR, "tags": {"resonate:invoke": "poll://any@g"}}
    return requests.post(f"{server.url}/promises", json=body, timeout=30)


@pytest.mark.long
def test_a_server_that_is_stopped_with_its_ports_does_not_end_the_other_one(
    postgres: Cluster, ports: list[str], new: Callable[..., Child]
) -> None:
    server, serves, _, stands_by = two(new, ports, ports, postgres.create())
    serves.signal(signal.SIGSTOP)
    stands_by.wait_for("Address already in use; another server may run there already; this server stands by")
    serves.kill()
    wait_until_served(server)
    assert_running([stands_by])


@pytest.mark.long
def test_a_server_that_is_cut_off_from_the_database_loses_its_place_and_gives_up(
    postgres: Cluster, ports: list[str], other_ports: list[str], new: Callable[..., Child]
) -> None:
    url = postgres.create()
    with closing(Proxy(postgres)) as proxy:
        first, second = Pair(ports, new), Pair(other_ports, new)
        serves, stands_by = first.start("first", proxy.url(url)), None
        serves.wait_for("is ready")
        stands_by = second.start("second", url)
        stands_by.wait_for("this server stands by")
        proxy.cut()
        began = time.monotonic()
        late: list[object] = []
        asked = threading.Thread(target=lambda: late.append(outcome(first)))
        asked.start()
        stands_by.wait_for("is ready")
        assert time.monotonic() - began < SILENCE + 3
        serves.wait_for("no answer within 15 s")
        asked.join()
        assert late == [requests.ConnectionError]
        serves.wait_for("this server waits for it")
        proxy.mend()
        serves.wait_for(f" pid {stands_by.pid} on .* serves .*; this server stands by")
        assert requests.get(f"{second.url}/promises/cut", timeout=5).status_code == 404


def outcome(server: AnyServer) -> object:
    """Return the status of a request, or how it failed."""
    try:
        return create(server, "cut").status_code
    except requests.RequestException as error:
        return type(error)


def test_a_database_that_only_reads_for_a_while_is_waited_for(
    postgres: Cluster, ports: list[str], new: Callable[..., Child]
) -> None:
    url = postgres.create()
    name = re.search(r"/(\w+)\?", url)[1]
    server = Pair(ports, new)
    child = server.start("server", url)
    child.wait_for("is ready")
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - a constant
    child.wait_for("session is read-only; this server waits for it")
    postgres.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    child.wait_for("is ready", times=2)
    assert answers(server)
