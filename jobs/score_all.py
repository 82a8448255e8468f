"""Score every user against the whole catalogue with a broadcast SavedModel, and publish the top N."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import uuid
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import recmodel
from recmodel import artifact, console, data, drift, files, options, settings, stores, tables
from recmodel import columns as c
from recmodel.errors import InputRejected, RecmodelError, ScoringFailed, UsageRejected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from recmodel import scoring

# what a run stages for itself
RATINGS, USERS, DENIED, MOVIES = "ratings.parquet", "users.parquet", "denied.parquet", "movies.npz"
INTAKE, PLAN = "intake.json", "plan.json"


@click.command(
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
@options.dry_run
def score(**flags: Any) -> None:
    """Score every user against the whole catalogue and publish the top N as Parquet.

    Runs on Spark: the model is packed and broadcast once, each Python worker loads it once, and pandas UDFs score a
    user's whole row of the catalogue at a time. Nothing is visible until everything is there. Settings that are not
    given come from conf/settings.yaml.
    """
    chosen = settings.load(
        paths={key: flags[key] for key in ("data", "models", "output")},
        scoring={
            key: flags[key]
            for key in ("top_n", "rank_by", "candidates", "include_seen", "predicted_ratings", "min_history")
        },
    )
    run_date = flags["run_date"].date() if flags["run_date"] else date.today()
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
        with stage("check the model"):
            version = artifact.open_version(chosen.paths.models, model_version)
            rank_by = _rank_by(chosen.scoring, version)
            catalogue = version.catalogue()

        with stage("read and check the input"):
            folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
            key = _key(chosen, rank_by, version, folder, users_file)
            staged = tables.staged(output, run_date, key)
            intake = _stage_input(chosen, folder, users_file, catalogue, staged)

        with stage("start Spark"):
            from recmodel import rules, scoring, serving, session

            spark = session.start("recmodel score", ship_package=True)

        movies = np.load(io.BytesIO(stores.read(staged.scratch(MOVIES)) or b""))
        payload = scoring.Payload(
            model_version=version.name,
            saved_model=serving.pack(version.saved_model),
            tasks=version.tasks,
            movie_id=catalogue.column(c.MOVIE_ID).to_numpy(),
            popular=movies["popular"],
            popular_rating=movies["popular_rating"],
            allowed=None if movies["allowed"].all() else movies["allowed"],
            cap=rules.cap(catalogue, chosen.rules),
        )
        request = scoring.TopNRequest(
            n=chosen.scoring.top_n,
            rank_by=rank_by,
            candidates=chosen.scoring.candidates,
            include_seen=chosen.scoring.include_seen,
            min_history=chosen.scoring.min_history,
            liked_from=(chosen.input.rating_min + chosen.input.rating_max) / 2,
            block_bytes=chosen.scoring.block_mib << 20,
            threads=int(spark.sparkContext.getConf().get("spark.task.cpus", "1")),
        )
        try:
            outcome = _score(spark, staged, catalogue, payload, request, chosen, users_file is not None, stage)
        except RecmodelError:
            staged.discard()
            raise
        except Exception as error:  # what is finished stays staged: the same command goes on from there
            raise ScoringFailed(f"scoring failed: {_cause(error)}{console.where_the_trace_is()}") from error
        finally:
            spark.stop()

        with stage("publish"):
            record = {
                "run_id": str(uuid.uuid4()),
                "run_date": run_date,
                "model_version": version.name,
                "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "settings": chosen.model_dump(),
                "rank_by": rank_by,
                "all_users": users_file is None,
                **intake,
                "movies": catalogue.num_rows,
                "movies_allowed": int(movies["allowed"].sum()),
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
    with stage("check the model"):
        version = artifact.open_version(chosen.paths.models, model_version)
        rank_by = _rank_by(chosen.scoring, version)
        catalogue = version.catalogue()
    with tempfile.TemporaryDirectory() as aside:
        staged = tables.LinkedRun(output, aside, run_date)
        with stage("read and check the input"):
            folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
            key = _key(chosen, rank_by, version, folder, users_file)
            intake = _stage_input(chosen, folder, users_file, catalogue, staged)
        with stage("start Spark"):
            from recmodel import histories, session

            spark = session.start("recmodel score --dry-run")
        try:
            with stage("divide the users", own_progress=True):
                by_user = histories.ratings_by_user(*_staged_input(spark, staged, users_file is not None))
                plan = _plan(by_user, chosen.scoring.users_per_task, spark.sparkContext.defaultParallelism, staged)
        finally:
            spark.stop()
    facts = {
        "run date": f"{run_date}{', published already: it would be replaced' * (run_date in tables.run_dates(output))}",
        "model version": version.name,
        "ranked by": rank_by,
        "users to score": f"{plan['users']:,}",
        "movies in the catalogue": f"{catalogue.num_rows:,}",
        "partitions": f"{len(plan['starts']) + 1:,}",
        "recommendations": f"up to {plan['users'] * chosen.scoring.top_n:,} rows",
        "rows rejected": f"{intake['rows_rejected']:,}",
        "interrupted run": "it would go on" if tables.resumable(output, run_date, key) else "none of this kind",
        "would be published in": output,
    }
    console.out.print(console.facts(facts))
    console.out.print("nothing was written: this was --dry-run")


def _key(
    chosen: settings.Settings, rank_by: str, version: artifact.ModelVersion, folder: Path, users: Path | None
) -> str:
    """Names all that decides the rows of a run: an interrupted run goes on only where none of it has changed."""
    denied = Path(chosen.rules.deny_pairs) if chosen.rules.deny_pairs else None
    inputs = [data.find(folder, "ratings"), data.find(folder, "movies"), users, denied]
    decides = {
        "code": recmodel.__version__,
        "model": version.manifest,
        "input": [files.sha256(path) for path in inputs if path and path.exists()],
        "scoring": chosen.scoring.model_dump() | {"rank_by": rank_by},
        "rules": chosen.rules.model_dump(),
        "accepts": chosen.input.model_dump(),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def _stage_input(
    chosen: settings.Settings, folder: Path, users: Path | None, catalogue: pa.Table, staged: tables.Staged
) -> dict[str, Any]:
    """Writes the usable ratings, the users asked for, what is popular, what may be recommended and the rejects where
    the run can read them.

    Returns:
        What run.json says of the input. It is written last, and where it is there already the rest is too.
    """
    from recmodel.popularity import popularity
    from recmodel.rules import allowed

    known = staged.remembered(INTAKE)
    if known is not None:
        return known
    intake = data.Intake(chosen.input)
    try:
        batches = data.stream_ratings(folder, data.read_catalogue(folder, intake), intake)
        movie_id = catalogue.column(c.MOVIE_ID).to_numpy()
        with stores.create(staged.scratch(RATINGS)) as sink:
            counts, sums = data.stage_ratings(batches, sink, movie_id)
        if users is not None:
            _write_parquet(data.read_ids(users, c.USERS, "--users", intake), staged.scratch(USERS))
        if chosen.rules.deny_pairs:
            denied = data.read_ids(Path(chosen.rules.deny_pairs), c.PAIRS, "rules.deny_pairs", intake)
            _write_parquet(denied, staged.scratch(DENIED))
        may_be_recommended = allowed(catalogue, counts, chosen.rules)
    except (InputRejected, UsageRejected):
        staged.discard()
        raise
    popular, rating = popularity(movie_id, counts, sums)
    movies = io.BytesIO()
    np.savez(movies, popular=popular, popular_rating=rating, allowed=may_be_recommended)
    stores.write(staged.scratch(MOVIES), movies.getvalue())
    _write_parquet(intake.rejected(), stores.below(staged.table(c.REJECTS_TABLE), "rejects.parquet"))
    found = {
        "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rows_in": intake.rows,
        "rows_rejected": intake.rejected().num_rows,
    }
    return staged.remember(INTAKE, found)


def _write_parquet(rows: pa.Table, location: str) -> None:
    with stores.create(location) as sink:
        pq.write_table(rows, sink)


def _score(
    spark: SparkSession,
    staged: tables.Staged,
    catalogue: pa.Table,
    payload: scoring.Payload,
    request: scoring.TopNRequest,
    chosen: settings.Settings,
    only_some: bool,
    stage: console.Stages,
) -> dict[str, Any]:
    """Scores the staged users into the staged tables, and checks them; returns what run.json says of it."""
    from pyspark.sql import functions as f

    from recmodel import checks, histories, scoring, session
    from recmodel.stores import spark_path

    ratings, asked = _staged_input(spark, staged, only_some)
    denied = spark.read.parquet(spark_path(staged.scratch(DENIED))) if chosen.rules.deny_pairs else None
    by_user = histories.ratings_by_user(ratings, asked)
    with stage("divide the users", own_progress=True):
        plan = _plan(by_user, chosen.scoring.users_per_task, spark.sparkContext.defaultParallelism, staged)

    broadcast = spark.sparkContext.broadcast(payload)
    stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())

    def write(rows: DataFrame, table: str) -> None:
        # Version 2 of Hadoop's committer puts each partition in place when it is finished, not when all are.
        by_part = rows.write.mode("append").option("mapreduce.fileoutputcommitter.algorithm.version", "2")
        by_part.parquet(spark_path(staged.table(table)))

    with stage("score and write recommendations", own_progress=True):
        done = staged.finished_parts(c.RECOMMENDATIONS_TABLE)
        users = histories.histories(ratings, asked, plan["starts"], done, denied)
        scored = scoring.recommend(users, broadcast, request, stats)
        titles = spark.createDataFrame(catalogue.select([c.MOVIE_ID, c.TITLE]))
        scored_at = datetime.fromisoformat(plan["started_at"])
        write(scoring.publishable(scored, titles, payload.model_version, scored_at), c.RECOMMENDATIONS_TABLE)

    with stage("write predicted ratings", own_progress=True):
        written = spark.read.parquet(spark_path(staged.table(c.RECOMMENDATIONS_TABLE)))
        made_by = f.lit(payload.model_version).alias(c.MODEL_VERSION)
        if chosen.scoring.predicted_ratings == "all":
            done_too = staged.finished_parts(c.PREDICTED_RATINGS_TABLE)
            users = histories.histories(ratings, asked, plan["starts"], done_too)
            predicted = scoring.predict_all(users, broadcast, request, stats).select("*", made_by)
            write(predicted, c.PREDICTED_RATINGS_TABLE)
        else:
            by_model = (f.col(c.SOURCE) == c.SOURCE_MODEL) & f.col(c.PREDICTED_RATING).isNotNull()
            predicted = written.where(by_model).select(c.USER_ID, c.MOVIE_ID, c.PREDICTED_RATING, made_by)
            predicted.write.mode("overwrite").parquet(spark_path(staged.table(c.PREDICTED_RATINGS_TABLE)))

    with stage("check what was written", own_progress=True):
        rules_hold = payload.allowed is not None or payload.cap is not None
        left = catalogue if payload.allowed is None else catalogue.filter(pa.array(payload.allowed))
        allowed = spark.createDataFrame(left.select([c.MOVIE_ID, c.GENRES])) if rules_hold else None
        promised = checks.Promised(
            top_n=request.n,
            movies=left.num_rows,
            include_seen=request.include_seen,
            tasks=payload.tasks,
            rating_range=(chosen.input.rating_min, chosen.input.rating_max),
            max_per_genre=chosen.rules.max_per_genre,
        )
        figures = checks.check(written, ratings, by_user, promised, allowed, denied)
        predicted_rows = spark.read.parquet(spark_path(staged.table(c.PREDICTED_RATINGS_TABLE))).count()
        peak_mib = session.driver_peak_mib(spark)

    return {
        "users": plan["users"],
        "partitions": len(plan["starts"]) + 1,
        "partitions_resumed": len(done),
        "recommendations": figures,
        "predicted_ratings": {"rows": predicted_rows},
        "model_loads": stats.value.model_loads,
        "slowest_model_load_seconds": round(stats.value.load_seconds, 2),
        "peak_mib": {**peak_mib, "largest_worker": stats.value.peak_bytes >> 20},
    }


def _staged_input(spark: SparkSession, staged: tables.Staged, only_some: bool) -> tuple[DataFrame, DataFrame | None]:
    """(ratings, the users asked for if only some are): what `_stage_input` wrote."""
    ratings, users = (stores.spark_path(staged.scratch(name)) for name in (RATINGS, USERS))
    return spark.read.parquet(ratings), spark.read.parquet(users) if only_some else None


def _plan(by_user: DataFrame, users_per_task: int, slots: int, staged: tables.Staged) -> dict[str, Any]:
    """How many users there are, where each partition of them starts, and when; the same when a run is resumed."""
    from recmodel import histories

    known = staged.remembered(PLAN)
    if known is not None:
        return known
    users = by_user.count()
    partitions = max(slots, -(-users // users_per_task))
    plan = {
        "started_at": datetime.now(timezone.utc).isoformat(),
        "users": users,
        "starts": histories.partition_starts(by_user, users, partitions),
    }
    return staged.remember(PLAN, plan)


def _compare_with_last(record: dict[str, Any], output: str, limits: settings.Checks, staged: tables.Staged) -> None:
    """Holds the run against the last one that was made in the same way."""
    from recmodel import checks

    for day in reversed(tables.run_dates(output)):
        last = tables.read_run(output, day)
        if drift.alike(record, last):
            try:
                checks.compare(record["recommendations"], last["recommendations"], limits)
            except RecmodelError:
                staged.discard()
                raise
            return


def _rank_by(scoring: settings.Scoring, version: artifact.ModelVersion) -> str:
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


def _cause(error: Exception) -> str:
    """The line of a Spark error that says most: the end of a Python worker's trace, Java's last cause, or the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    in_worker = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if in_worker:
        for line in lines[in_worker[-1] + 1 :]:
            if not line.startswith("File ") and ": " in line and line.split(": ")[0].replace(".", "").isidentifier():
                return line[:300]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1:] or lines or [type(error).__name__])[0][:300]


