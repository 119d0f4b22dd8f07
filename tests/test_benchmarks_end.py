"""A benchmark that is told to end leaves neither a process nor a file."""

import signal
from pathlib import Path

import psutil
import pytest
from wire_client import until

from local_server.testing import Child


@pytest.mark.parametrize(("benchmark", "processes"), [("gateway", 11), ("stalls", 1)])
def test_a_benchmark_that_gets_sigterm_leaves_nothing(
    benchmark: str, processes: int, tmp_path: Path, children: list[Child]
) -> None:
    child = Child.python(benchmark, f"benchmarks/{benchmark}.py", env={"TMPDIR": str(tmp_path)})
    children.append(child)
    until(lambda: len(psutil.Process(child.pid).children()) == processes)
    started = psutil.Process(child.pid).children()
    assert list(tmp_path.iterdir())
    child.signal(signal.SIGTERM)
    assert child.wait(10) == 128 + signal.SIGTERM
    assert not psutil.wait_procs(started, timeout=5)[1]
    assert not list(tmp_path.iterdir())
