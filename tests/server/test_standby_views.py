"""Who serves and who stands by, on the page and in the terminal."""

from collections.abc import Callable

import requests
from playwright.sync_api import Browser
from postgres_stage import Cluster
from wire_client import until

from local_server.testing import Child, LocalServer


def test_the_page_and_the_terminal_name_the_server_that_serves_and_the_one_that_stands_by(
    postgres: Cluster, children: list[Child], chromium: Browser
) -> None:
    url = postgres.create()
    server = LocalServer(url)
    standby = Child.python("standby", "-m", "local_server", "--db", url, "--port", "0", "--poll-port", "0")
    children += [server.child, standby]
    standby.wait_for("this server stands by")

    found = requests.get(f"{server.url}/ui/workers", timeout=5).json()["servers"]
    assert [one["serves"] for one in found] == [True, False]
    assert f"pid {server.child.pid} " in found[0]["name"]
    assert f"pid {standby.pid} " in found[1]["name"]
    assert all("127.0.0.1 pid" in one["name"] for one in found)  # not :0, which is where nobody listens
    lines = [f"{found[0]['name']} serves", f"{found[1]['name']} stands by"]

    command = Child.python("workers", "-m", "local_server", "workers", "--server", server.url)
    children.append(command)
    assert command.wait() == 0
    assert command.lines[:2] == lines
    page = chromium.new_page()
    page.goto(server.url)
    until(lambda: page.locator("#servers p").all_inner_texts() == lines)
    page.close()


def test_a_server_of_a_file_names_none(memory_server: LocalServer, start_shared: Callable[..., Child]) -> None:
    assert requests.get(f"{memory_server.url}/ui/workers", timeout=5).json()["servers"] == []
    command = start_shared("workers", "-m", "local_server", "workers", "--server", memory_server.url)
    assert command.wait() == 0
    assert "serves" not in command.output
