"""The commands `tables list` and `tables withdraw`."""

from datetime import timedelta

import pytest
from support.processes import here, said
from support.runs import DAY, labels, publish, record, stage

from recmodel import storage
from recmodel.tables.output import open_output

NEXT = DAY + timedelta(1)


@pytest.fixture(params=["path", "URI"])
def output(request, tmp_path):
    """Full runs of two days, each with its page, and a partial one of the second."""
    output = open_output(tmp_path / "o" if request.param == "path" else (tmp_path / "o").as_uri())
    for label, day in (("a", DAY), ("b", NEXT)):
        publish(output, label, day)
        storage.write(f"{output.location}/reports/{day}.html", label.encode())
    storage.write(f"{output.location}/reports/latest.html", b"b")
    stage(open_output(output.location, partial=True), "few", NEXT).publish(record(NEXT, all_users=False), 90)
    return output


def test_what_is_published_is_listed_and_can_be_taken_back(output):
    listed = here("tables", "list", "--output", output.location)
    rows = [" ".join(line.partition(" 1-01-01")[0].split()) for line in listed.stdout.splitlines()]
    assert rows[1:] == [f"{DAY} full a", f"latest {NEXT} full b", f"newest {NEXT} partial v"]
    answer = here("tables", "withdraw", NEXT, "--output", output.location)
    assert (answer.returncode, f"latest is the run of {DAY}" in said(answer)) == (0, True)
    assert (output.run_dates(), labels(output)) == ([DAY], ["a"] * 2)
    assert storage.names(f"{output.location}/reports") == [f"{DAY}.html", "latest.html"]
    assert storage.read(f"{output.location}/reports/latest.html") == b"a"
    storage.write(f"{output.location}/reports/{NEXT}.html", b"b")  # as where the call was interrupted
    again = here("tables", "withdraw", NEXT, "--output", output.location)
    assert (again.returncode, f"the nearest is that of {DAY}" in said(again)) == (2, True)
    assert storage.names(f"{output.location}/reports") == [f"{DAY}.html", "latest.html"]
    partial = open_output(output.location, partial=True)
    assert partial.run_dates() == [NEXT]
    assert here("tables", "withdraw", NEXT, "--partial", "--output", output.location).returncode == 0
    assert (partial.run_dates(), output.run_dates()) == ([], [DAY])


def test_nothing_is_taken_back_while_a_run_is_being_published(output):
    with output.locked():
        assert here("tables", "withdraw", DAY, "--output", output.location).returncode == 75
    assert output.run_dates() == [DAY, NEXT]


def test_an_output_without_runs_says_what_makes_one(tmp_path):
    assert "holds no published run yet; the command score makes one" in said(
        here("tables", "list", "--output", tmp_path)
    )
