"""The queries of conf/sql, each on each engine, against plain Python on what was published; and how little they read.

pip installs no Trino: its statements are parsed as its dialect by sqlglot, and run on DuckDB in translation.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date, datetime, timezone
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean

import deltalake
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlglot
from support.processes import ROOT
from support.runs import record, write_part

from recmodel import schemas as c
from recmodel import storage
from recmodel.tables.output import open_output

SQL = ROOT / "conf/sql"
QUERIES = sorted(
    path.stem for path in SQL.glob("*.sql") if not path.stem.startswith(("tables-", "pruning", "serve_postgresql"))
)
OF_TABLES = [name for name in QUERIES if name != "runs"]
DAYS = [date(2026, 1, 28), date(2026, 1, 29), date(2026, 1, 30), date(2026, 2, 1)]
# The second run was made later, as of the end of its date.
SCORED = [datetime(2026, 1, 28, 3), datetime(2026, 2, 2, 5), datetime(2026, 1, 30, 3), datetime(2026, 2, 1, 3)]
VERSIONS, POLICIES = ["v0", "v1", "v1", "v1"], ["rating", "rating", "blend", "rating"]  # of the days
ENTRY = (c.MOVIE_ID, c.SCORE, c.PREDICTED_RATING, c.SOURCE)
FIRST_COLUMNS = c.RECOMMENDATION.names[:8]  # of the first version; all others came later

CAME_LATER = (c.MOVIES_TABLE, c.LISTS_TABLE, c.MODELS_TABLE, c.SIMILAR_TABLE, c.HITS_TABLE)


def rows_of(day: int) -> list[dict]:
    """A run's recommendations: users and movies come and go from day to day, and some users get what is popular."""
    rows = []
    for user in range(30 + day, 60 + 2 * day):
        movies = [1190 + (user * 7 + step * (3 + day * (user % 2)) + day * (user % 3)) % 25 for step in range(5)]
        for rank, movie in enumerate(dict.fromkeys(movies), start=1):
            by_model = user % 10 != 5
            rows.append(
                {
                    c.USER_ID: user, c.RANK: rank, c.MOVIE_ID: movie,
                    c.TITLE: f"It's \"{movie}\", Æon (19{movie % 90})",
                    c.RETRIEVAL_SCORE: 1 / (rank + user % 4) if by_model else None,
                    c.SCORE: 10 / rank if by_model else None,
                    c.PREDICTED_RATING: 0.5 + (user * 13 + movie * 5 + day) % 10 / 2.25,
                    c.SOURCE: "model" if by_model else "popularity", c.MODEL_VERSION: VERSIONS[day],
                    c.SCORED_AT: SCORED[day].replace(tzinfo=timezone.utc),
                }
            )  # fmt: skip
    return rows


RUNS = [rows_of(day) for day in range(4)]
THEN, OTHER, NOW = RUNS[1:]  # the newest, a run by another policy before it, and the one to compare it with
PARTIAL = [row | {c.USER_ID: user} for user in (42, 99) for row in RUNS[1] if row[c.USER_ID] == 31]
MOVIES = [
    {
        c.MOVIE_ID: movie, c.TITLE: f"It's \"{movie}\", Æon (19{movie % 90})",
        c.GENRES: [["Drama"], ["Comedy", "Film-Noir"], []][movie % 3],
        c.YEAR: None if movie % 11 == 10 else 1900 + movie % 90, c.IMDB_ID: f"{movie:07d}" if movie % 5 else None,
        c.TMDB_ID: movie + 5 if movie % 5 else None, c.RATINGS_COUNT: movie % 8 * 3, c.MEAN_RATING: 3.5,
        c.ALLOWED: movie % 7 != 3, c.STATUS: {4: "new", 5: "delisted"}.get(movie % 10, "known"),
    }
    for movie in range(1190, 1220)
]  # fmt: skip
USERS = [{c.USER_ID: user, c.RATINGS_COUNT: user + 1, c.MOVIES_COUNT: user} for user in range(35, 70)]
# (user, movie, rating, when): some of what was recommended, before and after it was.
RATED = [
    (row[c.USER_ID], row[c.MOVIE_ID], 1 + row[c.USER_ID] % 4, datetime(2026, 1, 29 + row[c.RANK] % 2, 12))
    for row in RUNS[0]
    if row[c.RANK] in (2, 3)
]


RATINGS = pa.table(list(zip(*RATED, strict=True)), [c.USER_ID, c.MOVIE_ID, c.RATING, "rated_at"])


