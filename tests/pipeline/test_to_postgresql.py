"""Exports to a real PostgreSQL, held against what was published, with readers at work, kills and missing rights."""

import itertools
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pyarrow as pa
import pytest
from support import served
from support.databases import PASSWORD
from support.processes import ROOT, here, said
from support.runs import DAY

from recmodel import schemas as c
from recmodel.errors import AnotherRun, ScoringFailed, UsageRejected
from recmodel.pipeline import export
from recmodel.progress import Stages
from recmodel.schemas import TEXT, Ids
from recmodel.tables.output import open_output

psycopg = pytest.importorskip("psycopg", reason="the package psycopg is not installed")
to_postgresql = pytest.importorskip("recmodel.pipeline.to_postgresql")
pytestmark = pytest.mark.usefixtures("passwords")
_numbers = itertools.count()


@pytest.fixture
def schema():
    """A schema of the test's own, which is not there yet."""
    return f"recmodel_{next(_numbers)}"


@pytest.fixture
def sql(postgresql, schema):
    """Rows of a query, in which {s} is the schema."""
    with psycopg.connect(postgresql, autocommit=True) as connection:

        def query(statement: str, *values: object) -> list[tuple]:
            cursor = connection.execute(statement.replace("{s}", schema), values)
            return cursor.fetchall() if cursor.description else []

        yield query


@pytest.fixture
def exported(tmp_path, postgresql, schema, monkeypatch):
    """Exports what is published in tmp_path/output."""
    monkeypatch.setattr(to_postgresql, "SETTLE", 0.5)  # for which one test keeps a transaction open

    def run(run_date=None, **options) -> export.Exported:
        location = options.pop("location", tmp_path / "output")
        target = export.target(options.pop("to", postgresql))
        return export.export(str(location), run_date, target, Stages(), schema=schema, **options)

    return run


def tables(sql) -> dict[str, int]:
    """The number of each of the schema's tables of rows, by name."""
    return dict(sql("SELECT relname, oid FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace('{s}')"))


