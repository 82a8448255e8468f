"""Score every user against the whole catalogue with a broadcast SavedModel, and publish the top N."""

from __future__ import annotations

import tempfile
import uuid
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pyarrow as pa

from recmodel import files, settings, storage
from recmodel import schemas as c
from recmodel.cli import console, options
from recmodel.data import movielens as data
from recmodel.errors import RecmodelError, ScoringFailed, UsageRejected
from recmodel.models import versions
from recmodel.pipeline import incremental, staging
from recmodel.report import drift
from recmodel.spark import launch
from recmodel.tables import linked as tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@click.command(
    short_help="Score every user and publish the top N.",
    epilog="Example: recmodel score --data ml-latest-small --rank-by two-stage --top-n 20",
    context_settings=options.CONTEXT,
)
@options.data
@options.models
@options.model_version
@options.output
@click.option("--run-date", type=click.DateTime(["%Y-%m-%d"]), help="The partition to publish; today by default.")
@click.option("--top-n", type=int, help="Recommendations a user.")
@click.option(
    "--rank-by",
    type=click.Choice(["retrieval", "rating", "two-stage"]),
    help="retrieval: what they will watch; rating: what they will like; two-stage: the best rated of the former.",
)
@click.option("--candidates", type=int, help="How many movies two-stage retrieves before it ranks them by rating.")
@click.option("--users", metavar="FILE", callback=options.path, help="Only these users: CSV or Parquet with userId.")
@click.option("--include-seen/--exclude-seen", default=None, help="Also recommend movies that the user has rated.")
@click.option(
    "--predicted-ratings",
    type=click.Choice(["top-n", "all"]),
    help="What the table predicted_ratings holds: the recommended pairs, or the whole matrix.",
)
@click.option("--min-history", type=int, help="Users with fewer ratings are served from popularity.")
@click.option(
    "--incremental/--full",
    default=None,
    help="Score only users whose ratings have changed since the last run with this model and these settings.",
)
@options.spark
@options.dry_run
def score(**flags: Any) -> None:
    """Score every user against the whole catalogue and publish the top N as Parquet.

    Runs on Spark: the model is packed and broadcast once, each Python worker loads it once, and pandas UDFs score a
    user's whole row of the catalogue at a time. Nothing is visible until everything is there. Settings that are not
    given come from conf/settings.yaml.
    """
    chosen = settings.load(
        paths={key: flags[key] for key in ("data", "models", "output")},
        scoring={key: flags[key] for key in settings.Scoring.model_fields if key in flags},
    )
    run_date = flags["run_date"].date() if flags["run_date"] else date.today()
    launch.prepare(options.for_spark())
    console.start_log(chosen.paths.logs, "score", as_json=chosen.monitoring.json_logs)
    what = {"model_version": flags["model_version"], "users_file": flags["users"] and Path(flags["users"])}
    if flags["dry_run"]:
        _foresee(chosen, run_date, **what)
        return
    run(chosen, run_date, **what)
    _summary(chosen.paths.output, run_date)


def run(
    chosen: settings.Settings, run_date: date, *, model_version: str | None = None, users_file: Path | None = None
) -> dict[str, Any]:
    """Checks the model and the input, scores, checks what was written and publishes it; gives its run.json.

    Args:
        model_version: None: CURRENT.
        users_file: who is scored; None: all who have rated.

    Raises:
        RecmodelError: of the kind that says which of these steps failed.
    """
    stage = console.Stages()
    output = chosen.paths.output

    with tables.locked(output):
        order = _settle(chosen, run_date, model_version, users_file, stage)

        with stage("read and check the input"):
            folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
            staged = tables.staged(output, run_date, _key(order, folder))
            staging.take_in(folder, users_file, order.catalogue, chosen.input, chosen.rules, staged)

        with stage("start Spark"):
            from recmodel.scoring import recommender
            from recmodel.spark import resources, session

            model = recommender.pack(order.version.saved_model)
            needs = resources.needs(len(model), order.catalogue.num_rows, chosen.scoring.block_mib << 20)
            spark = session.start("recmodel score", ship_package=True, needs=needs)

        try:
            outcome = _score(spark, order, staged, model, stage)
        except RecmodelError:
            staged.discard()
            raise
        except Exception as error:  # what is finished stays staged: the same command goes on from there
            raise ScoringFailed(f"scoring failed: {session.cause(error)}{console.where_the_trace_is()}") from error
        finally:
            spark.stop()

        with stage("publish"):
            record = {
                "run_id": str(uuid.uuid4()),
                "run_date": run_date,
                "model_version": order.version.name,
                "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "settings": chosen.model_dump(),
                "rank_by": order.rank_by,
                "all_users": not order.only_some,
                "conditions": order.conditions,
                **outcome,
                "seconds": stage.seconds,
            }
            if record["all_users"]:
                _compare_with_last(record, output, chosen.checks, staged)
            staged.publish(record, chosen.retention.run_dates)
    return tables.read_run(output, run_date)


