"""Service F, the end of the detached chain: qux (D) starts quz (E), quz starts cog (F), and nobody waits.

    called by   quz on service-e, which does not wait
    does        cog(arg): sleeps --delay seconds, then prints arg, the final value of the chain
    calls       nobody

Start one node, or several that share the work:

    uv run f
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-f"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def cog(ctx: Context, arg: int) -> Generator[Yieldable, Any, int]:
    """Print the final value, since nobody waits for it, and return it all the same."""
    print(f"{GROUP}: {cog.__name__} runs as {ctx.id}", flush=True)
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    print(f"{GROUP}: {cog.__name__} ends the chain with {arg}", flush=True)
    return arg


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that cog sleeps.")
def main(delay: int) -> None:
    """Run one node of service-f until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