def as_json(entry: dict) -> dict:
    """An entry of a list, as JSON has it; single precision is not compared here."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else pytest.approx(value, rel=1e-6)
        if isinstance(value, float) else value
        for name, value in entry.items()
    }  # fmt: skip


# -- what readers find -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linked folders", "Delta"])
@pytest.mark.parametrize("ids", [Ids(), Ids(TEXT, TEXT)], ids=["integers", "texts"])
def test_readers_find_what_is_published(exported, sql, tmp_path, ids, kind):
    location = tmp_path / "output" if kind == "linked folders" else (tmp_path / "output").as_uri()
    rows = served.publish(location, range(1, 31), ids=ids)
    done = exported(location=location)
    assert (done.users, done.rows, done.already) == (30, sum(map(len, rows.values())), False)
    lists = sql("SELECT user_id, recommendations, model_version, valid_until, run_date FROM {s}.lists")
    assert {row[0]: row[1:] for row in lists} == {
        row[c.USER_ID]: ([as_json(entry) for entry in row[c.RECOMMENDATIONS]], "v0", served.UNTIL, DAY)
        for row in rows[c.LISTS_TABLE]
    }
    columns = ", ".join(c.MOVIE_ROW.names)
    assert {*map(str, sql(f"SELECT {columns} FROM {{s}}.movies"))} == {
        str(tuple(row[name] for name in c.MOVIE_ROW.names)) for row in rows[c.MOVIES_TABLE]
    }
    similar = sql("SELECT movie_id, rank, similar_movie_id, score FROM {s}.similar_movies")
    assert {row[:3]: row[3] for row in similar} == {
        tuple(row[name] for name in c.SIMILAR.names[:3]): pytest.approx(row[c.SCORE]) for row in rows[c.SIMILAR_TABLE]
    }
    entries = sql("SELECT user_id, rank, movie_id, source FROM {s}.list_entries")
    assert {*entries} == {
        (row[c.USER_ID], rank, entry[c.MOVIE_ID], entry[c.SOURCE])
        for row in rows[c.LISTS_TABLE]
        for rank, entry in enumerate(row[c.RECOMMENDATIONS], start=1)
    }
    assert tables(sql).keys() == {"exports", "lists_1", "movies_1", "similar_movies_1"}


def test_tables_and_columns_are_described_and_have_keys(exported, sql, tmp_path):
    served.publish(tmp_path / "output", [1, 2])
    exported()
    for table in ("lists", "movies", "similar_movies"):
        assert sql(f"SELECT obj_description('{{s}}.{table}'::regclass)") == [(c.TABLE_COMMENTS[table],)]
        described = sql(
            f"SELECT attname, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = '{{s}}.{table}'"
            "::regclass AND attnum > 0"
        )
        wanted = {field.name: c.comment(field) for field in c.TABLES[table]}
        assert {name: text for name, text in described if name != c.RUN_DATE} == wanted
    keys = sql("SELECT conrelid::regclass::text, conkey FROM pg_constraint WHERE connamespace = '{s}'::regnamespace")
    keyed = {name.rpartition(".")[2]: columns for name, columns in keys}
    assert (keyed["lists_1"], keyed["movies_1"], keyed["similar_movies_1"]) == ([1], [1], [1, 2])


def test_what_a_site_shows_leaves_out_what_was_bought_or_delisted(exported, sql, tmp_path, schema):
    served.publish(tmp_path / "output", [42, 43])
    exported()
    query = (ROOT / "conf/sql/serve_postgresql.sql").read_text().replace("recmodel.", f"{schema}.")
    first, second, third = (entry[c.MOVIE_ID] for entry in served.entries(42, 0))
    sql("CREATE TEMPORARY TABLE products (movie_id BIGINT)")
    sql("CREATE TEMPORARY TABLE bought (user_id BIGINT, movie_id BIGINT)")
    for movie in range(served.MOVIES):
        sql("INSERT INTO products VALUES (%s)", movie)
    sql("INSERT INTO bought VALUES (43, %s)", third)
    assert [row[:2] for row in sql(query)] == [(1, first), (2, second), (3, third)]
    assert {row[-1] for row in sql(query)} == {True}  # valid until a day that is past
    sql("INSERT INTO bought VALUES (42, %s)", first)
    assert [row[:2] for row in sql(query)] == [(2, second), (3, third)]
    sql("DELETE FROM products WHERE movie_id = %s", second)
    assert [row[:2] for row in sql(query)] == [(3, third)]


# -- once, again, only what changed ------------------------------------------------------------------------------------


def test_a_second_call_does_nothing_and_says_so(exported, sql, tmp_path, postgresql, schema, monkeypatch):
    served.publish(tmp_path / "output", [1, 2])
    command = ("export", "--to", "env:SITE_DB", "--output", tmp_path / "output", "--schema", schema)
    monkeypatch.setenv("SITE_DB", postgresql.replace("admin", f"admin:{PASSWORD}"))
    monkeypatch.delenv("PGPASSWORD")
    first = here(*command)
    before = tables(sql), sql("SELECT * FROM {s}.exports")
    second = here(*command, "--changed-only")
    assert [first.returncode, second.returncode] == [0, 0], said(first) + said(second)
    assert f"the run of {DAY} is in PostgreSQL (env:SITE_DB): 2 users, 25 rows, in" in said(first)
    assert f"PostgreSQL (env:SITE_DB) has the run of {DAY} already: nothing was done" in said(second)
    assert (tables(sql), sql("SELECT * FROM {s}.exports")) == before
    logs = "".join(path.read_text() for path in sorted(os.scandir(os.environ["RECMODEL_PATHS__LOGS"]), key=str)
                   if path.name.startswith("export") for path in [ROOT / path.path])  # fmt: skip
    assert DAY.isoformat() in logs
    assert PASSWORD not in logs + said(first) + said(second)


def test_old_tables_go_and_the_last_ones_stay(exported, sql, tmp_path):
    for label in range(4):
        served.publish(tmp_path / "output", [1, 2], label, DAY + timedelta(label))
        exported()
    assert tables(sql).keys() == {
        "exports",
        *(f"{table}_{n}" for table in ("lists", "movies", "similar_movies") for n in (3, 4)),
    }
    states = sql("SELECT number, state, run_date, users FROM {s}.exports ORDER BY number")
    assert [row[1] for row in states] == ["replaced", "replaced", "previous", "current"]
    assert states[-1] == (4, "current", DAY + timedelta(3), 2)
    assert exported(DAY).already is False  # an earlier run than the one that is shown
    assert sql("SELECT DISTINCT run_date FROM {s}.lists") == [(DAY,)]


def test_only_what_has_changed_is_written(exported, sql, tmp_path):
    served.publish(tmp_path / "output", range(1, 21))
    assert exported(changed_only=True).changed == 20 + served.MOVIES + 16  # nothing to compare with: all of it
    before, versions = tables(sql), dict(sql("SELECT user_id, xmin::text FROM {s}.lists_1"))
    rows = served.publish(tmp_path / "output", range(5, 26), 1, DAY + timedelta(1), changed=[7, 8])
    done = exported(changed_only=True)
    assert (done.users, done.changed, done.removed) == (21, 2 + 5 + served.MOVIES, 4)
    assert tables(sql) == before
    lists = sql("SELECT user_id, recommendations, model_version, extract(year from valid_until) FROM {s}.lists")
    assert {row[0]: row[1:] for row in lists} == {
        row[c.USER_ID]: ([as_json(entry) for entry in row[c.RECOMMENDATIONS]], "v1", 2027)
        for row in rows[c.LISTS_TABLE]
    }
    same = {
        user for user, version in sql("SELECT user_id, xmin::text FROM {s}.lists_1") if versions.get(user) == version
    }
    assert same == {*range(5, 21)} - {7, 8}
    assert exported(changed_only=True).already


def test_a_full_export_after_a_small_one_does_not_take_its_tables_for_its_own(exported, sql, tmp_path):
    """The tables of the first run hold the second one's rows by then."""
    served.publish(tmp_path / "output", [1, 2, 3])
    exported()
    served.publish(tmp_path / "output", [2, 3, 4], 1, DAY + timedelta(1))
    exported(changed_only=True)
    exported(DAY)
    assert sql("SELECT user_id FROM {s}.lists ORDER BY 1") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("changed_only", [True, False])