def lists_of(rows: list[dict]) -> list[dict]:
    """The table lists of these rows, with a reserve entry."""
    lists: dict[int, list] = {}
    for row in rows:
        lists.setdefault(row[c.USER_ID], []).append({name: row[name] for name in ENTRY})
    for entries in lists.values():
        entries.append(entries[0] | {c.MOVIE_ID: 1219})
    return [
        {c.USER_ID: user, c.RECOMMENDATIONS: entries, c.MODEL_VERSION: rows[0][c.MODEL_VERSION],
         c.VALID_UNTIL: datetime(2026, 2, 3, tzinfo=timezone.utc)}
        for user, entries in lists.items()
    ]  # fmt: skip


SIMILAR = [
    {c.MOVIE_ID: movie, c.RANK: rank, c.SIMILAR_MOVIE_ID: movie + rank, c.SCORE: 1 / rank}
    for movie in (1195, 1196)
    for rank in (3, 1, 2)
]

HITS = [
    {c.SCORED_ON: day, c.MODEL_VERSION: version, c.RANK_BY: policy, c.SOURCE: source, "segment": segment,
     "users_back": n + 4, "users_measured": n + 3, c.RATINGS_COUNT: 30, "hits": n % 3, "liked_hits": n % 2,
     "recall_10": n / 16, "ndcg_10": n / 20, "popular_ndcg_10": n / 30}
    for n, (day, version, policy, (source, segment)) in enumerate(
        (*of_day, of_users)
        for of_day in zip(DAYS, VERSIONS, POLICIES, strict=True)
        for of_users in (("model", "1-4"), ("model", "5-19"), ("popularity", "1-4"))
    )
]  # fmt: skip


def hits_by(*names: str) -> list[tuple[tuple, list[dict]]]:
    groups: dict[tuple, list[dict]] = {}
    for row in HITS:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return sorted(groups.items())


def over_users(rows: list[dict], name: str) -> float:
    return sum(row[name] * row["users_measured"] for row in rows) / sum(row["users_measured"] for row in rows)


def total(rows: list[dict], name: str) -> int:
    return sum(row[name] for row in rows)


def models_of(day: int) -> list[dict]:
    return [
        {c.MODEL_VERSION: name, "used": name == VERSIONS[day],
         c.RANK_BY: POLICIES[day] if name == VERSIONS[day] else None,
         "current": name == "v1", "preset": "default", "train_rows": 100, "rmse": 0.75, "gate": "passed",
         "ndcg_10": 0.125,
         "baselines": [{"name": "popularity", "accuracy_at_100": 0.25}]}
        for name in ("v0", "v1")
    ]  # fmt: skip


def publish(output, numbers=range(4), *, partial=False) -> None:
    """The runs, in two files each. The oldest is of a version that had only the first columns.

    Or a partial run, of the second day, of two users: one whom full runs have, and another.
    """
    for number in [1] if partial else numbers:
        rows = pa.Table.from_pylist(PARTIAL if partial else RUNS[number], c.RECOMMENDATION)
        rows = rows.select(FIRST_COLUMNS) if number == 0 else rows
        middle = pc.less(rows.column(c.USER_ID), 45)
        others = {
            c.PREDICTED_RATINGS_TABLE: [{c.USER_ID: 1, c.MOVIE_ID: 2, c.PREDICTED_RATING: 3.5, c.MODEL_VERSION: "v"}],
            c.REJECTS_TABLE: [{"file": "f", "row": 1, "column": "c", "value": "v", "reason": "r"}],
            c.USERS_TABLE: USERS,
            c.MOVIES_TABLE: MOVIES,
            c.LISTS_TABLE: lists_of(PARTIAL if partial else RUNS[number]),
            c.MODELS_TABLE: models_of(number),
            c.SIMILAR_TABLE: SIMILAR,
            c.HITS_TABLE: HITS,
        }
        staged = open_output(output, partial=partial).stage(DAYS[number], "key")
        for part, some in enumerate((rows.filter(middle), rows.filter(pc.invert(middle)))):
            write_part(staged, c.RECOMMENDATIONS_TABLE, part, some)
        for table, some in others.items():
            rows = [] if number == 0 and table in CAME_LATER else some
            write_part(staged, table, 0, pa.Table.from_pylist(rows, c.TABLES[table]))
        run = record(
            DAYS[number], model_version=VERSIONS[number], rank_by=POLICIES[number], users=30, rows_rejected=1,
            movies=100,
            recommendations={"distinct_movies": len(lists_with(RUNS[number])), "rows": 3}, all_users=not partial,
        )  # fmt: skip
        staged.publish(run, 90)


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("sql") / "output"
    publish(output)
    publish(output, partial=True)
    return output


