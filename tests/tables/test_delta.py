"""Delta tables: what their log says, to readers who know nothing of this project."""

from datetime import timedelta
from unittest.mock import Mock

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.runs import DAY, labels, publish, record, stage, write_part

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import ScoringFailed
from recmodel.tables.erasing import Users
from recmodel.tables.output import open_output


@pytest.fixture
def output(tmp_path):
    return open_output(tmp_path.as_uri())


def log(output, table: str = c.RECOMMENDATIONS_TABLE) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(f"{output.location}/{table}")


def test_the_tables_get_the_columns_of_a_newer_version(output):
    publish(output, "a", parts=2)
    newer = output.stage(DAY + timedelta(1), "newer")
    for name in c.TABLES:
        rows = pa.table({c.USER_ID: pa.array([1], pa.int64()), "label": ["b"], c.BECAUSE_TITLE: ["Heat (1995)"]})
        write_part(newer, name, 0, rows)
    newer.publish(record(DAY + timedelta(1)), 90)
    table = log(output).to_pyarrow_dataset().to_table().to_pydict()
    of = dict(zip(zip(table[c.RUN_DATE], table[c.USER_ID], strict=True), table[c.BECAUSE_TITLE], strict=True))
    assert of == {(DAY, user): None for user in (1, 2, 3, 4)} | {(DAY + timedelta(1), 1): "Heat (1995)"}


def test_a_reader_of_a_user_opens_one_file(output):
    """By the statistics in the log, without reading the files' footers."""
    publish(output, "a", parts=2)
    (fragment,) = log(output).to_pyarrow_dataset().get_fragments(pc.field(c.USER_ID) == 3)
    assert "part-00001" in fragment.path


def test_a_run_that_is_given_up_leaves_no_files(output):
    publish(output, "a")
    run = stage(output, "b", key="b")
    places = [run.table(table) for table in c.TABLES]
    assert all(storage.names(place) for place in places)
    run.discard()
    assert [storage.names(place) for place in places] == [[]] * len(places)
    assert labels(output) == ["a"] * 2


def test_a_table_without_files_is_not_published(output):
    publish(output, "a")
    run = stage(output, "b")
    storage.remove(run.table(c.RECOMMENDATIONS_TABLE))
    storage.file_system(output.location).create_dir(run.table(c.RECOMMENDATIONS_TABLE).removeprefix(output.location))
    with pytest.raises(ScoringFailed, match="has no files; run again"):
        run.publish(record(model_version="b"), 90)
    assert (labels(output), output.read_run(DAY).model_version) == (["a"] * 2, "a")


def test_what_an_interrupted_run_left_goes_with_the_next(output):
    """The oldest date, which went from some tables; and the rows of a run that was given up before its run.json."""
    days = [DAY + timedelta(days) for days in range(4)]
    for day in days[:2]:
        publish(output, "a", day)
    storage.remove(f"{output.location}/runs/run_date={days[0]}")
    log(output).delete(f"run_date = '{days[0]}'")
    stage(output, "b", days[2]).commit(c.USERS_TABLE)
    publish(output, "c", days[3])
    for table in c.TABLES:
        rows = log(output, table).to_pyarrow_dataset().to_table(columns=[c.RUN_DATE])
        assert {*rows.column(c.RUN_DATE).to_pylist()} == {days[1], days[3]}


@pytest.mark.parametrize("erase", [False, True])
def test_a_run_that_is_given_up_while_it_is_published_breaks_no_table(output, erase):
    """Its files stay where a table's log names them; nobody is erased and still in rows that are not published."""
    publish(output, "a")
    run = stage(output, "b", DAY + timedelta(1))
    run.commit(c.RECOMMENDATIONS_TABLE)
    assert output.discard_staged() == [f"{DAY + timedelta(1)}-key"]
    assert storage.names(run.table(c.USERS_TABLE)) == []
    if erase:
        output.erase(Users((1,)), [], 0)
    rows = log(output).to_pyarrow_table()
    assert {*rows.column("label").to_pylist()} == ({"a"} if erase else {"a", "b"})
    publish(output, "c", DAY + timedelta(2))
    assert {*log(output).to_pyarrow_table().column("label").to_pylist()} == {"a", "c"}


def test_an_interrupted_withdrawal_is_finished_by_the_next(output, monkeypatch):
    """From the first moment on the run is not published; its rows may still be in some tables."""
    for label, day in (("a", DAY), ("b", DAY + timedelta(1))):
        publish(output, label, day)
    with monkeypatch.context() as patch:
        patch.setattr(deltalake.DeltaTable, "delete", Mock(side_effect=OSError("no route to host")))
        with pytest.raises(ScoringFailed, match=r"not withdrawn from all tables \(no route.*withdraw it again"):
            output.withdraw(DAY + timedelta(1))
    assert (output.run_dates(), output.newest()) == ([DAY], DAY)
    output.withdraw(DAY + timedelta(1))
    assert [{*log(output, table).to_pyarrow_dataset().to_table()["label"].to_pylist()} for table in c.TABLES] == [
        {"a"}
    ] * len(c.TABLES)