def test_users_who_were_forgotten_are_erased_by_the_next_export(exported, sql, tmp_path, changed_only):
    for label in range(2):
        served.publish(tmp_path / "output", [1, 2, 3], label, DAY + timedelta(label))
        exported()
    served.forget(open_output(tmp_path / "output"), 2)
    done = exported(changed_only=changed_only)
    assert not done.already
    for table in tables(sql):
        if table.startswith("lists"):
            assert sql(f"SELECT user_id FROM {{s}}.{table} ORDER BY 1") == [(1,), (3,)], table


@pytest.mark.parametrize("table", [c.LISTS_TABLE, c.MOVIES_TABLE])
def test_a_column_of_a_later_version_comes_at_the_end_of_the_view(exported, sql, tmp_path, monkeypatch, table):
    def columns() -> list[tuple]:
        return sql(f"SELECT attname FROM pg_attribute WHERE attrelid = '{{s}}.{table}'::regclass AND attnum > 0")

    served.publish(tmp_path / "output", [1, 2])
    exported()
    before = columns()
    later = pa.field("later", pa.string(), metadata={"comment": "came later"})
    monkeypatch.setitem(c.TABLES, table, c.TABLES[table].append(later))
    for label in (1, 2):
        served.publish(tmp_path / "output", [1, 2, 3], label, DAY + timedelta(label))
        exported(changed_only=label == 2)
        assert sql(f"SELECT later, count(*) FROM {{s}}.{table} GROUP BY 1") == [(None, 3 if table == "lists" else 7)]
    assert columns() == [*before, ("later",)]


def test_a_role_needs_no_more_than_a_schema_of_its_own(exported, sql, tmp_path, postgresql):
    sql("DROP ROLE IF EXISTS exporter")
    sql(f"CREATE ROLE exporter LOGIN PASSWORD '{PASSWORD}'")
    sql("CREATE SCHEMA {s} AUTHORIZATION exporter")
    for label in range(4):
        served.publish(tmp_path / "output", [label, 9], label, DAY + timedelta(label), changed=[9])
        exported(to=postgresql.replace("admin", "exporter"), changed_only=label == 3)
        assert sql("SELECT user_id, model_version FROM {s}.lists WHERE user_id < 9") == [(label, f"v{label}")]
    sql("DROP SCHEMA {s} CASCADE")
    sql("DROP ROLE exporter")


def test_a_read_of_one_user_looks_into_one_table(exported, sql, tmp_path):
    for label in range(2):
        served.publish(tmp_path / "output", range(300), label, DAY + timedelta(label))
        exported()
    plan = "\n".join(line for (line,) in sql("EXPLAIN (ANALYZE) SELECT * FROM {s}.lists WHERE user_id = 42"))
    assert re.search(r"Index Scan using lists_1_pkey .*never executed", plan), plan
    assert re.search(r"Index Scan using lists_2_pkey .*rows=1 loops=1", plan), plan


# -- readers -----------------------------------------------------------------------------------------------------------

