"""The examples of conf/ that start a night, for cron, systemd and Airflow, as far as they can be tried here."""

import ast
import re
import shlex
import shutil
import subprocess
from datetime import datetime, timezone

import click
import jinja2
import pytest
from support.processes import ROOT, here

from recmodel import settings
from recmodel.jobs.nightly import nightly
from recmodel.jobs.score_all import score
from recmodel.models import presets

CRONTAB = (ROOT / "conf/crontab.example").read_text()
UNITS = {
    name: (ROOT / "conf" / name).read_text()
    for name in ("recmodel.service", "recmodel.timer", "recmodel-failed@.service")
}
DAG = (ROOT / "conf/airflow_dag.py").read_text()


def parsed(command: str) -> click.Context:
    """The flags of a night as the command line understands them; what it would refuse, it refuses here."""
    words = shlex.split(command.partition(">>")[0])
    night = nightly.make_context("nightly", words[words.index("nightly") + 1 :])
    score.make_context("score", list(night.args))
    settings.load(input={"as_of": night.params["as_of"]})
    return night


def test_the_nights_of_the_crontab_can_be_started():
    lines = [re.sub(r"^# (?=/opt/)", "", line) for line in CRONTAB.splitlines()]
    commands = [line for line in lines if "submit.sh nightly" in line]
    schedules = [line for line in commands if re.match(r"\d+ \d+ \* \* \*  ", line)]
    assert (len(schedules), len(commands)) == (1, 2)
    for command in commands:
        parsed(command)
        assert "%" not in command  # which ends a command of cron
        assert subprocess.run(["sh", "-n", "-c", command.partition("*  ")[2]], check=False).returncode == 0


def test_the_units_of_systemd_are_valid_and_their_night_can_be_started(tmp_path, monkeypatch):
    service = dict(line.split("=", 1) for line in UNITS["recmodel.service"].splitlines() if re.match("[A-Z].*=", line))
    parsed(service["ExecStart"])
    assert {"OnFailure", "TimeoutStartSec", "User"} <= service.keys()
    assert service["OnFailure"] == "recmodel-failed@%n.service"
    names = dict(word.split("=") for word in service["Environment"].split())
    assert names.keys() == {"RECMODEL_PATHS__LOGS", "RECMODEL_SPARK_LOG", "RECMODEL_MONITORING__ENVIRONMENT"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert settings.load().monitoring.environment == "production"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace("/opt/recmodel", str(ROOT)))
    units = [tmp_path / name.replace("@", "@recmodel.service") for name in UNITS]
    checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_folder_of_ones_own_has_settings_and_schedules_that_start_a_night_there(tmp_path, monkeypatch):
    """`recmodel init`: what is in the examples of other paths is not in what it writes."""
    folder = tmp_path / "recommendations"
    done = here("init", folder, "--data", "/data/our ratings: 1")
    assert done.returncode == 0, done.stderr
    crontab, service = ((folder / name).read_text() for name in ("crontab", "systemd/recmodel.service"))
    (night,) = (line for line in crontab.splitlines() if re.match(r"\d+ \d+ \* \* \*  ", line))
    (start,) = re.findall(r"^ExecStart=(.*)", service, re.MULTILINE)
    for command in (night, start):
        assert parsed(command).params["data"] is None  # so that of the settings
        assert str(ROOT / "submit.sh") in command
    names = dict(line.split("=", 1) for line in crontab.splitlines() if line.startswith("RECMODEL_"))
    (environment,) = re.findall(r"^Environment=(.*)", service, re.MULTILINE)
    assert names == dict(word.split("=", 1) for word in environment.split())
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    chosen = settings.load()
    assert chosen.paths.data == "/data/our ratings: 1"
    assert [chosen.paths.models, chosen.paths.logs] == [f"{folder}/var/models", f"{folder}/var/log"]
    assert presets.names()[0] == "default"
    for text in (crontab, *(path.read_text() for path in (folder / "systemd").iterdir())):
        assert not re.search("/opt/|/var/lib/recmodel|/var/log/recmodel|/data/ratings", text.replace(str(folder), ""))
    assert (folder / "var/log").is_dir()  # cron's shell writes to it before recmodel runs
    again = here("init", folder)
    assert (again.returncode, "settings.yaml exists, and nothing is overwritten" in again.stderr) == (2, True)
    assert here("init", tmp_path / "a b").returncode == 2


def test_airflow_starts_a_night_of_its_scheduled_date_and_moment():
    """Airflow itself is not among the libraries of the tests."""
    tree = ast.parse(DAG)
    (template,) = (
        ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "COMMAND"
    )  # fmt: skip
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["ds"] = lambda moment: moment.strftime("%Y-%m-%d")  # as Airflow has it
    end = datetime(2026, 1, 31, 3, 15, tzinfo=timezone.utc)
    night = parsed(environment.from_string(template).render(data_interval_end=end))
    assert (night.params["run_date"], night.params["as_of"]) == ("2026-01-31", "2026-01-31T03:15:00+00:00")
    assert night.args == ["--master", "local[8]"]
    (task,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "BashOperator"
    )
    assert {word.arg: ast.unparse(word.value) for word in task.keywords}["skip_on_exit_code"] == "75"
