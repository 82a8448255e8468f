"""Splits: what is held out, against hand-worked cases and the published protocol."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import by_hand, pairs_of

from recmodel import schemas as c
from recmodel.data.ids import Labels
from recmodel.evaluation import splits


def test_by_time_holds_out_the_newest():
    rows = by_hand((1, 10, 4.0, 30), (1, 20, 4.0, 10), (2, 10, 4.0, 20), (2, 30, 4.0, 40), (3, 10, 4.0, 5))
    fitted, held_out = splits.by_time(rows, 0.4)
    assert pairs_of(held_out) == [(1, 10), (2, 30)]
    assert pairs_of(fitted) == [(1, 20), (2, 10), (3, 10)]


def test_last_out_holds_out_one_of_each_user_who_has_two():
    rows = by_hand((1, 10, 4.0, 30), (1, 20, 4.0, 10), (2, 10, 4.0, 20), (2, 30, 4.0, 40), (3, 10, 4.0, 5))
    fitted, held_out = splits.last_out(rows)
    assert pairs_of(held_out) == [(1, 10), (2, 30)]
    assert pairs_of(fitted) == [(1, 20), (2, 10), (3, 10)]


def test_last_out_holds_out_several_of_each_user_who_has_more():
    rows = by_hand(
        *((1, movie, 4.0, 100 - movie) for movie in range(7)), *((2, movie, 4.0, movie) for movie in range(5))
    )
    fitted, held_out = splits.last_out(rows, 5)
    assert pairs_of(held_out) == [(1, movie) for movie in range(5)]
    assert pairs_of(fitted) == [(1, 5), (1, 6), *((2, movie) for movie in range(5))]


def test_who_is_asked_at_one_time_is_asked_on_another_day():
    rows = by_hand(*((user, movie, 4.0, movie) for user in range(6) for movie in range(8)))
    made = {kind: splits.make(kind, rows, np.arange(8), test_share=0.2, seed=0) for kind in splits.KINDS}
    assert [kind for kind, split in made.items() if split.another_day] == ["time"]


def test_several_splits_hold_out_ever_older_ratings_or_others_at_random():
    rows = by_hand(*((user, movie, 3.0, movie) for user in (1, 2) for movie in range(8)))

    def held_out(kind, number):
        split = splits.make(kind, rows, np.arange(8), test_share=0.25, seed=0, number=number)
        return split.held_out[c.MOVIE_ID].tolist(), split.fitted[c.MOVIE_ID].max()

    assert held_out("last-out", 1) == ([6, 6], 5)
    assert held_out("time", 1) == ([4, 5, 5], 4)  # of the 12 oldest
    assert held_out("random", 1) != held_out("random", 0)


def test_cold_users_are_shown_so_many_of_their_ratings():
    rows = by_hand(*[(user, movie, 3.0, 0) for user in range(10) for movie in range(100, 120)])
    base, by_count = splits.cold_users(rows, np.arange(100, 120), seed=1)
    cold = np.unique(base.held_out[c.USER_ID])
    assert len(cold) == 2
    assert not np.isin(base.fitted[c.USER_ID], cold).any()
    for count, part in by_count.items():
        assert pairs_of(part.fitted) == pairs_of(base.fitted)
        assert len(part.shown[c.USER_ID]) == 2 * count
        assert pairs_of(part.held_out) == pairs_of(base.held_out)
        assert not set(pairs_of(part.known)) & set(pairs_of(part.held_out))
        assert len(part.held_out[c.USER_ID]) == 2 * 10


@pytest.mark.parametrize("relevant_from", [None, 4.0])
def test_users_are_held_out_whole_and_four_fifths_of_what_is_relevant_is_shown(relevant_from):
    """Of 20 users, 10 have ten ratings of 4 stars and five of 2; the others, who are never held out, have four."""
    rows = [(user, movie, 4.0 if movie < 10 else 2.0, 0) for user in range(10) for movie in range(15)]
    rows = by_hand(*rows, *((user, movie, 5.0, 0) for user in range(10, 20) for movie in range(4)))
    split = splits.make("users", rows, np.arange(15), test_share=0.2, seed=0, relevant_from=relevant_from)
    assert len(split.users) == 4
    assert (split.users < 10).all()
    assert not np.isin(split.fitted[c.USER_ID], split.users).any()
    each = 15 if relevant_from is None else 10
    assert np.unique(split.held_out[c.USER_ID], return_counts=True)[1].tolist() == [each // 5] * 4
    assert len(split.shown[c.USER_ID]) == 4 * (each - each // 5)
    assert not set(pairs_of(split.shown)) & set(pairs_of(split.held_out))
    if relevant_from:
        assert min(split.shown[c.RATING].min(), split.held_out[c.RATING].min()) >= relevant_from
    seen, _ = split.histories(split.users)
    assert [len(movies) for movies in seen] == [each - each // 5] * 4


def test_a_split_is_written_with_the_ids_of_the_input(tmp_path):
    labels = Labels(pa.array(["ann", "bob"]), pa.array(["tt01", "tt02"]))
    rows = by_hand((0, 0, 4.0, 1), (0, 1, 3.0, 2), (1, 1, 2.0, 3))
    splits.write(splits.make("last-out", rows, np.arange(2), test_share=0.2, seed=0, labels=labels), tmp_path)
    held_out = pq.read_table(tmp_path / "held_out.parquet").to_pydict()
    assert (held_out[c.USER_ID], held_out[c.MOVIE_ID], held_out[c.RATING]) == (["ann"], ["tt02"], [3.0])
    assert pq.read_table(tmp_path / "fitted.parquet").num_rows == 2
    assert not (tmp_path / "shown.parquet").exists()


def test_histories_are_those_of_the_fitted_part(split):
    seen, values = split.histories(np.array([1, 2, 3]))
    assert [sorted(ids.tolist()) for ids in seen] == [[10, 20], [10, 30], []]
    assert [len(v) for v in values] == [2, 2, 0]


def test_the_split_is_the_published_protocol():
    """numpy.random.RandomState(42).permutation; the last fifth is held out."""
    rows = {c.USER_ID: np.arange(100), c.RATING: np.arange(100.0)}
    fitted, held_out = splits.at_random(rows, 0.2, 42)
    order = np.random.RandomState(42).permutation(100)
    assert fitted[c.USER_ID].tolist() == order[:80].tolist()
    assert held_out[c.USER_ID].tolist() == order[80:].tolist()


def pairs(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """So many different (user, movie), in random order; the rating is the place in that order."""
    chosen = np.random.RandomState(seed).permutation(200 * 1000)[:count]
    return {c.USER_ID: chosen // 1000, c.MOVIE_ID: chosen % 1000, c.RATING: np.arange(count, dtype=np.float32)}


def held_out_pairs(ratings: dict[str, np.ndarray], test_share: float, seed: int) -> set[tuple[int, int]]:
    """Those that the split holds out; all others have to be in its other part."""
    parts = splits.by_pair(ratings, test_share, seed)
    fitted, held_out = ({*zip(part[c.USER_ID].tolist(), part[c.MOVIE_ID].tolist(), strict=True)} for part in parts)
    assert not fitted & held_out
    assert len(fitted) + len(held_out) == len(ratings[c.USER_ID])
    for part in parts:
        assert (np.diff(part[c.RATING]) > 0).all()  # the order is kept
    return held_out


@given(
    rated=st.sets(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), min_size=1),
    more=st.sets(st.tuples(st.integers(1, 50), st.integers(1, 50))),
    random=st.randoms(use_true_random=False),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_rating_stays_on_its_side_whatever_is_added_or_reordered(rated, more, random, seed):
    def table_of(chosen):
        user, movie = np.array(chosen, np.int64).T
        return {c.USER_ID: user, c.MOVIE_ID: movie, c.RATING: np.arange(len(chosen))}

    before = held_out_pairs(table_of(sorted(rated)), 0.5, seed)
    grown = sorted(rated | more)
    random.shuffle(grown)
    assert held_out_pairs(table_of(grown), 0.5, seed) & rated == before


def test_the_share_that_is_held_out_is_the_share_asked_for():
    """Five standard deviations of a binomial: over all, and over each user's and each movie's ratings."""
    ratings = pairs(100_000)
    _, held_out = splits.by_pair(ratings, 0.2, 42)
    for keys in (np.zeros(100_000, int), ratings[c.USER_ID], ratings[c.MOVIE_ID]):
        expected = np.bincount(keys)
        found = np.bincount(keys[held_out[c.RATING].astype(int)], minlength=len(expected))
        assert (np.abs(found - 0.2 * expected) <= 5 * np.sqrt(0.2 * 0.8 * expected)).all()


def test_another_seed_holds_out_other_ratings():
    """Two of them agree on a fifth of a fifth of the rows, as independent draws do."""
    ratings = pairs(50_000)
    one, other = (held_out_pairs(ratings, 0.2, seed) for seed in (42, 43))
    assert len(one & other) == pytest.approx(0.04 * 50_000, abs=5 * np.sqrt(0.04 * 0.96 * 50_000))


def test_a_greater_share_holds_out_the_same_ratings_and_more_and_none_holds_out_nothing():
    ratings = pairs(1000)
    none, few, some, most = (held_out_pairs(ratings, share, 1) for share in (0, 0.1, 0.3, 0.999))
    assert none == set()
    assert none < few < some < most


def test_users_are_chosen_whole_and_stay_chosen_as_others_come():
    ratings = pairs(50_000)
    fewer = {name: values[::2] for name, values in ratings.items()}
    some = splits.of_some_users(ratings, 10_000, seed=1)
    chosen = np.unique(some[c.USER_ID])
    assert len(some[c.RATING]) == np.isin(ratings[c.USER_ID], chosen).sum()
    assert 0.1 < len(some[c.RATING]) / 50_000 < 0.3  # of about 200 users
    assert np.unique(splits.of_some_users(fewer, 5_000, seed=1)[c.USER_ID]).tolist() == chosen.tolist()
    assert splits.of_some_users(ratings, 50_000, seed=1) is ratings


def test_the_split_mixes_as_splitmix64_does():
    """The first outputs of the generator that starts at 0, as published."""
    states = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [f"{n:016x}" for n in splits._mix(states)] == ["e220a8397b1dcdaf", "6e789e6aa1b965f4", "06c45d188009454f"]
