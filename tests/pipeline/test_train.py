"""A training run, in this process, on small data."""

from support.processes import here

from recmodel import settings
from recmodel.models import versions
from recmodel.pipeline import nightly


def test_superseded_ratings_are_counted_in_training_and_are_no_growth(with_repeats, tmp_path):
    data, _ = with_repeats
    trained = here("train", "--data", data, "--models", tmp_path / "models", "--preset", "rating", "--epochs", "1")
    assert trained.returncode == 0, trained.stderr
    assert versions.open_version(tmp_path / "models").metrics().superseded_rows == 5
    paths = {"data": str(data), "models": str(tmp_path / "models")}
    assert nightly.training_is_due(settings.load(paths=paths, training={"max_growth": 0})) is None
