"""Workers come and go: their event streams, and the processes behind these."""

import asyncio
import logging
from dataclasses import dataclass

from local_server import liveness, tasks
from local_server.engine import Engine
from local_server.liveness import Watch
from local_server.protocol import EndPoint
from local_server.turn import Turn
from local_server.workers import OsProcess, Stream, Worker

logger = logging.getLogger(__name__)


@dataclass
class Displaced:
    """A process under whose name another one has connected, until it has ended."""

    watch: Watch
    claimed: dict[str, int]  # what it had claimed by then: counters by task id


class Presence:
    """Tells the rules who is there."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: dict[Worker, Watch] = {}
        self._displaced: dict[OsProcess, Displaced] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def restore(self) -> None:
        """Watch the processes of the previous run's workers; those that have ended meanwhile are noticed at once."""
        for name, pid, started in self._engine.store.processes():
            self._watch(self._engine.workers.get(*name.split("/", 1)), OsProcess(pid, started))

    def connect(self, group: str, member: str, stream: Stream, peer: EndPoint, here: EndPoint) -> Worker:
        """Note that a worker listens on a stream, in place of an older stream of the same name, which is closed.

        The process behind it is looked up meanwhile, by the two ends of the connection.
        """
        worker = self._engine.workers.get(group, member)
        replaced, worker.stream = worker.stream, None
        claimed: dict[str, int] = {}

        def connected(turn: Turn) -> None:
            claimed.update(tasks.counters(turn, worker.claimed))
            worker.stream, worker.overdue = stream, False
            if replaced:
                tasks.disconnected(turn, worker)
            tasks.connected(turn, worker)

        self._engine.tell(connected)
        lookup = asyncio.create_task(self._identify(worker, stream, replaced, claimed, peer, here))
        self._lookups.add(lookup)
        lookup.add_done_callback(self._lookups.discard)
        return worker

    def disconnect(self, worker: Worker, stream: Stream) -> None:
        """Note that a stream has closed."""

        def disconnected(turn: Turn) -> None:
            if worker.stream is stream:  # else a newer one has taken its place
                worker.stream = None
                tasks.disconnected(turn, worker)
                self._engine.workers.release(worker)

        self._engine.tell(disconnected)

    async def _identify(
        self,
        worker: Worker,
        stream: Stream,
        replaced: Stream | None,
        claimed: dict[str, int],
        peer: EndPoint,
        here: EndPoint,
    ) -> None:
        process = await asyncio.to_thread(liveness.find, peer, here)
        older = worker.process if worker.process != process else None
        twins = process is not None and older is not None and liveness.is_alive(older)
        if replaced and twins:
            replaced.cut()  # after a clean end the SDK comes back at once: the two would take turns all the time
        elif replaced:
            replaced.close()
        if process is None or worker.stream is not stream or worker.process == process:
            return
        if older:
            if twins and older not in self._displaced:
                logger.warning(
                    "%s is the name of processes %d and %d: work goes to the one that connected last; "
                    "give each an id of its own", worker.name, older.pid, process.pid,
                )  # fmt: skip
            self._displace(worker, older, claimed)
        self._engine.tell(lambda turn: turn.store.set_process(worker.name, process.pid, process.started))
        self._watch(worker, process)

    def _displace(self, worker: Worker, process: OsProcess, claimed: dict[str, int]) -> None:
        """Leave what a process has claimed to itself; its end frees that, and not the end of its successor."""
        worker.claimed -= claimed.keys()
        if process in self._displaced:
            self._displaced[process].claimed.update(claimed)
        else:
            self._displaced[process] = Displaced(Watch(process, lambda: self._displaced_ended(process)), claimed)

    def _displaced_ended(self, process: OsProcess) -> None:
        claimed = self._displaced.pop(process).claimed
        self._engine.tell(lambda turn: tasks.lose_claims(turn, claimed, f"process {process.pid} ended"))

    def _watch(self, worker: Worker, process: OsProcess) -> None:
        if worker in self._watches:
            self._watches[worker].close()
        worker.process = process
        self._watches[worker] = Watch(process, lambda: self._ended(worker))

    def _ended(self, worker: Worker) -> None:
        del self._watches[worker]

        def ended(turn: Turn) -> None:
            turn.store.forget_process(worker.name)
            tasks.process_gone(turn, worker)
            worker.process = None
            self._engine.workers.release(worker)

        self._engine.tell(ended)

    def close(self) -> None:
        """End every stream and stop watching."""
        for worker in self._engine.workers:
            if worker.stream:
                worker.stream.close()
        for watch in (*self._watches.values(), *(one.watch for one in self._displaced.values())):
            watch.close()
