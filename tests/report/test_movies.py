"""What is recommended by kinds of movies, against pandas."""

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.report import recommendations, write

from recmodel import schemas as c
from recmodel.report import movies, summary

DAY = date(2026, 1, 31)
GENRES = [["Drama"], ["Drama", "Comedy"], [], ["Noir"]]
STATUS = [c.STATUS_KNOWN, c.STATUS_NEW, c.STATUS_KNOWN, c.STATUS_KNOWN, c.STATUS_DELISTED]
COLUMNS = (c.MOVIE_ID, c.GENRES, c.RATINGS_COUNT, c.MEAN_RATING, c.STATUS)


def catalogue(size: int, ids=int) -> pd.DataFrame:
    """Movies of all kinds; some have no ratings."""
    ratings = np.random.RandomState(1).permutation([0, 1, 9, 10, 99, 100, 500] * size)[:size]
    return pd.DataFrame(
        {
            c.MOVIE_ID: [ids(i) for i in range(size)],
            c.GENRES: [GENRES[i % len(GENRES)] for i in range(size)],
            c.RATINGS_COUNT: ratings,
            c.MEAN_RATING: np.where(ratings > 0, 1 + ratings % 4, np.nan),
            c.STATUS: [STATUS[i % len(STATUS)] for i in range(size)],
        }
    )


def as_table(frame: pd.DataFrame, ids: pa.DataType) -> pa.Table:
    schema = pa.schema([c.MOVIE_ROW.field(name) for name in COLUMNS]).set(0, pa.field(c.MOVIE_ID, ids))
    return pa.Table.from_pandas(frame, schema, preserve_index=False)


def expected(rows: pd.DataFrame, tonight: pd.DataFrame, which: pd.Series) -> tuple:
    """The figures of a group, from the recommendations one by one."""
    of_group = tonight[which]
    shown = rows[rows[c.MOVIE_ID].isin(of_group[c.MOVIE_ID])]
    count = of_group[c.RATINGS_COUNT].sum()
    stars = (of_group[c.RATINGS_COUNT] * of_group[c.MEAN_RATING]).sum() / count if count else None
    predicted = shown[c.PREDICTED_RATING].mean() if len(shown) else None
    share = count / tonight[c.RATINGS_COUNT].sum()
    return len(of_group), len(shown) / len(rows), share, predicted, stars


def test_shares_and_means_equal_those_of_pandas(tmp_path):
    frame = catalogue(60)
    tonight = frame[frame[c.STATUS] != c.STATUS_DELISTED]
    rows = recommendations(range(1, 50), 60)
    rows = rows[rows[c.MOVIE_ID].isin(tonight[c.MOVIE_ID])]
    by_movie = summary.count_by_movie(write(rows, tmp_path / "rows"))
    result = movies.mix(DAY, as_table(frame, pa.int64()), by_movie)
    counts = tonight[c.RATINGS_COUNT]
    wanted = {
        "new": tonight[c.STATUS] == c.STATUS_NEW,
        "0": counts == 0,
        "1–9": counts.between(1, 9),
        "10–99": counts.between(10, 99),
        "100 or more": counts >= 100,
        movies.NO_GENRE: tonight[c.GENRES].str.len() == 0,
        **{
            name: tonight[c.GENRES].map(lambda genres, name=name: name in genres)
            for name in ("Drama", "Comedy", "Noir")
        },
    }
    groups = [result.new, *result.by_ratings, *result.by_genre]
    assert {group.name for group in groups} == {*wanted}
    for group in groups:
        found = (group.movies, group.recommended, group.rated, group.predicted_rating, group.mean_rating)
        assert found == pytest.approx(expected(rows, tonight, wanted[group.name])), group.name
    assert (result.movies, sum(group.movies for group in result.by_ratings)) == (len(tonight), len(tonight))
    assert [group.rated for group in result.by_genre] == sorted((g.rated for g in result.by_genre), reverse=True)


def test_without_recommendations_ratings_or_genres_nothing_is_divided_by_zero():
    frame = catalogue(3, ids=str).assign(**{c.RATINGS_COUNT: 0, c.MEAN_RATING: np.nan})
    frame[c.GENRES] = [[], [], []]
    nothing = pa.table(
        {c.MOVIE_ID: pa.array([], pa.string()), "users": pa.array([], pa.int64()),
         c.PREDICTED_RATING: pa.array([], pa.float64())}
    )  # fmt: skip
    result = movies.mix(DAY, as_table(frame, pa.string()), nothing)
    assert [(group.name, group.movies) for group in result.by_genre] == [(movies.NO_GENRE, 3)]
    assert {group.recommended for group in result.by_ratings} == {0.0}
    assert result.new.predicted_rating is None
