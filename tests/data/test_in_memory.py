"""All ratings in memory, compared with what DuckDB makes of the same rows."""

import duckdb
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
LATEST = """
    SELECT user_id, movie_id, arg_max(rating, (timestamp, rating)) AS rating, max(timestamp) AS timestamp
    FROM given GROUP BY user_id, movie_id ORDER BY user_id, movie_id
"""
ADDED_UP = LATEST.replace("arg_max(rating, (timestamp, rating))", "sum(rating)")


def read_in(blocks: list[list[tuple]], kind: pa.DataType) -> tuple[list[pa.RecordBatch], pa.Table]:
    schema = c.RATINGS.set(0, c.RATINGS.field(0).with_type(kind))
    batches = []
    for block in blocks:
        users, *others = (list(values) for values in zip(*block, strict=True)) if block else ([], [], [], [])
        users = users if kind == pa.int64() else [f"u{user}" for user in users]
        batches.append(pa.record_batch([pa.array(v, f.type) for v, f in zip([users, *others], schema)], schema=schema))
    return batches, pa.Table.from_batches(batches, schema)


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()], ids=["integers", "text"])
@given(blocks=st.lists(st.lists(rows, max_size=8), max_size=4), add_up=st.booleans())
def test_one_rating_per_user_and_movie_in_their_order(kind, blocks, add_up):
    batches, given = read_in(blocks, kind)
    found = in_memory.gather(batches, add_up=add_up)
    expected = duckdb.sql(ADDED_UP if add_up else LATEST).arrow().read_all()
    columns = dict(found.columns)
    if found.users is not None:
        columns[c.USER_ID] = found.users.take(pa.array(columns[c.USER_ID])).to_numpy(zero_copy_only=False)
    for name in c.RATINGS.names:
        assert columns[name].tolist() == expected[name].to_pylist()
    assert found.superseded == given.num_rows - len(found)


def test_integers_are_as_narrow_as_the_widest_of_them():
    narrow, _ = read_in([[(1, 2, 3.0, 4)], [(1, 3, 3.0, 4)]], pa.int64())
    wide, _ = read_in([[(1, 2, 3.0, 4)], [(2**31, 3, 3.0, 4)]], pa.int64())
    assert {values.itemsize for values in in_memory.gather(narrow, add_up=False).columns.values()} == {4}
    assert in_memory.gather(wide, add_up=False).columns[c.USER_ID].dtype == np.int64
