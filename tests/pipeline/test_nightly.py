"""A night, its steps in this process; tests/system has nights as cron runs them."""

import json
import re
import shutil
import signal
import sys
import threading
from datetime import date, timedelta
from pathlib import Path

import pytest
from support.processes import commands_here, here, said
from support.runs import DAY, publish, record, stage

from recmodel import settings
from recmodel.models import versions
from recmodel.pipeline import nightly as pipeline
from recmodel.tables.output import open_output

FAILED = pipeline.Failure("train", 4, "why")


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


@pytest.mark.parametrize(
    ("step", "ended", "code", "words"),
    [
        ("score", -signal.SIGKILL, 5, "score was killed by SIGKILL, as the system does when memory runs out"),
        ("train", -signal.SIGKILL, 4, "train was killed by SIGKILL"),
        ("score", -signal.SIGTERM, 5, "score was killed by SIGTERM, by somebody or by a time limit"),
        ("report", -signal.SIGSEGV, 5, "report was killed by SIGSEGV; see its log in /logs"),
        ("train", 1, 4, "train ended with exit code 1"),  # of Python itself
        ("score", 3, 3, "score failed with exit code 3; see its log in /logs"),
    ],
)
def test_a_step_that_ends_badly_is_a_sentence_and_a_documented_code(step, ended, code, words):
    failure = pipeline.failure_of(step, ended, "/logs")
    assert (failure.step, failure.exit_code) == (step, code)
    assert words in failure.sentence
    assert pipeline.failure_of(step, 0, "/logs") is None


def test_a_step_that_says_why_it_failed_is_quoted():
    failure = pipeline.failure_of("train", 3, "/logs", "nowhere is not a directory; correct --data")
    assert failure.sentence == "train failed with exit code 3: nowhere is not a directory; correct --data"


@pytest.mark.parametrize(
    ("ending", "outcome", "sentence"),
    [
        ({"published": [DAY]}, "success", "published 2026-01-31"),
        ({}, "success", "there was nothing to publish"),
        ({"published": [DAY], "warnings": ["a", "b", "c"]}, "findings", "a (and 2 more)"),
        ({"training_failure": FAILED, "warnings": ["a"]}, "training-failed", "why"),
        ({"failure": FAILED, "training_failure": FAILED}, "failure", "why; before that, why"),
    ],
)
def test_a_night_ends_in_a_word_and_a_sentence(ending, outcome, sentence):
    ended = pipeline.Ending(**ending)
    assert (ended.outcome, ended.sentence) == (outcome, sentence)
    assert ended.exit_code == (4 if "failure" in ending else 0)


def test_a_hook_hears_of_the_nights_that_it_asks_for_by_variables_and_json(night, toy_models, tmp_path, monkeypatch):
    variables = ("OUTCOME", "EXIT_CODE", "STEP", "MESSAGE", "DATE", "OUTPUT", "LOG", "LOGS", "ENVIRONMENT")
    lines = "; ".join(f'echo "$RECMODEL_{name}"' for name in variables)
    # With the variables of the hook, the project's own commands still work.
    hook = f"cat > {tmp_path}/json; ({lines}) > {tmp_path}/variables; {sys.executable} -m recmodel settings > /dev/null"
    monkeypatch.setenv("RECMODEL_MONITORING__HOOK", hook)
    monkeypatch.setenv("RECMODEL_MONITORING__ENVIRONMENT", "staging")
    models = shutil.copytree(toy_models, tmp_path / "models")
    limits = ("MAX_AGE_DAYS", "MAX_GROWTH", "MAX_NEW")
    never_due = {f"RECMODEL_TRAINING__{name}": "999" for name in limits}

    quiet, heard, _ = night(models, **never_due)
    assert (quiet.returncode, heard, (tmp_path / "json").exists()) == (0, "", False)
    result, heard, metrics = night(models, RECMODEL_MONITORING__HOOK_ON='["success"]')
    assert (result.returncode, heard) == (0, "")  # on_failure hears of failures only
    assert "could not run" not in said(result)
    told = json.loads((tmp_path / "json").read_text())
    assert told["published"] == told["findings"] == []
    assert (tmp_path / "variables").read_text().splitlines() == [str(told[name.lower()]) for name in variables]
    expected = {"outcome": "success", "exit_code": 0, "step": "", "environment": "staging", "training": "not-due"}
    assert told.items() >= expected.items()
    assert told["output"] == str(tmp_path / "output")
    assert 'recmodel_training_outcome{environment="staging",outcome="not-due"} 1.0' in metrics

    night(models, RECMODEL_MONITORING__HOOK_ON='["failure"]', RECMODEL_TRAINING__MAX_AGE_DAYS="0", STEP="train 9")
    told = json.loads((tmp_path / "json").read_text())
    assert (told["outcome"], told["step"], told["training"]) == ("training-failed", "train", "failed")


def test_the_log_of_a_night_tells_the_whole_story(night, toy_models, tmp_path, monkeypatch):
    monkeypatch.setenv("RECMODEL_PATHS__LOGS", str(tmp_path / "logs"))
    models = shutil.copytree(toy_models, tmp_path / "models")
    result, heard, _ = night(models, RECMODEL_TRAINING__PRESET="default", RECMODEL_INPUT__RATING_MAX="1")
    assert result.returncode == 3
    (log,) = (tmp_path / "logs").iterdir()
    story = log.read_text()
    for words in (
        "versions: python", "the current version, ", "training is due: the current version is 0 days old",
        "STEP recmodel: train", "started: ", "train ended with exit code 3",
        "outcome: failure, exit code 3: train failed",
    ):  # fmt: skip
        assert words in story
    assert heard.startswith("3 train train failed with exit code 3: ")  # and the sentence of the step
    assert "input.rating_max" in heard
    for line in result.stdout.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S", line)


