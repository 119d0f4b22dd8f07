"""What is told of a kill, from two sources: the lines that the workers printed, and what the server has stored."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from demo.stage import Kill, Stage


@dataclass(frozen=True)
class Run:
    """A worker starts a step: the call with that promise id, at seconds since the epoch."""

    worker: str
    step: str
    at: float


@dataclass(frozen=True)
class Record:
    """What has happened so far.

    Attributes:
        runs: what the workers printed.
        promises: what the server has stored, by id; those that ask a group for something are the steps.
        labels: what people call a step, by id, where that is not the id.
    """

    runs: list[Run]
    promises: dict[str, dict[str, Any]]
    labels: dict[str, str] = field(default_factory=dict)

    def label(self, step: str) -> str:
        """Return what people call a step."""
        return self.labels.get(step, step)


@dataclass(frozen=True)
class Takeover:
    """The first step of a killed worker that another one starts over.

    Attributes:
        run: the other's run of it.
        after_kill: seconds from the kill to that run.
        waited_for: the promise whose value was missing at the kill and came before that run, if there is one.
        after_value: seconds from that value to the run.
    """

    run: Run
    after_kill: float
    waited_for: str | None
    after_value: float


def takeover(kill: Kill, record: Record) -> Takeover | None:
    """Return who takes over first, None as long as nobody has."""
    had = {run.step for run in record.runs if run.worker == kill.name}
    over = (run for run in record.runs if run.at > kill.at and run.worker != kill.name and run.step in had)
    run = min(over, key=lambda one: one.at, default=None)
    if run is None:
        return None
    waited_for = _awaited(kill, run.step, record)
    value_at = _completed(record.promises[waited_for]) / 1000 if waited_for else float("inf")
    after_value = run.at - value_at
    return Takeover(run, run.at - kill.at, waited_for if after_value >= 0 else None, after_value)


def tell_takeover(stage: Stage, kill: Kill, read: Callable[[], Record]) -> Takeover:
    """Wait until somebody goes on with what the killed worker held, say so, and return it."""
    taken = stage.wait_until(lambda: takeover(kill, read()), f"nobody went on with what {kill.name} held")
    stage.say(f"{taken.run.worker} takes over {read().label(taken.run.step)}, {taken.after_kill:.2f} s after the kill")
    return taken


def print_table(stage: Stage, title: str, kill: Kill, taken: Takeover, record: Record) -> None:
    """Print steps, runs per worker, steps run twice and why, and the recovery time."""
    print_rows(stage, title, [*rows_of_steps(kill, record), ("recovery", [_recovery(taken, record)])])


def rows_of_steps(kill: Kill, record: Record) -> list[tuple[str, list[str]]]:
    """Return the names and lines of all rows but those about the recovery."""
    steps = {key: promise for key, promise in record.promises.items() if "resonate:invoke" in promise["tags"]}
    states = Counter(promise["state"].lower() for promise in steps.values())
    runs = [run for run in record.runs if run.step in steps]
    workers = Counter(run.worker for run in runs)
    return [
        ("steps", [f"{len(steps)} ({', '.join(f'{count} {state}' for state, count in states.items())})"]),
        ("runs", [", ".join(f"{name} {workers[name]}" for name in sorted(workers))]),
        ("run twice", list(_twice(kill, runs, record)) or ["none"]),
    ]


def print_rows(stage: Stage, title: str, rows: list[tuple[str, list[str]]]) -> None:
    """Print a table: a name and lines for each row."""
    stage.show("")
    stage.show(f"  {title}")
    for name, lines in rows:
        for number, line in enumerate(lines):
            stage.show(f"    {'' if number else name:10}  {line}", 16)
    stage.show("")


def _twice(kill: Kill, runs: list[Run], record: Record) -> Iterator[str]:
    for step, count in Counter(run.step for run in runs).items():
        if count == 1:
            continue
        who = [run.worker for run in runs if run.step == step]
        waited_for = _awaited(kill, step, record)
        if kill.name not in who[:-1]:
            why = "not by the kill"
        elif waited_for:
            why = f"{kill.name} was killed while this waited for {record.label(waited_for)}"
        else:
            why = f"{kill.name} was killed in it"
        yield f"{record.label(step)}: {', then '.join(who)}; {why}"


def _recovery(taken: Takeover, record: Record) -> str:
    text = f"{taken.after_kill:.2f} s from the kill until {taken.run.worker} ran {record.label(taken.run.step)}"
    if not taken.waited_for:
        return text
    return f"{text}, {taken.after_value:.2f} s after the end of {record.label(taken.waited_for)}"


def _awaited(kill: Kill, step: str, record: Record) -> str | None:
    """Return what a step waited for when the worker was killed: of the calls it had made, the first to get a value."""
    at = kill.at * 1000  # ms, as the server counts
    pending = {
        key: _completed(promise)
        for key, promise in record.promises.items()
        if _caller(promise) == step and promise["createdOn"] <= at < _completed(promise)
    }
    return min(pending, key=lambda key: pending[key], default=None)


def _completed(promise: dict[str, Any]) -> float:
    """Return when a promise got its value, in ms since the epoch."""
    return float(promise.get("completedOn", "inf"))


def _caller(promise: dict[str, Any]) -> str | None:
    """Return the id of the call that made this one, None for the first; a sleep carries no tag that names it."""
    caller: str = promise["tags"].get("resonate:parent") or promise["id"].rpartition(".")[0]
    return None if caller == promise["id"] else caller
