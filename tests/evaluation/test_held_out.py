"""Measures of held-out ratings, computed again by hand."""

import numpy as np
import pytest
from support.inputs import MOVIES
from support.training import train

from recmodel import schemas as c
from recmodel.arrays import take
from recmodel.evaluation import held_out as held_out_ratings
from recmodel.evaluation.splits import Split
from recmodel.models import saved_model
from recmodel.scoring import policies, recommender


@pytest.mark.parametrize("preset", ["joint", "default"])
def test_metrics_are_those_of_the_held_out_rows(preset, tmp_path):
    """RMSE, NDCG and top-k accuracy, computed again here by hand from what the saved model says."""
    random = np.random.RandomState(3)
    rows = [(user, movie, random.randint(1, 11) / 2, 0) for user in range(30) for movie in (1, 2, 3, 4, 10)]
    trained, fitted, others = train(preset, rows=rows, seed=3)
    held_out = take(others, np.unique(others[c.USER_ID], return_index=True)[1])  # one of each user
    saved_model.save(trained.towers(), tmp_path / "saved_model")
    model = recommender.Recommender(tmp_path / "saved_model")
    split = Split(fitted, held_out, MOVIES)
    measured = held_out_ratings.of_version(model, ("retrieval", "rating"), "blend", split, 3.0).measures
    errors, hits, unseen_hits, gains, liked = [], [], [], [], []
    for user, movie, rating in zip(*(held_out[name] for name in (c.USER_ID, c.MOVIE_ID, c.RATING)), strict=True):
        mine = fitted[c.USER_ID] == user
        seen, ratings = fitted[c.MOVIE_ID][mine], fitted[c.RATING][mine]
        assert len(seen)
        pairs = model.predict([user] * 6, MOVIES, [seen] * 6, [ratings] * 6)
        errors.append(pairs.predicted_rating[movie == MOVIES][0] - rating)
        order = MOVIES[np.argsort(-pairs.retrieval_score, kind="stable")].tolist()
        hits.append(order.index(movie) < 5)
        unseen = [m for m in order if m not in seen]
        unseen_hits.append(unseen.index(movie) < 1)
        gains.append(1 / np.log2(unseen.index(movie) + 2))
        served = model.recommend([user], [seen], [ratings], rank_by=policies.automatic(("retrieval", "rating")))
        liked += [1 / np.log2(served.movie_id[0].tolist().index(movie) + 2)] * int(rating >= 3)
    assert len(errors) == len(held_out[c.RATING])
    assert measured.rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-5)
    assert measured.top_k_accuracy["5"] == pytest.approx(np.mean(hits))
    assert measured.top_k_accuracy_unseen["1"] == pytest.approx(np.mean(unseen_hits))
    assert measured.ndcg_at_10 == pytest.approx(np.mean(gains))
    assert measured.ndcg_at_10_liked == pytest.approx(np.mean(liked))
