"""The fixtures for pytest, which finds them by itself wherever this package is installed.

Only a test that uses one pays for it: until then nothing else of this package is imported.
"""

import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from threading import Lock, Thread, main_thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_server.testing import AnyServer, LocalServer
    from local_server.testing.thread import ThreadServer

SDK_WARNING = "keys will default to True"
STOP_DEADLINE = 10.0  # seconds for the step in hand
_servers = pytest.StashKey[list["AnyServer"]]()
_end_of_sdk = pytest.StashKey["EndOfSdk"]()


class EndOfSdk:
    """What the SDK calls in place of ``os._exit``: that would end pytest, with all that it has to tell.

    Attributes:
        error: for which the SDK gives up, from then on.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._awaited = Lock()

    def __call__(self, _status: int) -> None:
        """Interrupt the test the first time, whatever it waits for; the SDK's thread, which calls this, ends then."""
        if self._awaited.acquire(blocking=False):
            self.error = sys.exception()
            signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)

    def ignore(self) -> None:
        """Interrupt nobody from now on."""
        self._awaited.acquire(blocking=False)


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
def resonate(
    request: pytest.FixtureRequest, resonate_server: "ThreadServer", monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A ``Resonate`` of the SDK in the test's process, led to ``resonate_server``: worker and client at once."""
    from resonate import Resonate  # noqa: PLC0415 - this package does not need the SDK

    resonate_server.set_env(monkeypatch)
    request.node.stash[_end_of_sdk] = end = EndOfSdk()
    monkeypatch.setattr("resonate.utils.os", SimpleNamespace(_exit=end))
    client = Resonate.remote()
    client.start()
    yield client
    end.ignore()
    stopping = Thread(target=client.stop, daemon=True)  # it waits for the step in hand, however long that takes
    stopping.start()
    stopping.join(STOP_DEADLINE)


def _note(request: pytest.FixtureRequest, server: "AnyServer") -> None:
    request.node.stash.setdefault(_servers, []).append(server)


def _sections(item: pytest.Item) -> Iterator[tuple[str, str]]:
    for server in item.stash.get(_servers, []):
        yield f"promises of {server.url}", server.trees()
        for child in server.processes:
            yield f"output of {child.name} (pid {child.pid})", child.output


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Likewise, in its fixtures."""
    return (yield from pytest_runtest_call(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test in which the SDK gives up; show what a test waited for that Ctrl-C has ended."""
    try:
        return (yield)
    except KeyboardInterrupt:
        end = item.stash.get(_end_of_sdk, None)
        if not end or not end.error:
            _show(item)
            raise
    pytest.fail(f"the SDK gave up, and would have ended this process: {end.error!r}", pytrace=False)


def _show(item: pytest.Item) -> None:
    terminal, capture = (item.config.pluginmanager.get_plugin(name) for name in ("terminalreporter", "capturemanager"))
    if terminal and capture:
        with capture.global_and_fixture_disabled():
            for title, text in _sections(item):
                terminal.write_sep("-", title)
                terminal.write_line(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what its servers have stored, and what its processes have printed."""
    report: Any = yield
    if report.failed and report.when != "teardown":
        report.sections += _sections(item)
    return report  # type: ignore[no-any-return]
