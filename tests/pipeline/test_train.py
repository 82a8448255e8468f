"""A training run, in this process, on small data."""

import shutil
from types import SimpleNamespace

import numpy as np
from support.processes import here, said

import recmodel
from recmodel import schemas as c
from recmodel import settings
from recmodel.evaluation import splits
from recmodel.models import versions
from recmodel.pipeline import due, train


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
    assert f"current version stays {before} compared with it held-out top-100 accuracy" in said(refused)
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


def test_versions_are_compared_on_what_neither_was_fitted_to():
    pairs = {c.USER_ID: np.repeat(np.arange(100), 20), c.MOVIE_ID: np.tile(np.arange(20), 100), c.RATING: np.ones(2000)}
    split = splits.Split(*splits.by_pair(pairs, 0.2, 42), np.arange(20))

    def held_out(**training: float) -> set:
        current = SimpleNamespace(manifest=SimpleNamespace(settings={"training": training}))
        fair = train._held_out_by_both(split, current).held_out
        return {*zip(fair[c.USER_ID].tolist(), fair[c.MOVIE_ID].tolist(), strict=True)}

    everything = held_out(test_share=0.2, seed=42)
    other_seed = held_out(test_share=0.2, seed=43)
    fitted_by_other, _ = splits.by_pair(pairs, 0.2, 43)
    fitted = {*zip(fitted_by_other[c.USER_ID].tolist(), fitted_by_other[c.MOVIE_ID].tolist(), strict=True)}
    assert len(everything) == len(split.held_out[c.RATING])
    assert other_seed == everything - fitted != everything
    assert held_out() == everything  # of versions that don't say how they were trained
    assert held_out(test_share=0.0, seed=42) == set()
