"""For tests of durable functions: servers to start and kill, time that can be skipped, processes to watch and kill.

``thread`` has the server in the test's own process, ``clock`` its time; ``pytest_plugin``, one floor above, the
fixtures. Nothing here is imported by a server that serves.
"""

from local_server.testing.child import START_DEADLINE, Child, ChildError, held_port
from local_server.testing.server import AnyServer, Found, LocalServer

__all__ = ["START_DEADLINE", "AnyServer", "Child", "ChildError", "Found", "LocalServer", "held_port"]
