"""Play 3: a gateway and nine services; service-b is killed in its sleep, a new one takes its place."""

import re

from demo.report import Record, Run, print_table, tell_takeover
from demo.stage import Stage
from local_server.testing import Child

SLEEP = "3"  # seconds that bar sleeps: longer than a new service-b needs to start, or this one is what is waited for
RUNS = r"^service-\w: \w+ runs as ([^\s,]+)"
ROUTES = "detached-chain", "fan-out-workflow", "await-chain"


def play(stage: Stage) -> list[str]:
    """Play it; return the commands with which to go on by hand."""
    stage.say(f"async-rpc: a gateway and nine services; service-b sleeps {SLEEP} s in its call and will be killed then")
    services = {f"service-{letter}": start_service(stage, letter) for letter in "abcdefghi"}
    gateway = stage.start("gateway", "-m", "async_rpc.gateway", "--port", "0")
    url = stage.wait_for(r"listens on http://", of=gateway).text.partition("listens on ")[2].partition(";")[0]
    for process in (*services.values(), gateway):
        stage.wait_for("is ready", of=process)

    detached, fan_out, chain = (post(stage, url, route) for route in ROUTES)
    for client in (detached, fan_out):
        stage.finish(client)
    stage.wait_for("ends the chain")
    bar = stage.wait_for("bar runs as").text.rpartition(" ")[2]
    stage.wait_until(lambda: stage.promises(f"{bar}.1") or None, "bar did not go to sleep")
    kill = stage.kill(services["service-b"], f"in its sleep of {SLEEP} s")
    new = start_service(stage, "b", "service-b #2")
    taken = tell_takeover(stage, kill, lambda: record(stage))
    stage.finish(chain)
    print_table(stage, "three requests", kill, taken, record(stage))
    return [
        *(f"curl -X POST {url}/{route}" for route in ROUTES),
        f"curl -X POST -H 'Idempotency-Key: again' {url}/await-chain",
        f"uv run b --delay {SLEEP}",
        f"kill -9 {new.pid}   # service-b #2",
    ]


def start_service(stage: Stage, letter: str, name: str = "") -> Child:
    """Start a node of a service."""
    delay = ("--delay", SLEEP) if letter == "b" else ()
    return stage.start(name or f"service-{letter}", "-m", f"async_rpc.service_{letter}", *delay)


def post(stage: Stage, url: str, route: str) -> Child:
    """Start a client that sends one request."""
    stage.say(f"curl -X POST {url}/{route}")
    return stage.start(f"caller-{ROUTES.index(route) + 1}", "-m", "demo.post", f"{url}/{route}")


def record(stage: Stage) -> Record:
    """Return what has happened so far."""
    matches = [(line, re.search(RUNS, line.text)) for line in list(stage.lines)]
    runs = [Run(line.who, match[1], line.at) for line, match in matches if match]
    promises = {key: promise for route in ROUTES for key, promise in stage.promises(route).items()}
    sleeps = [key for key, promise in promises.items() if "resonate:timeout" in promise["tags"]]
    return Record(runs, promises, dict.fromkeys(sleeps, "its sleep"))
