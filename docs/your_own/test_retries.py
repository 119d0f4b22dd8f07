"""A test of the retries, which the worker's own clock brings: no time is skipped."""

from retries import checkout


def test_the_bank_is_called_four_times(resonate, capsys):
    resonate.register(checkout)
    assert resonate.run("checkout-7", checkout, 7) == "order 7: the bank does not answer"
    assert capsys.readouterr().out.splitlines() == ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]