# -- what is right, in plain Python ----------------------------------------------------------------------------------


LIST = (c.USER_ID, c.RANK, c.MOVIE_ID, c.TITLE, c.RETRIEVAL_SCORE, c.PREDICTED_RATING, c.SOURCE)
USER_HISTORY = (*LIST[1:4], c.PREDICTED_RATING, c.SOURCE, c.MODEL_VERSION)
AUDIENCE = (c.USER_ID, c.RANK, c.RETRIEVAL_SCORE, c.PREDICTED_RATING)
TITLES = {row[c.MOVIE_ID]: row[c.TITLE] for row in THEN + NOW}


def lists_with(rows: list[dict]) -> Counter:
    """Of each movie, in how many lists it is."""
    return Counter(row[c.MOVIE_ID] for row in rows)


def pairs(rows: list[dict]) -> dict:
    return {(row[c.USER_ID], row[c.MOVIE_ID]): row for row in rows}


def day_over_day() -> tuple:
    then, now = pairs(THEN), pairs(NOW)
    users_then, users_now = ({user for user, _ in chosen} for chosen in (then, now))
    both = then.keys() & now.keys()
    rating = c.PREDICTED_RATING
    return (
        len(users_now), len(users_now - users_then), len(users_then - users_now),
        len(now), len(now) - len(both), len(then) - len(both),
        fmean(row[rating] for row in NOW), fmean(row[rating] for row in THEN),
        fmean(now[pair][rating] - then[pair][rating] for pair in both), DAYS[3], DAYS[1],
    )  # fmt: skip


def changes() -> list[tuple]:
    then, now = pairs(THEN), pairs(NOW)
    found = [("entered", now[pair]) for pair in now.keys() - then.keys()]
    found += [("left", then[pair]) for pair in then.keys() - now.keys()]
    return sorted((row[c.USER_ID], what, row[c.RANK], row[c.MOVIE_ID], row[c.TITLE]) for what, row in found)


def most_recommended() -> list[tuple]:
    found = []
    for movie, n in lists_with(NOW).items():
        means = (fmean(row[name] for row in NOW if row[c.MOVIE_ID] == movie) for name in (c.RANK, c.PREDICTED_RATING))
        found.append((movie, TITLES[movie], n, *means))
    return sorted(found, key=lambda row: (-row[2], row[0]))


OF_MOVIE = {row[c.MOVIE_ID]: row for row in MOVIES}


def genres() -> list[tuple]:
    found = []
    for genre in ("Drama", "Comedy", "Film-Noir"):
        of_it = {row[c.MOVIE_ID] for row in MOVIES if genre in row[c.GENRES]}
        n = sum(row[c.MOVIE_ID] in of_it for row in NOW)
        ratings = [sum(row[c.RATINGS_COUNT] for row in some) for some in ([OF_MOVIE[i] for i in of_it], MOVIES)]
        found.append((genre, len(of_it), n, n / len(NOW), ratings[0] / ratings[1]))
    return sorted(found, key=lambda row: (-row[2], row[0]))


