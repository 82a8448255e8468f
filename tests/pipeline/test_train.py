"""A training run, in this process, on small data."""

import shutil

from support.processes import here, said

import recmodel
from recmodel import settings
from recmodel.models import versions
from recmodel.pipeline import due
from recmodel.pipeline import train as pipeline


def test_superseded_ratings_are_counted_in_training_and_are_no_growth(with_repeats, tmp_path):
    data, _ = with_repeats
    trained = here("train", "--data", data, "--models", tmp_path / "models", "--preset", "rating", "--epochs", "1")
    assert trained.returncode == 0, trained.stderr
    assert versions.open_version(tmp_path / "models").metrics().superseded_rows == 5
    paths = {"data": str(data), "models": str(tmp_path / "models")}
    assert due.reason_to_train(settings.load(paths=paths, training={"max_growth": 0})) is None


def test_a_version_that_is_worse_stays_on_disk_unless_it_is_promoted(toy, toy_models, tmp_path):
    """Current is `joint`; a model that is trained for retrieval alone predicts no ratings, so it is worse."""
    models = shutil.copytree(toy_models, tmp_path / "models")
    before = versions.current(models)
    command = ("train", "--data", toy, "--models", models, "--preset", "retrieval", "--epochs", "1")
    refused = here(*command)
    newest = versions.list_versions(models)[-1]
    assert (refused.returncode, versions.current(models)) == (4, before)
    assert f"current version stays {before} compared with it held-out NDCG@10" in said(refused)
    sentence = f"not trained for rating, as the current version {before} is; it stays on disk, and --promote, or models"
    assert f"{sentence} promote {newest}, makes it current anyway" in said(refused)
    assert "not trained for rating" in versions.read_metrics(models, newest).gate[-1]
    promoted = here(*command, "--promote")
    newest = versions.list_versions(models)[-1]
    assert (promoted.returncode, versions.current(models)) == (0, newest)
    assert f"replaces {before} compared with it" in said(promoted)
    assert versions.read_metrics(models, newest).gate is None
    kept = recmodel.train(toy, models, preset="joint", epochs=1, promote=False)
    assert (versions.current(models), versions.list_versions(models)[-1]) == (newest, kept.name)


def test_what_serves_is_fitted_to_all_ratings_and_versions_are_compared_by_what_was_not(toy, tmp_path, monkeypatch):
    """The same recipe again: the models that are measured are equal, though those that serve were fitted to more."""
    models = tmp_path / "models"
    first = recmodel.train(toy, models, preset="joint", epochs=1)
    metrics, manifest = first.metrics(), first.manifest
    assert (metrics.test_rows, metrics.measured_users, metrics.held_out) == (40, 40, "newest")
    assert (metrics.refit, metrics.refit_rows) == (True, metrics.train_rows + 40)
    assert (manifest.held_out.kind, manifest.held_out.users_up_to) == ("newest", 1.0)
    assert first.measured_model.name == "measured_model"
    assert f"{first.measured_model.name}/saved_model.pb" in manifest.files

    compared = here("train", "--data", toy, "--models", models, "--preset", "joint", "--epochs", "1")
    assert compared.returncode == 0, said(compared)
    assert "fitted again" in said(compared)
    newest = versions.open_version(models).metrics()
    for found in newest.compared[first.name]:
        assert (found.new, found.low, found.high) == (found.rival, 0, 0)
    served, measured = (first.saved_model / "variables", first.measured_model / "variables")
    assert any((served / file.name).read_bytes() != file.read_bytes() for file in measured.iterdir())

    monkeypatch.setenv("RECMODEL_TRAINING__REFIT", "false")
    once = recmodel.train(toy, models, preset="joint", epochs=1)
    assert (once.metrics().refit, once.measured_model) == (False, once.saved_model)


def test_input_without_times_is_measured_by_some_rating_of_each_user(toy, tmp_path):
    data = shutil.copytree(toy, tmp_path / "data")
    lines = (data / "ratings.csv").read_text().splitlines()
    (data / "ratings.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    trained = here("train", "--data", data, "--models", tmp_path / "models", "--preset", "rating", "--epochs", "1")
    assert trained.returncode == 0, said(trained)
    assert (
        "the ratings have no times, so the model takes no account of their order and is measured by some rating"
        in said(trained)
    )
    assert "held out some rating of each of 40 users" in said(trained)
    assert versions.open_version(tmp_path / "models").metrics().held_out == "some"


def test_a_model_is_not_fitted_again_for_less_than_a_thousandth(caplog):
    caplog.set_level("INFO")
    assert pipeline._is_worth_a_refit(40, 39_960)
    assert not pipeline._is_worth_a_refit(0, 1_000)
    assert not caplog.messages
    assert not pipeline._is_worth_a_refit(10_000, 25_000_000)
    assert "not fitted again to the 10,000 held-out ratings" in caplog.text
