"""A calculator whose every step is a durable call: a tree of parts over named workers and a pool of operators."""

import signal

# During the imports nothing is in hand: Ctrl-C ends the process at once. Before this line, in the 0.05 s in which
# Python itself starts, it does so with a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
