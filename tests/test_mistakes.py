"""What the page of mistakes says happens, happens."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from resonate import Resonate
from test_readme import ROOT, blocks, in_one_line

from local_server.cli import main
from local_server.testing.thread import ThreadServer

PAGE = ROOT / "docs" / "mistakes.md"
WORKER = """
import threading
from resonate import Resonate

resonate = Resonate.remote(group="orders")

@resonate.register
def order(ctx, number):
    receipt = yield ctx.lfc(charge, number)
    yield ctx.sleep(3600)
    return receipt

def charge(ctx, number):
    return f"R{number}"

resonate.start()
threading.Event().wait()
"""
CLIENT = """
from dataclasses import dataclass
from resonate import Resonate

@dataclass
class Order:
    total: int

Resonate.remote().begin_rpc("order-7", "order", Order(42))
"""
REFUSING = """
import threading
from resonate import Resonate

resonate = Resonate.remote(group="orders")

class NoMoney(Exception):
    pass

@resonate.register
def order(ctx, number):
    yield ctx.sleep(0)
    raise NoMoney("5 are missing")

resonate.start()
threading.Event().wait()
"""


def command(server: ThreadServer, *words: str) -> str:
    return CliRunner().invoke(main, [*words, "--server", server.url]).output


def test_a_call_to_a_group_that_nobody_serves_is_told_by_workers_as_shown(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    resonate.options(target="order").begin_rpc("order-7", "order", 7)
    shown = "1 task waits for poll://any@order: no worker connected"
    assert shown in command(resonate_server, "workers")
    assert shown in in_one_line(PAGE)


def test_a_call_without_yield_is_not_made(resonate: Resonate) -> None:
    charged = []

    def order(ctx, number):
        ctx.lfc(charge, number)
        yield ctx.sleep(0)
        return "on its way"

    def charge(_, number):
        charged.append(number)

    resonate.register(order)
    assert resonate.run("order-7", order, 7) == "on its way"
    assert not charged


def test_a_plain_function_without_ctx_is_tried_again(resonate: Resonate) -> None:
    class Twice:
        asked = 0

        def next(self, _attempt: int) -> float | None:
            self.asked += 1
            return 0.0 if self.asked < 2 else None

    def order(ctx, number):
        yield ctx.lfc(charge, number).options(retry_policy=policy)

    def charge(number):
        return number

    policy = Twice()
    resonate.register(order)
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        resonate.run("order-7", order, 7)
    assert policy.asked == 2


def test_an_unknown_function_ends_the_worker_and_the_next_one_until_it_is_given_up(
    resonate_server: ThreadServer, resonate: Resonate, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    resonate.options(target="orders").begin_rpc("order-22", "orders", 22)
    for _ in range(2):
        worker = resonate_server.spawn(tmp_path / "worker.py")
        assert worker.wait() == 1
        assert worker.count("ValueError: function orders not found in registry") == 1
    assert "order-22 is canceled" in command(resonate_server, "cancel", "order-22", "--yes")
    resonate_server.spawn(tmp_path / "worker.py")
    resonate.options(target="orders").begin_rpc("order-23", "order", 23)
    assert resonate_server.wait_for("order-23.1", timeout=30).value == "R23"


def test_a_schedule_keeps_its_time_until_it_is_deleted_as_shown(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    def scheduled(cron: str) -> str:
        return resonate.schedules.create("daily-report", cron, "report-{{.timestamp}}", 1, ikey="daily-report").cron

    (shown,) = (words for block in blocks(PAGE, "shell") if "unschedule" in (words := block.split()))
    assert scheduled("0 9 * * *") == scheduled("0 7 * * *") == "0 9 * * *"
    assert "deleted" in command(resonate_server, *shown[3:], "--yes")
    assert scheduled("0 7 * * *") == "0 7 * * *"


def test_a_step_put_in_front_gets_what_the_next_one_has_stored(
    resonate_server: ThreadServer, resonate: Resonate, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    old = resonate_server.spawn(tmp_path / "worker.py")
    handle = resonate.options(target="orders").begin_rpc("order-7", "order", 7)
    resonate_server.wait_for("order-7.2", timeout=30, completed=False)
    old.kill()
    resonate_server.advance(3600, wait=False)  # the sleep is over
    called = []

    def order(ctx, number):
        stock = yield ctx.lfc(look, number)
        receipt = yield ctx.lfc(charge, number)
        return [stock, receipt]

    def look(_, number):
        called.append(number)

    charge = look
    new = Resonate.remote(group="orders")
    new.register(order)
    new.start()
    try:
        assert handle.result(timeout=30) == ["R7", None]
    finally:
        new.stop()
    assert not called


def test_an_object_of_a_class_of_the_program_that_was_started_arrives_as_a_dict(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    resonate.register(lambda _, order: type(order).__name__, name="order")
    client = resonate_server.spawn("-c", CLIENT)
    assert client.wait() == 0
    assert resonate_server.wait_for("order-7").value == "dict"
    (shown,) = re.findall(r"`(Order\(.*?\))`", PAGE.read_text(encoding="utf-8"))
    assert resonate_server.tree("order-7").startswith(f"✔ order-7 order({shown}) ")


def test_an_error_of_a_class_of_the_program_that_was_started_arrives_without_what_it_says(
    resonate_server: ThreadServer, resonate: Resonate
) -> None:
    resonate_server.spawn("-c", REFUSING)
    with pytest.raises(Exception, match=r"^\[\]$") as error:
        resonate.options(target="orders").rpc("order-7", "order", 7)
    assert f"`{error.typename}: {error.value}`" in PAGE.read_text(encoding="utf-8")


def test_a_function_that_is_registered_elsewhere_is_registered_with_the_fixture_too(resonate: Resonate) -> None:
    elsewhere = Resonate.remote(group="shop")

    @elsewhere.register
    def order(ctx, number):
        yield ctx.sleep(0)
        return number

    resonate.register(order)
    assert resonate.run("order-7", order, 7) == 7


def test_a_new_function_may_stand_beside_the_old_one(resonate: Resonate) -> None:
    def order(_):
        return "old"

    def order_from_stock(_):
        return "new"

    resonate.register(order)
    resonate.register(order_from_stock, name="order_from_stock")
    assert [resonate.rpc("one", "order"), resonate.rpc("two", "order_from_stock")] == ["old", "new"]
