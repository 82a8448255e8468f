"""All ratings in memory, compared with a dictionary of the same rows."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmodel import schemas as c
from recmodel.data import in_memory

rows = st.tuples(
    st.sampled_from([-5, 1, 2, 2**31, 2**62]), st.sampled_from([0, 7, 2**40]), st.sampled_from([0.5, 3.0, 5.0]),
    st.sampled_from([0, 1_000_000_000, 2**33]),
)  # fmt: skip


def batches_of(blocks: list[list[tuple]], kind: pa.DataType) -> list[pa.RecordBatch]:
    schema = c.RATINGS.set(0, c.RATINGS.field(0).with_type(kind))
    tables = [pa.table(list(map(pa.array, zip(*block, strict=True))), c.RATINGS.names) for block in blocks if block]
    return [table.cast(schema).combine_chunks().to_batches()[0] for table in tables]


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()], ids=["integers", "text"])
@given(blocks=st.lists(st.lists(rows, max_size=8), max_size=4), add_up=st.booleans())
def test_one_rating_per_user_and_movie_in_their_order(kind, blocks, add_up):
    found = in_memory.gather(batches_of(blocks, kind), add_up=add_up)
    columns = dict(found.columns)
    if found.users is not None:
        columns[c.USER_ID] = found.users.take(pa.array(columns[c.USER_ID])).to_numpy(zero_copy_only=False)
    by_pair: dict[tuple, list[tuple]] = {}
    for user, movie, rating, time in itertools.chain(*blocks):
        by_pair.setdefault((user if kind == pa.int64() else str(user), movie), []).append((time, rating))
    expected = [
        (*pair, sum(rating for _, rating in rated) if add_up else max(rated)[1], max(rated)[0])
        for pair, rated in sorted(by_pair.items())
    ]
    assert [*zip(*(columns[name].tolist() for name in c.RATINGS.names), strict=True)] == expected
    assert found.superseded == sum(map(len, blocks)) - len(found)


def test_users_who_are_left_out_leave_neither_ratings_nor_ids():
    blocks = [[(user, 7, 3.0, 0) for user in (1, 2, 3)]]
    integers, texts = (in_memory.gather(batches_of(blocks, kind), add_up=False) for kind in (pa.int64(), pa.string()))
    assert integers.without(pa.array([2, 9])).columns[c.USER_ID].tolist() == [1, 3]
    others = texts.without(pa.array(["2", "9"]))
    assert (others.columns[c.USER_ID].tolist(), others.users.to_pylist()) == ([0, 1], ["1", "3"])


def test_integers_are_as_narrow_as_the_widest_of_them():
    narrow = batches_of([[(1, 2, 3.0, 4)], [(1, 3, 3.0, 4)]], pa.int64())
    wide = batches_of([[(1, 2, 3.0, 4)], [(2**31, 3, 3.0, 4)]], pa.int64())
    assert {values.itemsize for values in in_memory.gather(narrow, add_up=False).columns.values()} == {4}
    assert in_memory.gather(wide, add_up=False).columns[c.USER_ID].dtype == np.int64
