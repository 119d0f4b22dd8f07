"""Service I, a branch of the fan-out: zim (G) starts rax (H) and dop (I) at once, then waits for both.

    called by   zim on service-g, which waits, but not before rax has been started too
    does        dop(): sleeps --delay seconds, then returns 1
    calls       nobody

Start one node, or several that share the work:

    uv run i
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-i"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def dop(ctx: Context) -> Generator[Yieldable, Any, int]:
    """Return 1."""
    print(f"{GROUP}: {dop.__name__} runs as {ctx.id}", flush=True)
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    return 1


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that dop sleeps.")
def main(delay: int) -> None:
    """Run one node of service-i until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
