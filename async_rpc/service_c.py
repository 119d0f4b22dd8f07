"""Service C, the end of the await chain: foo (A) waits for bar (B), and bar waits for baz (C).

    called by   bar on service-b, which waits
    does        baz(): sleeps --delay seconds, then returns the 1 that lookup() finds; lookup raises --failures times
    calls       no other service; lookup() runs in this process (lfc)

Start one node, or several that share the work:

    uv run c --failures 2

This is the way to have work retried: in a plain function, called by lfc with a retry policy. A function that yields is
never retried: what it raises is stored as the result of its promise. Nor does a retry policy travel with a remote call.
With --failures 6 the policy below gives up, and the ConnectionError goes up the chain to the HTTP client.
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable
from resonate.retry_policies import Constant

from async_rpc.life import live

GROUP = "service-c"
NODE = str(uuid4())
RETRY = Constant(delay=0.2, max_retries=5)  # seconds; without it a plain function is retried for ever: 2, 4, 8 ... 30 s

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def baz(ctx: Context) -> Generator[Yieldable, Any, int]:
    """Return 1, as soon as lookup finds it."""
    print(f"{GROUP}: {baz.__name__} runs as {ctx.id}", flush=True)
    # Both yields are promises in the server: a re-run of baz on another node skips those that are settled.
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    result: int = yield ctx.lfc(lookup).options(retry_policy=RETRY)
    return result


def lookup(ctx: Context) -> int:
    """Return 1, or raise ConnectionError in the first --failures attempts, as a flaky neighbour does."""
    print(f"{GROUP}: {lookup.__name__} runs as {ctx.id}, attempt {ctx.info.attempt}", flush=True)
    if ctx.info.attempt <= ctx.get_dependency("failures", 0):
        raise ConnectionError(f"{lookup.__name__} got no answer in attempt {ctx.info.attempt}")
    return 1


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that baz sleeps.")
@click.option("--failures", type=click.IntRange(0), default=0, show_default=True, help="Attempts that lookup fails.")
def main(delay: int, failures: int) -> None:
    """Run one node of service-c until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    resonate.set_dependency("failures", failures)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