def _foresee(chosen: settings.Settings, run_date: date, *, model_version: str | None, users_file: Path | None) -> None:
    """All that `run` does before it scores, in a place that is gone afterwards; says what it would do then.

    Raises:
        RecmodelError: what `run` would raise.
    """
    stage = console.Stages()
    output = chosen.paths.output
    tables.ready(output)
    order = _settle(chosen, run_date, model_version, users_file, stage)
    near = None if storage.is_uri(output) else files.nearest_folder(Path(output))  # where the executors see it too
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=near) as aside:
        staged = tables.LinkedRun(output, str(Path(aside, "run")), run_date)
        with stage("read and check the input"):
            folder = data.data_dir(chosen.paths.data, aside)
            key = _key(order, folder)
            staging.take_in(folder, users_file, order.catalogue, chosen.input, chosen.rules, staged)
        with stage("start Spark"):
            from recmodel.spark import session

            spark = session.start("recmodel score --dry-run")
        try:
            session.check_reach(spark, output)
            work = _divide(spark, order, staged, stage)
        finally:
            spark.stop()
    counted, plan = work.counted, work.plan
    published = tables.run_dates(output)
    facts = {
        "run date": f"{run_date}, published already: it would be replaced" if run_date in published else run_date,
        "model version": order.version.name,
        "ranked by": order.rank_by,
        "users to score": f"{work.users_scored:,} of {plan['users']:,}",
        "movies in the catalogue": _movies(order.catalogue.num_rows, counted["movies_allowed"]),
        "partitions": f"{len(plan['starts']) + 1:,}",
        "recommendations": f"up to {plan['users'] * chosen.scoring.top_n:,} rows",
        "rows rejected": f"{counted['rows_rejected']:,}",
        "interrupted run": "it would go on" if tables.resumable(output, run_date, key) else "none of this kind",
        "would be published in": output,
    }
    console.out.print(console.facts(facts))
    console.out.print(console.DRY)


class _Order(NamedTuple):
    """What a run is to do, settled before anything is read."""

    chosen: settings.Settings
    version: versions.ModelVersion
    catalogue: pa.Table  # of that version
    rank_by: str  # the ranking policy
    users_file: Path | None  # who is scored; None: all who have rated
    conditions: str  # see `incremental`
    before: dict[str, Any] | None  # run.json of the earlier run whose rows this one carries on, if it does

    @property
    def only_some(self) -> bool:
        return self.users_file is not None


def _settle(
    chosen: settings.Settings,
    run_date: date,
    model_version: str | None,
    users_file: Path | None,
    stage: console.Stages,
) -> _Order:
    """Finds and checks the model, and the run before.

    Raises:
        ModelRejected, UsageRejected: see `artifact.open_version` and `_rank_by`; or settings contradict each other.
    """
    if chosen.scoring.incremental and chosen.rules.min_ratings:
        raise UsageRejected(
            "incremental runs keep lists of a night when other movies had as many ratings; choose one of "
            "scoring.incremental and rules.min_ratings"
        )
    with stage("check the model"):
        version = versions.open_version(chosen.paths.models, model_version)
        rank_by = _rank_by(chosen.scoring, version)
    conditions, before = incremental.conditions(chosen, rank_by, version), None
    if chosen.scoring.incremental and users_file is None:
        before = incremental.earlier(chosen.paths.output, run_date, conditions)
    return _Order(chosen, version, version.catalogue(), rank_by, users_file, conditions, before)


def _key(order: _Order, folder: Path) -> str:
    """Names all that decides the rows of a run: an interrupted run goes on only where none of it has changed."""
    users = order.users_file
    inputs = [data.find(folder, "ratings"), data.find(folder, "movies"), users and data.find_ids(users, c.USERS)]
    decides = {
        "conditions": order.conditions,
        "input": [files.sha256(path) for path in inputs if path],
        "accepts": order.chosen.input.model_dump(),
        "incremental": order.chosen.scoring.incremental,
        "before": order.before and order.before["run_id"],
    }
    return files.sha256_of(decides)[:12]


class _Work(NamedTuple):
    """Who is in a run; see `staging`."""

    counted: dict[str, Any]
    by_user: DataFrame
    to_score: DataFrame | None
    plan: dict[str, Any]
    users_scored: int


