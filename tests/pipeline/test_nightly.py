"""A night, its steps in this process; tests/system has nights as cron runs them."""

from pathlib import Path

from support.processes import commands_here, here, said

from recmodel.models import versions


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
