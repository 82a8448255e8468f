"""submit.sh: what it needs it finds, or says in one sentence."""

import os
import re
import subprocess
from pathlib import Path

import click
import pytest
from support.processes import ROOT, submit

from recmodel.__main__ import jobs

TOOLS = ("bash", "cat", "cksum", "dirname", "env", "grep", "head", "id", "sed")


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with a few tools, but neither Java nor Python nor a package manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = next(Path(d) / tool for d in ("/usr/bin", "/bin") if (Path(d) / tool).exists())
        (folder / tool).symlink_to(found)
    return folder


def test_every_command_can_be_called_through_it():
    script = (ROOT / "submit.sh").read_text()
    (cases,) = re.findall(r"\ncase \$command in\n(.*)\nesac", script, re.DOTALL)
    called = {name for label in re.findall(r"^    ([a-z |]+)\)", cases, re.MULTILINE) for name in label.split(" | ")}
    described = set(re.findall(r"^#   \./submit\.sh ([a-z]+)", script, re.MULTILINE))
    commands = set(jobs.list_commands(click.Context(jobs)))
    assert commands - called == commands - described == set()


def test_an_old_java_is_not_enough(bare_path):
    java = bare_path / "java"
    java.write_text("#!/bin/bash\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    result = submit("score", environment={"PATH": str(bare_path), "JAVA_HOME": ""})
    assert result.returncode == 2
    assert "no Java 17 or newer found; install one (Debian: apt install openjdk-17-jre-headless)" in result.stderr


def test_java_home_counts_without_a_java_on_the_path(bare_path, tmp_path, toy, toy_models):
    """Its java is asked for its version, and then to run Spark; what it says instead is the reason."""
    java = tmp_path / "jdk/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/bash\necho \'openjdk version "21.0.1" 2023-10-17\' >&2\necho "asked: $*" >&2\nexit 9\n')
    java.chmod(0o755)
    result = submit(
        "score", "--data", toy, "--models", toy_models, "--output", tmp_path / "output",
        environment={"PATH": str(bare_path), "JAVA_HOME": str(tmp_path / "jdk")},
    )  # fmt: skip
    assert result.returncode == 2
    assert "Spark does not start: " in result.stderr
    assert "org.apache.spark" in result.stderr


def test_a_machine_without_python_is_told_which(bare_path, tmp_path):
    copy = tmp_path / "copy"
    (copy / "conf").mkdir(parents=True)
    for file in ("submit.sh", "setup.py", "conf/requirements.lock", "conf/settings.yaml"):
        (copy / file).write_bytes((ROOT / file).read_bytes())
    result = subprocess.run(
        ["bash", copy / "submit.sh", "train"], capture_output=True, text=True, check=False, env={"PATH": str(bare_path)}
    )
    assert result.returncode == 2
    assert "no Python 3.10 to 3.13 found" in result.stderr


def test_help_lists_the_commands():
    shown = submit("--help").stdout
    for command in ("test", "train", "score", "nightly", "report", "evaluate", "show", "predict"):
        assert f"./submit.sh {command}" in shown


def test_a_prepared_start_costs_less_than_a_second():
    """Of processors' time, which other processes do not add to."""

    def seconds(command: list[str]) -> float:
        before = os.times()
        subprocess.run(command, check=True, capture_output=True, env=os.environ)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    direct = min(seconds(["python", ROOT / "jobs/show.py", "--help"]) for _ in range(2))
    through = min(seconds([ROOT / "submit.sh", "show", "--help"]) for _ in range(2))
    assert through - direct < 1
