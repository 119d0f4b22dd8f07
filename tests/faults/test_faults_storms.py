"""The three examples while their processes are killed, stopped and restarted by a plan that is made from a seed.

    uv run pytest tests/faults                  a short set
    uv run pytest tests/faults --seeds 300      seeds 0 to 299

After each run: the right results, every completed promise unchanged, no task left, nobody hangs, and no process that
ended or went deaf without having been killed. A run that fails prints its plan and the output of all its processes.
"""

from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
from fault_examples import Calculator, Example, Factorial, Services
from fault_plan import Fault, plan
from fault_postgres import KINDS, PostgresRun, with_both_killed
from fault_run import FaultRun, FileRun
from postgres_stage import Cluster
from proxy_stage import Proxy

from local_server.testing import Child, held_port

# One of each example, with a planned restart of the server.
SHORT = [39, 10, 38]
SHORT_ON_POSTGRES = [51]  # all that serves is ended or cut off


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("seeds")
        short = SHORT_ON_POSTGRES if "cluster" in metafunc.fixturenames else SHORT
        metafunc.parametrize("seed", range(wanted) if wanted else short)


@pytest.mark.long
def test_all_work_is_done_and_nobody_ends_who_was_not_killed(seed: int, tmp_path: Path, children: list[Child]) -> None:
    with ExitStack() as held:
        ports = [str(held.enter_context(held_port())) for _ in range(3)]
        run = FileRun(tmp_path, children, "--port", ports[0], "--poll-port", ports[1])
        example = begin(run, seed, ports[2])
        end(run, example, seed, plan(seed, list(run.roles)))


@pytest.mark.long
def test_all_work_is_done_on_postgresql_whatever_ends_of_it_and_of_two_servers(
    seed: int, cluster: Cluster, children: list[Child]
) -> None:
    with ExitStack() as held:
        ports = [str(held.enter_context(held_port())) for _ in range(3)]
        ways = [held.enter_context(closing(Proxy(cluster))) for _ in range(2)]
        run = PostgresRun(cluster, ways, children, *ports[:2])
        example = begin(run, seed, ports[2])
        faults = plan(seed, list(run.roles), KINDS)
        random = Random(seed)  # noqa: S311 - the same each time
        end(run, example, seed, with_both_killed(faults, random) if random.random() < 0.3 else faults)


def begin(run: FaultRun, seed: int, port: str) -> Example:
    """Start one of the examples."""
    random = Random(seed)  # noqa: S311 - the same each time
    match seed % 3:
        case 0:
            return Factorial(run, random)
        case 1:
            return Calculator(run, random)
        case _:
            return Services(run, int(port), random)


def end(run: FaultRun, example: Example, seed: int, faults: list[Fault]) -> None:
    """Do what the plan says, and look at what has become of the work."""
    print(f"seed {seed}, {type(example).__name__}:", *faults, sep="\n")
    run.hit(faults)
    run.wait_for_clients()
    example.check()
    run.finish()
