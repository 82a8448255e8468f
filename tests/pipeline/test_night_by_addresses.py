"""A night, its steps in this process: models on S3, the rest by file://; the gate refuses, the report fails."""

import re
from types import SimpleNamespace

import pytest
from pyarrow import fs
from support.processes import commands_here, here, said
from support.runs import DAY
from support.terminal import terminal_here, without_colours

from recmodel import schemas as c
from recmodel import storage
from recmodel.models import versions
from recmodel.tables.output import open_output


@pytest.fixture(scope="module")
def night(spark, s3, toy, toy_models, tmp_path_factory):
    """What it drew, and where its models, tables and logs are. On S3 are the toy's models, current is `joint`."""
    base = tmp_path_factory.mktemp("night")
    (base / "tables").mkdir()
    (base / "tables/reports").write_text("in the way")
    models = f"{s3}/night/models"
    fs.copy_files(str(toy_models), "", fs.LocalFileSystem(), storage.file_system(models))
    with pytest.MonkeyPatch.context() as patch, terminal_here() as screen:
        for name, value in {
            "TRAINING__MAX_AGE_DAYS": "0", "SCORING__USERS_PER_TASK": "10", "PATHS__LOGS": str(base / "logs"),
        }.items():  # fmt: skip
            patch.setenv(f"RECMODEL_{name}", value)
        steps = commands_here(patch)
        result = here(
            "nightly", "--data", f"file://{toy}", "--models", models, "--output", f"file://{base}/tables",
            "--preset", "retrieval", "--run-date", f"{DAY}..{DAY}", "--predicted-ratings", "all",
        )  # fmt: skip
    drawn = without_colours(screen.getvalue())
    assert result.returncode == 0, drawn
    return SimpleNamespace(
        drawn=drawn, said=re.sub(r"\s+", " ", drawn), codes=[step.returncode for step in steps], base=base,
        output=f"file://{base}/tables", models=models, before=versions.current(toy_models),
    )  # fmt: skip


def test_a_model_that_does_not_pass_the_gate_stays_on_disk(night):
    """The night goes on with the version before, and a report that cannot be written does not stop it either."""
    assert night.codes == [4, 0, 2]
    assert "training is due: the current version is 0 days old" in night.said
    assert "does not become the current version: it is not trained for rating" in night.said
    assert "the night continues with the current version" in night.said
    assert f"there is no report of {DAY}; what was published stands" in night.said
    assert versions.current(night.models) == night.before
    assert open_output(night.output).read_run(DAY).model_version == night.before
    listed = here("models", "list", "--models", night.models)
    assert "CURRENT" in listed.stdout
    assert "it is not trained for rating" in said(listed)
    refused = versions.list_versions(night.models)[-1]
    assert "-retrieval-" in refused
    assert refused != night.before
    assert here("models", "promote", refused, "--models", night.models).returncode == 0
    assert versions.current(night.models) == refused
    assert here("models", "rollback", "--models", night.models).returncode == 0
    assert versions.current(night.models) == night.before


def test_tables_by_address_hold_the_run_and_are_found(night):
    output = open_output(night.output)
    rows = output.recommendations(DAY).to_table().to_pandas()
    assert rows[c.USER_ID].nunique() == output.read_run(DAY).users == 40
    assert (rows.groupby(c.USER_ID)[c.RANK].max() <= 10).all()
    assert list(rows.columns) == [*c.RECOMMENDATION.names, c.RUN_DATE]
    shown = here("show", "1", "--output", night.output)
    assert (shown.returncode, f"User 1, run of {DAY}" in shown.stdout) == (0, True)
    (night.base / "tables/reports").unlink()
    reported = here("report", "--output", night.output)
    assert reported.returncode == 0, reported.stderr
    assert "Matrix, The (1999)" in (night.base / "tables/reports/latest.html").read_text()


def test_no_log_holds_a_secret(night):
    logs = [path.read_text() for path in (night.base / "logs").iterdir()]
    assert len(logs) >= 3
    assert not any("open-sesame" in text for text in [*logs, night.drawn])


def test_each_stage_that_takes_long_shows_how_far_it_is(night):
    assert re.search(r"train preset retrieval … ([\d,]+) of \1 ratings, [\d,]+ ratings/s, 0\.0\s+s left", night.drawn)
    scored = r"score and write recommendations … 40 of 40 users, [\d,]+ users/s, 0\.0\s+s left"
    assert re.search(scored, night.drawn)
