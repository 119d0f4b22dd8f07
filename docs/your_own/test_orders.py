"""Tests of the order, with the fixtures of the local server."""

from orders import order


def test_an_order_is_shipped(resonate_server, resonate):
    resonate.register(order)
    with resonate_server.skip_time():  # the ten seconds take none
        assert resonate.run("order-7", order, 7) == "order 7 is on its way, receipt R7"


def test_a_killed_worker_charges_nobody_twice(resonate_server):
    first = resonate_server.spawn("worker.py")
    resonate_server.spawn("client.py", 7)
    resonate_server.wait_for("order-7.1")  # it is charged
    first.kill()
    second = resonate_server.spawn("worker.py")
    with resonate_server.skip_time():
        assert resonate_server.wait_for("order-7").value == "order 7 is on its way, receipt R7"
    assert second.lines[1:] == ["ship 7 as order-7.3"]
