"""Service E, the middle of the detached chain: qux (D) starts quz (E), quz starts cog (F), and nobody waits.

    called by   qux on service-d, which does not wait
    does        quz(arg): sleeps --delay seconds, then hands arg + 1 on to cog
    calls       cog on service-f, and does not wait (detached)

Start one node, or several that share the work:

    uv run e
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-e"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def quz(ctx: Context, arg: int) -> Generator[Yieldable, Any, int]:
    """Start cog with arg + 1, and return what it was started with."""
    print(f"{GROUP}: {quz.__name__} runs as {ctx.id}", flush=True)
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    # Yields the promise of cog, not its result: there is nothing here to add 1 to.
    yield ctx.detached("cog", arg + 1).options(target="service-f")
    return arg + 1


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that quz sleeps.")
def main(delay: int) -> None:
    """Run one node of service-e until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
