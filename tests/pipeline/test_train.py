"""A training run, in this process, on small data."""

from recmodel import settings
from recmodel.jobs import nightly, train
from recmodel.models import versions


def test_superseded_ratings_are_counted_in_training_and_are_no_growth(with_repeats, tmp_path):
    data, _ = with_repeats
    arguments = ["--data", str(data), "--models", str(tmp_path / "models"), "--preset", "rating", "--epochs", "1"]
    train.train(arguments, standalone_mode=False)
    assert versions.open_version(tmp_path / "models").metrics().superseded_rows == 5
    paths = {"data": str(data), "models": str(tmp_path / "models")}
    chosen = settings.load(paths=paths, training={"max_growth": 0})
    assert nightly._training_is_due(chosen) is None
