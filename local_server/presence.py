"""Workers come and go: their event streams, and the processes behind these."""

import asyncio
import logging

from local_server import liveness, tasks
from local_server.engine import Engine
from local_server.liveness import Watch
from local_server.protocol import EndPoint
from local_server.turn import Turn
from local_server.workers import OsProcess, Stream, Worker

logger = logging.getLogger(__name__)


class Presence:
    """Tells the rules who is there."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: dict[Worker, Watch] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def restore(self) -> None:
        """Watch the processes of the previous run's workers; those that have ended meanwhile are noticed at once."""
        for name, pid, started in self._engine.store.processes():
            self._watch(self._engine.workers.get(*name.split("/", 1)), OsProcess(pid, started))

    def connect(self, group: str, member: str, stream: Stream, peer: EndPoint, here: EndPoint) -> Worker:
        """Note that a worker listens on a stream; an older stream of the same name is closed.

        The process behind it is looked up meanwhile, by the two ends of the connection.
        """
        worker = self._engine.workers.get(group, member)
        replaced, worker.stream = worker.stream, None

        def connected(turn: Turn) -> None:
            worker.stream, worker.overdue = stream, False
            if replaced:
                tasks.disconnected(turn, worker)
            tasks.connected(turn, worker)

        self._engine.tell(connected)
        if replaced:
            logger.warning("%s connected again; its older stream is closed", worker.name)
            replaced.close()
        lookup = asyncio.create_task(self._identify(worker, stream, peer, here))
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

    async def _identify(self, worker: Worker, stream: Stream, peer: EndPoint, here: EndPoint) -> None:
        process = await asyncio.to_thread(liveness.find, peer, here)
        if process is None or worker.stream is not stream or process == worker.process:
            return
        self._engine.tell(lambda turn: turn.store.set_process(worker.name, process.pid, process.started))
        self._watch(worker, process)

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
        for watch in self._watches.values():
            watch.close()
