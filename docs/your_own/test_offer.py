"""A test of the time-out: nobody serves the suppliers."""

from offer import offer


def test_an_offer_does_without_a_supplier_that_does_not_answer(resonate_server, resonate):
    resonate.register(offer)
    handle = resonate.begin_run("offer-7", offer, 7)
    resonate_server.wait_for("offer-7.1", completed=False)  # it has asked
    resonate_server.advance(3, wait=False)  # else the clock would wait for a supplier, too
    assert handle.result() == "no quote for 7 within 3 s"
