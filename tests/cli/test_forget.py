"""The command `forget`."""

import re
import shutil
from pathlib import Path

import pytest
from support.processes import here, said
from support.report import DAY, make_version, publish, recommendations

from recmodel import schemas as c
from recmodel.models import versions
from recmodel.pipeline import kept_nights
from recmodel.tables.output import open_output


def shown(output) -> list[int]:
    pages = [path.read_text(encoding="utf-8") for path in sorted((output / "reports").iterdir())]
    return [[int(user) for user in re.findall("<h3>User ([0-9]+) ", page)] for page in pages]


@pytest.fixture
def output(tmp_path):
    """A run with its page, a partial one, and an interrupted one."""
    output = tmp_path / "output"
    publish(output, recommendations(range(1, 30), 12), DAY, "v")
    assert (
        here("report", "--output", output, "--models", tmp_path / "none", "--data", tmp_path / "none").returncode == 0
    )
    few = open_output(output, partial=True)
    publish(few.location, recommendations(range(1, 4), 12), DAY, "v", all_users=False)
    open_output(output).stage(DAY, "interrupted")
    return output


def test_users_are_erased_from_tables_pages_and_interrupted_runs_and_then_nothing_is_found(output, tmp_path):
    model = make_version(tmp_path / "models", {}).name
    before = shown(output)
    user, stays = before[0][:2]
    (tmp_path / "left.csv").write_text(f"userId\n{user}\n3\n")
    command = ("forget", 3, 999, "--users", tmp_path / "left.csv", "--output", output, "--models", tmp_path / "models")
    answer = here(*command, "--now")
    assert answer.returncode == 0, said(answer)
    rows = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert rows[0] == f"{2 if user != 3 else 1} of {3 if user != 3 else 2} users were in the tables"
    assert f"full runs interrupted runs {DAY} 1 discarded" in rows
    assert any(re.fullmatch(f"partial runs recommendations {DAY} [0-9]+ rows", row) for row in rows)
    assert "remove the users there, or the next run brings them back" in said(answer)
    assert f"vectors of movies, but of no user: {model}" in said(answer)
    assert "a database that was exported to has them until the next export" in said(answer)
    for page, users in zip(shown(output), before, strict=True):
        assert page == [other for other in users if other not in (user, 3)]
    for partial in (False, True):
        left = open_output(output, partial=partial).recommendations(DAY).to_table().column(c.USER_ID).to_pylist()
        assert left
        assert not {user, 3} & {*left}
    assert stays in open_output(output).recommendations(DAY).to_table().column(c.USER_ID).to_pylist()
    again = here(*command)
    assert (again.returncode, "nothing was found of" in said(again)) == (0, True)


def test_who_cannot_be_erased_is_said(output, tmp_path):
    assert "'x' is not the id of a user" in said(here("forget", "x", "--output", output))
    assert "nobody is named" in said(here("forget", "--output", output))
    (tmp_path / "left.csv").write_text("userId\n1\nx\n" + "2\n" * 500)
    refused = here("forget", "--users", tmp_path / "left.csv", "--output", output)
    assert (refused.returncode, "row 3, column userId: 'x'" in said(refused)) == (3, True)
    nowhere = here("forget", 1, "--output", tmp_path / "nowhere")
    assert (nowhere.returncode, "holds no published run" in said(nowhere)) == (2, True)
    assert not (tmp_path / "nowhere").exists()


def test_what_a_backtest_keeps_of_models_with_vectors_of_users_is_removed(output, toy_models, tmp_path, monkeypatch):
    """Those of other presets stay; and while a backtest is under way nobody is erased."""
    rating, *_, default, _ = versions.list_versions(toy_models)
    for preset, version in {"ratings": rating, "ours": default}.items():
        shutil.copytree(Path(toy_models, version), tmp_path / "backtest/.kept" / preset / "models" / version)
    (tmp_path / "backtest/.kept/.baselines").mkdir()
    monkeypatch.setenv("RECMODEL_PATHS__BACKTEST", str(tmp_path / "backtest"))
    command = ("forget", 3, "--now", "--output", output, "--models", tmp_path / "models")
    with kept_nights.locked(tmp_path / "backtest"):
        assert here(*command).returncode == 75
    assert 3 in open_output(output).recommendations(DAY).to_table().column(c.USER_ID).to_pylist()
    answer = here(*command)
    assert answer.returncode == 0, said(answer)
    rows = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert "backtest kept nights and models ratings 1 presets" in rows
    assert {path.name for path in (tmp_path / "backtest/.kept").iterdir()} == {".baselines", "ours", "lock"}
    assert "splits of evaluate --write-split" in said(answer)


@pytest.mark.parametrize("purpose", ["lock", "nightly"])
def test_nobody_is_erased_during_a_run_or_a_night(output, purpose):
    with open_output(output).locked(purpose):
        assert here("forget", 1, "--output", output).returncode == 75
    assert 1 in open_output(output).recommendations(DAY).to_table().column(c.USER_ID).to_pylist()
