"""Read without a pause while runs are published, withdrawn and erased, and look for errors and for mixed runs.

    ./submit.sh benchmark readers --seconds 30

One process publishes the same two dates again and again, each time with rows that name the publication, withdraws one
of them, and forgets a user. Meanwhile DuckDB, PyArrow and delta-rs (for Delta tables), each in a process of its own,
and Spark if it is asked for, read a whole date of two tables: every row must be of one publication, and as many as that
one had. A linked folder is resolved first, as `conf/sql/README.md` advises; who is overtaken by two publications finds
files gone, and reads again: that is counted, and is no error. A date that is withdrawn has no rows.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import click
import deltalake
import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import small
from rich.console import Console
from rich.table import Table

from recmodel import schemas as c
from recmodel.tables.base import Output
from recmodel.tables.erasing import Users
from recmodel.tables.output import open_output

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.runs import record, write_part

DAYS = [date(2026, 1, 30), date(2026, 1, 31)]
PARTS = 4  # files in each table, of two users each
_GONE = ("No such file", "FileNotFound", "NoSuchFile", "does not exist", "AccessDenied", "PATH_NOT_FOUND",
         "UNABLE_TO_INFER", "No files found", "FileNotFoundError")  # fmt: skip


@click.command(help=__doc__)
@click.option("--seconds", default=30.0, show_default=True, help="In each format.")
@click.option("--format", "formats", type=click.Choice(small.FORMATS), multiple=True, default=small.FORMATS)
@click.option("--spark", is_flag=True, help="Read with Spark too (linked folders).")
def main(seconds: float, formats: Sequence[str], spark: bool) -> None:
    """Run readers and the writer, and print a row for each reader; the exit code is 1 if anything went wrong."""
    table = Table()
    for heading in (
        "format",
        "reader",
        "reads",
        "publications seen",
        "nothing there",
        "begun again",
        "errors",
        "mixed",
    ):
        table.add_column(heading, justify="right" if heading != "reader" else "left")
    bad = 0
    for kind in formats:
        with tempfile.TemporaryDirectory(prefix="readers-") as scratch:
            for name, counted, labels, complaints in _all(
                small.location(Path(scratch, "o"), kind), kind, seconds, spark
            ):
                counts = [counted[key] for key in ("reads", "nothing", "again", "errors", "mixed")]
                bad += counted["errors"] + counted["mixed"]
                table.add_row(kind, name, str(counts[0]), str(labels), *map(str, counts[1:]))
                for complaint in complaints:
                    click.echo(f"{kind}, {name}: {complaint}")
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    sys.exit(bool(bad))


def _publish(output: Output, label: str, day: date) -> None:
    """Publish a run whose rows name it, and that has no rejects."""
    run = output.stage(day, "key")
    for table in c.TABLES:
        for part in range(PARTS):
            rows = pa.table({c.USER_ID: pa.array([2 * part + 2, 2 * part + 1], pa.int64()), "label": [label, label]})
            write_part(run, table, part, c.REJECTS.empty_table() if table == c.REJECTS_TABLE else rows)
    run.publish(record(day, model_version=label), 90)


def _all(output: str, kind: str, seconds: float, spark: bool) -> list[tuple[str, Counter, int, list[str]]]:
    for day in DAYS:
        _publish(open_output(output), "0", day)
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    names = {"linked": ["duckdb", "pyarrow", *["spark"] * spark], "delta": ["delta-rs", "duckdb of delta-rs"]}[kind]
    readers = [context.Process(target=_read, args=(name, output, stop, results), daemon=True) for name in names]
    for reader in readers:
        reader.start()
    for _ in readers:
        results.get()  # it has begun
    rounds = _write(output, seconds)
    stop.set()
    found = [results.get() for _ in readers]
    for reader in readers:
        reader.join()
    click.echo(f"{kind}: {rounds} rounds of two publications, a withdrawal and an erasure")
    return found


def _write(output: str, seconds: float) -> int:
    published, until, number = open_output(output), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1
        with published.locked():
            for day in DAYS:
                _publish(published, f"{number}", day)
            whom = Users((1,))
            published.erase(whom, published.find(whom), 0.2)
            published.withdraw(DAYS[0])
    return number


def _read(name: str, output: str, stop, results) -> None:
    query, counted, labels, complaints = _query(name, output), Counter(), set(), []
    results.put(name)
    while not stop.is_set():
        for table in (c.RECOMMENDATIONS_TABLE, c.USERS_TABLE):
            for day in DAYS:
                try:
                    rows = query(table, day)
                except Exception as error:  # noqa: BLE001 - each reader has its own
                    kind = "again" if any(word in f"{type(error).__name__} {error}" for word in _GONE) else "errors"
                    counted[kind] += 1
                    if kind == "errors" and len(complaints) < 3:
                        complaints.append(f"{type(error).__name__}: {error}"[:300])
                    continue
                counted["reads"] += 1
                counted["nothing"] += not rows
                labels |= set(rows)
                if rows and (len(set(rows)) != 1 or len(rows) not in (2 * PARTS, 2 * PARTS - 1)):  # -1: is forgotten
                    counted["mixed"] += 1
                    complaints.append(f"{table} of {day}: {rows}")
    results.put((name, counted, len(labels), complaints))


def _query(name: str, output: str) -> Callable[[str, date], list[str]]:
    def resolved(table: str, day: date) -> str:
        return os.path.realpath(f"{output}/{table}") + f"/run_date={day}"

    def by_pyarrow(table: str, day: date) -> list[str]:
        return ds.dataset(resolved(table, day), format="parquet").to_table(columns=["label"])["label"].to_pylist()

    def by_duckdb(table: str, day: date) -> list[str]:
        with duckdb.connect() as connection:
            rows = connection.execute("select label from read_parquet(?)", [f"{resolved(table, day)}/*.parquet"])
            return [label for (label,) in rows.fetchall()]

    def by_delta(table: str, day: date) -> list[str]:
        rows = deltalake.DeltaTable(f"{output}/{table}")
        return rows.to_pyarrow_table([(c.RUN_DATE, "=", str(day))], columns=["label"])["label"].to_pylist()

    def by_duckdb_of_delta(table: str, day: date) -> list[str]:
        rows = deltalake.DeltaTable(f"{output}/{table}").to_pyarrow_dataset()  # noqa: F841 - named in the query
        with duckdb.connect() as connection:
            found = connection.execute("select label from rows where run_date = ?", [day])
            return [label for (label,) in found.fetchall()]

    if name != "spark":
        return {"duckdb": by_duckdb, "pyarrow": by_pyarrow, "delta-rs": by_delta}.get(name, by_duckdb_of_delta)
    from recmodel.spark import session

    spark = session.start("readers")

    def by_spark(table: str, day: date) -> list[str]:
        return [row.label for row in spark.read.parquet(resolved(table, day)).select("label").collect()]

    return by_spark


if __name__ == "__main__":
    main()
