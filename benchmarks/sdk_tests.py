"""The SDK's own tests of a server, again and again, each time against a local server that has just been started.

    uv run benchmarks/sdk_tests.py --times 20

They are part of the source package of the SDK, which pip fetches, by way of uv. Prints what pytest says in the end
each time; exits 1 if a test has failed, or is missing.
"""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import click
from ending import leave_no_process

from local_server.testing import LocalServer

FILES = ["test_bridge.py", "test_store_promise.py", "test_store_schedules.py", "test_store_task.py"]
ALL = "401 passed"  # in these files, of the remote store


def fetch(folder: Path) -> Path:
    """Fetch the source package of the SDK that is installed, and return where it is unpacked."""
    name, version = "resonate-sdk", importlib.metadata.version("resonate-sdk")
    pip = [os.environ["UV"], "tool", "run", "--quiet", "--python", sys.executable, "pip"]  # uv run sets UV
    download = ["download", "--quiet", "--no-deps", "--no-binary", name, "-d", str(folder), f"{name}=={version}"]
    subprocess.run([*pip, *download], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run(source: Path, folder: Path) -> str:
    """Run the tests once; return the last line of pytest."""
    folder.mkdir()
    server = LocalServer(folder)
    paths = [f"tests/{name}" for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "RemoteStore", *paths]
    try:
        env = {**os.environ, **server.env}
        done = subprocess.run(command, cwd=source, env=env, stdout=subprocess.PIPE, text=True, check=False)
    finally:
        server.stop()
    if done.returncode:
        print(done.stdout)
    return done.stdout.rstrip().rpartition("\n")[2]


@click.command()
@click.option("--times", default=1, show_default=True)
def main(times: int) -> None:
    """Run them, and print a line for each time."""
    leave_no_process()
    with tempfile.TemporaryDirectory() as folder:
        source, failed = fetch(Path(folder)), 0
        for number in range(times):
            last = run(source, Path(folder) / str(number))
            failed += not last.startswith(ALL)
            print(f"{number + 1}: {last}", flush=True)
    if failed:
        sys.exit(f"found {failed} of {times} runs otherwise; expected {ALL} in each")


if __name__ == "__main__":
    main()