LABEL = "SELECT l.model_version, m.mean_rating, count(*) OVER () FROM {s}.lists l JOIN {s}.movies m ON m.movie_id = 1 "


def test_readers_in_a_loop_never_wait_long_nor_miss_a_list_nor_see_a_mixture(
    exported, sql, tmp_path, postgresql, schema
):
    """By a role that was given its rights once."""
    runs = [served.publish(tmp_path / "output", range(1, 51), n, DAY + timedelta(n)) for n in range(2)]
    exported(DAY)
    sql("DROP ROLE IF EXISTS site")
    sql(f"CREATE ROLE site LOGIN PASSWORD '{PASSWORD}'")
    sql("GRANT USAGE ON SCHEMA {s} TO site")
    sql("GRANT SELECT ON {s}.lists, {s}.movies, {s}.similar_movies, {s}.list_entries TO site")
    stop, wrong, slowest, seen = threading.Event(), [], [0.0], set()
    one_user = (LABEL + "WHERE l.user_id = 42").replace("{s}", schema)
    other_order = (
        f"SELECT count(*), min(l.model_version) FROM {schema}.movies m JOIN {schema}.list_entries l USING (movie_id)"
    )

    def read(query, is_right, isolation=None):
        with psycopg.connect(postgresql.replace("admin", "site"), autocommit=isolation is None) as connection:
            connection.isolation_level = isolation
            while not stop.wait(0.001):
                started = time.monotonic()
                rows = connection.execute(query).fetchall()
                slowest[0] = max(slowest[0], time.monotonic() - started)
                if isolation is not None:
                    time.sleep(0.02)
                    rows += connection.execute(query).fetchall()
                    connection.commit()
                seen.update(rows)
                if not is_right(rows):
                    wrong.append(rows)

    def until_it_fails(*arguments):
        try:
            read(*arguments)
        except Exception as error:  # noqa: BLE001 - to be seen by the test
            wrong.append(error)

    both = {("v0", 0.0, 1), ("v1", 1.0, 1)}
    readers = [
        threading.Thread(target=until_it_fails, args=arguments)
        for arguments in (
            (one_user, lambda rows: len(rows) == 1 and {*rows} <= both),
            (other_order, lambda rows: rows[0][0] == 150),
            # Both times the same, as it is one snapshot.
            (one_user, lambda rows: len(rows) == 2 and len({*rows}) == 1, psycopg.IsolationLevel.REPEATABLE_READ),
        )
    ]
    for reader in readers:
        reader.start()
    for turn in range(12):
        exported(DAY + timedelta((turn + 1) % 2), changed_only=turn % 3 == 2)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert both <= seen
    assert slowest[0] < 1, slowest
    assert len(runs) == 2


def test_who_keeps_a_transaction_open_neither_holds_up_the_switch_nor_loses_a_list(
    exported, sql, tmp_path, postgresql, schema
):
    """Only old tables wait until they are done."""
    for label in range(3):
        served.publish(tmp_path / "output", range(10 * label, 10 * label + 5), label, DAY + timedelta(label))
    exported(DAY)
    count = f"SELECT count(*), min(user_id) FROM {schema}.lists"
    with psycopg.connect(postgresql) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert reader.execute(count).fetchall() == [(5, 0)]
        for label in (1, 2):
            exported(DAY + timedelta(label))
            assert (sql(count), reader.execute(count).fetchall()) == ([(5, 10 * label)], [(5, 0)])
        assert "lists_1" in tables(sql)
    assert exported().already
    assert "lists_1" not in tables(sql)


# -- kills and failures ------------------------------------------------------------------------------------------------

STUCK = """
import sys
from recmodel.pipeline import export
from recmodel.progress import Stages
from recmodel.tables.served import ServedRun
batches = ServedRun.batches
def stuck(self, table):
    yield from batches(self, table)
    if table == sys.argv[3]:
        print("there", flush=True)
        sys.stdin.read()
ServedRun.batches = stuck
export.export(sys.argv[1], None, export.target(sys.argv[2]), Stages(), schema=sys.argv[4])
"""


def test_a_load_that_is_killed_harms_nobody_and_the_next_call_goes_on(exported, sql, tmp_path, postgresql, schema):
    served.publish(tmp_path / "output", [1, 2])
    exported()
    served.publish(tmp_path / "output", [3, 4, 5], 1, DAY + timedelta(1))
    words = [sys.executable, "-c", STUCK, tmp_path / "output", postgresql, c.MOVIES_TABLE, schema]
    process = subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    with pytest.raises(AnotherRun, match="another export into the schema"):
        exported()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'recmodel export'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sql("SELECT count(*) FROM {s}.lists") == [(2,)]
    left = tables(sql)
    assert "lists_2" in left
    assert "movies_2" not in left
    assert exported().users == 3
    assert tables(sql)["lists_2"] == left["lists_2"]  # it was not loaded again
    assert sql("SELECT DISTINCT extract(year from valid_until) FROM {s}.lists") == [(2027,)]


