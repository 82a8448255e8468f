"""Figures of a run against pandas."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.report import recommendations, write

from recmodel import schemas as c
from recmodel.report import summary


def test_a_summary_equals_that_of_pandas(tmp_path):
    frame = recommendations(range(1, 200), movies=60, popular={5, 17})
    result = summary.summarise(write(frame, tmp_path / "rows"))
    by_movie = frame.groupby([c.MOVIE_ID, c.TITLE]).size().reset_index(name="users")
    by_movie = by_movie.sort_values(["users", c.MOVIE_ID], ascending=[False, True])
    assert result.by_movie.select(list(by_movie)).to_pylist() == by_movie.to_dict("records")
    ids = np.array([3, 7, 59, 1000])
    assert result.users_per_movie(ids).tolist() == [(frame[c.MOVIE_ID] == movie).sum() for movie in ids]
    halves = np.round(frame[c.PREDICTED_RATING].astype("float32") * 2) / 2
    assert result.rating_counts == halves.value_counts().to_dict()
    scores = frame[c.RETRIEVAL_SCORE].dropna().astype("float32").astype(float)
    counts, edges = np.histogram(scores, bins=summary.SCORE_BINS)
    assert [row["rows"] for row in result.scores] == counts.tolist()
    assert [row["low"] for row in result.scores] == pytest.approx(edges[:-1])
    for row in result.by_rank:
        at_rank = frame[frame[c.RANK] == row[c.RANK]]
        assert row["median"] == pytest.approx(at_rank[c.RETRIEVAL_SCORE].median(), abs=0.01)
        assert row["low"] <= row["median"] <= row["high"]
        assert row[c.PREDICTED_RATING] == pytest.approx(at_rank[c.PREDICTED_RATING].mean())
    assert [row[c.RANK] for row in result.by_rank] == [1, 2, 3, 4, 5]


def test_a_summary_without_scores_or_ratings_has_none(tmp_path):
    frame = recommendations(range(1, 5), movies=9, popular=range(1, 5))
    frame[c.PREDICTED_RATING] = np.nan
    result = summary.summarise(write(frame, tmp_path / "rows"))
    assert (result.scores, result.rating_counts) == ([], {})
    assert [row["median"] for row in result.by_rank] == [None] * 5


def test_overlap_is_that_of_the_users_of_both_runs(tmp_path):
    now, before = recommendations(range(1, 90), 12, seed=1), recommendations(range(30, 120), 12, seed=2)
    result = summary.overlap(write(now, tmp_path / "now"), write(before, tmp_path / "before", files=2))
    lists = [frame.groupby(c.USER_ID)[c.MOVIE_ID].agg(set) for frame in (now, before)]
    shares = [len(lists[0][user] & lists[1][user]) / 5 for user in range(30, 90)]
    assert result.users == 60
    assert result.mean == pytest.approx(np.mean(shares))
    tenths = Counter(round(share * 10) for share in shares)
    assert result.by_tenth == [tenths[tenth] for tenth in range(11)]


def test_what_rose_and_fell_is_by_the_share_of_the_users_of_each_run(tmp_path):
    frames = recommendations(range(1, 90), 30, seed=1), recommendations(range(30, 60), 24, seed=2)
    counted = [summary.count_by_movie(write(frame, tmp_path / f"{i}")) for i, frame in enumerate(frames)]
    now, before = (frame.groupby(c.MOVIE_ID).size() / frame[c.USER_ID].nunique() for frame in frames)
    change = now.sub(before, fill_value=0)
    risen, fallen = summary.risen_and_fallen(counted[0], 89, counted[1], 30)
    assert [row["change"] for row in risen] == pytest.approx(change.nlargest(5).tolist())
    assert [row["change"] for row in fallen] == pytest.approx(change.nsmallest(5).tolist())
    for row in risen + fallen:
        movie = int(row[c.TITLE].split()[0][1:])
        assert (row["share"], row["share_before"]) == pytest.approx((now.get(movie, 0), before.get(movie, 0)))
    assert any(not row["share_before"] for row in risen)  # some are in no list of the run before
    assert summary.risen_and_fallen(counted[0], 89, counted[0], 89) == ([], [])


def test_overlap_without_a_common_user_is_none(tmp_path):
    result = summary.overlap(
        write(recommendations([1, 2, 3], 9), tmp_path / "a"), write(recommendations([7, 8, 9], 9), tmp_path / "b")
    )
    assert result.users == 0


def test_rejects_are_counted_by_reason(tmp_path):
    rejects = [("r.csv", i, "rating", str(i), "is bad") for i in range(3)]
    rejects += [("r.csv", 9, "userId", "x", "is not an integer")]
    pq.write_table(pa.table(list(zip(*rejects, strict=True)), schema=c.REJECTS), tmp_path / "rejects.parquet")
    first, second = summary.reject_reasons(ds.dataset(tmp_path))
    assert (first["column"], first["reason"], first["rows"]) == ("rating", "is bad", 3)
    assert first["value"] in {"0", "1", "2"}
    assert (second["column"], second["rows"]) == ("userId", 1)
