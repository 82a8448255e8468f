"""A night, its steps in this process; tests/system has nights as cron runs them."""

import shutil
from datetime import date, timedelta
from pathlib import Path

from support.processes import commands_here, here, said
from support.runs import publish, record, stage

from recmodel import settings
from recmodel.models import versions
from recmodel.pipeline import nightly
from recmodel.tables.output import open_output


def tree(folder: Path) -> dict[str, object]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_dry_night_says_why_it_would_train_and_what_it_would_score_and_leaves_nothing(
    spark, toy, toy_models, tmp_path, monkeypatch
):
    monkeypatch.setenv("RECMODEL_TRAINING__MAX_AGE_DAYS", "0")
    before = tree(toy) | tree(toy_models)
    steps = commands_here(monkeypatch)
    night = here(
        "nightly", "--dry-run", "--data", f"file://{toy}", "--models", f"file://{toy_models}",
        "--output", f"file://{tmp_path}/tables", "--run-date", "2026-01-31", "--master", "local[2]", "--top-n", "3",
    )  # fmt: skip
    assert [night.returncode, *(step.returncode for step in steps)] == [0, 0, 0], said(night)
    printed = " ".join(map(said, (night, *steps)))
    for words in (
        "training is due: the current version is 0 days old", "dates to score: 2026-01-31", "preset default",
        f"model version {versions.current(toy_models)}", "users to score 40", "up to 120 rows",
    ):  # fmt: skip
        assert words in printed
    assert not (tmp_path / "tables").exists()
    assert tree(toy) | tree(toy_models) == before


def test_a_day_in_the_past_is_scored_as_of_its_end_with_the_version_of_then(toy_models, tmp_path, caplog):
    models = tmp_path / "models"
    rating, retrieval, *_, joint = versions.list_versions(toy_models)
    for name in (rating, retrieval, joint):
        shutil.copytree(toy_models / name, models / name)
    (models / "CURRENT").write_text(f"{joint}\n")
    then = [f"20260110T030000Z/{rating}", "20260111T030000Z/gone", f"20260112T030000Z/{retrieval}"]
    (models / ".promotions").write_text("\n".join([*then, f"20260113T030000Z/{joint}\n"]))
    (models / ".history").write_text(f"{joint}\n")
    (models / retrieval / "metrics.json").write_text("{}")

    def flags(day: date, *score_flags: str, **limits: str) -> list[str]:
        chosen = settings.load(paths={"models": str(models), "data": "d", "output": "o"}, input=limits)
        all_flags = nightly._score_flags(nightly.Night(chosen, None, [day], score_flags), day)
        return all_flags[all_flags.index("--run-date") + 2 :]

    caplog.set_level("INFO")
    days = [date(2026, 1, day) for day in (9, 10, 11, 12, 13)]
    assert [flags(day) for day in days] == [
        ["--as-of", "2026-01-09"],
        ["--as-of", "2026-01-10", "--model-version", rating],
        ["--as-of", "2026-01-11"],
        ["--as-of", "2026-01-12"],
        ["--as-of", "2026-01-13"],
    ]
    sentences = (
        f"no version was current on 2026-01-09; it is scored with the one that is now, {joint}",
        f"2026-01-10 is scored with {rating}, which was current then",
        f"gone, which was current on 2026-01-11, is gone; the current version, {joint}, is used",
        f"{retrieval}, which was current on 2026-01-12, cannot be used (",
    )
    for entry, sentence in zip(caplog.records, sentences, strict=True):
        assert entry.getMessage().startswith(sentence)
    assert flags(days[1], "--model-version", "v") == ["--as-of", "2026-01-10", "--model-version", "v"]
    assert flags(days[4], as_of="2025-12-31") == ["--as-of", "2025-12-31"]
    assert flags(date.today()) == []
    assert flags(date.today(), as_of="2025-12-31") == ["--as-of", "2025-12-31"]


def test_the_dates_of_a_range_that_have_no_full_run_are_due(tmp_path, caplog):
    output = open_output(tmp_path)
    first = date(2026, 2, 27)
    publish(output, "full", first)
    stage(output, "few", first + timedelta(1)).publish(record(first + timedelta(1), all_users=False), 90)
    due = nightly.parse_dates("2026-02-27..2026-03-01", str(tmp_path))
    assert due == [first + timedelta(1), first + timedelta(2)]
    assert nightly.parse_dates("2026-02-27", str(tmp_path)) == [first]
    assert nightly.parse_dates(None, str(tmp_path)) == [date.today()]
    caplog.set_level("INFO")
    assert nightly.parse_dates("2026-02-27..2026-02-27", str(tmp_path)) == []
    assert "all dates of 2026-02-27..2026-02-27 are published already" in caplog.text
