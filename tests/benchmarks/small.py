"""A cut of the sample's real ratings, with which whole nights can be repeated, and what readers find afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from expand import read_real

from recmodel import schemas as c
from recmodel import storage

FORMATS = ("linked", "delta")
LATEST = "latest"
View = dict[tuple[str, str], pa.Table]  # rows by table and run_date, or by table and `LATEST`

# Times, the name of a version, which has a time in it, and metrics, which have seconds in them.
_VARY = (c.SCORED_AT, c.MODEL_VERSION, "created_at", "metrics")


def write_cut(folder: Path, users: int, movies: int, share: float = 1.0) -> int:
    """Write a MovieLens folder: the sample's first users and most rated movies; return the number of ratings.

    Args:
        share: of each user's ratings, which ones: the first so many.
    """
    catalogue, ratings = read_real("sample")
    rows = pa.table(ratings).select([c.USER_ID, c.MOVIE_ID, c.RATING, c.TIMESTAMP]).to_pandas()
    rows = rows[rows[c.USER_ID] <= users]
    rows = rows[rows[c.MOVIE_ID].isin(rows[c.MOVIE_ID].value_counts().index[:movies])]
    of_user = rows.groupby(c.USER_ID)
    rows = rows[of_user.cumcount() < (of_user[c.RATING].transform("size") * share).clip(lower=1)]
    some = catalogue.to_pandas()
    some = some[some[c.MOVIE_ID].isin(rows[c.MOVIE_ID])]
    folder.mkdir(parents=True, exist_ok=True)
    rows.set_axis(["userId", "movieId", "rating", "timestamp"], axis=1).to_csv(folder / "ratings.csv", index=False)
    titles = some[[c.MOVIE_ID, c.TITLE, c.GENRES]].set_axis(["movieId", "title", "genres"], axis=1)
    titles.to_csv(folder / "movies.csv", index=False)
    return len(rows)


def location(folder: Path, kind: str) -> str:
    """Return an output in a folder that has the format: a path, or a URI for Delta tables."""
    return str(folder) if kind == "linked" else f"file://{folder}"


def published(output: str) -> list[str]:
    """Return the dates of the runs that have a run.json, as a reader finds them."""
    folder = Path(output.removeprefix("file://"), c.RUNS_TABLE)
    return sorted(file.parent.name.removeprefix("run_date=") for file in folder.glob("run_date=*/run.json"))


def view(output: str) -> View:
    """Return all rows that readers find, by other means than those of this package."""
    found: View = {}
    folder = Path(output.removeprefix("file://"))
    for table in c.TABLES:
        if storage.is_uri(output):
            if deltalake.DeltaTable.is_deltatable(f"{output}/{table}"):
                rows = deltalake.DeltaTable(f"{output}/{table}").to_pyarrow_table()
                for day in rows.column(c.RUN_DATE).unique().to_pylist():
                    of_day = rows.filter(pa.compute.equal(rows.column(c.RUN_DATE), pa.scalar(day)))
                    found[table, str(day)] = _plain(of_day.drop_columns([c.RUN_DATE]))
        else:
            for partition in sorted((folder / table).glob("run_date=*")):
                found[table, partition.name.removeprefix("run_date=")] = _plain(_read(partition))
            if (folder / LATEST / table).exists():
                found[table, LATEST] = _plain(_read(folder / LATEST / table))
    return found


def latest(output: str) -> str | None:
    """Return the date of the run that `latest` shows."""
    file = Path(output.removeprefix("file://"), LATEST, c.RUNS_TABLE, "run.json")
    return str(json.loads(file.read_text())[c.RUN_DATE]) if file.is_file() else None


def differing(one: pa.Table | None, other: pa.Table | None) -> int:
    """Return how many rows are in one table only; both come from `view`, None is a table without rows."""
    if one is None or other is None:
        return sum(table.num_rows for table in (one, other) if table is not None)
    if one.equals(other):
        return 0
    first, second = ({repr(row) for row in table.to_pylist()} for table in (one, other))  # rows may hold lists
    return max(len(first ^ second), abs(one.num_rows - other.num_rows), 1)


def dates_of(found: View) -> set[str]:
    """Return the dates that have rows in any table."""
    return {day for _, day in found if day != LATEST}


def _read(folder: Path) -> pa.Table:
    files = sorted(folder.resolve().glob("*.parquet"))
    tables = [pq.read_table(file, partitioning=None) for file in files]
    return pa.concat_tables(tables) if tables else ds.dataset(folder, format="parquet").to_table()


def _plain(rows: pa.Table) -> pa.Table:
    """The rows without what may differ when a run is repeated, in a fixed order."""
    rows = rows.drop_columns([name for name in _VARY if name in rows.schema.names])
    order = [name for name in rows.schema.names if not pa.types.is_nested(rows.schema.field(name).type)]
    return rows.sort_by([(name, "ascending") for name in order]).replace_schema_metadata(None).combine_chunks()