def decades() -> list[tuple]:
    by_decade: dict[int | None, list] = {}
    for row in NOW:
        year = OF_MOVIE[row[c.MOVIE_ID]][c.YEAR]
        by_decade.setdefault(year and year // 10 * 10, []).append(row)
    found = [
        (decade, len(rows), *(len({row[name] for row in rows}) for name in (c.MOVIE_ID, c.USER_ID)),
         fmean(row[c.PREDICTED_RATING] for row in rows))
        for decade, rows in by_decade.items()
    ]  # fmt: skip
    return sorted(found, key=lambda row: (-row[1], row[0] or 0))


def cold_users() -> list[tuple]:
    found = []
    for day, rows in zip(DAYS, RUNS, strict=True):
        users, cold = ({row[c.USER_ID] for row in rows if row[c.SOURCE] in of} for of in (SOURCES, ("popularity",)))
        found.append((day, len(users), len(cold), len(cold) / len(users)))
    return found


def model_versions() -> tuple:
    now, then = pairs(NOW), pairs(RUNS[0])
    movies = [len({movie for _, movie in of}) for of in (now, then)]
    means = [fmean(row[c.PREDICTED_RATING] for row in rows) for rows in (NOW, RUNS[0])]
    return ("v1", "v0", len(now), len(now.keys() & then.keys()), *movies, *means)


def held_since(movie: int | None = None) -> list[tuple[int, dict, int]]:
    """(run, row, rating) of what was recommended and rated after that; the first run does not say when it was made.

    What came after a run's date came after the run.
    """
    rated = {(user, of): (stars, when) for user, of, stars, when in RATED if movie in (None, of)}
    return [
        (run, row, rated[pair][0])
        for run, rows in enumerate(RUNS)
        for pair, row in pairs(rows).items()
        if pair in rated and ((run > 0 and rated[pair][1] > SCORED[run]) or rated[pair][1].date() > DAYS[run])
    ]


def rated_since() -> list[tuple]:
    by_user: dict[int, list] = {}
    for found in held_since(1196):
        by_user.setdefault(found[1][c.USER_ID], []).append(found)
    return [
        (user, len(rows), min(row[c.RANK] for _, row, _ in rows), DAYS[min(run for run, *_ in rows)], rows[0][2])
        for user, rows in sorted(by_user.items())
    ]


def predictions_and_ratings() -> list[tuple]:
    found = []
    for version in ("v0", "v1"):
        by_model = [
            (row[c.PREDICTED_RATING], stars)
            for run, row, stars in held_since()
            if row[c.SOURCE] == "model" and VERSIONS[run] == version
        ]
        errors = [(prediction - stars) ** 2 for prediction, stars in by_model]
        means = [fmean(column) for column in zip(*by_model, strict=True)]
        found.append((version, len(by_model), means[1], means[0], fmean(errors) ** 0.5))
    return found


def new_and_delisted() -> list[tuple]:
    found = [
        (row[c.STATUS], row[c.MOVIE_ID], row[c.TITLE], row[c.RATINGS_COUNT], lists_with(NOW)[row[c.MOVIE_ID]])
        for row in MOVIES
        if row[c.STATUS] != "known"
    ]
    return sorted(found, key=lambda row: (row[0], -row[4], row[1]))


def serve() -> list[tuple]:
    rated = {movie for user, movie, *_ in RATED if user == 42}
    (entries,) = (row[c.RECOMMENDATIONS] for row in lists_of(NOW) if row[c.USER_ID] == 42)
    return [
        (rank, entry[c.MOVIE_ID], OF_MOVIE[entry[c.MOVIE_ID]][c.TITLE], *(entry[name] for name in ENTRY[1:]), UNTIL)
        for rank, entry in enumerate(entries, start=1)
        if entry[c.MOVIE_ID] not in rated and OF_MOVIE[entry[c.MOVIE_ID]][c.ALLOWED]
    ][:10]


SOURCES, UNTIL = ("model", "popularity"), datetime(2026, 2, 3)
EXPECTED = {
    "genres": genres(),
    "decades": decades(),
    "cold_users": cold_users(),
    "user_history": [
        (day, *(row[name] for name in USER_HISTORY))
        for day, rows in reversed([*zip(DAYS, RUNS, strict=True)])
        for row in rows
        if row[c.USER_ID] == 42
    ],
    "users_without_list": [
        tuple(row[name] for name in (c.USER_ID, c.RATINGS_COUNT, c.MOVIES_COUNT))
        for row in USERS
        if row[c.USER_ID] not in {other[c.USER_ID] for other in NOW}
    ],
    "with_imdb_ids": [
        (*(row[name] for name in LIST[:3]), OF_MOVIE[row[c.MOVIE_ID]][c.IMDB_ID], OF_MOVIE[row[c.MOVIE_ID]][c.TMDB_ID])
        for row in NOW
    ],
    "model_versions": [model_versions()],
    "rated_since": rated_since(),
    "predictions_and_ratings": predictions_and_ratings(),
    "catalogue": [
        (day, status, len(rows), sum(row[c.ALLOWED] for row in rows), sum(row[c.RATINGS_COUNT] for row in rows))
        for day in DAYS[1:]
        for status in ("delisted", "known", "new")
        for rows in [[row for row in MOVIES if row[c.STATUS] == status]]
    ],
    "never_recommended": [
        tuple(row[name] for name in (c.MOVIE_ID, c.TITLE, c.RATINGS_COUNT, c.MEAN_RATING))
        for row in sorted(MOVIES, key=lambda row: (-row[c.RATINGS_COUNT], row[c.MOVIE_ID]))
        if row[c.ALLOWED] and not lists_with(NOW)[row[c.MOVIE_ID]]
    ],
    "new_and_delisted": new_and_delisted(),
    "model_quality": [
        (name, name == "v1", name == "v1", "default", 100, 0.125, None, 0.75, None, "passed") for name in ("v0", "v1")
    ],
    "serve": serve(),
    "hits": [
        (
            *key,
            *(total(rows, name) for name in ("users_back", c.RATINGS_COUNT, "hits")),
            *(over_users(rows, name) for name in ("recall_10", "ndcg_10", "popular_ndcg_10")),
            total(rows, "liked_hits") / total(rows, "hits"),
        )
        for key, rows in hits_by(c.SCORED_ON, c.MODEL_VERSION, c.RANK_BY)
    ],
    "hits_by_segment": [
        (
            *key,
            total(rows, "users_back"),
            total(rows, "hits"),
            over_users(rows, "ndcg_10"),
            over_users(rows, "popular_ndcg_10"),
        )
        for key, rows in hits_by(c.RANK_BY, c.MODEL_VERSION, c.SOURCE, "segment")
    ],
    "similar": [(rank, 1196 + rank, OF_MOVIE[1196 + rank][c.TITLE], 1 / rank) for rank in (1, 2, 3)],
    "latest_run": [tuple(row[name] for name in LIST) for row in NOW],
    "one_user": [tuple(row[name] for name in LIST[1:]) for row in NOW if row[c.USER_ID] == 42],
    "movie_audience": sorted(
        (tuple(row[name] for name in AUDIENCE) for row in NOW if row[c.MOVIE_ID] == 1196),
        key=lambda row: (row[1], row[0]),
    ),
    "most_recommended": most_recommended(),
    "coverage": [
        (day, len(n), n.total(), sum(sorted(n.values())[-10:]) / n.total())
        for day, n in zip(DAYS, map(lists_with, RUNS), strict=True)
    ],
    "day_over_day": [day_over_day()],
    "day_over_day_lists": changes(),
    "day_over_day_movies": sorted(
        ((movie, title, lists_with(NOW)[movie], lists_with(THEN)[movie]) for movie, title in TITLES.items()),
        key=lambda row: (-abs(row[3] - row[2]), row[0]),
    ),
    "full_and_partial": sorted(
        ((kind, *(row[name] for name in LIST)) for kind, rows in (("full", NOW), ("partial", PARTIAL)) for row in rows),
        key=lambda row: (row[1], row[0], row[2]),
    ),
    "runs": [
        (day, VERSIONS[n], POLICIES[n], 30, 1, 100, len(lists_with(rows)), len(lists_with(rows)) / 100)
        for n, (day, rows) in enumerate(zip(DAYS, RUNS, strict=True))
    ],
}


def test_the_made_runs_tell_queries_apart():
    users, entered, left, rows, came, went, mean, mean_before, change, *_ = day_over_day()
    assert min(users, entered, left, rows, came, went) > 0
    assert abs(mean - mean_before - change) > 0.001
    assert len(EXPECTED["movie_audience"]) > 1
    assert len(EXPECTED["one_user"]) > 1
    assert EXPECTED["coverage"][0][1] > 10
    assert all(EXPECTED.values())
    assert {*EXPECTED} == {*QUERIES}


# -- engines ---------------------------------------------------------------------------------------------------------


def query(name: str) -> str:
    return (SQL / f"{name}.sql").read_text()


def statements(text: str) -> list[str]:
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement for statement in without_comments.split(";") if statement.strip()]


