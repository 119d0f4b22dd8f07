"""A client: it orders, and waits for the result."""

import sys

from resonate import Resonate

number = int(sys.argv[1])
resonate = Resonate.remote()
print(resonate.rpc(f"order-{number}", "order", number))  # the id of this run: the same id is the same run
resonate.stop()
