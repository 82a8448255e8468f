"""The command `report`."""

from datetime import timedelta

import pytest
from support.processes import here
from support.report import DAY, publish, recommendations

from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.pipeline import monitoring
from recmodel.report import publish as pages
from recmodel.tables.output import open_output


def test_the_job_keeps_pages_as_long_as_their_runs(site, tmp_path):
    """And if the model and the ratings are gone, the page says so in their place."""
    output = tmp_path / "output"
    for number in range(2):
        publish(output, recommendations(range(1, 9), 12), DAY + timedelta(number), "v", keep=1)
        result = here("report", "--output", output, "--models", tmp_path / "no-models", "--data", tmp_path / "no-data")
        assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (output / "reports").iterdir()) == [
        "2026-02-01.html",
        "2026-02-01.json",
        "latest.html",
    ]
    warnings = monitoring.read_warnings(open_output(output), DAY + timedelta(1))
    assert any("no-models has no version" in sentence for sentence in warnings)
    page = (output / "reports/latest.html").read_text(encoding="utf-8")
    assert page == (output / "reports/2026-02-01.html").read_text(encoding="utf-8")
    assert "Recommendations of 1\u00a0February\u00a02026" in page
    assert "no-models has no version" in page
    assert page.count("no-data is not a directory") == 3
    gone = here("report", "--output", output, "--run-date", DAY)
    assert gone.returncode == 2
    assert "there is no run of 2026-01-31" in gone.stderr


def test_the_job_uses_what_the_run_was_made_with(site, tmp_path):
    """Unless --data and --models name others; and it writes to another file with --to."""
    run_settings = settings.load(paths={"models": str(site.models), "data": str(site.data)}).model_dump()
    publish(tmp_path / "output", recommendations(range(1, 9), 12), DAY, site.version, settings=run_settings)
    assert here("report", "--output", tmp_path / "output", "--to", tmp_path / "page.html").returncode == 0
    assert not (tmp_path / "output/reports").exists()
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Rated highest" in page
    assert "11.1\u00a0% lower than with mean and biases" in page


def test_a_run_that_was_withdrawn_meanwhile_is_a_sentence(site):
    with pytest.raises(UsageRejected, match="there is no run of"):
        pages.write(open_output(site.output), DAY + timedelta(99), settings.load())
