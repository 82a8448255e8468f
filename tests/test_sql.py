"""The queries of conf/sql, each on each engine, against plain Python on what was published."""

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from datetime import date, datetime, timezone
from statistics import fmean

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import sqlglot
from conftest import ROOT

from recmodel import columns as c
from recmodel import tables

SQL = ROOT / "conf/sql"
QUERIES = sorted(path.stem for path in SQL.glob("*.sql") if not path.stem.startswith("tables-"))
EVERYWHERE = [name for name in QUERIES if name != "runs"]
OF_HIVE = ["coverage", "one_user"]  # Spark SQL runs them all; a Hive metastore only says where the files are
DAYS = [date(2026, 1, 29), date(2026, 1, 30), date(2026, 2, 1)]


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
                    c.PREDICTED_RATING: 0.5 + (user * 13 + movie * 5 + day) % 10 / 2.25,
                    c.SOURCE: "model" if by_model else "popularity", c.MODEL_VERSION: f"v{day}",
                    c.SCORED_AT: datetime(2026, 1, 28 + day, 3, tzinfo=timezone.utc),
                }
            )  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def output(spark, tmp_path_factory):
    """Three dates, written by Spark and published as a run is."""
    output = tmp_path_factory.mktemp("sql") / "output"
    schema = (
        "user_id BIGINT, rank INT, movie_id BIGINT, title STRING, retrieval_score FLOAT, predicted_rating FLOAT, "
        "source STRING, model_version STRING, scored_at TIMESTAMP"
    )
    for number, day in enumerate(DAYS):
        staged = tables.staged(output, day, "key")
        written = spark.createDataFrame(RUNS[number], schema).repartitionByRange(2, c.USER_ID)
        written.sortWithinPartitions(c.USER_ID, c.RANK).write.parquet(str(staged.table(c.RECOMMENDATIONS_TABLE)))
        staged.table(c.PREDICTED_RATINGS_TABLE).mkdir()
        predicted = pa.table({c.USER_ID: [1], c.MOVIE_ID: [2], c.PREDICTED_RATING: pa.array([3.5], pa.float32()),
                              c.MODEL_VERSION: ["v"]})  # fmt: skip
        pq.write_table(predicted, staged.table(c.PREDICTED_RATINGS_TABLE) / "part-0.parquet")
        staged.table(c.REJECTS_TABLE).mkdir()
        rejects = pa.Table.from_pylist([{"file": "f", "row": 1, "column": "c", "value": "v", "reason": "r"}], c.REJECTS)
        pq.write_table(rejects, staged.table(c.REJECTS_TABLE) / "rejects.parquet")
        figures = {"distinct_movies": len(lists(RUNS[number])), "rows": 3}
        run = {"run_date": day, "model_version": f"v{number}", "rank_by": "rating", "users": 30, "rows_rejected": 1,
               "movies": 100, "recommendations": figures}  # fmt: skip
        staged.publish(run, 90)
    return output


# -- what is right, in plain Python ----------------------------------------------------------------------------------


LIST = (c.USER_ID, c.RANK, c.MOVIE_ID, c.TITLE, c.RETRIEVAL_SCORE, c.PREDICTED_RATING, c.SOURCE)
AUDIENCE = (c.USER_ID, c.RANK, c.RETRIEVAL_SCORE, c.PREDICTED_RATING)
RUNS = [rows_of(day) for day in range(3)]
THEN, NOW = RUNS[1:]
TITLES = {row[c.MOVIE_ID]: row[c.TITLE] for row in THEN + NOW}


def lists(rows: list[dict]) -> Counter:
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
        len(now) - len(both), len(then) - len(both), len(both),
        fmean(row[rating] for row in NOW) - fmean(row[rating] for row in THEN),
        fmean(now[pair][rating] - then[pair][rating] for pair in both),
    )  # fmt: skip


def changes() -> list[tuple]:
    then, now = pairs(THEN), pairs(NOW)
    found = [("entered", now[pair]) for pair in now.keys() - then.keys()]
    found += [("left", then[pair]) for pair in then.keys() - now.keys()]
    return sorted((row[c.USER_ID], what, row[c.RANK], row[c.MOVIE_ID], row[c.TITLE]) for what, row in found)


def most_recommended() -> list[tuple]:
    found = []
    for movie, n in lists(NOW).items():
        means = (fmean(row[name] for row in NOW if row[c.MOVIE_ID] == movie) for name in (c.RANK, c.PREDICTED_RATING))
        found.append((movie, TITLES[movie], n, *means))
    return sorted(found, key=lambda row: (-row[2], row[0]))


