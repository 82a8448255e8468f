"""Ranking policies: which of them fits a model, and what is said of unknown ones."""

import pytest

from recmodel.scoring import policies


@pytest.mark.parametrize(
    ("tasks", "name"),
    [(("retrieval", "rating"), "blend"), (("retrieval",), "retrieval"), (("rating",), "rating"), ((), "retrieval")],
)
def test_automatic_uses_all_that_the_model_was_trained_for(tasks, name):
    assert policies.automatic(tasks) == name


def test_the_tasks_that_a_model_lacks_are_named():
    assert policies.missing_tasks("two-stage", ("retrieval", "rating")) == []
    assert policies.missing_tasks("two-stage", ("rating",)) == ["retrieval"]
    assert policies.missing_tasks("two-stage", ()) == ["rating", "retrieval"]


def test_an_unknown_policy_is_told_the_known_ones():
    with pytest.raises(ValueError, match="no ranking policy 'best'; choose one of retrieval, rating, two-stage, blend"):
        policies.missing_tasks("best", ())
