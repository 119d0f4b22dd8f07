"""``uv run demo``: play the examples with real processes and a real ``kill -9``, and leave nothing behind."""

import os
import sys
from collections.abc import Callable

import click

from demo import async_rpc, calculator, factorial, failover
from demo.interrupts import Interrupted, Interrupts
from demo.narrator import Narrator
from demo.stage import Stage
from local_server.testing import ChildError

PLAYS: dict[str, Callable[[Stage], list[str]]] = {
    "factorial": factorial.play,
    "calculator": calculator.play,
    "async-rpc": async_rpc.play,
}
FAILOVER = "failover"  # needs PostgreSQL, so it is played when it is asked for


@click.command()
@click.argument("example", type=click.Choice([*PLAYS, FAILOVER]), required=False)
@click.option("--keep", is_flag=True, help="Leave everything running after the play, until Ctrl-C.")
def main(example: str | None, *, keep: bool) -> None:
    """Play an example, or all three in turn: processes start, one is killed with -9, the work goes on.

    failover is played by itself: two servers on PostgreSQL, one of which is killed.
    """
    _forget_other_servers()
    interrupts = Interrupts()
    stage = Stage(Narrator(), interrupts)
    try:
        status = _perform(stage, interrupts, [example] if example else list(PLAYS), keep=keep)
    finally:
        stage.close()
        interrupts.close()
    sys.exit(status)


def _perform(stage: Stage, interrupts: Interrupts, examples: list[str], *, keep: bool) -> int:
    """Play; return the exit status: 0, 1 for a failure, 128 + the signal that ended it."""
    played = False
    try:
        with interrupts.raised():
            stage.open(postgres=examples == [FAILOVER])
            by_hand = []
            for example in examples:
                by_hand += (PLAYS | {FAILOVER: failover.play})[example](stage)
                if not keep:
                    stage.clear()
            played = True
            if keep:
                _tell(stage, by_hand)
                stage.keep()
            _tell_next(stage, examples)
    except Interrupted as interrupt:
        if played and interrupt.is_ctrl_c:
            return 0  # that is how --keep is meant to end
        stage.say(f"{interrupt}: ending all processes")
        return 128 + interrupt.number
    except (ChildError, OSError) as error:
        click.echo(f"the demo failed: {error}", err=True)
        return 1
    return 0


def _tell(stage: Stage, by_hand: list[str]) -> None:
    stage.show(f"All is still running, until Ctrl-C; the page: {stage.server.url}/")
    stage.show("In another terminal, to lead the commands to this server:")
    for name, value in stage.server.env.items():
        stage.show(f"    export {name}={value}")
    stage.show("Then, for instance:")
    for command in by_hand:
        stage.show(f"    {command}")


def _tell_next(stage: Stage, examples: list[str]) -> None:
    example = f" {examples[0]}" if len(examples) == 1 else ""
    stage.show("The end; nothing is left of it. To try next:")
    for command, what in (
        (f"uv run demo{example} --keep", "the same; all stays up, to try by hand"),
        ("uv run async-rpc", "gateway and services, for curl and kill -9"),
    ):
        stage.show(f"    {command:31}  {what}", 37)
    stage.show("Kill a worker by hand: README.md. Write your own functions: docs/your-own.md.")


def _forget_other_servers() -> None:
    """Let no variable of this terminal lead a process elsewhere, and no proxy stand between the processes."""
    for name in [name for name in os.environ if name.startswith("RESONATE_") or name in ("GRP", "PID")]:
        del os.environ[name]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"


if __name__ == "__main__":
    main()