def views(name: str, output) -> list[str]:
    assert [line.count("var/output") for line in query(name).splitlines() if "--" not in line and "var/" in line] == [1]
    return statements(query(name).replace("var/output", str(output)))


def _views_of_partial_runs(engine: str, output) -> list[str]:
    return views(f"tables-partial-{engine}", output) if Path(output, "partial").exists() else []


def create_tables(engine: str, output, *flags: str) -> list[str]:
    return statements(_script(engine, output, *flags))


def _script(engine: str, output, *flags: str) -> str:
    return subprocess.run(
        [sys.executable, SQL / "create_tables.py", engine, str(output), *flags],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout  # fmt: skip


def plain(cell):
    """Engines call missing values and dates by different names."""
    if cell is None or cell != cell:
        return None
    if hasattr(cell, "item"):
        return cell.item()
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None).isoformat()
    return cell.isoformat() if isinstance(cell, date) else cell


def assert_same(rows, name: str) -> None:
    found, right = [tuple(map(plain, row)) for row in rows], [tuple(map(plain, row)) for row in EXPECTED[name]]
    assert len(found) == len(right)
    for row, rightly in zip(found, right, strict=True):
        assert row == tuple(pytest.approx(cell, rel=1e-6) if isinstance(cell, float) else cell for cell in rightly)


