"""A test over two groups: the supplier whom the offer asks is another worker, in the test's process as well."""

import pytest
from offer import offer
from resonate import Resonate


@pytest.fixture
def supplier(resonate_server, monkeypatch):
    resonate_server.set_env(monkeypatch)
    worker = Resonate.remote(group="suppliers")
    worker.start()
    yield worker
    worker.stop()


def quote(_, number):
    return f"{number} for 42"


def test_a_supplier_answers(supplier, resonate):
    supplier.register(quote)
    resonate.register(offer)
    assert resonate.run("offer-7", offer, 7) == "7 for 42"
