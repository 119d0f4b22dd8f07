"""Which process is hit when, and how: the plan of a run, the same for the same seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["kill", "term", "stop"]
KINDS: list[Kind] = ["kill", "term", "stop"]
LAST = 6.0  # seconds after the start; no fault begins later
REST = 1.0  # seconds between the end of one fault of a process and the next of the same


@dataclass(frozen=True)
class Fault:
    """One process is killed, asked to end, or stopped."""

    at: float  # seconds after the start
    kind: Kind
    victim: str
    seconds: float  # how long it is away, or stands still

    def __str__(self) -> str:
        what = {"kill": "kill -9", "term": "SIGTERM", "stop": "SIGSTOP"}[self.kind]
        if self.victim.startswith(("postgres", "way")):  # these are not one process
            what = {"kill": "an end at once of", "stop": "a cut of"}[self.kind]
        back = "goes on" if self.kind == "stop" else "is started again"
        return f"{self.at:5.2f} s  {what} {self.victim}, which {back} {self.seconds:.2f} s later"


def plan(seed: int, victims: Sequence[str], kinds: Mapping[str, Kind] = {}) -> list[Fault]:
    """Return the faults of a run, the first first; no process is hit while it is away.

    Args:
        seed: the same plan for the same seed.
        victims: who may be hit.
        kinds: of those to which only one thing can be done, that.
    """
    random = Random(seed)  # noqa: S311 - it is to be the same each time
    faults, free = list[Fault](), dict.fromkeys(victims, 0.0)
    at = random.uniform(0.1, 1.0)
    while at < LAST:
        kind, victim = random.choice(KINDS), random.choice(victims)
        kind = kinds.get(victim, kind)
        seconds = pause(random) if kind == "stop" else random.uniform(0, 2)
        if free[victim] <= at:
            faults.append(Fault(at, kind, victim, seconds))
            free[victim] = at + seconds + REST
        at += random.expovariate(1.2)
    return faults


def pause(random: Random) -> float:
    """Return how long a process stands still: mostly short, in one of twelve cases longer than a lease may last."""
    shortest, longest = random.choices([(0.3, 2), (2, 8), (8, 20)], weights=[8, 3, 1])[0]
    return random.uniform(shortest, longest)