def _divide(spark: SparkSession, order: _Order, staged: tables.Staged, stage: console.Stages) -> _Work:
    """Counts what was taken in and divides the users, which is all that comes before they are scored."""
    from recmodel.spark import session

    scoring, before = order.chosen.scoring, order.before
    with stage("count the ratings"):
        counted = staging.count(spark, staged, order.catalogue, order.chosen.rules, fingerprint=scoring.incremental)
        by_user, to_score = staging.users(spark, staged, before, only_some=order.only_some)
    with stage("divide the users"):
        users = counted["users_asked" if order.only_some else "users_rated"]
        plan = staging.plan(staged, by_user, users, scoring, session.slots(spark))
        session.expect(spark, counted["rows_used"][counted["ratings_file"]] + users * scoring.top_n)
        users_scored = plan["users"] if before is None or to_score is None else to_score.count()
    return _Work(counted, by_user, to_score, plan, users_scored)


def _score(
    spark: SparkSession, order: _Order, staged: tables.Staged, model: bytes, stage: console.Stages
) -> dict[str, Any]:
    """Scores the staged users into the staged tables, and checks them; returns what run.json says of it.

    Args:
        model: the SavedModel, packed.
    """
    from pyspark.sql import functions as f

    from recmodel.pipeline import checks
    from recmodel.scoring import rules
    from recmodel.scoring import worker as scoring
    from recmodel.spark import histories, resources, session
    from recmodel.storage import spark_path

    counted, by_user, to_score, plan, users_scored = _divide(spark, order, staged, stage)
    chosen, catalogue, before = order.chosen, order.catalogue, order.before
    ratings = staging.ratings(spark, staged)
    may_repeat = counted["ratings_superseded"] > 0
    movies, denied = staging.movies(staged), staging.denied(spark, staged, chosen.rules)
    payload = scoring.Payload(
        model_version=order.version.name,
        saved_model=model,
        tasks=order.version.tasks,
        movie_id=catalogue.column(c.MOVIE_ID).to_numpy(),
        popular=movies["popular"],
        popular_rating=movies["popular_rating"],
        allowed=None if movies["allowed"].all() else movies["allowed"],
        cap=rules.cap(catalogue, chosen.rules),
    )
    request = scoring.TopNRequest(
        n=chosen.scoring.top_n,
        rank_by=order.rank_by,
        candidates=chosen.scoring.candidates,
        include_seen=chosen.scoring.include_seen,
        min_history=chosen.scoring.min_history,
        liked_from=chosen.input.liked_from,
        block_bytes=chosen.scoring.block_mib << 20,
        threads=resources.threads(dict(spark.sparkContext.getConf().getAll())),
    )
    broadcast = spark.sparkContext.broadcast(payload)
    stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())

    def write(rows: DataFrame, table: str) -> None:
        # Version 2 of Hadoop's committer puts each partition in place when it is finished, not when all are.
        by_part = rows.write.mode("append").option("mapreduce.fileoutputcommitter.algorithm.version", "2")
        by_part.parquet(spark_path(staged.table(table)))

    def left(done: set[int]) -> int:
        return round(users_scored * (1 - len(done) / (len(plan["starts"]) + 1)))  # partitions are of about equal size

    with stage("score and write recommendations") as progress:
        done = staged.finished_parts(c.RECOMMENDATIONS_TABLE)
        users = histories.histories(ratings, to_score, plan["starts"], done, denied, may_repeat=may_repeat)
        scored = scoring.recommend(users, broadcast, request, stats)
        titles = spark.createDataFrame(catalogue.select([c.MOVIE_ID, c.TITLE]))
        scored_at = datetime.fromisoformat(plan["started_at"])
        rows = scoring.publishable(scored, titles, payload.model_version, scored_at)
        if before is not None and to_score is not None:
            rows = rows.unionByName(staging.carried(spark, staged, before, by_user, to_score))
            rows = histories.in_parts(rows, plan["starts"], done).sortWithinPartitions(c.USER_ID, c.RANK)
        rows = rows.select(*c.RECOMMENDATION)
        with scoring.watched(stats, left(done), progress):
            write(rows, c.RECOMMENDATIONS_TABLE)

    with stage("write predicted ratings") as progress:
        written = spark.read.schema(rows.schema).parquet(spark_path(staged.table(c.RECOMMENDATIONS_TABLE)))
        made_by = f.lit(payload.model_version).alias(c.MODEL_VERSION)
        if chosen.scoring.predicted_ratings == "all":
            done_too = staged.finished_parts(c.PREDICTED_RATINGS_TABLE)
            users = histories.histories(ratings, to_score, plan["starts"], done_too, may_repeat=may_repeat)
            predicted = scoring.predict_all(users, broadcast, request, stats).select("*", made_by)
            with scoring.watched(stats, left(done_too), progress):
                write(predicted, c.PREDICTED_RATINGS_TABLE)
        else:
            by_model = (f.col(c.SOURCE) == c.SOURCE_MODEL) & f.col(c.PREDICTED_RATING).isNotNull()
            predicted = written.where(by_model).select(c.USER_ID, c.MOVIE_ID, c.PREDICTED_RATING, made_by)
            predicted.write.mode("overwrite").parquet(spark_path(staged.table(c.PREDICTED_RATINGS_TABLE)))

    with stage("check what was written"):
        promised = checks.Promised(
            top_n=request.n,
            movies=counted["movies_allowed"],
            include_seen=request.include_seen,
            tasks=payload.tasks,
            rating_range=(chosen.input.rating_min, chosen.input.rating_max),
            max_per_genre=chosen.rules.max_per_genre,
        )
        allowed = None
        if payload.allowed is not None or payload.cap is not None:
            genres = catalogue.select([c.MOVIE_ID, c.GENRES])
            allowed = spark.createDataFrame(genres.filter(pa.array(movies["allowed"])))
        figures = checks.check(written, ratings, by_user, promised, allowed, denied)
        of_pairs = spark.read.schema(predicted.schema).parquet(spark_path(staged.table(c.PREDICTED_RATINGS_TABLE)))
        predicted_rows = of_pairs.count()
        peak_mib = session.driver_peak_mib(spark)

    return {
        **counted,
        "movies": catalogue.num_rows,
        "users": plan["users"],
        "users_scored": users_scored,
        "carried_from": before and {key: before[key] for key in ("run_id", "run_date")},
        "partitions": len(plan["starts"]) + 1,
        "partitions_resumed": len(done),
        "recommendations": figures,
        "predicted_ratings": {"rows": predicted_rows},
        "model_loads": stats.value.model_loads,
        "slowest_model_load_seconds": round(stats.value.load_seconds, 2),
        "peak_mib": {**peak_mib, "largest_worker": stats.value.peak_bytes >> 20},
    }


