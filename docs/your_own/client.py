"""A client: it orders, and waits for the result."""

import signal
import sys

from resonate import Resonate

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this client, not its order
number = int(sys.argv[1])
resonate = Resonate.remote()
orders = resonate.options(target="orders")  # the group that does the work
print(orders.rpc(f"order-{number}", "order", number))  # the id of this run: the same id is the same run
resonate.stop()
