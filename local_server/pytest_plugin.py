"""The fixtures for pytest, which finds them by itself wherever this package is installed.

Only a test that uses one pays for it: until then nothing else of this package is imported.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_server.testing import AnyServer, LocalServer
    from local_server.testing.thread import ThreadServer

SDK_WARNING = "keys will default to True"
STOP_DEADLINE = 10.0  # seconds for the step in hand
_servers = pytest.StashKey[list["AnyServer"]]()


def pytest_configure(config: pytest.Config) -> None:
    """Ignore a warning about how the SDK calls jsonpickle, of which there would be some for each call."""
    config.addinivalue_line("filterwarnings", f"ignore:{SDK_WARNING}:DeprecationWarning")


@pytest.fixture
def resonate_server(request: pytest.FixtureRequest) -> Iterator["ThreadServer"]:
    """A server of the test's own, in its process and in memory; its time can be skipped."""
    from local_server.testing.thread import ThreadServer  # noqa: PLC0415 - only tests that use it pay for it

    with ThreadServer() as server:
        _note(request, server)
        yield server


@pytest.fixture
def resonate_server_process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["LocalServer"]:
    """A server of the test's own that is a process with a database in ``tmp_path``: to kill and to restart."""
    from local_server.testing import LocalServer, held_port  # noqa: PLC0415 - likewise

    with held_port() as port, held_port() as poll_port:
        server = LocalServer(tmp_path, "--port", str(port), "--poll-port", str(poll_port))
        _note(request, server)
        yield server
        server.kill_children()
        if server.child.running:
            server.kill()


@pytest.fixture
def resonate(resonate_server: "ThreadServer", monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A ``Resonate`` of the SDK in the test's process, led to ``resonate_server``: worker and client at once."""
    from resonate import Resonate  # noqa: PLC0415 - this package does not need the SDK

    resonate_server.set_env(monkeypatch)
    client = Resonate.remote()
    client.start()
    yield client
    stopping = Thread(target=client.stop, daemon=True)  # it waits for the step in hand, however long that takes
    stopping.start()
    stopping.join(STOP_DEADLINE)


def _note(request: pytest.FixtureRequest, server: "AnyServer") -> None:
    request.node.stash.setdefault(_servers, []).append(server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what its servers have stored, and what its processes have printed."""
    report: Any = yield
    if report.failed and report.when != "teardown":
        for server in item.stash.get(_servers, []):
            report.sections.append((f"promises of {server.url}", server.trees()))
            report.sections += [
                (f"output of {child.name} (pid {child.pid})", child.output) for child in server.processes
            ]
    return report  # type: ignore[no-any-return]
