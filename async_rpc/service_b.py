"""Service B, the middle of the await chain: foo (A) waits for bar (B), and bar waits for baz (C).

    called by   foo on service-a, which waits
    does        bar(): sleeps --delay seconds, then adds 1 to the result of baz
    calls       baz on service-c, and waits (rfc)

Start one node, or several that share the work:

    uv run b --delay 10

Kill it in its sleep (kill -9 with the pid that it prints) and start another: the sleep goes on in the server, and bar
resumes at its end.
"""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import click
from resonate import Context, Resonate, Yieldable

from async_rpc.life import live

GROUP = "service-b"
NODE = str(uuid4())

resonate = Resonate.remote(group=GROUP, pid=NODE)


@resonate.register
def bar(ctx: Context) -> Generator[Yieldable, Any, int]:
    """Return the result of baz plus one."""
    print(f"{GROUP}: {bar.__name__} runs as {ctx.id}", flush=True)
    # Both yields are promises in the server. While bar waits it holds nothing; if its process dies, another node runs
    # bar from its top and skips what is settled. So the calls must always be the same: a sleep of 0 s is yielded too.
    yield ctx.sleep(ctx.get_dependency("delay", 0))
    result: int = yield ctx.rfc("baz").options(target="service-c")
    return result + 1


@click.command()
@click.option("--delay", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds that bar sleeps.")
def main(delay: int) -> None:
    """Run one node of service-b until Ctrl-C."""
    resonate.set_dependency("delay", delay)
    live(resonate, GROUP, NODE)


if __name__ == "__main__":
    main()