# Imported by every Python that starts: `STEP` is what happens to which command.
DOOM = """
import os, sys, time
step, _, what = os.environ.get("STEP", "").partition(" ")
if step and step in sys.orig_argv[3:4]:
    if what == "stops the night":
        os.kill(os.getppid(), 15)
    if what.isdigit():
        os.kill(os.getpid(), int(what))
    time.sleep(60)
"""


@pytest.fixture
def night(toy, tmp_path, monkeypatch):
    """Nights in which training is due and no date is left to score; what the hook and monitoring heard of each."""
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/sitecustomize.py").write_text(DOOM)
    hook = 'echo "$RECMODEL_EXIT_CODE $RECMODEL_STEP $RECMODEL_MESSAGE"'
    output, metrics, heard = tmp_path / "output", tmp_path / "metrics.prom", tmp_path / "heard"
    publish(open_output(output), "last")
    for name, value in {
        "PYTHONPATH": str(tmp_path / "shim"),
        "RECMODEL_TRAINING__MAX_AGE_DAYS": "0",
        "RECMODEL_MONITORING__TEXTFILE": str(metrics),
        "RECMODEL_MONITORING__ON_FAILURE": f"{hook} > {heard}; false",
    }.items():
        monkeypatch.setenv(name, value)

    def run(models, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        heard.unlink(missing_ok=True)
        result = here("nightly", "--data", toy, "--models", models, "--output", output, "--run-date", f"{DAY}..{DAY}")
        return result, heard.read_text() if heard.exists() else "", metrics.read_text() if metrics.exists() else ""

    return run


def test_training_that_crashes_costs_no_night_and_everybody_hears_of_it(night, toy_models, tmp_path):
    models = shutil.copytree(toy_models, tmp_path / "models")
    result, heard, metrics = night(models, STEP=f"train {signal.SIGKILL:d}")
    assert result.returncode == 0, said(result)
    assert "Warning: train was killed by SIGKILL" in said(result)
    assert "training failed; the night continues with the current version" in said(result)
    assert "could not run monitoring.on_failure" in said(result)
    assert heard.startswith("0 train train was killed by SIGKILL")
    assert "recmodel_training_failed 1.0" in metrics
    assert "recmodel_last_exit_code 0.0" in metrics
    _, sentence = versions.failed_training(models)
    assert sentence in heard


def test_a_night_without_a_model_fails_with_the_code_of_training_whatever_monitoring_does(night, tmp_path):
    result, heard, _ = night(
        tmp_path / "none", STEP="train hangs", RECMODEL_MONITORING__MAX_STEP_HOURS="0.0002",
        RECMODEL_MONITORING__TEXTFILE="/proc/nowhere/recmodel.prom",
    )  # fmt: skip
    assert result.returncode == 4
    assert heard.startswith("4 train train took longer than 0.0002 h (monitoring.max_step_hours) and was ended")
    assert "could not write monitoring.textfile" in said(result)
    assert "Traceback" not in said(result)


def test_a_night_that_is_terminated_ends_its_step_and_tells_the_hook(night, tmp_path):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    result, heard, metrics = night(tmp_path / "none", STEP="train stops the night")
    assert result.returncode == 5
    assert "Interrupted: by SIGTERM" in said(result)
    assert heard == "5 train interrupted by SIGTERM during train\n"
    assert "recmodel_last_exit_code 5.0" in metrics


def test_a_night_that_breaks_unexpectedly_tells_the_hook(night, toy_models, tmp_path):
    models = shutil.copytree(toy_models, tmp_path / "models")
    (models / "CURRENT").write_bytes(b"\xff\n")  # no text
    result, heard, metrics = night(models)
    assert result.returncode == 5
    assert heard.startswith("5 nightly ")
    assert "recmodel_last_exit_code 5.0" in metrics


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
        all_flags = pipeline._score_flags(pipeline.Night(chosen, None, [day], score_flags), day)
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


@pytest.mark.parametrize(
    ("last", "as_of", "until"),
    [(DAY, "", f"{DAY}"), (date.today(), "", ""), (date.today(), "2025-12-31", "2025-12-31")],
)
def test_several_dates_are_told_up_to_when_they_read_together(toy_models, last, as_of, until):
    chosen = settings.load(paths={"models": str(toy_models), "data": "d", "output": "o"}, input={"as_of": as_of})
    night = pipeline.Night(chosen, None, [date(2026, 1, 9), last], ["--top-n", "3"])
    for day in night.dates:
        assert pipeline._score_flags(night, day)[-4:] == ["--read-until", until, "--top-n", "3"]


def test_the_dates_of_a_range_that_have_no_full_run_are_due(tmp_path, caplog):
    output = open_output(tmp_path)
    first = date(2026, 2, 27)
    publish(output, "full", first)
    stage(output, "few", first + timedelta(1)).publish(record(first + timedelta(1), all_users=False), 90)
    due = pipeline.parse_dates("2026-02-27..2026-03-01", str(tmp_path))
    assert due == [first + timedelta(1), first + timedelta(2)]
    assert pipeline.parse_dates("2026-02-27", str(tmp_path)) == [first]
    assert pipeline.parse_dates(None, str(tmp_path)) == [date.today()]
    caplog.set_level("INFO")
    assert pipeline.parse_dates("2026-02-27..2026-02-27", str(tmp_path)) == []
    assert "all dates of 2026-02-27..2026-02-27 are published already" in caplog.text
