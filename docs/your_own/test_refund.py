"""Tests of the refund: a person answers, or nobody does."""

from refund import refund


def test_what_a_person_approves_is_paid(resonate_server, resonate):
    resonate.register(refund)
    handle = resonate.begin_run("refund-7", refund, 7)
    resonate_server.resolve("refund-7.approved", True)
    assert handle.result() == "refund 7 is paid"


def test_what_nobody_approves_for_three_days_is_refused(resonate_server, resonate):
    resonate.register(refund)
    handle = resonate.begin_run("refund-7", refund, 7)
    resonate_server.advance(3 * 24 * 3600)
    assert handle.result() == "refund 7 is refused"
