"""To PostgreSQL: a run's lists, movies and similar movies become tables that a site reads, in one transaction.

SCHEMA.lists, .movies, .similar_movies      views, which are all that a site reads
SCHEMA.list_entries                         a view of a row for each entry of a list
SCHEMA.exports                              what was exported, and which of it the views show
SCHEMA.lists_all, .movies_all, …            the rows of all exports, by its number
SCHEMA.lists_7, .movies_7, …                their partitions: the rows of export 7; those of the one before it stay too

Rows are loaded by COPY into new tables, each in a transaction of its own: a load that is killed leaves whole tables,
which the next call goes on with, or none. They become partitions, which no reader waits for, and then one row of
`exports` says that they are what the views show. So the switch needs no lock that a reader could hold or wait for, and
each snapshot finds all tables of one export. (To rename tables, or to point views to others, takes exclusive locks on
several of them; queries that join these run into deadlocks with it, and an open transaction holds it up.)
"""

from __future__ import annotations

import time

from psycopg import errors

from recmodel import schemas as c
from recmodel.errors import AnotherRun
from recmodel.pipeline.postgresql import Database, connected
from recmodel.pipeline.postgresql_tables import LOCK_TIMEOUT, Tables
from recmodel.progress import NOTICE, Stages, log
from recmodel.tables.served import TABLES, Exported, ServedRun

SETTLE = 5.0  # seconds, at most, for which a query that was planned before there was a new partition is waited for
_PATIENCE = "2s"  # until the server has noticed that an export before this one has ended
_CREATE_EXPORTS = """
CREATE TABLE {schema}.exports (
    number INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL, tables_of INTEGER,
    run_date DATE NOT NULL, model_version TEXT NOT NULL, valid_until TIMESTAMP WITH TIME ZONE, users BIGINT,
    rows BIGINT, changed BIGINT, removed BIGINT, seconds REAL, exported_at TIMESTAMP WITH TIME ZONE);
CREATE UNIQUE INDEX exports_current ON {schema}.exports (state) WHERE state = 'current';
COMMENT ON TABLE {schema}.exports IS 'what was exported, and which of it the views show';
COMMENT ON COLUMN {schema}.exports.key IS 'names the rows of the run: another when they are others';
COMMENT ON COLUMN {schema}.exports.state IS 'loading, current, previous: its tables are still there, or replaced';
COMMENT ON COLUMN {schema}.exports.tables_of IS 'the number at the end of the names of its tables';
COMMENT ON COLUMN {schema}.exports.changed IS 'rows that were written';
COMMENT ON COLUMN {schema}.exports.removed IS 'rows that were deleted because the run has them no more';
"""


def export(run: ServedRun, address: str, schema: str, stages: Stages, *, changed_only: bool = False) -> Exported:
    """Load a run and show it to readers.

    Args:
        address: a URI as libpq takes it. What it lacks comes from libpq's own variables and files.
        changed_only: write and delete the rows that differ from those that are shown, instead of all in new tables.

    Raises:
        AnotherRun: another export into the schema is under way.
        UsageRejected: the server refuses the role, a right is missing, or the schema has ids of another kind.
        ScoringFailed: anything else; readers have what they had before.
    """
    with connected(address, schema) as database:
        this = _Export(database, run, stages)
        this.prepare()
        current = database.one("SELECT key, tables_of, users, rows FROM {schema}.exports WHERE state = 'current'")
        key, tables_of, users, rows = current or (None, 0, 0, 0)
        comparable = bool(current) and this.tables.comparable(tables_of)
        if key == run.key:
            done = Exported(run.run_date, users, rows, already=True)
        elif changed_only and comparable:
            done = this.merge(tables_of)
        else:
            if changed_only:
                log.log(NOTICE, "%s has nothing yet that rows could be compared with: all of them are loaded", schema)
            done = this.replace()
        this.tidy()
        return done


