"""Tables: a run is written aside, then moved to where readers look; and the reading of what was published.

OUTPUT/recommendations/run_date=YYYY-MM-DD/*.parquet
OUTPUT/predicted_ratings/run_date=YYYY-MM-DD/*.parquet
OUTPUT/rejects/run_date=YYYY-MM-DD/*.parquet
OUTPUT/runs/run_date=YYYY-MM-DD/run.json       there last, and only while the run is complete
OUTPUT/_staging/…                              a run under way; Spark, Hive and Trino skip names with _
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recmodel import columns as c
from recmodel.errors import ScoringFailed

_STAGING = "_staging"
_DATA_TABLES = (c.RECOMMENDATIONS_TABLE, c.PREDICTED_RATINGS_TABLE, c.REJECTS_TABLE)
_RUN_FILE = "run.json"


@dataclass(frozen=True)
class Staged:
    """A run that is being written: a folder beside the tables, on the same file system."""

    output: Path
    folder: Path
    run_date: date

    def table(self, name: str) -> Path:
        """Where the files of this run's part of a table are written."""
        return self.folder / name

    def scratch(self, name: str) -> Path:
        """A place for what the run needs only while it is under way."""
        folder = self.folder / "scratch"
        folder.mkdir(exist_ok=True)
        return folder / name

    def publish(self, run: dict[str, Any]) -> None:
        """Moves every table of the run into place, and `run` as its run.json last.

        An earlier run of the same date is moved aside first, and back if anything fails.

        Raises:
            ScoringFailed: a move failed; what was published before is in place again.
        """
        runs = self.table(c.RUNS_TABLE)
        runs.mkdir(parents=True)
        (runs / _RUN_FILE).write_text(json.dumps(run, indent=2, default=str) + "\n", encoding="utf-8")
        replaced = self.scratch("replaced")
        replaced.mkdir()
        undo: list[tuple[Path, Path]] = []

        def move(source: Path, target: Path) -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            undo.append((target, source))

        try:
            names = (c.RUNS_TABLE, *_DATA_TABLES)
            for name in names:  # run.json goes first, so that a half-replaced run never looks complete
                if self._target(name).exists():
                    move(self._target(name), replaced / name)
            for name in reversed(names):
                if self.table(name).exists():
                    move(self.table(name), self._target(name))
        except OSError as error:
            for target, source in reversed(undo):
                target.rename(source)
            raise ScoringFailed(
                f"the run could not be moved into place ({error}); the last one still stands"
            ) from error

    def _target(self, name: str) -> Path:
        return self.output / name / f"{c.RUN_DATE}={self.run_date:%Y-%m-%d}"


@contextmanager
def staging(output: Path, run_date: date) -> Iterator[Staged]:
    """A folder for a run under way, gone again at the end, whatever happens.

    Raises:
        ScoringFailed: it cannot be made.
    """
    try:
        parent = output / _STAGING
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{run_date:%Y-%m-%d}-", dir=parent))
        folder.chmod(0o755)  # executors may run as another user
    except OSError as error:
        raise ScoringFailed(f"cannot write below {output} ({error}); choose another --output") from error
    try:
        yield Staged(output, folder, run_date)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_dates(output: Path) -> list[date]:
    """The dates of all complete runs, ascending."""
    files = (output / c.RUNS_TABLE).glob(f"{c.RUN_DATE}=*/{_RUN_FILE}")
    return sorted(date.fromisoformat(file.parent.name.partition("=")[2]) for file in files)


def read_run(output: Path, run_date: date) -> dict[str, Any]:
    """The run.json of a published run."""
    path = output / c.RUNS_TABLE / f"{c.RUN_DATE}={run_date:%Y-%m-%d}" / _RUN_FILE
    return json.loads(path.read_text(encoding="utf-8"))


def recommendations_of(output: Path, run_date: date, user_ids: list[int]) -> pa.Table:
    """The published recommendations of some users, by user_id and rank."""
    rows = _recommendations(output, run_date).to_table(filter=pc.field(c.USER_ID).isin(user_ids))
    return rows.sort_by([(c.USER_ID, "ascending"), (c.RANK, "ascending")])


def first_users(output: Path, run_date: date, count: int) -> list[int]:
    """Some users of a run, the first of its first file."""
    head = _recommendations(output, run_date).head(count * 1000, columns=[c.USER_ID])
    return pc.unique(head.column(c.USER_ID)).to_pylist()[:count]


def user_range(output: Path, run_date: date) -> tuple[int, int] | None:
    """The smallest and the largest user_id of a run; None if it has no rows."""
    found = pc.min_max(_recommendations(output, run_date).to_table(columns=[c.USER_ID]).column(c.USER_ID)).as_py()
    return None if found["min"] is None else (found["min"], found["max"])


def _recommendations(output: Path, run_date: date) -> ds.Dataset:
    return ds.dataset(output / c.RECOMMENDATIONS_TABLE / f"{c.RUN_DATE}={run_date:%Y-%m-%d}", format="parquet")
