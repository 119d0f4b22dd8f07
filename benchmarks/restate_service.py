"""The factorial as a service of Restate, served by hypercorn; for restate.py, which names the port.

Run it with ``python -P``: this folder has a ``restate.py`` too.
"""

import asyncio
import sys

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

service = restate.Service("factorial")


@service.handler()
async def factorial(ctx: restate.Context, floor_and_n: list[int]) -> int:
    """Return the product of the numbers above the floor, up to n; each by a durable call with an id made from n."""
    floor, n = floor_and_n
    print(f"Calculating factorial of {n}", flush=True)  # as our worker does
    if n == floor + 1:
        return n
    return n * await ctx.service_call(factorial, [floor, n - 1], idempotency_key=f"factorial-{n - 1}")


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    asyncio.run(serve(restate.app([service]), config))
