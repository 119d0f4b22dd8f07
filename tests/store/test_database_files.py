"""Which files are opened, which are refused and left as they are, and what stands beside them."""

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from local_server.cli import main
from local_server.store import sqlite
from local_server.store.errors import StoreError
from local_server.store.inspection import APPLICATION_ID, MIGRATIONS, VERSION, shape
from local_server.store.store import Store
from local_server.testing import ChildError, LocalServer

SCHEMA_0 = Path(__file__).with_name("schema_0.sql").read_text()  # of the last server that wrote no version


def make(path: Path, sql: str) -> Path:
    """Make a file by SQL."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)
    return path


def version_0(path: Path) -> Path:
    """Make a file as the last server without versions left it."""
    row = "INSERT INTO processes VALUES ('g/a', 5, 1.5);"
    return make(path, f"PRAGMA journal_mode = WAL; {SCHEMA_0} {row}")


def current(path: Path, sql: str) -> Path:
    """Make a file of this server, changed by SQL."""
    Store(path).close()
    return make(path, sql)


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check(path: Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["check", str(path)])


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# refused

UNUSABLE = {
    "another's": (lambda db: make(db, "CREATE TABLE cats (name)"), "another program.*tables: cats"),
    "another's, in WAL mode": (
        lambda db: make(db, "PRAGMA journal_mode = WAL; CREATE TABLE promises (made)"), "another program.*promises",
    ),
    "another's by its id": (lambda db: make(db, "PRAGMA application_id = 7"), "another program.*application_id 7"),
    "tables beside ours": (lambda db: make(db, SCHEMA_0 + "CREATE TABLE cats (name)"), "another program"),
    "newer": (lambda db: current(db, f"PRAGMA user_version = {VERSION + 1}"), f"version {VERSION + 1}.*most {VERSION}"),
    "no version": (lambda db: current(db, "PRAGMA user_version = 0"), "damaged .version 0"),
    "a column more": (lambda db: current(db, "ALTER TABLE tasks ADD mood TEXT"), "not ours: column tasks.mood"),
    "an index less": (lambda db: current(db, "DROP INDEX tasks_due"), "expected column 1 of index tasks_due"),
    "a trigger": (
        lambda db: current(db, "CREATE TRIGGER t DELETE ON tasks BEGIN DELETE FROM promises; END"), "trigger t",
    ),
    "a process without a name": (
        lambda db: current(db, "INSERT INTO processes VALUES ('ga', 5, 1.5, '')"), "damaged .1 row of table processes",
    ),
    "text": (lambda db: db.write_text("This is a text that nobody should overwrite. " * 100), "not a database"),
    "cut": (lambda db: os.truncate(current(db, ""), 50_000), "malformed|damaged"),
    "a folder": (lambda db: db.mkdir(), "no regular file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_is_not_ours_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    db, (make_it, words) = tmp_path / "resonate.db", UNUSABLE[kind]
    make_it(db)
    before = {} if db.is_dir() else files(tmp_path)
    with pytest.raises(StoreError, match=words) as refused:
        Store(db)
    assert str(refused.value).startswith(f"{db}: ")
    assert "expected" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert db.is_dir() or files(tmp_path) == before
    if db.is_file():
        assert (check(db).exit_code, files(tmp_path)) == (1, before)


def test_another_programs_log_is_left_beside_its_file(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "folder"
    work.mkdir()
    with closing(sqlite3.connect(work / "resonate.db")) as db:
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE cats (name); INSERT INTO cats VALUES ('Tom')")
        shutil.copytree(work, folder)  # as if it had been killed
    before = files(folder)
    assert before["resonate.db-wal"]
    with pytest.raises(StoreError, match="cats"):
        Store(folder / "resonate.db")
    assert files(folder) == before


def test_the_command_refuses_in_one_line_with_status_1(tmp_path: Path) -> None:
    make(tmp_path / "resonate.db", "CREATE TABLE cats (name)")
    with pytest.raises(ChildError, match=r"ended with 1 .*\nError: [^\n]*tables: cats[^\n]*$"):
        LocalServer(tmp_path)


@pytest.mark.parametrize("content", [None, b""])
def test_a_new_or_empty_file_gets_the_current_version(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "db").write_bytes(content)
    Store(tmp_path / "db").close()
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    Store(tmp_path / "db").close()


# migrated


def test_a_file_without_a_version_is_migrated_with_a_backup_beside_it(tmp_path: Path) -> None:
    version_0(tmp_path / "db")
    store = Store(tmp_path / "db")
    assert store.db.execute("SELECT * FROM processes").fetchall() == [("g/a", 5, 1.5, "")]
    store.close()
    assert sorted(files(tmp_path)) == ["db", "db.version-0.backup"]
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    with closing(sqlite3.connect(tmp_path / "db.version-0.backup")) as backup:
        assert backup.execute("PRAGMA user_version").fetchone() == (0,)
        assert backup.execute("SELECT * FROM processes").fetchall() == [("g/a", 5, 1.5)]
    assert check(tmp_path / "db").output == "ok\n"


def test_a_log_that_was_left_is_migrated_too(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "folder"
    work.mkdir()
    with closing(sqlite3.connect(version_0(work / "db"))) as db:
        db.execute("INSERT INTO processes VALUES ('g/b', 6, 1.5)")
        db.commit()
        shutil.copytree(work, folder)
    store = Store(folder / "db")
    assert [row[0] for row in store.processes("")] == ["g/a", "g/b"]
    store.close()


def test_an_earlier_backup_is_not_overwritten(tmp_path: Path) -> None:
    version_0(tmp_path / "db")
    (tmp_path / "db.version-0.backup").write_text("precious")
    before = files(tmp_path)
    with pytest.raises(StoreError, match=r"db: found version 0, and db\.version-0\.backup .*; expected no such"):
        Store(tmp_path / "db")
    assert files(tmp_path) == before


def test_a_migration_that_fails_changes_nothing_and_leaves_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_0(tmp_path / "db")
    monkeypatch.setattr(sqlite, "MIGRATIONS", ["DROP TABLE tasks", "CREATE TABLE promises (again)"])
    with pytest.raises(StoreError, match="promises already exists"):
        Store(tmp_path / "db")
    assert sorted(files(tmp_path)) == ["db"]
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        assert db.execute("SELECT count(*) FROM tasks").fetchone() == (0,)


def test_the_migrations_make_the_tables_of_today() -> None:
    with closing(sqlite3.connect(":memory:")) as old:
        old.executescript(";".join([SCHEMA_0, *MIGRATIONS]))
        store = Store(None)
        assert shape(old) == shape(store.db)
        store.close()


# beside it


def test_the_log_of_a_linked_file_stands_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").mkdir()
    link = tmp_path / "link" / "db"
    link.symlink_to(tmp_path / "real" / "db")
    store = Store(link)
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["db", "db-wal"]
    assert [path.name for path in (tmp_path / "link").iterdir()] == ["db"]
    store.close()
    assert (check(link).output, link.is_symlink()) == ("ok\n", True)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_every_new_file_is_its_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    version_0(tmp_path / "old").chmod(0o644)
    before = os.umask(umask)
    try:
        stores = [Store(tmp_path / name) for name in ("old", "new")]
    finally:
        os.umask(before)
    modes = {path.name: mode(path) for path in tmp_path.iterdir()}
    assert modes.pop("old") == 0o644  # it was there
    assert modes == dict.fromkeys(["old-wal", "old.version-0.backup", "new", "new-wal"], 0o600)
    for store in stores:
        store.close()


# check


def test_check_says_ok_of_what_a_server_has_left(tmp_path: Path) -> None:
    server = LocalServer(tmp_path)
    server.kill()
    before = files(tmp_path)
    result = check(tmp_path / "resonate.db")
    assert (result.exit_code, result.output, files(tmp_path)) == (0, "ok\n", before)


def test_check_names_the_process_of_a_server_that_has_the_file(server: LocalServer, tmp_path: Path) -> None:
    result = check(tmp_path / "resonate.db")
    assert result.exit_code == 1
    assert f"is in use by process {server.child.pid} " in result.output
    assert len(result.output.splitlines()) == 1


def test_check_tells_each_damage_in_a_line(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    for number in range(100):
        store.set_process(f"g/{number}", number + 1, 1.0, "here")
    store.close()
    make(tmp_path / "db", "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'tasks_due'")
    result = check(tmp_path / "db")
    assert result.exit_code == 1
    assert all(line.startswith(f"{tmp_path / 'db'}: ") for line in result.output.splitlines())
    assert len(result.output.splitlines()) > 1


@pytest.mark.parametrize("content", [None, b""])
def test_check_finds_nothing_where_there_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "db").write_bytes(content)
    result = check(tmp_path / "db")
    assert result.exit_code == 1
    assert f"{tmp_path / 'db'}: found" in result.output
