"""What docs/bigger.md tells: two servers behind haproxy, workers on other machines, a PostgreSQL that is copied."""

import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from bigger_stage import CREDENTIALS, Machines, Site, site
from postgres_stage import Cluster
from wire_client import FAR, until

from local_server.testing import Child, LocalServer
from local_server.testing.postgres import OWNER

PAGE = Path("docs/bigger.md").read_text()
STEP = r"Calculating factorial of "


@pytest.fixture
def place(tmp_path: Path, postgres: Cluster, children: list[Child]) -> Iterator[Site]:
    """Two servers behind haproxy, neither of which has been started."""
    with site(tmp_path, postgres.create(), children) as one:
        yield one


def both(place: Site) -> tuple[Child, Child]:
    """Start both servers; return the one that serves, and the one that stands by."""
    first = place.server(1)
    first.wait_for("is ready")
    second = place.server(2)
    second.wait_for("stands by")
    return first, second


@pytest.mark.long
def test_behind_haproxy_a_run_goes_on_when_the_server_that_serves_is_killed(place: Site) -> None:
    first, second = both(place)
    workers = [place.worker(f"w{number}", "--delay", "0.2") for number in (1, 2)]
    client = place.python("client", "factorial_client.py", "10")
    while not any(worker.count(f"{STEP}6$") for worker in workers):
        assert client.running, client.output
        time.sleep(0.02)
    first.kill()
    second.wait_for("is ready", timeout=5)
    assert client.wait(40) == 0
    assert client.lines[-1] == "Result: 3628800"
    assert all(worker.running for worker in workers)  # none has got an answer of haproxy's own
    again = place.server(1)
    again.wait_for("stands by")
    listed = place.python("listed", "-m", "local_server", "promises", "factorial-*")
    assert listed.wait() == 0
    assert len(listed.lines) == 10


@pytest.mark.long
def test_behind_haproxy_its_restart_costs_no_worker_its_claims_and_a_killed_worker_is_replaced(place: Site) -> None:
    both(place)
    worker = place.worker("w1", "--delay", "1.5")
    client = place.python("client", "factorial_client.py", "3")
    worker.wait_for(f"{STEP}2$")
    place.proxy.kill()
    place.start_proxy()
    worker.wait_for(f"{STEP}1$")
    assert client.wait(30) == 0
    assert worker.count(f"{STEP}2$") == 1
    slow = place.python("client", "factorial_client.py", "4")
    worker.wait_for(f"{STEP}4$")
    worker.kill()
    killed = time.monotonic()
    other = place.worker("w2")
    other.wait_for(f"{STEP}4$")
    assert 4 < time.monotonic() - killed < 9
    assert slow.wait(30) == 0


@pytest.fixture
def machines() -> Iterator[Machines]:
    """Three machines."""
    three = Machines(3)
    yield three
    three.close()


@pytest.mark.long
def test_workers_on_other_machines_are_replaced_5_5_s_after_a_kill_and_10_s_after_they_vanish(
    machines: Machines, children: list[Child], tmp_path: Path
) -> None:
    def start(machine: int, name: str, *argv: str) -> Child:
        host = {"RESONATE_HOST": f"http://{machines.address(0)}"}
        command = [*machines.on(machine), sys.executable, *argv]
        children.append(Child(name, command, env={**host, **CREDENTIALS}))
        return children[-1]

    options = ["--host", machines.address(0), "--db", str(tmp_path / "db")]
    start(0, "server", "-m", "local_server", *options).wait_for("is ready")
    workers = [start(machine, f"w{machine}", "factorial_worker.py", "--id", f"w{machine}", "--delay", "1")
               for machine in (1, 2)]  # fmt: skip
    for worker in workers:
        worker.wait_for("is ready")
    client = start(0, "client", "factorial_client.py", "5")
    _, step = _begun(workers, 4)
    first = next(worker for worker in workers if worker.count(f"{STEP}{step}$"))
    second = next(worker for worker in workers if worker is not first)
    first.kill()
    killed = time.monotonic()
    second.wait_for(f"{STEP}{step}$", timeout=15)
    assert 4 < time.monotonic() - killed < 9
    machines.unplug(2 if second.name == "w2" else 1)
    vanished = time.monotonic()
    last = start(0, "w0", "factorial_worker.py", "--id", "w0")
    last.wait_for(f"{STEP}{step}$", timeout=25)
    assert 4 < time.monotonic() - vanished < 14
    assert client.wait(30) == 0
    assert client.lines[-1] == "Result: 120"


