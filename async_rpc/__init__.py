"""Async RPC: an HTTP gateway and nine services in three shapes of a call, each service a process of its own."""

import signal

# During the imports nothing is in hand: Ctrl-C ends the process at once. Before this line, in the 0.05 s in which
# Python itself starts, it does so with a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
