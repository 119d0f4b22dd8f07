"""Service A, the head of the await chain: foo (A) waits for bar (B), and bar waits for baz (C).

    called by   POST /await-chain of the gateway, which waits
    does        foo(): sleeps --delay seconds, then adds 1 to the result of bar
    calls       bar on service-b, and waits (rfc)

Start one node, or several that share the work:

    uv run a
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-a"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def foo(ctx: Context) -> Generator[Yieldable, Any, int]:
    """Return the result of bar plus one."""
    print(f"{GROUP}: {foo.__name__} runs as {ctx.id}", flush=True)
    # Both yields are promises in the server. While foo waits it holds nothing; if its process dies, another node runs
    # foo from its top and skips what is settled. So the calls must always be the same: a sleep of 0 s is yielded too.
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    result: int = yield ctx.rfc("bar").options(target="service-b")
    return result + 1


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that foo sleeps.")
def main(delay: int) -> None:
    """Run one node of service-a until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
