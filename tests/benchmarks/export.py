"""Export a run as large as that of MovieLens 25M to PostgreSQL and to Redis, on temporary servers of this machine.

    ./submit.sh benchmark export

The lists are made up: ten movies and five in reserve for each user, from a catalogue in which few movies are in many
lists; each movie has twenty similar ones. PostgreSQL runs with its defaults, Redis with its log (appendonly), which
is what replicas follow. Needs both: apt install postgresql redis-server.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import harness
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from recmodel import schemas as c
from recmodel.pipeline import export, to_redis
from recmodel.progress import Stages
from recmodel.tables.output import open_output

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import databases
from support.processes import ROOT
from support.runs import DAY, record

ENTRIES, SIMILAR, PARTS = 15, 20, 20


@click.command(help=__doc__)
@click.option("--users", default=162_541, show_default=True)
@click.option("--movies", default=62_423, show_default=True)
@click.option("--changed", default=0.05, show_default=True, help="Share of the users whose list is another on day 2.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Also write what was measured.")
def main(users: int, movies: int, changed: float, as_json: Path | None) -> None:
    """Measure each export in a process of its own, so that its memory is its own."""
    to_redis.GRACE = 0.0
    rows: list[harness.Row] = []
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        for day in range(2):
            publish(scratch, users, movies, day, changed)
        with databases.postgresql(fsync="on") as address:
            os.environ["PGPASSWORD"] = databases.PASSWORD
            for part, day, only, goal in (
                ("all, into an empty schema", 0, False, "<= 30"),
                ("all, next to an earlier run", 1, False, ""),
                ("back, --changed-only", 0, True, ""),
                ("again", 0, False, ""),
            ):
                rows += measured(f"PostgreSQL, {part}", scratch, day, address, only, goal)
            rows += read("PostgreSQL", postgresql_readers(address), users)
        with databases.redis(dir=scratch, appendonly="yes", **{"auto-aof-rewrite-percentage": 0}) as address:
            os.environ["REDISCLI_AUTH"] = databases.PASSWORD
            for part, day, only in (
                ("all, into an empty server", 0, False),
                ("all, next to an earlier run", 1, False),
                ("back, --changed-only", 0, True),
                ("again", 0, False),
            ):
                rows += measured(f"Redis, {part}", scratch, day, address, only, "")
            rows += read("Redis", redis_readers(address), users)
    harness.show(
        rows, f"Export of {users:,} lists of {ENTRIES}, {movies:,} movies with {SIMILAR} similar ones", as_json
    )


def measured(part: str, output: str, day: int, address: str, only: bool, goal: str) -> list[harness.Row]:
    before = of_the_server(address)
    seconds, cores, mib, shown = harness.in_own_process(run_once, output, day, address, only)
    of_server, written = (new - old for new, old in zip(of_the_server(address), before, strict=True))
    click.echo(f"{part}: {shown}")
    return [
        harness.Row(part, seconds, "s", goal),
        harness.Row(f"{part}: core seconds of the export", cores, "s"),
        harness.Row(f"{part}: core seconds of the server", of_server, "s"),
        *([] if not written else [harness.Row(f"{part}: written to its log", written, "MiB")]),
        harness.Row(f"{part}: largest memory of the export", mib, "MiB"),
    ]


def of_the_server(address: str) -> tuple[float, float]:
    """Return user and system seconds of a server so far, and MiB of its log; PostgreSQL's processes must have ended."""
    if address.startswith("redis"):
        with redis.Redis.from_url(address, password=databases.PASSWORD) as client:
            used = client.info()
        return used["used_cpu_user"] + used["used_cpu_sys"], used["aof_current_size"] / 2**20
    with psycopg.connect(address) as connection:
        parent = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().split()[3]
        ((written,),) = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchall()
    ticks = sum(map(int, Path(f"/proc/{parent}/stat").read_text().split()[13:17]))
    return ticks / os.sysconf("SC_CLK_TCK"), float(written) / 2**20


def run_once(output: str, day: int, address: str, only: bool) -> tuple[float, float, float, str]:
    to_redis.GRACE = 0.0
    stages = Stages()
    started = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF)
    done = export.export(output, DAY + timedelta(day), export.target(address), stages, changed_only=only)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = f"{done.rows:,} rows, {done.changed:,} written, {done.removed:,} removed; {stages.seconds}"
    return time.perf_counter() - started, cores, after.ru_maxrss / 1024, said


def read(kind: str, readers: dict[str, Callable[[int], object]], users: int) -> list[harness.Row]:
    """Measure how long it takes to read one user's list, over one connection, of users at random."""
    rows = []
    for name, query in readers.items():
        taken = []
        for user in np.random.RandomState(0).randint(1, users + 1, 2000).tolist():
            started = time.perf_counter()
            assert query(user), user
            taken.append(1000 * (time.perf_counter() - started))
        median, slow = np.percentile(taken, [50, 99])
        rows += [harness.Row(f"{kind}, {name}: median of a read", median, "ms"),
                 harness.Row(f"{kind}, {name}: 99 % of reads take at most", slow, "ms")]  # fmt: skip
    return rows


