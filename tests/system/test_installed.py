"""The command `recmodel` and the Python API as somebody meets them who has installed a wheel, in any folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.inputs import make_ratings, write_movielens
from support.processes import ROOT

from recmodel.models import versions

NOT_COPIED = shutil.ignore_patterns(".venv", "var", ".git", "__pycache__", "build", "*.egg-info", ".*_cache", "tests")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of what a wheel of this checkout holds; what runs from there finds nothing of the checkout."""
    base = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, base / "source", symlinks=True, ignore=NOT_COPIED)
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", base]
    subprocess.run(command, cwd=base / "source", check=True, capture_output=True)
    (wheel,) = base.glob("recmodel-*.whl")
    zipfile.ZipFile(wheel).extractall(base / "site")
    return base / "site"


@pytest.fixture(scope="module")
def run_python(installed, tmp_path_factory):
    """Runs Python on the wheel, from a folder that has nothing to do with it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments, cwd=elsewhere, **environment):
        return subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(installed), "SPARK_LOCAL_IP": "127.0.0.1", **environment},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def recmodel_command(run_python):
    return lambda *arguments, **more: run_python("-m", "recmodel", *arguments, **more)


def test_a_wheel_holds_everything_that_a_checkout_runs_with(installed):
    inside = installed / "recmodel"

    def held(folder: Path) -> set[str]:
        """Modules, templates, settings and queries, of every package below, links followed."""
        kinds = {".py", ".yaml", ".sql", ".html", ".css", ".js"}
        found = (Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
        return {path.relative_to(folder).as_posix() for path in found if path.suffix in kinds}

    assert held(inside) == held(ROOT / "recmodel")
    assert {"data/reading.py", "jobs/train.py", "report/templates/report.html", "conf/sql/runs.sql"} <= held(inside)
    units = ("conf/recmodel.service", "conf/recmodel-failed@.service", "conf/recmodel.timer")
    for file in ("py.typed", "conf/spark-defaults.conf", "conf/log4j2.properties", "conf/crontab.example", *units):
        assert (inside / file).is_file()
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "recmodel = recmodel.__main__:main" in entry_points.read_text()


def test_the_wheel_works_anywhere_and_prints_a_settings_file(recmodel_command, run_python, installed, tmp_path):
    where = run_python("-c", "import recmodel; print(recmodel.__file__, recmodel.__version__)").stdout
    assert where.startswith(f"{installed}/recmodel/__init__.py ")
    assert recmodel_command("--version").stdout.split()[-1] == where.split()[-1]
    printed = recmodel_command("settings", cwd=tmp_path, RECMODEL_SCORING__TOP_N="7")
    assert yaml.safe_load(printed.stdout)["scoring"]["top_n"] == 7
    assert yaml.safe_load(printed.stdout)["paths"]["models"] == str(tmp_path / "var/models")
    assert "top_n: 7  # environment variable RECMODEL_SCORING__TOP_N; the default is 10" in printed.stdout
    assert recmodel_command("init", tmp_path / "own").returncode == 0
    assert f"{sys.executable} -m recmodel nightly" in (tmp_path / "own/crontab").read_text()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/settings.yaml").write_text(printed.stdout)
    again = recmodel_command("settings", RECMODEL_CONF=str(tmp_path / "conf"))
    assert yaml.safe_load(again.stdout) == yaml.safe_load(printed.stdout)


@pytest.fixture(scope="module")
def from_python(run_python, tmp_path_factory):
    """What the README's block of Python does, as it stands there, in a folder with a small `ml-latest-small`."""
    folder = tmp_path_factory.mktemp("api")
    write_movielens(folder / "ml-latest-small", make_ratings())
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## From Python\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return SimpleNamespace(folder=folder, answer=run_python("-c", block, cwd=folder))


def test_the_readme_s_python_runs_as_it_stands(from_python):
    answer = from_python.answer
    assert answer.returncode == 0, answer.stderr
    version = versions.current(from_python.folder / "models")
    assert f"40 users scored with {version}" in answer.stdout
    assert "Matrix, The (1999)" in answer.stdout


def test_what_goes_to_a_pipe_is_short(from_python):
    """No bar, no spinner, no chatter of Spark's or TensorFlow's: a cron mail is read to its end."""
    assert from_python.answer.stderr == ""
    assert "users/s" not in from_python.answer.stdout
    assert "\r" not in from_python.answer.stdout
    assert len(from_python.answer.stdout.splitlines()) < 50


def test_quick_commands_load_neither_tensorflow_nor_spark(run_python, from_python):
    """One after another in a process, which has imported neither after any of them."""
    script = (
        "import runpy, sys\n"
        "for words in sys.argv[1:]:\n"
        "    sys.argv = ['recmodel', *words.split()]\n"
        "    try: runpy.run_module('recmodel', run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end: assert not end.code, words\n"
        "    loaded = {'click', 'tensorflow', 'pyspark'} & set(sys.modules)\n"
        "    print('after', words, 'loaded', loaded)"
    )
    commands = ["--help", "settings", "show 1", "report", "models list"]
    answer = run_python(
        "-c", script, *commands, RECMODEL_PATHS__OUTPUT=str(from_python.folder / "output"),
        RECMODEL_PATHS__MODELS=str(from_python.folder / "models"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-1000:]
    for command in commands:
        assert f"after {command} loaded {{'click'}}\n" in answer.stdout


def test_a_flag_that_spark_refuses_is_a_sentence(recmodel_command, toy, toy_models, tmp_path):
    answer = recmodel_command(
        "score", "--data", toy, "--models", toy_models, "--output", tmp_path, "--executor-memory", "much"
    )
    assert answer.returncode == 2
    (sentence,) = answer.stderr.splitlines()
    assert "Error: Spark does not start: Executor memory must be a positive number" in sentence


def test_a_missing_java_is_said_at_once(recmodel_command):
    answer = recmodel_command("score", PATH="/nowhere", JAVA_HOME="")
    assert (answer.returncode, "Error: no Java found; install Java 17 or newer" in answer.stderr) == (2, True)


def test_a_driver_on_the_cluster_is_left_to_spark_submit(recmodel_command, tmp_path):
    submit = tmp_path / "bin/spark-submit"
    submit.parent.mkdir()
    submit.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    submit.chmod(0o755)
    given = ["--master=yarn", "--deploy-mode", "cluster", "--top-n", "5"]
    handed = recmodel_command("score", *given, SPARK_HOME=str(tmp_path)).stdout.split()
    job = next(i for i, word in enumerate(handed) if word.endswith("jobs/score_all.py"))
    flags = dict(zip(handed[:job:2], handed[1:job:2], strict=True))
    assert flags == {"--master": "yarn", "--deploy-mode": "cluster"}
    assert handed[job + 1 :] == given