def duckdb_with(connection, output):
    """What answers a query by DuckDB."""
    connection.register("ratings", RATINGS)
    for statement in [*views("tables-duckdb", output), *_views_of_partial_runs("duckdb", output)]:
        connection.execute(statement)
    return lambda query: connection.execute(query).fetchall()


def spark_with(spark, output):
    """What answers a query by Spark SQL, with views that other tests do not see."""
    session = spark.newSession()
    session.conf.set("spark.sql.shuffle.partitions", 2)
    session.createDataFrame(RATINGS.to_pandas()).createOrReplaceTempView("ratings")
    for statement in [*views("tables-spark", output), *_views_of_partial_runs("spark", output)]:
        session.sql(statement)
    return lambda query: [tuple(row) for row in session.sql(query).collect()]


@pytest.fixture(scope="module")
def on_duckdb(output):
    with duckdb.connect() as connection:
        yield duckdb_with(connection, output)


@pytest.fixture(scope="module")
def on_spark(spark, output):
    return spark_with(spark, output)


@pytest.fixture(scope="module")
def on_trino(output):
    """By sqlglot and DuckDB: the statements are Trino's grammar and mean the right thing; not that Trino runs them."""
    with duckdb.connect() as connection:
        connection.execute("attach ':memory:' as hive")
        for statement in [*create_tables("trino", output), *create_tables("trino", output, "--partial")]:
            (parsed,) = sqlglot.parse(statement, dialect="trino")
            if not isinstance(parsed, sqlglot.exp.Command):  # CALL, which sqlglot takes as it is
                connection.execute(parsed.sql("duckdb"))
        for name, (prefix, place) in product(c.TABLES, (("", ""), ("partial_", "partial/"))):
            files = f"'{output}/{place}{name}/*/*.parquet', hive_partitioning = true, union_by_name = true"
            connection.execute(f"insert into {prefix}{name} by name select * from read_parquet({files})")
        connection.register("ratings", RATINGS)
        yield lambda query: connection.execute(sqlglot.transpile(query, read="trino", write="duckdb")[0]).fetchall()


@pytest.fixture(scope="module")
def on_delta(tmp_path_factory):
    """DuckDB on the Delta tables of an OUTPUT that is a URI."""
    output = (tmp_path_factory.mktemp("delta") / "output").as_uri()
    publish(output)
    publish(output, partial=True)
    with duckdb.connect() as connection:
        for name in c.TABLES:
            connection.register(name, deltalake.DeltaTable(f"{output}/{name}").to_pyarrow_dataset())
            connection.register(
                f"partial_{name}", deltalake.DeltaTable(f"{output}/partial/{name}").to_pyarrow_dataset()
            )
        connection.register("ratings", RATINGS)
        for flags in ((), ("--partial",)):
            connection.execute(_script("delta", output, *flags))
        yield lambda query: connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("engine", "name"),
    [*product(("on_duckdb", "on_spark"), QUERIES), *product(("on_trino", "on_delta"), OF_TABLES)],
)
def test_queries(request, engine, name):
    assert_same(request.getfixturevalue(engine)(query(name)), name)


