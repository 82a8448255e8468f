"""Partial runs of one date add up."""

import pyarrow as pa
import pytest
from support.runs import DAY, record, stage

from recmodel import schemas as c
from recmodel.pipeline import partial
from recmodel.tables.output import open_output


@pytest.mark.parametrize("address", ["path", "URI"])
def test_users_who_are_not_asked_for_again_keep_their_rows(tmp_path, address):
    output = open_output(tmp_path if address == "path" else tmp_path.as_uri())
    nobody = pa.table({c.USER_ID: pa.array([], pa.int64())})
    for label, parts, asked, kept in (
        ("first", 2, nobody, 0),  # users 1 to 4
        ("second", 1, pa.table({c.USER_ID: pa.array([1, 2, 77])}), 2),
        ("third", 1, pa.table({c.USER_ID: pa.array([2, 1])}), 2),  # what was kept once is kept again
    ):
        staged = stage(output, label, parts=parts)
        assert partial.keep_other_lists(output, staged, asked) == kept
        staged.publish(record(all_users=False), 90)
        for table in (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.LISTS_TABLE):
            rows = output.dataset(table, DAY).to_table()
            assert sorted(rows[c.USER_ID].to_pylist()) == [1, 2, 3, 4]
