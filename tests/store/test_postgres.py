"""A database of PostgreSQL: what is refused before it is served, whose password that is, and what it cannot hold."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from string import ascii_letters

import pytest
import requests
from postgres_stage import Cluster
from rules_stage import Stage, opened
from wire_client import FAR, Wire, code, until

from local_server.standby import stand_by
from local_server.store import postgres as engine
from local_server.store.errors import StoreError, StoreLostError
from local_server.testing import Child, LocalServer, held_port

LONG = "".join(Random(0).choices(ascii_letters, k=4_000))  # noqa: S311 - what no index of PostgreSQL takes


def refusal(url: str) -> str:
    """Return why a server that is started with this URL ends."""

    async def start() -> None:
        database, _ = await stand_by(url, "tests", asyncio.Event(), known=False)
        database.close()

    with pytest.raises(StoreError) as refused:
        asyncio.run(start())
    line = str(refused.value)
    assert line.startswith(f"{url}: ")
    assert "\n" not in line
    return line.removeprefix(f"{url}: ")


def dump(postgres: Cluster, url: str) -> list[str]:
    """Return all that is in a database, as SQL."""
    lines = postgres.program("pg_dump", f"--dbname={url}").splitlines()
    return [line for line in lines if "restrict" not in line]  # which holds a random word


# what is refused


@pytest.mark.parametrize("sql", ["CREATE TABLE tasks (made TEXT)", "CREATE VIEW promises AS SELECT 1 AS one"])
def test_tables_of_another_program_are_refused_and_left_alone(postgres: Cluster, sql: str) -> None:
    url = postgres.create()
    postgres.run(sql, url)
    before, name = dump(postgres, url), sql.split()[2]
    assert refusal(url) == (
        f"found tables that are not ours: {name}; expected those of this server, or a schema without them"
    )
    assert dump(postgres, url) == before


@pytest.mark.parametrize("sql", ["ALTER TABLE tasks DROP COLUMN head", "DROP TABLE unsettled"])
def test_tables_that_somebody_has_changed_are_refused(postgres: Cluster, sql: str) -> None:
    url = postgres.create()
    opened(url).close()
    postgres.run(sql, url)
    assert refusal(url).startswith(f"found tables that are not ours: {sql.split()[2]};")


@pytest.mark.parametrize(
    "sql", ["DROP TABLE local_server; CREATE TABLE local_server (a TEXT)", "DELETE FROM local_server",
            "ALTER TABLE local_server ALTER version TYPE TEXT USING 'new'", "UPDATE local_server SET version = 0"],
)  # fmt: skip
def test_tables_without_a_version_are_refused(postgres: Cluster, sql: str) -> None:
    url = postgres.create()
    opened(url).close()
    postgres.run(sql, url)
    before = dump(postgres, url)
    assert refusal(url).startswith("found tables that are not ours: local_server;")
    assert dump(postgres, url) == before


def test_tables_of_a_newer_version_are_refused_and_left_as_they_are(postgres: Cluster) -> None:
    url = postgres.create()
    opened(url).close()
    postgres.run("UPDATE local_server SET version = 99; ALTER TABLE tasks ADD COLUMN new TEXT", url)
    before = dump(postgres, url)
    assert refusal(url).startswith("found version 99 of the tables; expected at most 3, which this server writes")
    ended = subprocess.run([sys.executable, "-m", "local_server", "--db", url], check=False, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (1, b"", 1)
    assert ended.stderr.startswith(b"Error: postgresql:///")
    assert dump(postgres, url) == before


def test_tables_of_version_1_are_migrated(postgres: Cluster) -> None:
    url = postgres.create()
    opened(url).close()
    today = dump(postgres, url)
    postgres.run("DROP TABLE uploads, parts; CREATE INDEX promises_ended ON promises (completed_on)", url)
    postgres.run("UPDATE local_server SET version = 1", url)
    opened(url).close()
    assert dump(postgres, url) == today


def test_tables_of_an_older_version_are_migrated_at_once_or_not_at_all(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create()
    opened(url).close()
    postgres.run("DROP TABLE unsettled", url)  # as if the next version had brought it
    before, known = dump(postgres, url), engine.MIGRATIONS
    broken = 'CREATE TABLE unsettled (promise TEXT COLLATE "C"); SELECT 1/0'
    monkeypatch.setattr(engine, "MIGRATIONS", [*known, broken])
    assert "division by zero" in refusal(url)
    assert dump(postgres, url) == before
    whole = 'CREATE TABLE unsettled (promise TEXT COLLATE "C" PRIMARY KEY)'
    monkeypatch.setattr(engine, "MIGRATIONS", [*known, whole])
    for _ in range(2):
        opened(url).close()
        assert postgres.run("SELECT version FROM local_server", url) == [(len(known) + 2,)]


def test_a_database_in_another_encoding_is_refused(postgres: Cluster) -> None:
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert refusal(postgres.url("latin")) == "found a database in LATIN1; expected one in UTF8"


def test_a_schema_that_is_not_there_is_refused(postgres: Cluster) -> None:
    url = f"{postgres.create()}&options=-csearch_path%3Dnone"
    assert refusal(url) == "found no schema of its search path; expected one, made with CREATE SCHEMA"


def test_a_user_who_may_not_make_tables_is_refused(postgres: Cluster) -> None:
    url = postgres.create()
    postgres.run("CREATE ROLE guest LOGIN")
    postgres.run("REVOKE CREATE ON SCHEMA public FROM public", url)
    found = refusal(url.replace("user=owner", "user=guest"))
    assert found.startswith("permission denied for schema public")
    assert found.endswith("; expected a schema in which this user may make and use tables")


def test_a_database_that_nobody_may_write_to_is_refused(postgres: Cluster) -> None:
    url = postgres.create()
    postgres.run(f"ALTER DATABASE {url.split('/')[3].partition('?')[0]} SET default_transaction_read_only = on")
    assert "session is read-only" in refusal(url)
    found = "found a database that only reads; expected one that can be written to"
    assert refusal(f"{url}&target_session_attrs=any") == found


def test_what_cannot_be_reached_is_refused(postgres: Cluster, tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(f"postgresql:///postgres?host={tmp_path}")
    with held_port() as nobody:
        assert "Connection refused" in refusal(f"postgresql://127.0.0.1:{nobody}/postgres")
    assert 'database "none" does not exist' in refusal(postgres.url("none"))


@pytest.mark.parametrize("url", ["postgresql:///db?nonsense=1", "postgresql://[::1/db", "postgresql://h:port/db"])
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    assert refusal(url)


def test_a_driver_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "local_server.store.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    found = refusal("postgresql:///db")
    assert found.startswith("found no driver for PostgreSQL (")
    assert found.endswith("; expected it by the extra local-server[postgres]")


def test_a_pooler_in_between_is_refused(postgres: Cluster, children: list[Child]) -> None:
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if not program:
        pytest.skip("no pgbouncer: sudo apt-get install pgbouncer")
    url = postgres.create()
    with held_port() as port:
        users, options = postgres.folder / "users", postgres.folder / "pgbouncer.ini"
        users.write_text('"owner" ""\n')
        options.write_text(
            f"[databases]\n* = host={postgres.folder}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
        )
        pooler = Child("pgbouncer", [*postgres.as_user, program, options])
        children.append(pooler)
        pooler.wait_for("listening on 127.0.0.1")
        found = refusal(f"postgresql://owner@127.0.0.1:{port}/{url.split('/')[3].partition('?')[0]}")
    assert found.startswith("found a pooler in between; expected PostgreSQL itself")


# passwords


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    for url in ("postgresql://me:secret@host/db", "postgres://host/db?user=me&password=secret"):
        ended = subprocess.run(
            [sys.executable, "-m", "local_server", "--db", url], check=False, capture_output=True, text=True
        )
        assert ended.returncode == 2
        assert "expected it in PGPASSWORD, or in the file ~/.pgpass" in ended.stderr
        assert "secret" not in ended.stdout + ended.stderr


def test_a_password_comes_from_the_environment_or_from_a_file(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create().replace("user=owner", "user=guarded")
    postgres.run("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'sec:ret'")
    access = postgres.folder / "data" / "pg_hba.conf"
    access.write_text("local all guarded scram-sha-256\n" + access.read_text())
    postgres.run("SELECT pg_reload_conf()")
    until(lambda: "no password supplied" in refusal(url))
    monkeypatch.setenv("PGPASSWORD", "another")
    assert "password authentication failed" in refusal(url)
    monkeypatch.setenv("PGPASSWORD", "sec:ret")
    opened(url).close()
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text("*:*:*:guarded:sec\\:ret\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    opened(url).close()


# what it holds


def test_two_schemas_of_one_database_are_served_side_by_side(postgres: Cluster, children: list[Child]) -> None:
    url = postgres.create()
    postgres.run("CREATE SCHEMA one; CREATE SCHEMA two", url)
    wires = []
    for name in ("one", "two"):
        server = LocalServer(f"{url}&options=-csearch_path%3D{name}")
        children.append(server.child)
        wires.append(Wire(server))
    for wire, value in zip(wires, ("b25l", "dHdv"), strict=True):
        wire.create("same")
        wire.complete("same", data=value)
    assert [wire.get("/promises/same").json()["value"]["data"] for wire in wires] == ["b25l", "dHdv"]
    for wire in wires:
        wire.close()


@pytest.fixture
def local(postgres: Cluster, children: list[Child]) -> Iterator[LocalServer]:
    """A server on PostgreSQL, which ends well."""
    server = LocalServer(postgres.create())
    children.append(server.child)
    yield server
    assert server.stop() == 0
    assert server.child.count("ERROR|Traceback") == 0, server.child.output


@pytest.fixture
def wire(local: LocalServer) -> Iterator[Wire]:
    """A client of it."""
    client = Wire(local)
    yield client
    client.close()


def test_a_nul_in_an_id_is_refused_and_in_tags_is_kept(wire: Wire) -> None:
    refused = wire.post("/promises", {"id": "a\0b", "timeout": FAR})
    assert code(refused) == 40000
    assert "PostgreSQL cannot store it" in refused.text
    assert code(wire.get("/promises/a%00b")) == 40000
    created = wire.create("with-nul", {"k\0": "v\0", "other": "x"})
    assert wire.get("/promises/with-nul").json() == created
    assert wire.get("/promises?id=with-*").json()["promises"] == [created]
    assert wire.get("/promises?id=with-*&tags[other]=x").json()["promises"] == []  # which the guarantees say


def test_what_no_index_takes_is_refused_alone_and_its_neighbours_are_stored(local: LocalServer, wire: Wire) -> None:
    ids = ["first", LONG, "second", LONG[::-1], "third"]
    local.child.signal(signal.SIGSTOP)  # so that all arrive together, and share a turn
    with ThreadPoolExecutor(len(ids)) as pool:
        answers = [pool.submit(create, local, promise_id) for promise_id in ids]
        until(lambda: waiting(local) >= len(ids))
        local.child.signal(signal.SIGCONT)
        found = [answer.result() for answer in answers]
    assert [answer.status_code for answer in found] == [201, 400, 201, 400, 201]
    for refused in (found[1], found[3]):
        assert code(refused) == 40000
        assert "PostgreSQL cannot store it: index row size" in refused.text
        assert "HINT" not in refused.text
    assert {promise["id"] for promise in wire.get("/promises?id=*").json()["promises"]} == set(ids[::2])
    wire.create("afterwards")
    assert wire.get(f"/promises/{LONG}").status_code == 404
    assert wire.create("x" * 4_000)["id"] == "x" * 4_000  # the index compresses it


def create(local: LocalServer, promise_id: str) -> requests.Response:
    """Create a promise over a connection of its own."""
    return requests.post(f"{local.url}/promises", json={"id": promise_id, "timeout": FAR}, timeout=30)


def waiting(local: LocalServer) -> int:
    """Return how many connections have sent the server something that it has not read."""
    port = f"{int(local.url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port}") and row[3] == "01" and row[4].split(":")[1] != "00000000" for row in rows)


def test_the_server_leaves_synchronous_commit_as_it_is(postgres: Cluster) -> None:
    url = postgres.create()
    for setting in ("on", "remote_apply"):
        name = url.split("/")[3].partition("?")[0]
        postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = {setting}")
        store = opened(url)
        assert store.db.execute("SELECT current_setting('synchronous_commit')").fetchone() == (setting,)
        store.close()


def test_a_process_is_known_on_its_own_machine_alone(postgres: Cluster) -> None:
    stage = Stage(postgres.create())
    for machine in ("here", "there"):
        with stage.turn():
            stage.store.set_process(f"g/{machine}", 1, 0.5, machine)
    assert list(stage.store.processes("here")) == [("g/here", 1, 0.5)]
    stage.store.close()


@pytest.mark.parametrize("sql", ["SELECT count(*) FROM tasks", "INSERT INTO unsettled VALUES ('p')"])
def test_who_is_silent_in_the_middle_of_a_turn_loses_its_place(postgres: Cluster, sql: str) -> None:
    url = postgres.create()
    silent, other = engine.Postgres(url, "silent"), engine.Postgres(url, "other")
    assert silent.lead()
    silent.open()
    silent.begin()
    silent.execute(sql)
    until(lambda: other.lead() or not other.leader())
    assert until(other.lead)
    with pytest.raises(StoreLostError):
        silent.commit()
    silent.close()
    other.close()


def test_all_clusters_of_the_tests_are_copies_of_one_that_initdb_has_made(postgres: Cluster, cluster: Cluster) -> None:
    whose = "SELECT system_identifier FROM pg_control_system()"
    assert postgres.folder != cluster.folder
    assert postgres.run(whose) == cluster.run(whose)