def test_what_a_killed_load_of_another_run_has_left_is_dropped(exported, sql, tmp_path):
    served.publish(tmp_path / "output", [1, 2])
    exported()
    sql("INSERT INTO {s}.exports (key, state, run_date, model_version) VALUES ('x', 'loading', '2026-01-01', 'v')")
    sql("CREATE TABLE {s}.lists_2 AS SELECT * FROM {s}.lists_1")
    ((mark,),) = sql("SELECT obj_description('{s}.lists_1'::regclass)")
    sql(f"COMMENT ON TABLE {{s}}.lists_2 IS '{mark}'")
    assert exported().already
    assert "lists_2" not in tables(sql)


def test_what_cannot_be_done_is_a_sentence_with_its_exit_code(exported, sql, tmp_path, postgresql, monkeypatch):
    served.publish(tmp_path / "output", [1, 2])
    sql("DROP ROLE IF EXISTS nobody")
    sql(f"CREATE ROLE nobody LOGIN PASSWORD '{PASSWORD}'")
    for address, kind, sentence in (
        (postgresql.replace("admin", "nobody"), UsageRejected, "a right is missing .*CREATE on the database"),
        (postgresql.replace("admin", "stranger"), UsageRejected, "refuses the connection .*stranger"),
        (postgresql.replace("/postgres", "/nowhere").replace("/nowhereql", "/postgresql"), UsageRejected, "nowhere"),
        (postgresql + "?colour=red", UsageRejected, "none that PostgreSQL understands"),
        ("postgresql://admin@127.0.0.1:1/postgres", ScoringFailed, "cannot be reached .*Connection refused"),
    ):
        with pytest.raises(kind, match=sentence):
            exported(to=address)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(UsageRejected, match="password authentication failed"):
        exported()
    assert tables(sql) == {}


def test_ids_of_another_kind_and_foreign_tables_are_refused(exported, sql, tmp_path):
    served.publish(tmp_path / "output", [1, 2])
    exported()
    served.publish(tmp_path / "texts", [1, 2], ids=Ids(TEXT, TEXT))
    with pytest.raises(UsageRejected, match="lists has user_id as bigint, and the run of 2026-01-31 has text"):
        exported(location=tmp_path / "texts")
    sql("DROP SCHEMA {s} CASCADE")
    sql("CREATE SCHEMA {s}")
    sql("CREATE TABLE {s}.lists (user_id BIGINT)")
    with pytest.raises(UsageRejected, match='something else of a name that the export needs .*"lists" is not a view'):
        exported()


def test_tables_of_others_are_neither_taken_nor_dropped(exported, sql, tmp_path):
    served.publish(tmp_path / "output", [1, 2])
    sql("CREATE SCHEMA {s}")
    for table in ("lists_1", "movies_9"):
        sql(f"CREATE TABLE {{s}}.{table} (user_id BIGINT)")
    with pytest.raises(
        UsageRejected, match='something else of a name that the export needs .*"lists_1" already exists'
    ):
        exported()
    sql("ALTER TABLE {s}.lists_1 RENAME TO lists_8")
    assert exported().users == 2
    assert {"lists_8", "movies_9"} <= tables(sql).keys()


def test_a_full_disk_is_said_and_readers_keep_what_they_had(exported, sql, tmp_path, schema):
    """The server's own error, as nothing here can fill its disk."""
    served.publish(tmp_path / "output", [1, 2])
    exported()
    served.publish(tmp_path / "output", [3, 4, 5], 1, DAY + timedelta(1))
    no_space = "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'"
    sql("CREATE FUNCTION {s}.full() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN " + no_space + "; END $$")
    sql("CREATE EVENT TRIGGER full_{s} ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION {s}.full()")
    try:
        with pytest.raises(ScoringFailed, match="PostgreSQL's disk is full .*make room there"):
            exported()
    finally:
        sql("DROP EVENT TRIGGER full_{s}")
    assert sql("SELECT user_id FROM {s}.lists ORDER BY 1") == [(1,), (2,)]
    assert exported().users == 3