def _compare_with_last(record: dict[str, Any], output: str, limits: settings.Checks, staged: tables.Staged) -> None:
    """Holds the run against the last one that was made in the same way."""
    from recmodel.pipeline import checks

    for day in reversed(tables.run_dates(output)):
        last = tables.read_run(output, day)
        if drift.alike(record, last):
            try:
                checks.compare(record["recommendations"], last["recommendations"], limits)
            except RecmodelError:
                staged.discard()
                raise
            return


def _rank_by(scoring: settings.Scoring, version: versions.ModelVersion) -> str:
    """The ranking policy of this run.

    Raises:
        UsageRejected: it, or the table asked for, needs a task that the model was not trained for.
    """
    rank_by = scoring.rank_by
    if rank_by == "auto":
        rank_by = "retrieval" if "retrieval" in version.tasks else "rating"
    needed = {"retrieval": {"retrieval"}, "rating": {"rating"}, "two-stage": {"retrieval", "rating"}}[rank_by]
    if scoring.predicted_ratings == "all":
        needed = needed | {"rating"}
    missing = needed - set(version.tasks)
    if missing:
        raise UsageRejected(
            f"model {version.name} was not trained for {' and '.join(sorted(missing))}, which this run needs; "
            f"choose another --rank-by or --predicted-ratings, or train the preset default"
        )
    return rank_by


def _summary(output: str, run_date: date, preview_users: int = 1, preview_rows: int = 3) -> None:
    run = tables.read_run(output, run_date)
    made, peak = run["recommendations"], run["peak_mib"]
    driver = peak["driver_python"] + peak["driver_jvm"]
    facts = {
        "run date": run["run_date"],
        "model version": run["model_version"],
        "ranked by": run["rank_by"],
        "users": f"{run['users']:,} ({made['popular_users']:,} of them served from popularity)",
        **_carried(run),
        "movies in the catalogue": _movies(run["movies"], run["movies_allowed"]),
        "recommendations": f"{made['rows']:,} rows, {made['distinct_movies']:,} different movies",
        "predicted ratings": f"{run['predicted_ratings']['rows']:,} rows",
        "rows rejected": f"{run['rows_rejected']:,} ({run['ratings_superseded']:,} of them ratings given anew later)",
        "peak memory": f"driver {driver:,} MiB, largest worker {peak['largest_worker']:,} MiB",
        "published in": output,
    }
    console.out.print(console.facts(facts))
    for user_id in tables.first_users(output, run_date, preview_users):
        rows = tables.recommendations_of(output, run_date, [user_id]).slice(0, preview_rows).to_pylist()
        console.out.print(console.recommendations(f"\nThe first {len(rows)} for user {user_id}", rows))


def _movies(catalogue: int, allowed: int) -> str:
    return f"{catalogue:,}" if allowed == catalogue else f"{catalogue:,}, of which {allowed:,} may be recommended"


def _carried(run: dict[str, Any]) -> dict[str, str]:
    if not run["carried_from"]:
        return {}
    day = run["carried_from"]["run_date"]
    return {"users scored anew": f"{run['users_scored']:,}; the others keep their lists of {day}"}


if __name__ == "__main__":
    console.run(score, unexpected=ScoringFailed.exit_code)
