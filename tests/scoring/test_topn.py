"""Top-N against a stable argsort of all scores in float64, in every block and tile size."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmodel.scoring import topn


def oracle(scores: np.ndarray, hidden: set[int], n: int) -> list[int]:
    """Rows by falling score, ties by ascending row, hidden ones left out."""
    return [row for row in np.argsort(-scores, kind="stable") if row not in hidden][:n]


@st.composite
def searches(draw):
    """Users, movies, offsets or none, hidden pairs, boosts, n and a tile size. Small halves: exact, with ties."""
    users, movies, d = draw(st.integers(1, 9)), draw(st.integers(1, 70)), draw(st.integers(1, 5))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))

    def halves(*shape: int) -> np.ndarray:
        values = (random.randint(-3, 4, size=shape) / 2).astype(np.float32)
        return values * (random.random_sample(shape[:1] + (1,) * (len(shape) - 1)) < draw(st.floats(0.1, 1)))

    hidden = [
        set(range(movies)) if random.random_sample() < 0.2 else set(random.randint(0, movies, size=size).tolist())
        for size in draw(st.lists(st.integers(0, 60), min_size=users, max_size=users))
    ]
    offset = halves(movies) if draw(st.booleans()) else None
    n, tile = draw(st.integers(1, movies + 3)), draw(st.sampled_from([1, 3, 8, 31, 2048]))
    # Scores are bounded by one leading dimension of three or more; bounds are given up, or not, if many reach them.
    sizes = {"TILE": tile, "LEADING": 1, "_TOO_MANY": draw(st.sampled_from([0.01, 0.5, 2]))}
    boost = abs(halves(users, movies)) if draw(st.booleans()) else None
    return halves(users, d).astype(np.float32), halves(movies, d).astype(np.float32), offset, hidden, boost, n, sizes


def pairs(hidden: list[set[int]]) -> topn.Pairs:
    user = np.repeat(np.arange(len(hidden)), [len(rows) for rows in hidden])
    row = np.array([row for rows in hidden for row in rows], np.int64)
    order = np.random.RandomState(0).permutation(len(user))  # any order will do
    return topn.Pairs(user[order], row[order])


def exact(users, movies, offset, boost) -> tuple[np.ndarray, topn.Boosts | None]:
    """All scores in float64, boosts included, and the boosts as the search takes them."""
    scores = users.astype(np.float64) @ movies.astype(np.float64).T + (0 if offset is None else offset)
    if boost is None:
        return scores, None
    return scores + boost, topn.Boosts(*np.nonzero(boost), boost[boost > 0])


@settings(max_examples=400)
@given(search=searches())
def test_the_top_n_is_the_oracles(search):
    users, movies, offset, hidden, boost, n, sizes = search
    scores, boosts = exact(users, movies, offset, boost)
    if boosts is not None:
        row = np.array([[-1, *np.unique([len(movies) - 1, 0])]] * len(users))
        assert boosts.at(row)[:, 1:].tolist() == boost[:, row[0, 1:]].tolist()
        assert not boosts.at(row)[:, 0].any()
    with patch.multiple(topn, **sizes):
        by_product = topn.Vectors(movies, offset).top(users, n, pairs(hidden), boosts=boosts)
        by_scores = topn.of_scores(scores.astype(np.float32), n, pairs(hidden))
    for top in (by_product, by_scores):
        assert top.row.shape == (len(users), min(n, len(movies)))
        for b, rows in enumerate(hidden):
            expected = oracle(scores[b], rows, n)
            assert top.row[b, : len(expected)].tolist() == expected
            assert top.score[b, : len(expected)].tolist() == scores[b, expected].tolist()
            assert (top.row[b, len(expected) :] == -1).all()
            assert np.isnan(top.score[b, len(expected) :]).all()


@settings(max_examples=400)
@given(search=searches(), seed=st.integers(0, 2**32 - 1), highest=st.sampled_from([0.5, 2, 3, 1000]))
def test_the_top_n_of_another_order_is_the_oracles(search, seed, highest):
    """Scores above 0 are multiplied by factors of the pair, some of which are as high as they may be."""
    users, movies, offset, hidden, boost, n, sizes = search
    scores, boosts = exact(users, movies, offset, boost)
    factor = np.random.default_rng(seed).choice(np.array([0, 0.25, 0.5, highest], np.float32), scores.shape)
    factor = np.minimum(factor, np.float32(highest))
    by = np.where(scores > 0, scores * factor, scores)
    reordering = topn.Reordering(
        lambda user, row, score: np.where(score > 0, score * factor[user, row], score), highest
    )
    with patch.multiple(topn, **sizes):
        top = topn.Vectors(movies, offset).top(users, n, pairs(hidden), boosts=boosts, reordering=reordering)
    for b, rows in enumerate(hidden):
        expected = oracle(by[b], rows, n)
        assert top.row[b, : len(expected)].tolist() == expected
        assert top.score[b, : len(expected)].tolist() == by[b, expected].tolist()
        assert (top.row[b, len(expected) :] == -1).all()


@pytest.mark.parametrize("shrink", [0, 0.5, 3], ids=["equal lengths", "some lengths", "very unequal lengths"])
@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_real_numbers_differ_from_the_oracle_by_rounding_alone(shrink, with_offset, bounded, monkeypatch):
    """10,000 movies in several tiles, and lengths that stop the search at once, late or never.

    Bounded: the dimensions that do not lead are parallel, so that bounds are the scores themselves, but for rounding.
    """
    random = np.random.default_rng(7)
    movies = (random.standard_normal((10_000, 24)) * random.random((10_000, 1)) ** shrink).astype(np.float32)
    users = (random.standard_normal((40, 24)) * random.random((40, 1))).astype(np.float32)
    if bounded:
        monkeypatch.setattr(topn, "LEADING", 8)
        for vectors in (users, movies):
            vectors[:, 8:] = abs(vectors[:, 8:9]) * np.linspace(0.1, 0.2, 16, dtype=np.float32)
    users[0] = 0
    offset = random.standard_normal(10_000).astype(np.float32) if with_offset else None
    hidden = [set(random.integers(0, 10_000, size=size).tolist()) for size in random.integers(0, 3000, size=40)]
    hidden[1] = set(range(10_000)) - {5, 77}
    scores = users.astype(np.float64) @ movies.astype(np.float64).T + (0 if offset is None else offset)
    boosts = None
    if not bounded:  # boosts are not
        boost = np.where(random.random(scores.shape) < 0.01, random.random(scores.shape), 0).astype(np.float32)
        scores += boost
        boosts = topn.Boosts(*np.nonzero(boost), boost[boost > 0])
    top = topn.Vectors(movies, offset).top(users, 50, pairs(hidden), boosts=boosts)
    for b, rows in enumerate(hidden):
        expected = oracle(scores[b], rows, 50)
        found = top.row[b, : len(expected)]
        assert len(set(found)) == len(expected)
        assert not rows & set(found)
        assert scores[b, found] == pytest.approx(scores[b, expected], abs=1e-5)
        assert top.score[b, : len(expected)] == pytest.approx(scores[b, found], abs=1e-5)
        assert (np.diff(top.score[b, : len(expected)]) <= 0).all()
        clear = [row for row in expected if scores[b, row] > scores[b, expected[-1]] + 1e-5]
        assert set(clear) <= set(found)
    assert top.row[1, :3].tolist() in ([5, 77, -1], [77, 5, -1])


def test_the_search_stops_where_nothing_longer_can_come():
    """Of 16 tiles, the movies of the first hold all that is long: the others are never multiplied."""
    random = np.random.default_rng(1)
    movies = random.standard_normal((16 * topn.TILE, 8)).astype(np.float32)
    movies[topn.TILE :] *= 0.01
    users = random.standard_normal((30, 8)).astype(np.float32)
    with patch.object(topn._Search, "offer", autospec=True, side_effect=topn._Search.offer) as offer:
        topn.Vectors(movies).top(users, 20, topn.NO_PAIRS)
    assert 1 <= offer.call_count < 4


def test_ranked_orders_lists_by_other_scores():
    row, score = np.array([[4, 9, 2, -1], [7, 1, -1, -1]]), np.array([[1, 3, 3, 9], [-1, -1, 9, 9]], np.float32)
    top = topn.ranked(row, score, 3)
    assert top.row.tolist() == [[2, 9, 4], [1, 7, -1]]
    assert top.score[0].tolist() == [3, 3, 1]
    assert np.isnan(top.score[1, 2])
    assert topn.ranked(row, score, 1).row.tolist() == [[2], [1]]


def test_nan_is_never_recommended():
    scores = np.array([[1, np.nan, 3], [np.nan] * 3], np.float32)
    assert topn.of_scores(scores, 3, topn.NO_PAIRS).row.tolist() == [[2, 0, -1], [-1, -1, -1]]
