"""Claims that come late or twice: none may be answered with what ends the process that sent it."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import psutil
import pytest
import requests
from fault_stage import LISTEN, assert_all_work, chain_workers, where
from wire_client import FAR, Wire, call, code, until

from local_server.testing import Child, LocalServer

# As the SDK's own test of a human in the loop, again and again: a run waits for a promise that is resolved outside.
HUMAN = """
import sys, time
from random import Random
from resonate import Resonate
from resonate.errors import ResonateStoreError

resonate, random = Resonate.remote(group="human", pid="human"), Random(1)

@resonate.register
def human(ctx, id):
    promise = yield ctx.promise(id=id)
    return (yield promise)

def answer(id):
    while True:
        try:
            return resonate.promises.resolve(id=id, data="1")
        except ResonateStoreError:  # the run has not created it yet
            time.sleep(random.uniform(0, 0.002))

for n in range(int(sys.argv[1])):
    handle = resonate.begin_run(f"human-{n}", human, f"answer-{n}")
    answer(f"answer-{n}")
    assert handle.result() == 1
print("all answered", flush=True)
"""

# A function that calls another one, which is claimed twice; the first answer to one kind of its requests is lost.
TWICE = """
import sys
from resonate import Resonate

id, resonate = sys.argv[1], Resonate.remote(group="twice", pid="twice")
here = resonate.options(target="poll://any@twice")

@resonate.register
def outer(ctx):
    return (yield ctx.rpc("inner").options(target="poll://any@twice"))

@resonate.register
def inner(ctx):
    return 7