class _Export:
    """One export into a schema, over one connection."""

    def __init__(self, database: Database, run: ServedRun, stages: Stages) -> None:
        self.database, self.run, self.stages = database, run, stages
        self.tables = Tables(database, run)
        self.started = time.monotonic()

    def prepare(self) -> None:
        """Take the lock of exports, refuse ids of another kind, and make what is missing of the schema."""
        database = self.database
        try:
            with database.transaction(_PATIENCE):  # the lock outlives it: it is that of the session
                database.execute("SELECT pg_advisory_lock(hashtext('recmodel export'), hashtext({name}))")
        except errors.LockNotAvailable:
            raise AnotherRun(
                f"another export into the schema {database.schema} is under way; wait until it has ended"
            ) from None
        self.tables.check_kinds()
        if not database.one("SELECT 1 FROM pg_namespace WHERE nspname = {name}"):
            database.execute("CREATE SCHEMA {schema}")
            database.execute("COMMENT ON SCHEMA {schema} IS 'recommendations, as recmodel exports them'")
        if not database.columns("exports"):
            with database.transaction():
                database.execute(_CREATE_EXPORTS)
        for table in TABLES:
            self.tables.define(table)

    def replace(self) -> Exported:
        """Load all rows into new tables, and let the views show them."""
        number, rows = self.number(), {}
        self.drop_others(number)
        for table in TABLES:
            with self.stages(f"load {table}"):
                rows[table] = self.tables.load(table, number)
        loaded = Exported(self.run.run_date, rows[c.LISTS_TABLE], sum(rows.values()), sum(rows.values()))
        with self.stages("show the new tables"):
            self.settle()
            self.run.check_unchanged()
            with self.database.transaction():
                self.database.execute(
                    "UPDATE {schema}.exports SET state = CASE state WHEN 'current' THEN 'previous' ELSE 'replaced' END "
                    "WHERE state IN ('current', 'previous')"
                )
                self.record(number, number, loaded)
        return loaded

    def settle(self) -> None:
        """Wait until transactions have ended that began before the new partitions were there, but not for ever.

        A query that was planned before there was a new partition, and looks at `exports` once the row there names it,
        would find nothing. From one to the other it takes far less than a millisecond; a transaction that stays open
        for longer has most likely read what it wanted.
        """
        give_up, before = time.monotonic() + SETTLE, self.readers()
        for table in TABLES:  # the server does this by itself for partitions only, and some time later
            self.database.execute("ANALYZE {0}", self.database.name(f"{table}_all"))
        while before & self.readers() and time.monotonic() < give_up:
            time.sleep(0.02)

    def readers(self) -> set[str]:
        """Return the transactions that have read, or have planned to read, the tables of all exports."""
        rows = self.database.execute(
            "SELECT virtualtransaction FROM pg_locks WHERE mode = 'AccessShareLock' AND pid <> pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND relation IN (SELECT to_regclass(name) FROM unnest({0}::text[]) AS name)",
            [self.database.name(f"{table}_all").as_string() for table in TABLES],
        )
        return {name for (name,) in rows.fetchall()}

    def merge(self, tables_of: int) -> Exported:
        """Write and delete what differs, in one transaction."""
        rows, changed, removed = {}, 0, 0
        for table in TABLES:
            with self.stages(f"load {table}"):
                rows[table] = self.tables.stage(table)
        number = self.number()
        self.run.check_unchanged()
        with self.stages("write what has changed"), self.database.transaction():
            for table in TABLES:
                written, deleted = self.tables.merge(table, tables_of)
                changed, removed = changed + written, removed + deleted
            loaded = Exported(self.run.run_date, rows[c.LISTS_TABLE], sum(rows.values()), changed, removed)
            self.database.execute("UPDATE {schema}.exports SET state = 'replaced' WHERE state = 'current'")
            self.record(number, tables_of, loaded)
        return loaded

    def tidy(self) -> None:
        """Drop tables that the views show no more, and erase from the last ones whom the run has no more."""
        kept = self.drop_others()
        self.database.execute("UPDATE {schema}.exports SET state = 'replaced' WHERE state = 'loading'")
        if "previous" in kept:
            old, new = (self.database.name(f"{c.LISTS_TABLE}_{kept[state]}") for state in ("previous", "current"))
            users = "DELETE FROM {0} o WHERE NOT EXISTS (SELECT FROM {1} n WHERE n.user_id = o.user_id)"
            self.database.execute(users, old, new)

    def drop_others(self, loading: int | None = None) -> dict[str, int]:
        """Drop tables of other exports than the current and the previous one; return the numbers of these.

        Args:
            loading: the number of an export whose tables stay too.
        """
        shown = "SELECT state, tables_of FROM {schema}.exports WHERE state IN ('current', 'previous')"
        kept: dict[str, int] = dict(self.database.execute(shown).fetchall())
        for name in self.tables.loaded():
            if int(name.rpartition("_")[2]) in (loading, *kept.values()):
                continue
            try:
                with self.database.transaction(LOCK_TIMEOUT):
                    self.database.execute("DROP TABLE {0}", self.database.name(name))
            except errors.LockNotAvailable:
                log.log(NOTICE, "%s.%s is not dropped, as a transaction is open that reads it: the next call drops it",
                        self.database.schema, name)  # fmt: skip
        return kept

    def number(self) -> int:
        """Return the number of this export: that of an interrupted one of the same rows, or else a new one."""
        begun = self.database.one(
            "SELECT number FROM {schema}.exports WHERE state = 'loading' AND key = {0} ORDER BY number DESC",
            self.run.key,
        )
        made = begun or self.database.one(
            "INSERT INTO {schema}.exports (key, state, run_date, model_version) VALUES ({0}, 'loading', {1}, {2}) "
            "RETURNING number",
            self.run.key, self.run.run_date, self.run.record.model_version,
        )  # fmt: skip
        return int(made[0])

    def record(self, number: int, tables_of: int, loaded: Exported) -> None:
        """Write that an export is what the views show."""
        self.database.execute(
            "UPDATE {schema}.exports SET state = 'current', tables_of = {tables_of}, valid_until = {until}, "
            "users = {users}, rows = {rows}, changed = {changed}, removed = {removed}, seconds = {seconds}, "
            "exported_at = now() WHERE number = {number}",
            **vars(loaded) | {"seconds": round(time.monotonic() - self.started, 3)}, tables_of=tables_of, number=number,
            until=self.run.valid_until(),
        )  # fmt: skip
