"""The shares of the input, taken by the driver or by Spark's tasks."""

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.inputs import HEADER, LENIENT, make_ratings, table, with_ratings, write_movielens

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import intake, movielens, pieces
from recmodel.data import staged as staged_ratings
from recmodel.data.feedback import of_ratings
from recmodel.data.validation import Validation
from recmodel.data.values import SAMPLE_ROWS
from recmodel.errors import InputRejected
from recmodel.pipeline import taking


@pytest.fixture
def starting(spark):
    """A session that is there."""
    there = Future()
    there.set_result(spark)
    return there


def with_rejects(folder):
    """Text, of which every tenth row is refused."""
    lines = [b"%d,%d,%.1f,%d" % row if i % 10 else b"x,1,4.0,%d" % i for i, row in enumerate(make_ratings())]
    return with_ratings(folder, HEADER + b"\n".join(lines))


def written_in_turns(folder):
    """Parts of which the first has no times, the second milliseconds, and the third what looks like seconds."""
    write_movielens(folder, [])
    (folder / "ratings.csv").unlink()
    (folder / "ratings").mkdir()
    rows = table(make_ratings())[: SAMPLE_ROWS // 100]
    for number, times in enumerate((None, 10**12, 10**9)):
        part = rows.set_column(3, c.TIMESTAMP, pa.array([times] * rows.num_rows, pa.int64()))
        pq.write_table(part, folder / f"ratings/{number}.parquet")
    return folder


def take(folder, output, starting):
    """What becomes of a directory of input."""
    validation = Validation(LENIENT)
    catalogue = movielens.read_catalogue(folder, validation)
    request = movielens.ratings_request(folder, catalogue, validation, of_ratings(LENIENT))
    job = intake.Job(request.contract, str(output), str(output / "r"), np.arange(1, 12), validation.ids, rated=True)
    counted, rejected = taking.stage(request, validation, job, starting)
    return SimpleNamespace(
        files=len([*(output / staged_ratings.RATINGS).iterdir()]),
        read=(validation.files, validation.rows, validation.used, validation.newest),
        counts=(counted.counts.tolist(), counted.half_stars, counted.in_order, rejected),
        rows=ds.dataset(output / staged_ratings.RATINGS).to_table().to_pylist(),
        rejects=ds.dataset(output / "r").to_table().to_pylist() if (output / "r").exists() else [],
    )


@pytest.mark.parametrize("write", [with_rejects, written_in_turns])
@pytest.mark.parametrize("as_location", [lambda path: path, lambda path: f"file://{path}"], ids=["path", "URI"])
def test_tasks_stage_what_one_process_stages(tmp_path, starting, monkeypatch, write, as_location):
    location = as_location(write(tmp_path / "data"))
    at_once = take(location, tmp_path / "once", None)
    monkeypatch.setattr(pieces, "TEXT_BYTES", 400)
    monkeypatch.setattr(pieces, "PARQUET_BYTES", 1)
    by_tasks = take(location, tmp_path / "tasks", starting)
    assert (at_once.files, by_tasks.files) == (1, 3 if write is written_in_turns else 5)
    assert at_once.rejects
    at_once.files = by_tasks.files
    assert by_tasks == at_once


def test_a_share_that_is_refused_ends_the_taking(tmp_path, starting, monkeypatch):
    """In the sentence that one reading of the whole table ends with, and without any task."""
    folder = with_ratings(tmp_path, HEADER + b"1,1,4.0,7\n" * 9 + b"1,1,4.0," + b"1" * 300 + b"\n1,1,4.0,7\n")
    monkeypatch.setattr("recmodel.data.lines._BLOCK_BYTES", 100)
    monkeypatch.setattr(pieces, "TEXT_BYTES", 130)
    monkeypatch.setattr(taking, "_each", None)
    with pytest.raises(InputRejected, match="ratings.csv has a line of more than"):
        take(folder, tmp_path / "o", starting)


def test_a_file_that_another_machine_does_not_see_or_sees_differently_is_left(tmp_path):
    folder = with_rejects(tmp_path)
    part = pieces.Part(str(folder / "ratings.csv"), "ratings.csv", (folder / "ratings.csv").stat().st_size)
    for other in (replace(part, size=part.size - 1), replace(part, location=f"{part.location}.gone")):
        assert intake.take_if_seen(intake.Work(0, [pieces.TextPiece(other)]), None) is None
    assert storage.entry(part.location).size == part.size
