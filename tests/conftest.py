"""Fixtures: real processes on free ports, ended after each test, their logs printed when it fails."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from postgres_stage import Cluster
from rules_stage import Stage
from wire_client import Wire, ended_well, starter

from local_server.testing import Child, LocalServer, held_port

os.chdir(Path(__file__).parent.parent)  # where the examples are, whatever folder the tests are started from
# Many containers forbid to keep what is compiled; hundreds of processes would compile the same files anew, and each
# process of the tests would rewrite all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# nohup, and a script that starts the tests in its background, ignore signals for all that comes after them; what has a
# handler starts with the default in a child.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
signal.signal(signal.SIGTERM, signal.default_int_handler)  # else what the tests have started would outlive them
settings.load_profile("ci")  # the same examples each time, and no limit to the time of one: the machine is busy here


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep Ctrl-C as it is: the examples are programs, and let it end them at once when they are imported."""
    before = signal.getsignal(signal.SIGINT)
    result = yield
    signal.signal(signal.SIGINT, before)
    return result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/faults run for longer than there is time for on every day."""
    parser.addoption("--seeds", type=int, default=0, help="tests/faults: run under the faults of so many seeds")
    parser.addoption("--times", type=int, default=0, help="tests/faults: provoke each single fault so many times")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what takes long first, since at the end the others would wait for it: half of it to each of two workers.

    Each worker gets as many items as the others, as they stand here, and takes what another has left when it has none.
    What takes long mostly waits, so the rest has the processors meanwhile.
    """
    long, short = (
        [item for item in items if bool(item.get_closest_marker("long")) is wanted] for wanted in (True, False)
    )
    second = len(items) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) - len(long[::2])
    items[:] = [*long[::2], *short[:second], *long[1::2], *short[second:]]
    if config.getoption("times"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def times(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often to provoke a fault: the number that the test proposes, or that of ``--times``."""
    return lambda proposed: request.config.getoption("times") or proposed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Append the output of every process of a failed test, and of those that its module shares, to its report."""
    report = yield
    if report.failed:
        for child in getattr(item, "children", []) + getattr(item.getparent(pytest.Module), "children", []):
            report.sections.append((f"output of {child.name} (pid {child.pid})", child.output))
    return report


@pytest.fixture
def children(request: pytest.FixtureRequest) -> Iterator[list[Child]]:
    """Every process of the test; those still running are killed at its end."""
    request.node.children = started = []
    yield started
    for child in started:
        if child.running:
            child.kill()


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port on which nobody listens."""
    with held_port() as port:
        yield port


@pytest.fixture
def server(resonate_server_process: LocalServer) -> LocalServer:
    """A local server of the test's own, its database in the test's folder, its ports free for it to come back to."""
    return resonate_server_process


@pytest.fixture
def start(server: LocalServer, children: list[Child]) -> Callable[..., Child]:
    """Start a process of the test's own."""
    return starter(children, server)


@pytest.fixture
def stage() -> Stage:
    """The rules of the server without its sockets and clock, in memory."""
    return Stage()


@pytest.fixture
def durable(tmp_path: Path) -> Stage:
    """The same on a file, to be closed and opened again."""
    return Stage(tmp_path / "db")


@pytest.fixture(scope="module")
def engine() -> str:
    """What the server of a module keeps its promises in; another fixture of that name may tell of PostgreSQL, too."""
    return "SQLite"


@pytest.fixture(scope="module")
def memory_server(request: pytest.FixtureRequest, engine: str) -> Iterator[LocalServer]:
    """A local server for the tests of one module; it must end well, and have logged no fault."""
    where = None if engine == "SQLite" else request.getfixturevalue("postgres").create()
    yield from ended_well(LocalServer(where), request)


@pytest.fixture(scope="session", autouse=True)
def shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the processes of the tests share what one of them has made."""
    folder = tmp_path_factory.getbasetemp()
    Cluster.made = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cluster"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL for all tests that do not end it."""
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(children: list[Child]) -> Iterator[Cluster]:
    """A PostgreSQL that the test may end."""
    cluster = Cluster()
    children.append(cluster.child)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def start_shared(memory_server: LocalServer, request: pytest.FixtureRequest) -> Iterator[Callable[..., Child]]:
    """Start a process for all tests of a module, none of which ends it."""
    yield starter(request.node.children, memory_server)
    for child in request.node.children:
        if child is not memory_server.child:  # which has to end well, after them
            child.kill()


@pytest.fixture
def wire(memory_server: LocalServer) -> Iterator[Wire]:
    """A client of the module's server."""
    client = Wire(memory_server)
    yield client
    client.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real browser, to which names that end with .example are this machine.

    Its driver runs a loop in this thread: where it is open, no test can have one of its own.
    """
    path = os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if not path:  # the first is the same browser without windows, and takes half the CPU
        pytest.skip("no browser: sudo apt-get install chromium, or set CHROMIUM to the path of one")
    names = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", names])
        yield browser
        browser.close()