def _summary(output: str, run_date: date, preview_users: int = 2, preview_rows: int = 3) -> None:
    run = tables.read_run(output, run_date)
    made = run["recommendations"]
    allowed = run["movies_allowed"]
    restricted = f" ({allowed:,} of them may be recommended)" * (allowed < run["movies"])
    facts = {
        "run date": run["run_date"],
        "model version": run["model_version"],
        "ranked by": run["rank_by"],
        "users": f"{run['users']:,} ({made['popular_users']:,} of them served from popularity)",
        "movies in the catalogue": f"{run['movies']:,}{restricted}",
        "recommendations": f"{made['rows']:,} rows, {made['distinct_movies']:,} different movies",
        "predicted ratings": f"{run['predicted_ratings']['rows']:,} rows",
        "rows rejected": f"{run['rows_rejected']:,}",
        "peak memory": ", ".join(
            f"{process.replace('_', ' ')} {mib:,} MiB" for process, mib in run["peak_mib"].items()
        ),
        "published in": output,
    }
    console.out.print(console.facts(facts))
    for user_id in tables.first_users(output, run_date, preview_users):
        rows = tables.recommendations_of(output, run_date, [user_id]).slice(0, preview_rows).to_pylist()
        console.out.print(console.recommendations(f"\nThe first {len(rows)} for user {user_id}", rows))


if __name__ == "__main__":
    console.run(score, unexpected=ScoringFailed.exit_code)
