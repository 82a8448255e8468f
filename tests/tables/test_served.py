"""What a site is given of a run, while the run changes."""

import pytest
from support import served
from support.runs import DAY

from recmodel import schemas as c
from recmodel.errors import ScoringFailed
from recmodel.tables.output import open_output
from recmodel.tables.served import open_run


def users(run) -> list[int]:
    return [user for batch in run.batches(c.LISTS_TABLE) for user in batch.column(c.USER_ID).to_pylist()]


def test_a_run_is_read_as_it_was_opened_and_another_key_means_other_rows(tmp_path):
    output = open_output(tmp_path / "output")
    served.publish(output.location, [1, 2, 3])
    run, again = open_run(output), open_run(output, DAY)
    assert (run.key, users(run)) == (again.key, [1, 2, 3])
    run.check_unchanged()
    served.forget(output, 2)
    with pytest.raises(ScoringFailed, match="was changed while it was exported"):
        run.check_unchanged()
    with pytest.raises(ScoringFailed, match="can no longer be read"):
        users(run)
    without = open_run(output)
    assert (users(without), without.key == run.key) == ([1, 3], False)
    output.withdraw(DAY)
    with pytest.raises(ScoringFailed, match="was changed while it was exported"):
        without.check_unchanged()


def test_a_table_of_an_earlier_version_with_fewer_columns_has_nulls_in_the_others(tmp_path):
    output = open_output(tmp_path / "output")
    served.publish(output.location, [1, 2, 3])
    run = open_run(output)
    short = run.datasets[c.MOVIES_TABLE].replace_schema(
        run.datasets[c.MOVIES_TABLE].schema.remove(run.datasets[c.MOVIES_TABLE].schema.get_field_index(c.STATUS))
    )
    run.datasets[c.MOVIES_TABLE] = short
    batches = [*run.batches(c.MOVIES_TABLE)]
    assert {batch.schema for batch in batches} == {batches[0].schema}
    assert batches[0].schema.names == c.MOVIE_ROW.names
    assert {value for batch in batches for value in batch.column(c.STATUS).to_pylist()} == {None}