EXPECTED = {
    "latest_run": [tuple(row[name] for name in LIST) for row in NOW],
    "one_user": [tuple(row[name] for name in LIST[1:]) for row in NOW if row[c.USER_ID] == 42],
    "movie_audience": sorted(
        (tuple(row[name] for name in AUDIENCE) for row in NOW if row[c.MOVIE_ID] == 1196),
        key=lambda row: (row[1], row[0]),
    ),
    "most_recommended": most_recommended(),
    "coverage": [
        (day, len(n), n.total(), sum(sorted(n.values())[-10:]) / n.total())
        for day, n in zip(DAYS, map(lists, RUNS), strict=True)
    ],
    "day_over_day": [day_over_day()],
    "day_over_day_lists": changes(),
    "day_over_day_movies": sorted(
        ((movie, title, lists(THEN)[movie], lists(NOW)[movie]) for movie, title in TITLES.items()),
        key=lambda row: (-abs(row[3] - row[2]), row[0]),
    ),
    "runs": [
        (day, f"v{n}", "rating", 30, 1, 100, len(lists(rows)), len(lists(rows)) / 100)
        for n, (day, rows) in enumerate(zip(DAYS, RUNS, strict=True))
    ],
}


def test_the_made_runs_tell_queries_apart():
    users, entered, left, came, went, stayed, shift, shift_of_stayed = day_over_day()
    assert min(users, entered, left, came, went, stayed) > 0
    assert abs(shift - shift_of_stayed) > 0.001
    assert len(EXPECTED["movie_audience"]) > 1
    assert len(EXPECTED["one_user"]) > 1
    assert EXPECTED["coverage"][0][1] > 10


# -- engines ---------------------------------------------------------------------------------------------------------


def statements(name: str, output) -> list[str]:
    text = (SQL / name).read_text().replace("/data/output", str(output))
    assert str(output) in text
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement for statement in without_comments.split(";") if statement.strip()]


def plain(cell):
    """Engines call missing values and dates by different names."""
    if cell is None or cell != cell:
        return None
    if isinstance(cell, datetime) or (hasattr(cell, "date") and callable(cell.date)):
        return cell.date()
    return cell.item() if hasattr(cell, "item") else cell


def assert_same(rows, name: str) -> None:
    found, right = [tuple(plain(cell) for cell in row) for row in rows], EXPECTED[name]
    assert len(found) == len(right)
    for row, rightly in zip(found, right, strict=True):
        cells = [pytest.approx(cell, rel=1e-6) if isinstance(cell, float) else cell for cell in rightly]
        assert [*row] == cells


@pytest.fixture(scope="module")
def in_duckdb(output):
    with duckdb.connect() as connection:
        for statement in statements("tables-duckdb.sql", output):
            connection.execute(statement)
        yield connection


@pytest.fixture(scope="module")
def in_spark(spark, output):
    for statement in statements("tables-spark.sql", output):
        spark.sql(statement)
    yield spark
    for view in ("recommendations", "predicted_ratings", "rejects", "runs", "latest_recommendations"):
        spark.catalog.dropTempView(view)


@pytest.fixture(scope="module")
def by_hive_ddl(output, tmp_path_factory):
    """Spark with a Hive metastore of its own (Derby, in memory), which a session has from its start or never."""
    script = """
import json, sys
from pyspark.sql import SparkSession
statements, queries, scratch = json.load(sys.stdin)
spark = (
    SparkSession.builder.master("local[1]").enableHiveSupport()
    .config("spark.ui.enabled", "false").config("spark.sql.warehouse.dir", scratch + "/warehouse")
    .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2")
    .config("spark.hadoop.javax.jdo.option.ConnectionURL", "jdbc:derby:memory:metastore;create=true")
    .config("spark.driver.extraJavaOptions", "-Dderby.system.home=" + scratch)
    .getOrCreate()
)
for statement in statements:
    spark.sql(statement)
answers = {name: [list(row) for row in spark.sql(query).collect()] for name, query in queries.items()}
answers["partitions"] = [list(row) for row in spark.sql("show partitions recommendations").collect()]
answers["provider"] = [row.data_type for row in spark.sql("describe formatted recommendations").collect()]
print("answers:" + json.dumps(answers, default=str))
"""
    queries = {name: (SQL / f"{name}.sql").read_text() for name in OF_HIVE} | MORE
    result = subprocess.run(
        [sys.executable, "-c", script], text=True, capture_output=True, check=False, timeout=300,
        input=json.dumps([statements("tables-hive.sql", output), queries, str(tmp_path_factory.mktemp("hive"))]),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.split("answers:")[1])


