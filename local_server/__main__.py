"""``python -m local_server``: the same as ``uv run local-server``."""

from local_server.cli import main

main()