def postgresql_readers(address: str) -> dict[str, Callable[[int], object]]:
    connection = psycopg.connect(address, autocommit=True)
    connection.execute("CREATE TABLE bought (user_id BIGINT, movie_id BIGINT, PRIMARY KEY (user_id, movie_id))")
    connection.execute("CREATE TABLE products AS SELECT movie_id FROM recmodel.movies")
    connection.execute("ALTER TABLE products ADD PRIMARY KEY (movie_id)")
    connection.execute("ANALYZE products")
    serve = (ROOT / "conf/sql/serve_postgresql.sql").read_text().replace("= 42", "= %s")
    serve = "\n".join(line for line in serve.splitlines() if not line.startswith("--"))
    one = "SELECT recommendations, valid_until FROM recmodel.lists WHERE user_id = %s"
    return {
        "lists": lambda user: connection.execute(one, [user]).fetchall(),
        "serve_postgresql.sql": lambda user: connection.execute(serve, [user]).fetchall(),
    }


def redis_readers(address: str) -> dict[str, Callable[[int], object]]:
    client = redis.Redis.from_url(address, password=databases.PASSWORD, decode_responses=True)

    def two_steps(user: int) -> object:
        current = client.get("recmodel:current")
        return client.mget(f"{current}:run", f"{current}:user:{user}")[1]

    return {"in two steps": two_steps}


def publish(output: str, users: int, movies: int, day: int, changed: float) -> None:
    """Publish a run of made-up lists; on the second day some users have others."""
    run_date = DAY + timedelta(day)
    staged = open_output(output).stage(run_date, "made up")
    for part, some in enumerate(np.array_split(np.arange(1, users + 1), PARTS)):
        with file(staged.table(c.LISTS_TABLE), part) as sink:
            pq.write_table(lists(some, movies, day, changed), sink, row_group_size=1 << 14, compression="zstd")
    movie = np.arange(1, movies + 1)
    others = {
        c.MOVIES_TABLE: {
            c.MOVIE_ID: movie, c.TITLE: [f"The movie of {m} (19{m % 90 + 10})" for m in movie],
            c.GENRES: [["Comedy", "Drama", "Film-Noir"][: m % 4] for m in movie], c.YEAR: movie % 90 + 1910,
            c.IMDB_ID: [f"{m:07d}" for m in movie], c.TMDB_ID: movie, c.RATINGS_COUNT: movie % 999 + day,
            c.MEAN_RATING: movie % 5 + 0.25, c.ALLOWED: movie % 20 > 0, c.STATUS: ["known"] * movies,
        },
        c.SIMILAR_TABLE: {
            c.MOVIE_ID: np.repeat(movie, SIMILAR), c.RANK: np.tile(np.arange(1, SIMILAR + 1), movies),
            c.SIMILAR_MOVIE_ID: (np.repeat(movie, SIMILAR) * 7 + np.tile(np.arange(SIMILAR), movies)) % movies + 1,
            c.SCORE: np.random.RandomState(0).rand(movies * SIMILAR),
        },
    }  # fmt: skip
    for table, columns in others.items():
        schema = c.TABLES[table]
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
        with file(staged.table(table), 0) as sink:
            pq.write_table(pa.table(arrays, schema=schema), sink, row_group_size=1 << 16, compression="zstd")
    for table in set(c.TABLES) - {c.LISTS_TABLE, *others}:
        with file(staged.table(table), 0) as sink:
            pq.write_table(c.TABLES[table].empty_table(), sink)
    staged.publish(record(run_date, run_id=str(day), users=users), 90)


def lists(users: np.ndarray, movies: int, day: int, changed: float) -> pa.Table:
    random = np.random.RandomState(users[0])
    shape = len(users), ENTRIES
    movie = (movies * random.rand(*shape) ** 4).astype(np.int64) + 1
    score = -np.sort(-random.rand(*shape).astype(np.float32))
    rating = (1 + 4 * random.rand(*shape)).astype(np.float32)
    if day:
        movie[random.rand(len(users)) < changed, 0] = 1
    entry = c.LIST.field(c.RECOMMENDATIONS).type.value_type
    source = pa.repeat("model", movie.size)
    entries = pa.StructArray.from_arrays(
        [pa.array(movie.ravel()), pa.array(score.ravel()), pa.array(rating.ravel()), source], fields=[*entry]
    )
    offsets = pa.array(np.arange(0, movie.size + 1, ENTRIES, dtype=np.int32))
    until = datetime(2026, 2, 3, tzinfo=timezone.utc) + timedelta(day)
    columns = [
        pa.array(users), pa.ListArray.from_arrays(offsets, entries).cast(c.LIST.field(c.RECOMMENDATIONS).type),
        pa.repeat("20260130-030000-default", len(users)),
        pa.repeat(pa.scalar(until, c.LIST.field(c.VALID_UNTIL).type), len(users)),
    ]  # fmt: skip
    return pa.table(columns, schema=c.LIST)


@contextmanager
def file(folder: str, part: int) -> Iterator[Path]:
    Path(folder).mkdir(parents=True, exist_ok=True)
    yield Path(folder, f"part-{part:05d}.parquet")


if __name__ == "__main__":
    main()
