"""What a command prints where there is a terminal and where there is none, and what its log keeps of it."""

import os
import re
import subprocess
import sys

import pytest
from support.processes import TIME, here
from support.terminal import terminal_here, without_colours

from recmodel.cli import console


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
    assert re.search(r"INFO recmodel: ratings +\d+, one of each of up to 10,000 users held out", story)
    assert "none is not a directory" in night.with_name("nightly.log.failure").read_text()
    assert not logs.exists()


def test_text_of_others_is_printed_as_text(capsys):
    shown = console.table("[red]User[/] \x1b[2J", ["title"])
    shown.add_row("[/] :smile: \u202e \x1b]0;x\x07")
    for to in (console.out, console.err):
        with to.capture() as captured:
            to.print(shown)
            to.print("[/red] s3://id:key@bucket")
        printed = captured.get()
        for words in (r"[red]User[/] \x1b[2J", r"[/] :smile: \u202e \x1b]0;x\x07", "[/red] s3://(hidden)@bucket"):
            assert words in printed
        assert "\x1b[2J" not in printed


def test_a_log_is_private_hides_secrets_and_no_text_looks_like_a_line_of_it(toy, tmp_path, logs):
    here("train", "--data", toy, "--models", "s3://id:ke/y@bucket")  # is refused before there is a log
    here("train", "--data", tmp_path / "no\n2026-01-01 00:00:00 ERROR forged password=abc", "--models", tmp_path / "m")
    (log,) = logs.iterdir()
    assert log.stat().st_mode & 0o007 == 0
    text = log.read_text()
    assert "\n  2026-01-01 00:00:00 ERROR forged password=(hidden)" in text
    assert "\n2026-01-01 00:00:00" not in text


@pytest.mark.parametrize("command", [["settings"], ["score", "--help"], ["models", "list"]])
def test_a_command_whose_output_nobody_reads_ends_quietly(command, toy_models):
    end, closed = os.pipe()
    os.close(end)
    place = [f"--models={toy_models}"] if "models" in command else []
    ended = subprocess.run(
        [sys.executable, "-m", "recmodel", *command, *place], stdout=closed, stderr=subprocess.PIPE, check=False
    )
    os.close(closed)
    assert (ended.returncode, ended.stderr) == (0, b"")


# Sends SIGTERM when Python has taken back all handlers and tears modules down.
LATE = """
import os, signal, click
from recmodel.cli import console
class Late:
    def __del__(self, kill=os.kill, own=os.getpid(), number=signal.SIGTERM): kill(own, number)
late = Late()
console.run(click.command()(lambda: print("done")), name="x")
"""


def test_a_signal_after_the_work_changes_nothing():
    ended = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


HALF = """
import os, signal, click
from recmodel.cli import console
@click.command
def half():
    with console.when_interrupted(lambda: "half of it is done; the same command does the rest"):
        os.kill(os.getpid(), signal.SIGTERM)
console.run(half, name="x")
"""


def test_an_interrupted_command_may_say_what_is_so():
    ended = subprocess.run([sys.executable, "-c", HALF], capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert ended.stderr.strip() == "Interrupted: by SIGTERM; half of it is done; the same command does the rest"