resonate.start()
assert here.rpc(f"inner{id}", "inner") == 7  # so its stream is open
assert here.run(f"outer{id}", outer) == 7
resonate.stop()
"""


@pytest.mark.parametrize("path", ["/tasks/claim", "/promises/task", "/tasks/complete", "/promises"])
def test_a_run_goes_on_when_an_answer_is_lost_on_its_way(
    memory_server: LocalServer, start_shared: Callable[..., Child], path: str
) -> None:
    began, lost = psutil.Process(memory_server.child.pid).create_time(), []
    until(lambda: time.time() > began + 3)  # just after its start it grants more

    class Way(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            url, headers = memory_server.url + self.path, dict(self.headers)
            answer = requests.request(self.command, url, data=body, headers=headers, timeout=10)
            if self.path == path and not lost:
                lost.append(answer.status_code)
                return  # which closes the connection
            self.send_response(answer.status_code)
            self.end_headers()
            self.wfile.write(answer.content)

        do_PATCH = do_POST  # noqa: N815 - as http.server has it

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as way:
        threading.Thread(target=way.serve_forever, kwargs={"poll_interval": 0.01}).start()
        program = start_shared("twice", "-c", TWICE, path, env={"RESONATE_PORT_STORE": str(way.server_port)})
        try:
            assert program.wait(10) == 0, program.output
        finally:
            program.kill()
            way.shutdown()
    assert lost


def test_a_late_claim_of_a_resume_that_ended_with_its_root_is_granted(wire: Wire) -> None:
    root, leaf, group = wire.id("root"), wire.id("leaf"), wire.id("group")
    stream, address = wire.stream(group, "w"), f"poll://any@{group}/w"
    promise = {"id": root, "timeout": FAR, "tags": {"resonate:invoke": address}}
    task = wire.post("/promises/task", {"promise": promise, "task": {"processId": "w", "ttl": 60_000}}).json()["task"]
    wire.create(leaf)
    callback = {"rootPromiseId": root, "recv": address, "timeout": FAR}
    assert wire.post(f"/promises/callback/{leaf}", callback).status_code == 201
    assert wire.post("/tasks/complete", {"id": task["id"], "counter": 1}).status_code == 201
    wire.complete(leaf)
    resume = stream.next()["task"]
    assert wire.post(f"/promises/callback/{leaf}", callback).json()["promise"]["state"] == "RESOLVED"
    ended = wire.complete(root)
    claimed = wire.claim(resume, "w")
    assert claimed.status_code == 201, claimed.text
    assert claimed.json()["type"] == "resume"
    assert [claimed.json()["promises"][one]["data"]["id"] for one in ("root", "leaf")] == [root, leaf]
    assert claimed.json()["promises"]["root"]["data"] == ended
    assert wire.get(f"/promises/{root}").json() == ended
    assert wire.post("/tasks/complete", {"id": resume["id"], "counter": resume["counter"]}).status_code == 200


def test_a_claim_of_a_call_that_was_canceled_meanwhile_is_granted(wire: Wire) -> None:
    root, group = wire.id("root"), wire.id("group")
    stream = wire.stream(group, "w")
    wire.create(root, {"resonate:invoke": f"poll://any@{group}"})
    task = stream.next()["task"]
    wire.complete(root, "REJECTED_CANCELED")
    claimed = wire.claim(task, "w")
    assert claimed.status_code == 201, claimed.text
    assert claimed.json()["promises"]["root"]["data"]["state"] == "REJECTED_CANCELED"


def test_a_claim_is_granted_though_the_last_words_of_a_dead_worker_have_ended_the_call(
    memory_server: LocalServer, start_shared: Callable[..., Child], wire: Wire
) -> None:
    root, group = wire.id("root"), wire.id("group")
    dead = start_shared("dead", "-c", LISTEN, *where(memory_server), f"/{group}/{wire.id('dead')}")
    dead.wait_for("listens")
    until(lambda: f'"pid":{dead.pid},' in wire.get("/ui/workers").text)
    promise = {"id": root, "timeout": FAR, "tags": {"resonate:invoke": f"poll://any@{group}"}}
    task = {"processId": wire.id("dead"), "ttl": 60_000}
    assert wire.post("/promises/task", {"promise": promise, "task": task}).status_code == 201
    heir = wire.stream(group, "heir")
    dead.kill()
    message = heir.next()["task"]
    wire.complete(root)  # it had sent that before it was killed
    claimed = wire.claim(message, "heir")
    assert claimed.status_code == 201, claimed.text


def test_a_claim_of_what_its_holder_has_completed_is_refused(wire: Wire) -> None:
    group = wire.id("group")
    stream = wire.stream(group, "w")
    wire.create(wire.id("root"), {"resonate:invoke": f"poll://any@{group}"})
    task = stream.next()["task"]
    assert wire.claim(task, "w").status_code == 201
    assert wire.post("/tasks/complete", {"id": task["id"], "counter": task["counter"]}).status_code == 201
    assert code(wire.claim(task, "w")) == 40307


def test_a_claim_with_a_counter_that_was_not_sent_is_refused_when_the_root_has_ended(wire: Wire) -> None:
    group = wire.id("group")
    stream = wire.stream(group, "w")
    wire.create(wire.id("root"), {"resonate:invoke": f"poll://any@{group}"})
    task = stream.next()["task"]
    wire.complete(wire.id("root"))
    assert code(wire.claim({**task, "counter": task["counter"] + 1}, "w")) in {40307, 40308}


def test_a_run_whose_promise_is_resolved_outside_ends_no_process(
    start: Callable[..., Child], times: Callable[[int], int]
) -> None:
    runs = times(100)
    program = start("human", "-c", HUMAN, str(runs))
    assert program.wait(30 + runs / 10) == 0
    assert program.lines[-1] == "all answered"


def test_a_call_that_is_canceled_within_4_ms_ends_no_worker(
    server: LocalServer, start: Callable[..., Child], times: Callable[[int], int]
) -> None:
    workers, random = chain_workers(start, 2), Random(1)  # noqa: S311 - the same each time
    with requests.Session() as session:
        for n in range(times(100)):
            call(server, f"canceled-{n}", "any@chain", "chain", f"canceled-{n}", 0)
            time.sleep(random.uniform(0, 0.004))  # the fault is in the moment
            url = f"{server.url}/promises/canceled-{n}"
            session.patch(url, json={"state": "REJECTED_CANCELED"}, timeout=5)  # 403: it was quicker
            assert all(worker.running for worker in workers), f"a worker ended at call {n}"
    assert_all_work(server, workers)
