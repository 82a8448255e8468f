"""Which model version is in use, and which are kept."""

import numpy as np
import pytest
from conftest import another_process

from recmodel import schemas as c
from recmodel import settings
from recmodel.errors import ModelRejected
from recmodel.evaluation import evaluation
from recmodel.models import versions
from recmodel.settings import Gate


@pytest.fixture
def models(tmp_path):
    """A folder of five versions; what is in them does not matter here."""
    saved_model = tmp_path / "saved_model"
    saved_model.mkdir()
    for number in range(5):
        (saved_model / "content").write_text(str(number))
        version = versions.write_version(
            tmp_path / "models", saved_model, catalogue=c.CATALOGUE.empty_table(), metrics={}, preset_name="joint",
            preset=settings.preset("joint"), training={}, data_fingerprint="",
        )  # fmt: skip
        version.path.rename(version.path.with_name(f"v{number}"))
    return tmp_path / "models"


def test_promotions_can_be_taken_back_one_by_one(models):
    assert versions.current(models) is None
    for version in ("v0", "v3", "v1", "v1"):
        versions.promote(models, version)
    assert versions.current(models) == "v1"
    assert [versions.rollback(models), versions.rollback(models)] == ["v3", "v0"]
    with pytest.raises(ModelRejected, match="has no earlier version to go back to"):
        versions.rollback(models)
    with pytest.raises(ModelRejected, match="has no version 'v9'"):
        versions.promote(models, "v9")
    assert versions.current(models) == "v0"


def test_a_damaged_version_is_not_gone_back_to(models):
    for version in ("v0", "v1"):
        versions.promote(models, version)
    (models / "v0/saved_model/content").write_text("changed")
    with pytest.raises(ModelRejected, match="content was changed"):
        versions.rollback(models)
    assert versions.current(models) == "v1"


def test_old_versions_go_but_never_current_the_one_before_or_one_being_read(models):
    for version in ("v1", "v0"):
        versions.promote(models, version)
    script = "import sys; from recmodel.models import versions; versions.open_version(sys.argv[1], 'v2')"
    with another_process(script, models):
        assert versions.prune(models, keep=1) == ["v3"]
    assert versions.prune(models, keep=1) == ["v2"]
    assert versions.versions(models) == ["v0", "v1", "v4"]


def test_the_gate_asks_for_more_than_biases_and_popularity():
    """Hand-worked: everybody gives movie i the rating i, so biases predict without error; lists of movie 1 alone."""
    fitted = {c.USER_ID: np.repeat([1, 2, 3], 2), c.MOVIE_ID: np.tile([1, 2], 3), c.RATING: np.tile([1.0, 2.0], 3)}
    held_out = {c.USER_ID: np.array([1, 2]), c.MOVIE_ID: np.array([3, 3]), c.RATING: np.array([1.5, 1.5])}
    split = evaluation.Split(fitted, held_out, np.arange(1, 200))
    good = {"rmse": 0.0, "top_k_accuracy_unseen": {"100": 1.0}, "baselines": evaluation.baselines(split)}
    margins = Gate(rmse=0.01, accuracy=0.01)
    assert evaluation.gate(good, split, None, margins) == []
    (reason,) = evaluation.gate(good | {"rmse": 0.9}, split, None, margins)
    assert "held-out RMSE 0.9000 is above 0.0000 of mean and biases" in reason
    (reason,) = evaluation.gate(good | {"top_k_accuracy_unseen": {"100": 0.5}}, split, None, margins)
    assert "held-out top-100 accuracy 0.5000 is below 1.0000 of popularity" in reason
    neither_task = {"test_rows": 2, "baselines": evaluation.baselines(split)}
    assert evaluation.gate(neither_task, split, None, margins) == []
