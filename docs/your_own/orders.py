"""An order that is charged once and shipped ten seconds later, whatever dies in between."""


def order(ctx, number):
    """Run from its top whenever a worker takes it over; each yield gives what is stored, or waits for it."""
    receipt = yield ctx.lfc(charge, number)  # order-7.1: once it has finished, it never runs again
    yield ctx.sleep(10)  # order-7.2: the server keeps the time, so the worker may die
    yield ctx.lfc(ship, number)  # order-7.3
    return f"order {number} is on its way, receipt {receipt}"


def charge(ctx, number):
    """Do what has an effect in a plain function; it runs again only if its worker died in it."""
    print("charge", number, "as", ctx.id, flush=True)
    return f"R{number}"


def ship(ctx, number):
    """Do the last step."""
    print("ship", number, "as", ctx.id, flush=True)
