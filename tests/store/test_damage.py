"""Whatever is damaged: a start says so in one line, or the server runs and answers; nothing else ever comes of it."""

import http.client
import io
import logging
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
from rules_stage import Stage
from test_store import everything_once

from local_server.config import Config
from local_server.rules.workers import OsProcess
from local_server.server import run
from local_server.store import inspection

FLIPS = 20
HEADER = 100  # bytes of the file that tell what it is
LOG = 60_000  # bytes at the beginning of the log in which there is content
REQUESTS = (
    ("GET", "/promises?id=*"), ("GET", "/promises/p1"), ("GET", "/schedules?id=*"), ("GET", "/ui/workers"),
    ("GET", "/ui/roots?q=*"), ("GET", "/tasks/claim/__invoke:p1/1"), ("POST", "/promises"), ("PATCH", "/promises/p2"),
)  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the files of a server that was stopped, and of one that was killed."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("stopped", "killed")}
    stage = Stage(folders["stopped"] / "db")
    everything_once(stage)
    for n in range(200):
        stage.create(f"p{n}", invoke="poll://any@g", timeout=10**14)
    stage.store.begin()
    stage.store.set_process("g/gone", 1, 0.0, "here")
    stage.store.commit()
    stage.store.close()
    stage = Stage(folders["stopped"] / "db")
    stage.connect("g/b", OsProcess(2, 0.0))
    for n in range(50):
        stage.create(f"q{n}", invoke="poll://any@h", timeout=10**14)
    for name in ("db", "db-wal"):
        shutil.copy(folders["stopped"] / name, folders["killed"])
    stage.store.close()
    return folders


class Output(io.StringIO):
    """Takes what the server prints; asks it for everything once it is ready, then ends it as Ctrl-C does."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.client: threading.Thread | None = None

    def write(self, text: str) -> int:
        if "is ready" in text:
            url = urlsplit(text.split()[5].strip(","))
            self.client = threading.Thread(target=self.ask, args=(url.hostname, url.port))
            self.client.start()
        return len(text)

    def ask(self, host: str, port: int) -> None:
        try:
            for method, path in REQUESTS:
                connection = http.client.HTTPConnection(host, port, timeout=10)
                body = '{"id":"new","timeout":99999999999999,"state":"RESOLVED"}' if method != "GET" else None
                connection.request(method, path, body, {"Origin": f"http://{host}:{port}"})
                self.statuses.append(connection.getresponse().status)
                connection.close()
        finally:
            signal.raise_signal(signal.SIGTERM)


def flip(file: Path, chance: random.Random, end: int, flips: int) -> None:
    """Change some bytes at the beginning of a file."""
    content = bytearray(file.read_bytes())
    for _ in range(flips):
        content[chance.randrange(min(end, len(content)))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def damaged(seeds: dict[str, Path], folder: Path, seed: int) -> Path:
    """Return a file that is damaged: in its header, in its pages, or in its log."""
    chance = random.Random(seed)  # noqa: S311 - the same files each time
    where = ("header", "pages", "log")[seed % 3]
    shutil.copytree(seeds["killed" if where == "log" or seed % 2 else "stopped"], folder, dirs_exist_ok=True)
    if where == "header":
        flip(folder / "db", chance, HEADER, chance.randrange(1, 4))
    elif where == "pages":
        flip(folder / "db", chance, 2**62, FLIPS)
    else:
        flip(folder / "db-wal", chance, LOG, FLIPS)
    return folder / "db"


def serve(db: Path, output: Output) -> str | None:
    """Start on a file as the command does, until it is stopped; return why it did not start."""
    try:
        with redirect_stdout(output):
            run(Config("127.0.0.1", 0, 0, db, None))
    except click.ClickException as refusal:
        return refusal.message
    return None


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Keep what is logged."""
    with caplog.at_level(logging.WARNING):
        yield caplog


@pytest.mark.parametrize("tens", range(0, 200, 10))
def test_a_start_on_a_damaged_file_ends_in_one_line_or_serves(
    seeds: dict[str, Path],
    tmp_path: Path,
    quiet: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tens: int,
) -> None:
    if tens >= 100:
        monkeypatch.setattr(inspection, "CHECKED", 0)  # as if the file were too large to be looked through at a start
    for seed in range(tens, tens + 10):
        folder = tmp_path / str(seed)
        db = damaged(seeds, folder, seed)
        before, began, output = files(folder), time.monotonic(), Output()
        if refusal := serve(db, output):
            assert str(db) in refusal, seed
            assert "expected" in refusal, seed
            assert "\n" not in refusal, seed
            assert files(folder) == before, seed
        else:
            assert output.client, seed
            output.client.join()
            assert len(output.statuses) == len(REQUESTS), seed
        assert time.monotonic() - began < 5, seed
        for record in quiet.records:
            assert record.name != "asyncio", seed
            assert "\n" not in record.getMessage(), seed
        quiet.clear()
