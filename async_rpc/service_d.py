"""Service D, the head of the detached chain: qux (D) starts quz (E), quz starts cog (F), and nobody waits.

    called by   POST /detached-chain of the gateway, which does not wait
    does        qux(arg): sleeps --delay seconds, then hands arg + 1 on to quz
    calls       quz on service-e, and does not wait (detached)

Start one node, or several that share the work:

    uv run d
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-d"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def qux(ctx: Context, arg: int) -> Generator[Yieldable, Any, int]:
    """Start quz with arg + 1, and return what it was started with."""
    print(f"{GROUP}: {qux.__name__} runs as {ctx.id}", flush=True)
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    # Yields as soon as the promise of quz is stored: from here on quz runs, whatever becomes of qux and its callers.
    yield ctx.detached("quz", arg + 1).options(target="service-e")
    return arg + 1


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that qux sleeps.")
def main(delay: int) -> None:
    """Run one node of service-d until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
