"""A test of the schedule: a week passes in no time."""

from daily import report, schedule


def test_there_are_seven_reports_a_week(resonate_server, resonate, capsys):
    resonate.register(report)
    schedule(resonate, "default")  # the group of the fixture
    resonate_server.advance(7 * 24 * 3600)
    assert capsys.readouterr().out.count("report report-") == 7
