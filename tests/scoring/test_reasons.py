"""Reasons, against the definition in float64: the seen and liked movie whose term in the score is largest."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import history_terms
from support.inputs import MOVIES
from support.training import served, trained

from recmodel import schemas as c
from recmodel.evaluation import splits
from recmodel.scoring import reasons, topn


def oracle(row: int, seen: list[int], term, *, not_itself: bool) -> int:
    """The movie with the largest term, the first of equals by row; -1 if none is above zero."""
    terms = {movie: term(movie, row) for movie in seen if not (not_itself and movie == row)}
    best = min(terms, key=lambda movie: (-terms[movie], movie), default=-1)
    return best if row >= 0 and terms.get(best, 0) > 0 else -1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_strongest_is_the_oracles(data):
    """Small halves, which float32 multiplies exactly: ties are real."""
    users, movies, n = (data.draw(st.integers(1, high)) for high in (5, 20, 8))
    random = np.random.RandomState(data.draw(st.integers(0, 2**32 - 1)))
    candidate, said = (random.randint(-3, 4, size=(movies, 2)).astype(np.float32) / 2 for _ in range(2))
    seen = [
        {int(movie): random.randint(1, 5) / 2 for movie in random.choice(movies, random.randint(0, movies + 1), False)}
        for _ in range(users)
    ]
    row = random.randint(-1, movies, size=(users, n))
    flat = [(user, movie, weight) for user, mine in enumerate(seen) for movie, weight in mine.items()]
    random.shuffle(flat)
    user, movie, weight = (np.array([entry[i] for entry in flat], kind) for i, kind in enumerate((int, int, "f4")))
    not_itself = data.draw(st.booleans())
    strength = random.randint(0, 3, size=(movies, movies)).astype(np.float32) / 2  # of each successor of each movie
    boost = random.randint(0, 3, size=len(user)).astype(np.float32)
    factor = {(of, row): value for of, row, value in zip(user, movie, boost, strict=True)}
    successors = reasons.Successors(np.tile(np.arange(movies), (movies, 1)), strength, boost)
    if is_sequential := data.draw(st.booleans()):
        row = np.array([random.permutation(movies)[:n] for _ in range(users)])  # in a list, no movie occurs twice
    found = reasons.strongest(
        row, candidate, said, topn.Pairs(user, movie), weight, not_itself=not_itself,
        successors=successors if is_sequential else None,
    )  # fmt: skip

    def term(b: int, i: int, j: int) -> float:
        return seen[b][i] * float(said[i] @ candidate[j]) + is_sequential * float(factor[b, i] * strength[i, j])

    for b in range(users):
        expected = [oracle(j, [*seen[b]], partial(term, b), not_itself=not_itself) for j in row[b]]
        assert found[b].tolist() == expected


def test_liked_is_above_the_users_own_mean_and_the_least_that_anybody_calls_good():
    ratings = {0: [5.0, 4.0, 3.0], 1: [2.0, 1.0], 2: [1.0], 4: [3.3, 3.3, 3.3], 5: [3.0, 2.5]}
    user = np.repeat([*ratings], [len(values) for values in ratings.values()])
    found = reasons.liked(topn.Pairs(user, user), np.concatenate([*ratings.values()]).astype(np.float32), 3.0)
    assert found.tolist() == [True, True, False] + [False] * 3 + [True] * 3 + [True, False]


def test_the_default_models_reasons_are_the_largest_terms_of_its_scores():
    """Saved and loaded again; and the terms, with what stands in for a short history, add up to the score itself."""
    (of_training, fitted, _), model = trained("default"), served("default")
    weights = of_training.weights
    users = np.unique(fitted[c.USER_ID])
    seen, ratings = splits.Split(fitted, fitted, MOVIES).histories(users)
    seen = [np.append(ids[::-1], 999) for ids in seen]  # not ascending, and one that the catalogue lacks
    ratings = [np.append(values[::-1], np.float32(5)) for values in ratings]
    top = model.recommend(users, seen, ratings, n=10, liked_from=2.0)
    reached = 0
    for b, (ids, given_) in enumerate(zip(seen, ratings, strict=True)):
        row, given_ = np.searchsorted(MOVIES, ids[:-1]), given_[:-1].astype(np.float64)
        *of_seen, rest = history_terms(weights, ids[:-1], given_, age=np.arange(len(row), 0, -1))
        for movie, because, score in zip(top.row[b], top.because[b], top.retrieval_score[b], strict=True):
            if movie < 0:
                assert because == -1
                continue
            terms = np.array([of_movie[movie] for of_movie in of_seen])
            assert terms.sum() + rest[movie] == pytest.approx(score, abs=1e-5)
            liked = (given_ >= given_.mean()) & (given_ >= 2.0)
            best = terms[liked].max(initial=0)
            if because < 0:
                assert best < 1e-6
            else:
                reached += 1
                assert liked[row == because].all()
                assert terms[row == because] == pytest.approx(best, abs=1e-6)
    assert reached > 50


@pytest.mark.parametrize("rank_by", ["retrieval", "rating", "two-stage"])
@pytest.mark.parametrize("include_seen", [False, True])
def test_a_model_of_ids_names_what_is_most_like_the_recommendation(exported, rank_by, include_seen):
    case, random = exported[60], np.random.RandomState(3)
    weights, ids = case.weights, case.weights.movie_ids
    seen = [np.append(random.choice(ids, size, False), -5) for size in random.randint(0, 30, size=20)]
    ratings = [random.randint(1, 11, size=len(mine)) / 2 for mine in seen]
    top = case.model.recommend(
        weights.user_ids, seen, ratings, n=12, rank_by=rank_by, include_seen=include_seen, liked_from=3.0
    )
    vectors = weights.movie_vectors.astype(np.float64)
    length = np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
    cosine = (vectors @ vectors.T) / length / length[:, np.newaxis]
    for b in range(20):
        row, rating = np.searchsorted(ids, seen[b][:-1]), ratings[b][:-1]
        liked = row[(rating >= 3) & (rating >= rating.mean())] if len(row) else row
        for movie, because in zip(top.row[b], top.because[b], strict=True):
            others = liked[liked != movie]
            best = cosine[movie, others].max(initial=0)
            if because < 0:
                assert best < 1e-6
            else:
                assert because in others
                assert cosine[movie, because] == pytest.approx(best, abs=1e-6)
    assert (top.because >= 0).sum() > 100


def test_no_reasons_are_looked_for_unless_asked(exported):
    case = exported[7]
    top = case.model.recommend(case.weights.user_ids[:1], [case.weights.movie_ids[:3]], [np.full(3, 5.0)])
    assert (top.because == -1).all()
