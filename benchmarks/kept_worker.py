"""The factorial's worker as it is published, but on connections that are kept."""

import runpy

from resonate import resonate

from local_server.kept import KeptConnections

resonate.RemoteStore = KeptConnections  # type: ignore[misc]  # which Resonate.remote looks up there
runpy.run_path("factorial_worker.py", run_name="__main__")