def _begun(workers: list[Child], step: int) -> tuple[Child, int]:
    """Wait until somebody has begun a step."""
    deadline = time.monotonic() + 30
    while True:
        for worker in workers:
            if worker.count(f"{STEP}{step}$"):
                return worker, step
        assert time.monotonic() < deadline, [worker.output for worker in workers]
        time.sleep(0.02)


def test_the_page_tells_of_the_configuration_as_it_is() -> None:
    text = Path("docs/haproxy.cfg").read_text()
    for word in re.findall(r"`((?:mode|timeout|check|option|on-marked-down)[^`]*)`", PAGE):
        if word != "mode http":
            assert word in text, word


def test_the_commands_for_copies_do_what_the_page_says_and_no_answer_is_lost_with_the_first_database(
    children: list[Child],
) -> None:
    first = Cluster()
    try:
        _copy(first, children)
    finally:
        for child in children:  # the copy, too, stores in its folder
            if child.running:
                child.kill() if "local_server" in child.output else child.stop()
        first.close()


def _copy(first: Cluster, children: list[Child]) -> None:
    def url(database: str, *ports: int) -> str:
        hosts, numbers = ",".join([str(first.folder)] * len(ports)), ",".join(map(str, ports))
        return f"postgresql:///{database or 'postgres'}?host={hosts}&port={numbers}&user={OWNER}"

    def run(begins: str) -> None:
        """Run the commands of the page that begin so, with our addresses for its own."""
        found = [line for line in PAGE.splitlines() if line.startswith(begins)]
        assert found, begins
        for line in found:
            words = shlex.split(re.sub(r"postgresql://\w+@db(\d)/?(\w*)", lambda m: url(m[2], 5431 + int(m[1])), line))
            where = [f"--host={first.folder}", f"--username={OWNER}"] if words[0].startswith("create") else []
            first.program(words[0], *where, *words[1:])

    def serve(database: str) -> tuple[Child, str]:
        argv = ["-m", "local_server", "--db", database, "--port", "0", "--poll-port", "0"]
        children.append(Child.python("local_server", *argv))
        return children[-1], children[-1].wait_for(r"API (\S+),")[1]

    for command in ("createuser", "createdb"):
        run(command)
    server, api = serve(url("durable", 5432, 5433))
    for number in range(20):
        requests.post(f"{api}/promises", json={"id": f"p{number}", "timeout": FAR}, timeout=10).raise_for_status()
    run("pg_dump")
    run("pg_restore")
    restored, other = serve(url("restored", 5432))
    assert _ids(other) == _ids(api) == {f"p{number}" for number in range(20)}
    restored.kill()

    run("pg_basebackup")
    children.append(first.serve(first.folder / "standby", "port=5433"))
    run("psql postgresql://postgres@db1")
    until(lambda: first.run("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
    for number in range(20, 40):
        requests.post(f"{api}/promises", json={"id": f"p{number}", "timeout": FAR}, timeout=10).raise_for_status()
    first.crash()
    run("psql postgresql://postgres@db2")
    api = server.wait_for(r"API (\S+),", times=2)[1]
    assert _ids(api) == {f"p{number}" for number in range(40)}


def _ids(api: str) -> set[str]:
    return {promise["id"] for promise in requests.get(f"{api}/promises?id=*", timeout=10).json()["promises"]}


def test_a_step_waits_some_24_times_for_an_answer_of_the_database(postgres: Cluster, children: list[Child]) -> None:
    program = """if True:
        import atexit
        from local_server.cli import main
        from local_server.store.dialect import statement
        from local_server.store.postgres import Postgres
        run, execute, waits = Postgres._run, Postgres.execute, [0]
        def counted(self, text, values, *, wait=False):
            waits[0] += wait
            return run(self, text, values, wait=wait)
        def read(self, sql, values={}):
            waits[0] += statement(sql)[2]
            return execute(self, sql, values)
        Postgres._run, Postgres.execute = counted, read
        atexit.register(lambda: print("waited", waits[0]))
        main()"""
    server = LocalServer(postgres.create(), start=lambda name, *argv, **_: Child.python(name, "-c", program, *argv[2:]))
    children.append(server.child)
    worker = server.spawn("factorial_worker.py", "--id", "w")
    children.append(worker)
    worker.wait_for("is ready")
    client = server.spawn("factorial_client.py", "40")
    children.append(client)
    assert client.wait(60) == 0
    worker.kill()
    server.stop()
    waited = int(server.child.wait_for(r"waited (\d+)")[1]) / 40
    assert 20 < waited < 28  # those of heartbeats, and of looking every second, among them
