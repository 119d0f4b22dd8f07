"""The three examples while their processes are killed, stopped and restarted by a plan that is made from a seed.

    uv run pytest tests/faults                  a short set
    uv run pytest tests/faults --seeds 300      seeds 0 to 299

After each run: the right results, every completed promise unchanged, no task left, nobody hangs, and no process that
ended or went deaf without having been killed. A run that fails prints its plan and the output of all its processes.
"""

from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from fault_examples import Calculator, Factorial, Services
from fault_plan import plan
from fault_run import FaultRun

from local_server.testing import Child, held_port

# One of each example, with a planned restart of the server.
SHORT = [39, 10, 38]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("seeds")
        metafunc.parametrize("seed", range(wanted) if wanted else SHORT)


@pytest.mark.long
def test_all_work_is_done_and_nobody_ends_who_was_not_killed(seed: int, tmp_path: Path, children: list[Child]) -> None:
    with ExitStack() as held:
        ports = [str(held.enter_context(held_port())) for _ in range(3)]
        run = FaultRun(tmp_path, children, "--port", ports[0], "--poll-port", ports[1])
        random = Random(seed)  # noqa: S311 - the same each time
        match seed % 3:
            case 0:
                example = Factorial(run, random)
            case 1:
                example = Calculator(run, random)
            case _:
                example = Services(run, int(ports[2]), random)
        faults = plan(seed, list(run.roles))
        print(f"seed {seed}, {type(example).__name__}:", *faults, sep="\n")
        run.hit(faults)
        run.wait_for_clients()
        example.check()
        run.finish()
