"""Tables of a catalogue as input, in each command that reads ratings; in `evaluate`: cli/test_evaluate.py."""

from datetime import date
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.utils.config import Config
from support.inputs import LISTED, RATED, STRICT, read
from support.processes import here

from recmodel import settings
from recmodel.data import feedback, movielens
from recmodel.errors import InputRejected, UsageRejected
from recmodel.pipeline import nightly, sources
from recmodel.spark import queries
from recmodel.tables.output import open_output

DAY = "2026-01-31"
JOIN = (
    "sql:SELECT r.customer AS user_id, m.movieId AS item_id, r.stars AS rating, r.at AS timestamp "
    "FROM shop.reviews r JOIN shop.movies m ON m.movieId = r.article ORDER BY r.at"
)


@pytest.fixture(scope="module")
def shop(spark, tmp_path_factory):
    """A database with MovieLens' tables, and the same ratings as other people store them."""
    spark.sql(f"CREATE DATABASE shop LOCATION '{tmp_path_factory.mktemp('warehouse')}'")
    spark.createDataFrame(RATED.to_pandas()).write.saveAsTable("shop.ratings")
    spark.createDataFrame(LISTED.to_pandas()).selectExpr(
        "CAST(movieId AS DECIMAL(10, 0)) AS movieId", "title", "split(genres, '[|]') AS genres", "1 AS note"
    ).write.saveAsTable("shop.movies")
    spark.sql(
        "CREATE TABLE shop.reviews USING parquet AS SELECT userId AS customer, CAST(movieId AS DECIMAL(10, 0)) AS "
        "article, CAST(rating AS DECIMAL(3, 1)) AS stars, timestamp_seconds(timestamp) AS at FROM shop.ratings"
    )
    spark.sql("CREATE VIEW shop.seen AS SELECT userId, movieId, rating FROM shop.ratings")
    yield "table:shop"
    spark.sql("DROP DATABASE shop CASCADE")


def limits(**tables: str):
    return STRICT.model_copy(update=tables)


def rows(table: pa.Table) -> list[tuple]:
    return sorted(zip(*table.to_pydict().values(), strict=True))


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(
    ("data", "tables"), [("table:shop", {}), ("unused", {"ratings": JOIN, "movies": "table:shop.movies"})]
)
def test_spark_tables_hold_what_files_hold(shop, toy, data, tables, here, monkeypatch):
    if not here:  # as on a cluster, whose executors do not see the driver's files
        monkeypatch.setattr(queries, "runs_on_this_machine", lambda spark: False)
    folder = sources.input_dir(data, "unused", limits(**tables))
    ratings, catalogue, validation = read(folder)
    expected, movies, _ = read(toy)
    assert (rows(ratings), catalogue) == (rows(expected), movies)
    assert validation.files[0].layout == "table:shop.movies, through Spark, columns that are not used: note"
    assert movielens.estimate_ratings(folder, 1, "ratings.csv", 1) == expected.num_rows
    again = sources.input_dir(data, "unused", limits(**tables))  # an interrupted run goes on if nothing has changed
    first, second = (movielens.identity(path / "ratings.parquet") for path in (folder, again))
    assert (folder / "ratings.parquet").is_dir() == here
    assert first == second


def test_one_table_of_a_catalogue_and_the_others_from_files(shop, toy):
    folder = sources.input_dir(str(toy), "unused", limits(ratings="table:shop.seen"))
    ratings, catalogue, validation = read(folder)
    assert (ratings.num_rows, catalogue) == (RATED.num_rows, read(toy)[1])
    assert "the order of the ratings is unknown" in validation.files[-1].sentence()


def test_interactions_without_ratings_keep_their_weights(shop, toy):
    query = "sql:SELECT userId, movieId, CAST(2 * rating AS INT) AS plays FROM shop.ratings"
    chosen = limits(ratings=query, weight="plays")
    folder = sources.input_dir(str(toy), "unused", chosen)
    _, interactions, _ = movielens.read(folder, chosen, feedback=feedback.decide(folder, chosen))
    assert sorted(interactions.column("rating").to_pylist()) == sorted(2 * RATED.column("rating").to_numpy())


