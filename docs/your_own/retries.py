"""A step that fails is tried again; how often is said where it is called."""

from resonate import Resonate
from resonate.retry_policies import Constant


def checkout(ctx, number):
    """Try the bank four times in all, then give up."""
    policy = Constant(delay=0.2, max_retries=3)  # seconds
    try:
        return (yield ctx.lfc(call_bank, number).options(retry_policy=policy))
    except ConnectionError as error:
        return f"order {number}: {error}"


def call_bank(ctx, _):
    """Fail, as banks do."""
    print("attempt", ctx.info.attempt, flush=True)
    raise ConnectionError("the bank does not answer")


if __name__ == "__main__":
    resonate = Resonate.remote(group="checkouts")
    resonate.register(checkout)
    print(resonate.options(target="checkouts").run("checkout-7", checkout, 7))
    resonate.stop()
