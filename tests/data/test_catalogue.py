"""Tonight's catalogue and a model's, together."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel.data.catalogue import combine, with_delisted


def catalogue(movies: dict[int, str]) -> pa.Table:
    rows = [{c.MOVIE_ID: movie, c.TITLE: title, c.GENRES: title[:1]} for movie, title in sorted(movies.items())]
    return pa.Table.from_pylist(rows, c.CATALOGUE)


MOVIES = st.dictionaries(st.integers(-5, 12), st.sampled_from(["A (1999)", "B", "C (2001)"]), min_size=1)


@given(tonight=MOVIES, known=MOVIES, place_new=st.booleans())
def test_movies_are_described_as_tonight_and_delisted_ones_as_the_model_has_them(tonight, known, place_new):
    movies = combine(catalogue(tonight), catalogue(known), place_new=place_new)
    described = {**known, **tonight}
    ids = sorted(described if place_new else known)
    assert movies.placed.tolist() == [movie not in known for movie in ids]
    assert movies.of_model.column(c.MOVIE_ID).to_pylist() == ids
    assert movies.of_model.column(c.TITLE).to_pylist() == [described[movie] for movie in ids]
    assert movies.of_model.column(c.GENRES).to_pylist() == [described[movie][:1] for movie in ids]
    assert movies.listed.tolist() == [movie in tonight for movie in ids]
    assert (movies.delisted, movies.new) == (len(known.keys() - tonight), len(tonight.keys() - known))
    assert movies.all == catalogue(described)
    assert with_delisted(catalogue(tonight), None) == catalogue(tonight)
