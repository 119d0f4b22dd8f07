"""A worker: it takes orders until Ctrl-C. Start as many as you like."""

import os
import signal
from threading import Event

from orders import order
from resonate import Resonate

stop = Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.set())

resonate = Resonate.remote(group="orders")  # all of a group know the same functions
resonate.register(order)
resonate.start()
print(f"worker is ready, pid {os.getpid()}", flush=True)
stop.wait()
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it, even if the step in hand never does
resonate.stop()
