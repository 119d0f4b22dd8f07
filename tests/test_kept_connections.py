"""The store that keeps its connections: as few as threads call at once, and the SDK's own way where a call fails."""

import socket
import threading
from collections.abc import Callable, Generator
from typing import Any

import psutil
import pytest
from resonate import Context, Resonate, Yieldable
from resonate.errors import ResonateStoreError
from resonate.message_sources import Poller
from resonate.models.durable_promise import DurablePromise
from resonate.retry_policies import Never
from resonate.stores import RemoteStore

from local_server.kept import KeptConnections
from local_server.testing import Child, LocalServer

FAR = 2**60


BODY = (
    b'{"id":"kept-broken","state":"REJECTED_CANCELED","param":{},"value":{},"timeout":1,"createdOn":1,"completedOn":1}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


def address(server: LocalServer) -> tuple[str, str]:
    host, _, port = server.url.rpartition(":")
    return host, port


def store_of(server: LocalServer) -> KeptConnections:
    return KeptConnections(*address(server))


def connections(server: LocalServer) -> set[int]:
    """Return the ports of this process's connections to a server."""
    port = int(server.url.rpartition(":")[2])
    mine = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in mine if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"}


def create(store: KeptConnections, promise_id: str) -> DurablePromise:
    return store.promises.create(promise_id, FAR, ikey=promise_id)


def test_many_calls_of_a_thread_go_over_one_connection(memory_server: LocalServer) -> None:
    store, before = store_of(memory_server), connections(memory_server)
    seen = set()
    for number in range(20):
        assert create(store, f"kept-one-{number}").id == f"kept-one-{number}"
        store.promises.resolve(f"kept-one-{number}", data="1")
        seen |= connections(memory_server) - before
    assert len(seen) == 1


def test_threads_get_their_own_answers(memory_server: LocalServer) -> None:
    store, wrong = store_of(memory_server), []

    def call(thread: int) -> None:
        for number in range(50):
            promise_id = f"kept-thread-{thread}-{number}"
            if create(store, promise_id).id != promise_id:
                wrong.append(promise_id)

    threads = [threading.Thread(target=call, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_refusal_is_told_as_the_sdk_tells_it(memory_server: LocalServer) -> None:
    told = []
    for store in (store_of(memory_server), RemoteStore(*address(memory_server))):
        with pytest.raises(ResonateStoreError) as refusal:
            store.promises.get("kept-none")
        told.append((str(refusal.value), refusal.value.code))
    assert told[0] == told[1]
    assert told[0][1] == 100.404


def test_a_server_that_was_killed_and_started_again_is_called_on_a_new_connection(server: LocalServer) -> None:
    store = store_of(server)
    create(store, "kept-killed")
    server.kill()
    server.start()
    assert store.promises.get("kept-killed").id == "kept-killed"
    assert len(connections(server)) == 1


def test_a_call_that_breaks_off_is_made_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = KeptConnections("http://127.0.0.1", str(listener.getsockname()[1]))
        calling = threading.Thread(target=store.promises.cancel, args=("kept-broken",))
        calling.start()
        bodies = []
        for answer in (b"HTTP/1.1 201 Crea", ANSWER):
            connection = listener.accept()[0]
            with connection:
                head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
                while len(body) < int(head.lower().partition(b"content-length: ")[2].split()[0]):
                    body += connection.recv(65_536)
                bodies.append(body)
                connection.sendall(answer)
        calling.join()
    assert bodies[0] == bodies[1]


def test_credentials_in_the_address_are_sent_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        store = KeptConnections("http://jo:secret@127.0.0.1", port)
        calling = threading.Thread(target=store.promises.get, args=("x",), daemon=True)
        calling.start()
        with listener.accept()[0] as connection:
            head = connection.recv(65_536).decode()
            connection.sendall(ANSWER)
            calling.join()
    assert f"\r\nHost: 127.0.0.1:{port}\r\n" in head
    assert "\r\nAuthorization: Basic am86c2VjcmV0\r\n" in head


def test_an_answer_that_is_announced_before_it_comes_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store, told = KeptConnections("http://127.0.0.1", str(listener.getsockname()[1])), []
        calling = threading.Thread(target=lambda: told.append(store.promises.get("kept-broken").id), daemon=True)
        calling.start()
        connection = listener.accept()[0]
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200")
            listener.settimeout(0.2)
            with pytest.raises(TimeoutError):  # it does not come again
                listener.accept()
            connection.sendall(ANSWER.removeprefix(b"HTTP/1.1 200"))
            calling.join()
    assert told == ["kept-broken"]


def test_a_process_and_what_it_forks_have_connections_of_their_own(start_shared: Callable[..., Child]) -> None:
    child = start_shared("forks", "-c", FORKING)
    assert child.wait() == 0, child.output
    ports = [set(line.split()[1:]) for line in child.lines if line.startswith("ports")]
    assert len(ports) == 2
    assert ports[0].isdisjoint(ports[1])


FORKING = """
import os, psutil
from local_server.kept import KeptConnections

store = KeptConnections()
store.promises.create("forked", 2**60, ikey="forked")
forked = os.fork()
for number in range(50):
    name = f"forked-{forked > 0}-{number}"
    assert store.promises.create(name, 2**60, ikey=name).id == name
mine = psutil.Process().net_connections()
ports = " ".join(str(one.laddr.port) for one in mine if one.status == "ESTABLISHED")
os.write(1, f"ports {ports}\\n".encode())  # at once: two processes print here
if forked:
    assert os.waitpid(forked, 0)[1] == 0
"""


def test_a_function_runs_with_it_as_without(memory_server: LocalServer) -> None:
    poller = Poller("kept", "w", "http://127.0.0.1", memory_server.poll_url.rpartition(":")[2])
    resonate = Resonate(group="kept", pid="w", store=store_of(memory_server), message_source=poller)

    def total(ctx: Context, n: int) -> Generator[Yieldable, Any, int]:
        return n + (yield ctx.rpc("total", n - 1).options(target="poll://any@kept")) if n else 0

    resonate.register(total)
    resonate.start()
    assert resonate.options(target="poll://any@kept").rpc("kept-total", "total", 4) == 10
    resonate.stop()


@pytest.mark.parametrize(("url", "proxy"), [("https://127.0.0.1", ""), ("http://proxied.example", "http://127.0.0.1")])
def test_where_tls_or_a_proxy_is_in_between_the_sdk_connects_itself(
    url: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        monkeypatch.setenv("http_proxy", f"{proxy}:{port}" if proxy else "")
        store = KeptConnections(url, port, timeout=5, retry_policy=Never())

        def call() -> None:
            with pytest.raises(ResonateStoreError):
                store.promises.get("x")

        calling = threading.Thread(target=call)
        calling.start()
        connection = listener.accept()[0]
        with connection:
            first = connection.recv(65_536)
    calling.join()
    assert first.startswith(b"GET http://proxied.example" if proxy else b"\x16\x03")  # a hello of TLS