def test_hive_metastore(output, tmp_path):
    """Spark with a metastore of its own, which a session has from its start or never: hence another process."""
    script = """
import json, sys
from pyspark.sql import SparkSession
statements, queries = json.load(sys.stdin)
spark = SparkSession.builder.enableHiveSupport().getOrCreate()
for statement in statements:
    spark.sql(statement)
print(json.dumps([[list(row) for row in spark.sql(query).collect()] for query in queries], default=str))
"""
    (tmp_path / "spark-defaults.conf").write_text(
        f"""
spark.master local[1]
spark.ui.enabled false
spark.driver.bindAddress 127.0.0.1
spark.driver.host 127.0.0.1
spark.sql.shuffle.partitions 1
spark.sql.warehouse.dir {tmp_path}/warehouse
spark.hadoop.javax.jdo.option.ConnectionURL jdbc:derby:memory:metastore;create=true
spark.driver.extraJavaOptions -Dderby.system.home={tmp_path} -XX:TieredStopAtLevel=1
"""
    )
    queries = [query("one_user"), query("coverage"), "DESCRIBE FORMATTED recommendations", *OTHER_TABLES]
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path,
        input=json.dumps([create_tables("hive", output), queries]),
        env={**os.environ, "SPARK_CONF_DIR": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    one_user, coverage, described, *others = json.loads(result.stdout.splitlines()[-1])
    assert_same(one_user, "one_user")
    assert_same(coverage, "coverage")
    assert ["Provider", "hive", ""] in described
    as_json = json.loads(json.dumps([[row] for row in OTHER_TABLES.values()], default=str))
    assert others == as_json


# -- all tables, and the newest run ----------------------------------------------------------------------------------

OTHER_TABLES = {
    "SELECT count(*), count(scored_at) FROM recommendations": (sum(map(len, RUNS)), len(THEN + OTHER + NOW)),
    "SELECT count(*), min(user_id), max(user_id) FROM latest_recommendations": (len(NOW), 33, 65),
    "SELECT count(*) FROM predicted_ratings p JOIN rejects r ON p.run_date = r.run_date": (4,),
    "SELECT count(*) FROM latest_recommendations WHERE retrieval_score IS NULL": (
        sum(row[c.RETRIEVAL_SCORE] is None for row in NOW),
    ),
    "SELECT count(*), max(ratings) FROM users": (4 * len(USERS), 70),
    "SELECT ratings, movies, fingerprint FROM latest_users WHERE user_id = 35": (36, 35, None),
    "SELECT count(*) FROM latest_predicted_ratings CROSS JOIN latest_rejects": (1,),
    **{f"SELECT DISTINCT run_date FROM latest_{table}": (DAYS[3],) for table in c.TABLES},
    "SELECT count(DISTINCT run_date), max(rank) FROM list_entries": (3, 6),
}


@pytest.mark.parametrize("engine", ["on_duckdb", "on_spark", "on_trino", "on_delta"])
def test_every_table_and_its_newest_run(engine, request):
    run = request.getfixturevalue(engine)
    assert [run(query) for query in OTHER_TABLES] == [[row] for row in OTHER_TABLES.values()]


@pytest.mark.parametrize("engine", ["hive", "trino"])
def test_the_columns_that_are_created_are_those_of_the_published_files(nightly, engine):
    """Names, order and types, as DuckDB reads them from the files of a real run."""
    created, published = {}, {}
    for statement in create_tables(engine, nightly.output):
        (parsed,) = sqlglot.parse(statement, dialect=engine)
        if isinstance(parsed, sqlglot.exp.Create) and parsed.kind == "TABLE":
            columns = [column for column in parsed.this.expressions if column.name != c.RUN_DATE]
            types = [str(duckdb.sqltype(column.kind.sql("duckdb"))) for column in columns]
            created[parsed.this.this.name] = list(zip((column.name for column in columns), types, strict=True))
    for table in c.TABLES:
        read = duckdb.sql(f"DESCRIBE SELECT * FROM '{nightly.output}/latest/{table}/*.parquet'")
        columns = [(name, kind.removesuffix(" WITH TIME ZONE")) for name, kind, *_ in read.fetchall()]
        published[table] = columns
    assert created == published


@pytest.mark.parametrize("engine", ["duckdb", "spark", "delta"])
def test_the_files_of_the_folder_are_what_the_script_prints(engine):
    place = "s3://lake/tables" if engine == "delta" else "var/output"
    assert query(f"tables-{engine}") == _script(engine, place)
    if engine != "delta":
        assert query(f"tables-partial-{engine}") == _script(engine, place, "--partial")


@pytest.mark.parametrize("engine", ["on_duckdb", "on_spark"])
def test_tables_and_columns_have_comments(engine, request):
    run = request.getfixturevalue(engine)
    for table, schema in c.TABLES.items():
        for view in (table, f"latest_{table}"):
            if engine == "on_spark":
                rows = {name: comment for name, _, comment in run(f"DESCRIBE {view}")}
            else:
                rows = dict(run(f"SELECT column_name, comment FROM duckdb_columns() WHERE table_name = '{view}'"))
            assert rows == {field.name: c.comment(field) for field in schema} | {c.RUN_DATE: "the date of the run"}
            assert not any(";" in text or "'" in text for text in rows.values())  # at which clients cut statements
    assert {*c.TABLE_COMMENTS} == {*c.TABLES}


@pytest.mark.parametrize(("engine", "prefix"), [("hive", ""), ("trino", "file://")])
def test_a_place_with_any_characters_is_one_text_in_the_statements(engine, prefix):
    place = """/data/it's \\ a `place` "x"; -- é"""
    texts = set()
    for statement in sqlglot.parse(_script(engine, place), dialect=engine):
        if isinstance(statement, sqlglot.exp.Create) and statement.kind == "TABLE":
            texts |= {text.this for text in statement.find_all(sqlglot.exp.Literal) if "/data" in text.this}
    assert texts == {f"{prefix}{place}/{table}" for table in c.TABLES}


def test_views_show_what_is_published_after_they_were_made(spark, tmp_path):
    publish(tmp_path, [0, 2])
    with duckdb.connect() as connection:
        engines = [duckdb_with(connection, tmp_path), spark_with(spark, tmp_path)]
        for newest in (2, 3):
            publish(tmp_path, [newest])
            for run in engines:
                assert run("SELECT DISTINCT run_date FROM latest_recommendations") == [(DAYS[newest],)]
                assert run("SELECT max(scored_at) IS NOT NULL, count(*) FROM latest_recommendations") == [
                    (True, len(RUNS[newest]))
                ]
                assert run("SELECT rank_by FROM latest_runs") == [(POLICIES[newest],)]
                assert run("SELECT max(run_date) FROM recommendations") == [(DAYS[newest],)]


def test_spark_sql_reads_the_tables(spark, nightly):
    spark.read.parquet(str(nightly.output / "recommendations")).createOrReplaceTempView("recommendations")
    types = {field.name: field.dataType.simpleString() for field in spark.table("recommendations").schema}
    assert types == {
        "user_id": "bigint", "rank": "int", "movie_id": "bigint", "title": "string", "retrieval_score": "float",
        "predicted_rating": "float", "source": "string", "model_version": "string", "scored_at": "timestamp",
        "because_movie_id": "bigint", "because_title": "string", "score": "float", "run_date": "date",
    }  # fmt: skip
    top = spark.sql(
        "select user_id, count(*) as n from recommendations where run_date = '2026-01-31' and rank <= 3 "
        "group by user_id order by user_id limit 2"
    ).collect()
    assert [(row.user_id, row.n) for row in top] == [(1, 3), (2, 3)]


# -- how little is read ----------------------------------------------------------------------------------------------


def ranges(folder: Path) -> list[tuple[int, int]]:
    """The smallest and the largest user of each row group of a table's files, by the statistics that readers go by."""
    footers = [pq.read_metadata(path) for path in sorted(folder.glob("*.parquet"))]
    groups = [footer.row_group(number) for footer in footers for number in range(footer.num_row_groups)]
    column = footers[0].schema.names.index(c.USER_ID)
    return [(group.column(column).statistics.min, group.column(column).statistics.max) for group in groups]


def test_a_query_for_a_user_of_a_real_run_reads_one_file(nightly):
    ranges_of_users = sorted(ranges(nightly.output / "latest/recommendations"))
    assert all(last < first for (_, last), (first, _) in pairwise(ranges_of_users))
    (read,) = duckdb.sql(query("pruning").replace("var/output", str(nightly.output))).df().to_dict("records")
    assert (read["files"], read["files_read"]) == (34, 1)
    assert (read["row_groups"], read["row_groups_read"]) == (34, 1)


def test_a_query_for_a_user_reads_little_of_a_large_file(tmp_path):
    """Of 300 users with all of 5,000 movies, about 15 MB."""
    user, random = np.arange(300 * 5000) // 5000, np.random.default_rng(1)
    rows = pa.table({c.USER_ID: user, c.MOVIE_ID: np.arange(300 * 5000) % 5000, c.RATING: random.random(300 * 5000)})
    storage.write_rows(tmp_path / "rows" / "part-00000.parquet", rows)
    found = ranges(tmp_path / "rows")
    assert len(found) > 2
    assert all(sum(first <= user <= last for first, last in found) <= 2 for user in range(300))


# -- the README ------------------------------------------------------------------------------------------------------


def test_every_file_of_the_folder_is_in_the_readme():
    readme = (SQL / "README.md").read_text(encoding="utf-8")
    for path in {*SQL.glob("*.sql"), *SQL.glob("*.py")}:
        assert f"`{path.name}`" in readme or f"`{path.stem}`" in readme, path.name


@pytest.mark.parametrize("readme", ["README.md", "conf/sql/README.md"])
def test_the_python_of_the_readme_runs_as_it_stands(output, tmp_path, monkeypatch, readme):
    (tmp_path / "var").mkdir()
    (tmp_path / "var/output").symlink_to(output)
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), flags=re.DOTALL)
    block = "\n".join(block for block in blocks if "var/output" in block or "duckdb" in block)
    names = {}
    exec(block, names)
    if readme != "README.md":
        assert_same(names["lists"].itertuples(index=False), "latest_run")
        assert_same(names["movies"].rows(), "most_recommended")
