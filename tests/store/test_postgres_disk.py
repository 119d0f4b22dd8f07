"""PostgreSQL says that the disk is full: every answer is right, and work goes on once there is room again.

What a disk without room refuses depends on the room in what is there; so here PostgreSQL refuses every row that is
written, as on such a disk. Real ones are in tests/faults/test_faults_disk.py.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from disk_stage import ANY, HOLDING, OPERATIONS, UNSTORED, Client, Started, Steps, loses_nothing
from postgres_stage import Cluster
from rules_stage import opened
from wire_client import starter, until

from local_server.testing import Child, LocalServer

# As long as there is a row in "full".
REFUSING = """
CREATE TABLE "full" (now BOOLEAN);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM "full") THEN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
DO $$ DECLARE name TEXT; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'full' LOOP
        EXECUTE format('CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON %I
            FOR EACH ROW EXECUTE FUNCTION refuse()', name);
    END LOOP;
END $$
"""


@pytest.fixture
def url(postgres: Cluster) -> str:
    """A database whose tables can refuse what is written."""
    database = postgres.create()
    opened(database).close()  # makes them
    postgres.run(REFUSING, database)
    return database


@pytest.fixture
def server(url: str, children: list[Child]) -> LocalServer:
    """A server on it."""
    return LocalServer(url, start=starter(children))


@pytest.fixture
def full(postgres: Cluster, url: str) -> AbstractContextManager[None]:
    """Let every write fail."""

    @contextmanager
    def refusing() -> Iterator[None]:
        postgres.run('INSERT INTO "full" VALUES (true)', url)
        yield
        postgres.run('DELETE FROM "full"', url)

    return refusing()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.__name__)
def test_a_full_disk_loses_nothing_and_work_goes_on_once_there_is_room(
    server: LocalServer,
    start: Started,
    operation: Callable[[Client, Started], Steps],
    full: AbstractContextManager[None],
) -> None:
    loses_nothing(server, start, operation, full)


def test_a_server_starts_on_a_full_disk_and_serves_once_there_is_room(
    server: LocalServer, start: Started, full: AbstractContextManager[None]
) -> None:
    wire = Client(server)
    child = start("worker", "-c", HOLDING, f"{wire.poll_url}/g/a")
    until(lambda: wire.pid("a") == child.pid)
    wire.create("p", ANY)
    assert wire.claim({"id": "__invoke:p", "counter": 1}, "a").status_code == 201
    with full:
        server.kill()
        child.wait()  # its stream has broken
        server.start()
        server.child.wait_for(UNSTORED)
        stream = wire.stream("g", "b")
    assert stream.next()["task"]["counter"] == 2
    wire.close()
    assert server.stop() == 0
