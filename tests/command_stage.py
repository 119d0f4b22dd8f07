"""A command of the server, in the process of the test: twenty of them take as long as the start of one process."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner

from local_server.cli import main


class Told(NamedTuple):
    """What a command has printed, and told of its faults, as a pipe has it."""

    output: str

    @property
    def lines(self) -> list[str]:
        """The same, line by line."""
        return self.output.splitlines()


def run(*words: str | Path, env: Mapping[str, str] | None = None, status: int = 0) -> Told:
    """Run ``local-server *words`` to its end; ``status`` is what it must exit with."""
    result = CliRunner(env=env).invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    assert result.exit_code == status, result.output
    return Told(result.output.removesuffix("\n"))
