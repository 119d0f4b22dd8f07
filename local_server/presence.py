"""Workers come and go: their event streams, and the processes behind these.

A worker is known by its name, ``group/id``. What is seen of it is a stream, and, on this machine, the process at the
other end of that stream, which is looked up when the stream opens. Three things happen, and the rules are told each:

- A stream opens. Notifications that were just sent on an older stream of that name are sent again, unless that one is
  still open and its process has read them; messages that were not claimed can still be claimed for 500 ms, those of the
  last run of the server for their whole time. Claims that were made before stay with the process of the older stream,
  which may be the same one, reconnected, or another that still works.
- A stream closes, mostly a moment before or after the end of its process. What its worker has claimed stays claimed
  while its process lives. Where no process is known, it stays claimed while heartbeats come.
- A process ends. What it has claimed is free, and its stream is closed if it is the latest of that name.

Two living processes of one name are namesakes: work goes to the one that connected last, each answers for what it
claimed, and the log says so. The older stream is cut rather than ended: after a clean end the SDK comes back at once,
and the two would take turns all the time.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from local_server import os_process
from local_server.engine import Engine
from local_server.os_process import EndPoint, Peer, Watch
from local_server.rules import dispatch, losses, tasks
from local_server.rules.turn import Turn
from local_server.rules.workers import OsProcess, Stream, Worker

logger = logging.getLogger(__name__)


class _Lookup(NamedTuple):
    """A stream whose process is to be found."""

    peer: Peer
    found: Callable[[OsProcess | None], None]


class Presence:
    """Tells the rules who is there."""

    def __init__(self, engine: Engine, descriptors: int, *, looks: bool = True) -> None:
        """Tell the rules of an engine.

        Args:
            engine: of the rules.
            descriptors: so many processes are watched by a descriptor of their own.
            looks: whether the process at the other end of a stream is the worker's; it may be that of a proxy.
        """
        self._looks = looks
        self._engine, self._descriptors, self._machine = engine, descriptors, os_process.machine()
        self._watches: dict[tuple[Worker, OsProcess], Watch] = {}
        # What processes had claimed when another stream of their name opened: counters by task id.
        self._claims: dict[tuple[Worker, OsProcess], dict[str, int]] = {}
        self._lookups: list[_Lookup] = []
        self._looking: asyncio.Task[None] | None = None

    def restore(self) -> None:
        """Watch the processes of the previous run's workers; those that have ended meanwhile are noticed at once."""
        for name, pid, started in self._engine.store.processes(self._machine):
            self._watch(self._engine.workers.get(*name.split("/", 1)), OsProcess(pid, started))

    def connect(self, group: str, member: str, stream: Stream, there: EndPoint, here: EndPoint) -> Worker:
        """Note that a worker listens on a stream; an older one of its name is closed when their processes are known."""
        worker = self._engine.workers.get(group, member)
        replaced, worker.stream = worker.stream, stream
        earlier, worker.os_process = worker.os_process, None
        self._engine.workers.moves += 1
        has_read_all = bool(earlier and replaced and replaced.has_read_all())  # else perhaps a proxy has

        def connected(turn: Turn) -> None:
            if earlier:
                others = self._claimed_by_others(worker, earlier)
                claimed = turn.store.claims.counters(worker.id, worker.name)
                self._claims[worker, earlier] = dict(claimed.items() - others.items())
            if replaced:  # else the last run of the server had it, and what that has sent has its time as it is
                losses.stream_closed(turn, worker, has_read_all=has_read_all)
            dispatch.connected(turn, worker)

        self._engine.tell(connected)
        peer = os_process.peer(there, here) if self._looks else Peer(there, here, None)
        self._lookups.append(_Lookup(peer, partial(self._identified, worker, stream, replaced, earlier, peer)))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up())
        return worker

    def disconnect(self, worker: Worker, stream: Stream) -> None:
        """Note that a stream has closed."""
        if worker.stream is not stream:  # a newer one has taken its place
            return
        worker.stream = None
        self._engine.workers.moves += 1

        def disconnected(turn: Turn) -> None:
            losses.stream_closed(turn, worker)
            if worker.os_process is None:
                losses.out_of_sight(turn, worker)
            turn.freed_workers[worker] = None

        self._engine.tell(disconnected)

    async def _look_up(self) -> None:
        """Find out who is behind the streams that have opened; all that open meanwhile are looked up together."""
        while self._lookups:
            lookups, self._lookups = self._lookups, []
            peers = [one.peer for one in lookups]
            nobody: list[OsProcess | None] = [None] * len(peers)
            processes = await asyncio.to_thread(os_process.find, peers) if self._looks else nobody
            for lookup, process in zip(lookups, processes, strict=True):
                lookup.found(process)

    def _identified(
        self,
        worker: Worker,
        stream: Stream,
        replaced: Stream | None,
        earlier: OsProcess | None,
        peer: Peer,
        process: OsProcess | None,
    ) -> None:
        """Take note of the process behind a stream, and of the one behind the stream before."""
        namesakes = earlier is not None and process not in (None, earlier) and os_process.is_alive(earlier)
        if replaced and namesakes:
            replaced.cut()
        elif replaced:
            replaced.close()
        if process is None and worker.stream is None and peer.inode:
            self._free(worker, None, None)  # it had a socket here, and ended before it was found
        if worker.stream is not stream:
            return
        if process is None:  # nor may the one before be taken for it, by the next server
            self._engine.tell(lambda turn: turn.store.forget_process(worker.name))
            return
        if earlier and namesakes:
            logger.warning(
                "%s is the name of processes %d and %d: work goes to the one that connected last; "
                "give each an id of its own", worker.name, earlier.pid, process.pid,
            )  # fmt: skip
        self._claims.pop((worker, process), None)  # it is back: all that it has claimed is the worker's again
        self._watch(worker, process)
        claimed = self._claims.get((worker, earlier), {}) if earlier else {}

        def identified(turn: Turn) -> None:
            turn.store.set_process(worker.name, process.pid, process.started, self._machine)
            if claimed:
                since = int(process.started * 1_000)
                for task_id in turn.store.claims.created_claimed(worker.id, worker.name, since):
                    claimed.pop(task_id, None)
            tasks.heartbeat(turn, worker.id)  # of a process that can be seen to live the leases are longer

        self._engine.tell(identified)

    def _watch(self, worker: Worker, process: OsProcess) -> None:
        worker.os_process = process
        if (worker, process) not in self._watches:
            ended, free = partial(self._ended, worker, process), len(self._watches) < self._descriptors
            self._watches[worker, process] = Watch(process, ended, by_descriptor=free)

    def _ended(self, worker: Worker, process: OsProcess) -> None:
        if worker.os_process is None and self._looking and not self._looking.done():
            # Perhaps another process has this name now: what that one has claimed is told apart when it is found.
            self._looking.add_done_callback(lambda _: self._ended(worker, process))
            return
        del self._watches[worker, process]
        claimed = self._claims.pop((worker, process), {})
        if worker.os_process != process:
            self._engine.tell(lambda turn: losses.lose_claims(turn, worker, process.pid, list(claimed.items())))
            return
        stream, worker.stream, worker.os_process = worker.stream, None, None
        self._engine.workers.moves += 1
        self._free(worker, process, stream)

    def _free(self, worker: Worker, process: OsProcess | None, stream: Stream | None) -> None:
        """Free what a worker holds whose process has ended; None: that was never found."""
        others = self._claimed_by_others(worker, process)

        def ended(turn: Turn) -> None:
            if stream:
                turn.closing.append(stream)
            turn.store.forget_process(worker.name)
            losses.process_gone(turn, worker, process.pid if process else None, others)
            turn.freed_workers[worker] = None

        self._engine.tell(ended)

    def _claimed_by_others(self, worker: Worker, process: OsProcess | None) -> dict[str, int]:
        """Return what earlier processes of a worker's name have claimed: counters by task id."""
        others = [claimed for (who, other), claimed in self._claims.items() if who is worker and other != process]
        return {task_id: counter for claimed in others for task_id, counter in claimed.items()}

    def close(self) -> None:
        """End every stream and stop watching."""
        for worker in self._engine.workers:
            if worker.stream:
                worker.stream.close()
        for watch in self._watches.values():
            watch.close()
