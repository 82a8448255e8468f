"""What a command prints where there is a terminal and where there is none, and what its log keeps of it."""

import re

import pytest
from support.processes import TIME, here
from support.terminal import terminal_here, without_colours


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.setenv("RECMODEL_PATHS__LOGS", str(tmp_path / "logs"))
    return tmp_path / "logs"


def test_lines_have_times_and_nothing_is_drawn_where_there_is_no_terminal(toy, tmp_path, logs):
    result = here("train", "--data", toy, "--models", tmp_path / "models", "--dry-run")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert all(re.match(TIME + r"\S", line) for line in lines)
    assert [line for line in lines if re.fullmatch(TIME + r"read ratings and movies: \d+\.\d s", line)]
    assert re.search("[─✓\x1b]", result.stdout) is None
    refused = here("train", "--data", tmp_path / "none", "--models", tmp_path / "models")
    assert re.fullmatch(TIME + "Error: .* is not a directory.*\n", refused.stderr)


def test_a_terminal_shows_no_times(toy, tmp_path, logs):
    with terminal_here() as drawn:
        here("train", "--data", toy, "--models", tmp_path / "models", "--dry-run")
    shown = without_colours(drawn.getvalue())
    assert "✓ read ratings and movies" in shown
    assert re.search(TIME, shown, re.MULTILINE) is None


def test_a_command_that_answers_a_question_prints_the_answer_alone(toy_models):
    result = here("models", "list", "--models", toy_models)
    assert result.returncode == 0, result.stderr
    assert re.search(TIME, result.stdout, re.MULTILINE) is None


def test_the_log_keeps_what_was_printed_and_a_step_adds_to_the_log_of_its_night(toy, tmp_path, logs, monkeypatch):
    night = tmp_path / "nights" / "nightly.log"
    monkeypatch.setenv("RECMODEL_NIGHT_LOG", str(night))
    for data in (toy, tmp_path / "none"):
        here("train", "--data", data, "--models", tmp_path / "models", "--dry-run")
    story = night.read_text()
    assert story.count(" started: recmodel train --data") == 2
    assert re.search(r"INFO recmodel: ratings +\d+, 20% of them held out", story)
    assert "none is not a directory" in night.with_name("nightly.log.failure").read_text()
    assert not logs.exists()
