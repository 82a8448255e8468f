"""Staged ratings: counted while they are written, and found again by ranges of users."""

import io
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel.data import staged
from recmodel.schemas import TEXT, Ids

INTEGER = pa.int64()


def batch(rows, kind: pa.DataType = INTEGER) -> pa.RecordBatch:
    user, movie, rating, time = zip(*rows, strict=True)
    columns = [pa.array(user, kind), pa.array(movie), pa.array(rating, pa.float32()), pa.array(time)]
    return pa.RecordBatch.from_arrays(columns, names=c.RATINGS.names)


def test_ratings_are_counted_by_movie(tmp_path):
    rated = batch([(1, 20, 4.0, 0), (1, 99, 1.0, 0), (2, 20, 2.7, 0)])
    counted = staged.write([rated, rated], tmp_path / "r.parquet", np.array([10, 20, 99]))
    assert (counted.counts.tolist(), counted.sums.tolist()) == ([0, 4, 2], pytest.approx([0, 13.4, 2]))
    assert counted.half_stars == {8: 2, 2: 2, 5: 2}
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 6


PAIRS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=40)
CUT = st.integers(0, 40)


@given(pairs=PAIRS, ascending=st.booleans(), cut=CUT, chunk=st.integers(1, 50))
def test_only_ratings_that_ascend_are_in_order(pairs, ascending, cut, chunk):
    """Whether they are in one file or in several, some of them empty."""
    if ascending:
        pairs = sorted(set(pairs))
    whole = batch([(*pair, 1.0, 0) for pair in pairs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "_CHUNK", chunk)
        for batches in ([[whole[:cut], whole[cut:]]], [[whole[:cut]], [whole[cut:]]]):
            files = [staged.write(of_file, io.BytesIO(), np.arange(1, 5)) for of_file in batches]
            counted = staged.joined(files)
            assert counted.in_order == (pairs == sorted(set(pairs)))
            assert (counted.counts.sum(), counted.half_stars.total()) == (len(pairs), len(pairs))


@given(pairs=PAIRS, starts=st.sets(st.integers(0, 11), max_size=4), count=st.integers(1, 6), text=st.booleans())
def test_every_rating_is_in_the_part_of_its_user(tmp_path_factory, pairs, starts, count, text):
    """Text is ordered by its UTF-8 bytes: the names of users here have one to four."""
    names = ["a", "b", "é", "α", "€", "一", "\ufffd", *map(chr, range(0x1F600, 0x1F605))]
    label = names.__getitem__ if text else int
    kind, ids = (pa.string(), Ids(TEXT)) if text else (pa.int64(), Ids())
    rows = [(label(user), movie - 1, 1.0, place) for place, (user, movie) in enumerate(pairs)]
    folder = tmp_path_factory.mktemp("staged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "_CHUNK", 7)
        patch.setattr(staged, "_ROW_GROUP", 3)
        batches = [batch(rows[start : start + 5], kind) for start in range(0, len(rows), 5)]
        for number, of_file in enumerate((batches[:3], batches[3:])):
            staged.write(of_file, folder / staged.file(number), np.arange(4), ids)
    for limits in (sorted(map(label, starts)), staged.starts_by_rows(str(folder), count)):
        assert len(limits) < max(count, 5)
        found = []
        for part in staged.parts(limits):
            read = part.read(str(folder)).select([c.USER_ID, c.MOVIE, c.RATING, c.TIMESTAMP])
            found += zip(*read.to_pydict().values(), strict=True)
            users = read.column(c.USER_ID).to_pylist()
            assert part.first is None or all(user >= part.first for user in users)
            assert part.end is None or all(user < part.end for user in users)
        assert Counter(found) == Counter(rows)
