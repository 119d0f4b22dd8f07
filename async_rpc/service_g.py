"""Service G, the workflow of the fan-out: zim (G) starts rax (H) and dop (I) at once, then waits for both.

    called by   POST /fan-out-workflow of the gateway, which waits
    does        zim(arg): sleeps --delay seconds, then adds the results of rax and dop to arg
    calls       rax on service-h and dop on service-i, side by side (rfi)

Start one node, or several that share the work:

    uv run g
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-g"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def zim(ctx: Context, arg: int) -> Generator[Yieldable, Any, int]:
    """Return the results of rax and dop plus arg."""
    print(f"{GROUP}: {zim.__name__} runs as {ctx.id}", flush=True)
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    # An rfi yields a promise as soon as that is stored, so both run before either is waited for.
    promise_rax = yield ctx.rfi("rax").options(target="service-h")
    promise_dop = yield ctx.rfi("dop").options(target="service-i")
    result_rax: int = yield promise_rax
    result_dop: int = yield promise_dop
    return result_rax + result_dop + arg


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that zim sleeps.")
def main(delay: int) -> None:
    """Run one node of service-g until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