@pytest.fixture(scope="module")
def in_trinos_dialect(output):
    """Trino's files, parsed as its dialect by sqlglot, translated to DuckDB's and run there.

    This proves that they are Trino's grammar (as sqlglot knows it) and mean the right thing; not that Trino runs them.
    """
    with duckdb.connect() as connection:
        connection.execute("attach ':memory:' as hive")
        for statement in statements("tables-trino.sql", output):
            (parsed,) = sqlglot.parse(statement, dialect="trino")
            if not isinstance(parsed, sqlglot.exp.Command):  # CALL, which sqlglot takes as it is
                connection.execute(parsed.sql("duckdb"))
        for name in ("recommendations", "predicted_ratings", "rejects", "latest_recommendations"):
            folder = "latest/recommendations" if name.startswith("latest") else f"{name}/*"
            rows = f"select * from read_parquet('{output}/{folder}/*.parquet', hive_partitioning = {'*' in folder})"
            connection.execute(f"insert into {name} by name {rows}")
        yield connection


MORE = {
    "other tables": "SELECT count(*), min(run_date) FROM predicted_ratings p JOIN rejects r USING (run_date)",
    "latest": "SELECT count(*), min(user_id), max(user_id) FROM latest_recommendations",
}
EXPECTED_MORE = {"other tables": (3, DAYS[0]), "latest": (len(NOW), 32, 63)}


@pytest.mark.parametrize("name", QUERIES)
def test_duckdb(in_duckdb, name):
    assert_same(in_duckdb.execute((SQL / f"{name}.sql").read_text()).fetchall(), name)


@pytest.mark.parametrize("name", QUERIES)
def test_spark_sql(in_spark, name):
    assert_same(in_spark.sql((SQL / f"{name}.sql").read_text()).collect(), name)


@pytest.mark.parametrize("name", OF_HIVE)
def test_tables_of_a_hive_metastore(by_hive_ddl, name):
    rows = [
        [date.fromisoformat(cell) if name == "coverage" and isinstance(cell, str) else cell for cell in row]
        for row in by_hive_ddl[name]
    ]
    assert_same(rows, name)


def test_the_hive_tables_are_hives_and_know_all_dates(by_hive_ddl):
    assert by_hive_ddl["partitions"] == [[f"run_date={day}"] for day in DAYS]
    assert any("parquet" in str(kind).lower() and "hive" in str(kind).lower() for kind in by_hive_ddl["provider"])


@pytest.mark.parametrize("name", EVERYWHERE)
def test_trinos_dialect_by_way_of_sqlglot(in_trinos_dialect, name):
    (query,) = sqlglot.transpile((SQL / f"{name}.sql").read_text(), read="trino", write="duckdb")
    assert_same(in_trinos_dialect.execute(query).fetchall(), name)


@pytest.mark.parametrize("engine", ["pandas", "polars"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_dataframes(output, engine, name):
    path = SQL / f"{engine}_queries.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frame = getattr(module, name)(output)
    assert_same(frame.itertuples(index=False) if engine == "pandas" else frame.rows(), name)


@pytest.mark.parametrize("what", MORE)
def test_every_engine_reads_the_other_tables_and_the_newest_run_by_its_link(
    in_duckdb, in_spark, by_hive_ddl, in_trinos_dialect, what
):
    right = tuple(str(cell) for cell in EXPECTED_MORE[what])
    for rows in (
        in_duckdb.execute(MORE[what]).fetchall(),
        in_spark.sql(MORE[what]).collect(),
        by_hive_ddl[what],
        in_trinos_dialect.execute(MORE[what]).fetchall(),
    ):
        assert [tuple(str(cell) for cell in row) for row in rows] == [right]


def test_pyarrow_reads_the_newest_run_by_its_link(output):
    assert ds.dataset(output / "latest/recommendations", format="parquet").count_rows() == len(NOW)


def test_every_query_of_the_folder_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for path in sorted(SQL.iterdir()):
        assert f"`{path.name}`" in readme or f"`{path.stem}`" in readme, path.name
