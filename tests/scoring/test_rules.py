"""Lists that keep all business rules, against Python going movie by movie."""

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import oracle_scores
from support.inputs import histories_of

from recmodel import schemas as c
from recmodel.scoring import recommender, rules, topn
from recmodel.scoring import worker as scoring
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.scoring.signatures import InTensorFlow


def greedy(order, genres, most, taken, n) -> None:
    """Adds to `taken` what fits of `order`, one movie after the other."""
    for row in order:
        of = np.flatnonzero(genres[row])
        full = [genre for genre in of if sum(genres[other][genre] for other in taken) >= most[genre]]
        if len(taken) < n and not full:
            taken.append(row)


def expected_list(case, known, allowed, counts, request, cap) -> list[int]:
    """Rows of the catalogue by the definition. `known`: the row of the user's vector; None: served from popularity."""
    if cap is None:
        cap = rules.Cap(np.zeros((60, 1)), np.ones(1))
    score, rating = (counts, counts) if known is None else oracle_scores(case.weights, known)
    if known is None or request.rank_by != "two-stage":
        key = score if request.rank_by == "retrieval" else rating
        taken: list[int] = []
        greedy(sorted(allowed, key=lambda row: (-key[row], row)), cap.groups, cap.most, taken, request.n)
        return taken
    taken = []
    left = sorted(allowed, key=lambda row: (-score[row], row))
    while left and len(taken) < request.n:
        best = left[: max(request.n, request.candidates)]
        greedy(sorted(best, key=lambda row: (-rating[row], row)), cap.groups, cap.most, taken, request.n)
        full = cap.groups[taken].sum(axis=0) >= cap.most
        left = [row for row in left if row not in best and not (cap.groups[row] > 0)[full].any()]
    return sorted(taken, key=lambda row: (-rating[row], row))


@pytest.fixture(scope="module")
def restricted(exported):
    """The model of 60 movies by its candidates: all, half, four of them."""
    case, row = exported[60], np.arange(60)
    masks = [np.ones(60, bool), row % 2 == 1, np.isin(row, [3, 4, 30, 59])]
    return [(mask, recommender.Recommender(case.folder, mask)) for mask in masks]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_lists_keep_all_rules(exported, restricted, data):
    """All policies and popularity, ties, histories of everything, and catalogues of one genre or of none."""
    case, ids = exported[60], exported[60].weights.movie_ids
    mask, model = data.draw(st.sampled_from(restricted), "candidates")
    random = np.random.RandomState(data.draw(st.integers(0, 2**32 - 1), "seed"))
    genres = (random.random_sample((60, 6)) < data.draw(st.sampled_from([0.1, 0.4, 1.0]), "density")).astype(np.float32)
    most = data.draw(st.sampled_from([None, 1, 2, 4]), "most of a genre")
    cap = None if most is None else rules.Cap(genres, np.full(6, most))
    request = TopNRequest(
        n=data.draw(st.sampled_from([1, 5, 12, 70]), "n"), candidates=data.draw(st.sampled_from([1, 8, 100]), "K"),
        rank_by=data.draw(st.sampled_from(["retrieval", "rating", "two-stage"]), "policy"),
        include_seen=data.draw(st.booleans(), "include seen"), min_history=1, liked_from=3.0, block_bytes=1, threads=1,
        reserve=data.draw(st.sampled_from([0, 1, 7]), "reserve"),
    )  # fmt: skip
    counts = random.randint(0, 9, size=60)
    payload = Payload(
        model_version="v", model_digest="", open_model=InTensorFlow, tasks=("retrieval", "rating"),
        movies=pa.table({c.MOVIE_ID: ids, c.TITLE: [""] * 60}), row=np.arange(60), scored_at=datetime.now(timezone.utc),
        popular=np.lexsort((ids, -counts)), popular_rating=np.full(60, 3, np.float32), allowed=mask, cap=cap,
    )  # fmt: skip
    users = sorted(data.draw(st.lists(st.integers(-3, 19), min_size=1, max_size=5, unique=True), "users"))

    def some() -> np.ndarray:
        return np.sort(random.choice(ids, random.choice([0, 3, 40, 60]), replace=False))

    seen, denied = [some() for _ in users], [some() if random.randint(2) else ids[:0] for _ in users]
    user_ids = [int(case.weights.user_ids[user]) if user >= 0 else user for user in users]
    of_users = histories_of(ids, user_ids, seen, denied)
    rows = scoring.recommend_block(model, of_users, payload, request).to_pandas()
    by_user = {user: mine[c.MOVIE_ID].tolist() for user, mine in rows.groupby(c.USER_ID)}
    for b, user in enumerate(users):
        known = user if user >= 0 and len(seen[b]) else None
        hidden = np.concatenate([[] if request.include_seen else seen[b], denied[b]])
        allowed = np.flatnonzero(mask & ~np.isin(ids, hidden))
        expected = expected_list(case, known, allowed, counts, request, cap)
        listed = by_user.get(user_ids[b], [])
        assert listed[: request.n] == ids[expected].tolist()  # whatever the reserve
        assert len(listed) == len({*listed} & {*ids[allowed].tolist()}) <= request.n + request.reserve
        if known is None or request.rank_by != "two-stage":
            whole = replace(request, n=request.n + request.reserve)
            assert listed == ids[expected_list(case, known, allowed, counts, whole, cap)].tolist()
        elif cap is not None:
            assert (genres[np.searchsorted(ids, listed)].sum(axis=0) <= most).all()
    for size in (1, 2):
        parts = [of_users[start : start + size] for start in range(0, len(users), size)]
        alone = pa.concat_tables([scoring.recommend_block(model, part, payload, request) for part in parts])
        pd.testing.assert_frame_equal(alone.to_pandas(), rows)


def test_a_list_takes_no_more_rounds_than_there_are_genres_and_one():
    """A catalogue where one genre leads by far: what fits of the others is deep down, and found in few rounds."""
    genres = np.zeros((20_000, 5), np.float32)
    genres[np.arange(20_000), np.minimum(np.arange(20_000) // 4_900, 4)] = 1
    movies = topn.Vectors(-np.arange(20_000, dtype=np.float32)[:, np.newaxis])
    rounds = []

    def search(which, n, hidden, excluded):
        rounds.append(n)
        return movies.top(np.ones((len(which), 1), np.float32), n, hidden, excluded)

    top = rules.lists(search, 3, 12, topn.NO_PAIRS, rules.Cap(genres, np.full(5, 2)))
    first = [0, 1, 4900, 4901, 9800, 9801, 14700, 14701, 19600, 19601]
    assert top.row.tolist() == [[*first, -1, -1]] * 3
    assert len(rounds) <= 6