@pytest.mark.parametrize(
    ("tables", "error", "sentence"),
    [
        ({"ratings": "ratings.csv"}, UsageRejected, "input.ratings is 'ratings.csv'; it takes table:db.name"),
        ({"ratings": "table:"}, UsageRejected, "names no table; the form is table:db.table"),
        ({"ratings": "sql: "}, UsageRejected, "holds no query"),
        ({"ratings": "iceberg:lake.ratings"}, UsageRejected, "the form is iceberg:catalog.namespace.table"),
        ({"ratings": "table:shop.no_such"}, InputRejected, "table:shop.no_such is missing: Spark's catalogue has no"),
        ({"ratings": "sql:SELECT x FROM shop.ratings"}, InputRejected, "UNRESOLVED_COLUMN"),
        ({"ratings": "sql:DROP TABLE shop.ratings"}, InputRejected, "PARSE_SYNTAX_ERROR"),
        ({"ratings": "sql:SELECT userId, rating FROM shop.ratings"}, InputRejected, "has no column movieId"),
        ({"ratings": "sql:SELECT *, raise_error('no') AS x FROM shop.ratings"}, None, ""),
        (
            {"ratings": "sql:SELECT userId, movieId, CAST(raise_error('broken') AS INT) AS rating FROM shop.ratings"},
            InputRejected,
            "broken",
        ),
    ],
)
def test_what_cannot_be_read_gets_one_sentence(shop, toy, tables, error, sentence):
    if error is None:  # a column that nobody reads is not computed
        assert read(sources.input_dir(str(toy), "unused", limits(**tables)))[0].num_rows == RATED.num_rows
        return
    with pytest.raises(error) as caught:
        sources.input_dir(str(toy), "unused", limits(**tables))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "java" not in str(caught.value)


def test_a_query_cannot_be_all_of_the_input():
    with pytest.raises(UsageRejected, match="a query is one table"):
        sources.input_dir("sql:SELECT 1", "unused", STRICT)


def test_the_commands_of_a_night_read_spark_tables(shop, toy, tmp_path, monkeypatch):
    models, output = tmp_path / "models", tmp_path / "output"
    trained = here("train", "--data", shop, "--models", models, "--preset", "default", "--test-share", 0)
    assert trained.returncode == 0, trained.stderr
    assert "Spark is started to read table:shop.ratings and table:shop.movies" in trained.stdout + trained.stderr

    def step_here(_: object, *words: str) -> nightly.Failure | None:
        return nightly.failure_of(words[0], here(*words).returncode if words[0] != "report" else 0, "")

    monkeypatch.setattr(nightly, "_step", step_here)
    monkeypatch.setenv("RECMODEL_INPUT__RATINGS", JOIN)
    chosen = settings.load(paths={"data": shop, "models": str(models), "output": str(output)})
    ending = nightly.Ending()
    nightly.run(nightly.Night(chosen, None, [date.fromisoformat(DAY)], ["--top-n", "2"]), ending)
    assert (ending.exit_code, ending.published) == (0, [date.fromisoformat(DAY)])
    run = open_output(str(output)).read_run(date.fromisoformat(DAY))
    assert (run.rows_in["ratings.parquet"], run.users) == (RATED.num_rows, 40)
    assert [file.layout.startswith(("table:", "sql:")) for file in run.input] == [True, True]
    refused = here("score", "--data", "table:no_such", "--models", models, "--output", output, "--dry-run")
    assert refused.returncode == 3
    assert "table:no_such.movies is missing" in refused.stderr


def test_a_namespace_of_an_iceberg_catalogue_is_a_directory_of_input(tmp_path, monkeypatch, toy):
    lake = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/lake.db", warehouse=f"file://{tmp_path}/lake")
    lake.create_namespace("shop")
    tables = SimpleNamespace(
        **{name: lake.create_table(f"shop.{name}", of.schema) for name, of in (("ratings", RATED), ("movies", LISTED))}
    )
    tables.ratings.append(RATED)
    tables.movies.append(LISTED)
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{tmp_path}/lake.db")
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # which it reads once in a process
    folder = sources.input_dir("iceberg:lake.shop", "unused", STRICT)
    ratings, catalogue, validation = read(folder)
    assert (ratings, catalogue) == read(toy)[:2]
    assert validation.files[-1].layout == (
        f"iceberg:lake.shop.ratings, Iceberg table, snapshot {tables.ratings.current_snapshot().snapshot_id}"
    )
    with pytest.raises(InputRejected, match="iceberg:lake.other.ratings is missing: the catalogue has no such table"):
        sources.input_dir("iceberg:lake.other", "unused", STRICT)
