"""Score every user against the whole catalogue with a broadcast SavedModel, and publish the top N."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmodel import artifact, console, data, options, settings, tables
from recmodel import columns as c
from recmodel.errors import ScoringFailed, UsageRejected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from recmodel import scoring

# what a run stages for itself
RATINGS, USERS = "ratings.parquet", "users.parquet"


@click.command(
    epilog="Example: spark-submit jobs/score_all.py --data ml-latest-small --rank-by two-stage --top-n 20",
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
    started = datetime.now(timezone.utc)
    log_file = console.start_log(chosen.paths.logs, "score")
    stage = console.Stages()

    with stage("check the model"):
        version = artifact.open_version(Path(chosen.paths.models), flags["model_version"])
        rank_by = _rank_by(chosen.scoring, version)
        catalogue = version.catalogue()

    with tables.staging(Path(chosen.paths.output), run_date) as staged:
        with stage("read and check the input"):
            intake = data.Intake(chosen.input)
            popular, popular_rating = _stage_input(chosen, flags["users"], intake, catalogue, staged)

        with stage("start Spark"):
            from recmodel import scoring, serving, session

            spark = session.start("recmodel score", staged.folder)

        payload = scoring.Payload(
            model_version=version.name,
            saved_model=serving.pack(version.saved_model),
            tasks=version.tasks,
            movie_id=catalogue.column(c.MOVIE_ID).to_numpy(),
            popular=popular,
            popular_rating=popular_rating,
        )
        request = scoring.TopNRequest(
            n=chosen.scoring.top_n,
            rank_by=rank_by,
            candidates=chosen.scoring.candidates,
            include_seen=chosen.scoring.include_seen,
            min_history=chosen.scoring.min_history,
            block_bytes=chosen.scoring.block_mib << 20,
            threads=int(spark.sparkContext.getConf().get("spark.task.cpus", "1")),
        )
        try:
            titles = spark.createDataFrame(catalogue.select([c.MOVIE_ID, c.TITLE]))
            outcome = _score(spark, staged, titles, payload, request, chosen.scoring, started, stage)
        except Exception as error:
            raise ScoringFailed(f"scoring failed: {_cause(error)} (the trace is in {log_file})") from error
        finally:
            spark.stop()

        with stage("publish"):
            record = {
                "run_id": str(uuid.uuid4()),
                "run_date": run_date,
                "model_version": version.name,
                "started_at": started.isoformat(timespec="seconds"),
                "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "settings": chosen.model_dump(),
                "rank_by": rank_by,
                "rows_in": intake.rows,
                "rows_rejected": intake.rejected().num_rows,
                "movies": catalogue.num_rows,
                **outcome,
                "seconds": stage.seconds,
            }
            staged.publish(record)

    _summary(Path(chosen.paths.output), run_date)


def _stage_input(
    chosen: settings.Settings, users: str | None, intake: data.Intake, catalogue: pa.Table, staged: tables.Staged
) -> tuple[np.ndarray, np.ndarray]:
    """Writes the usable ratings, the users asked for and the rejects where the run can read them.

    Returns:
        What is popular among the movies of the model's catalogue; see `popularity`.
    """
    from recmodel.popularity import popularity

    folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
    batches = data.stream_ratings(folder, data.read_catalogue(folder, intake), intake)
    movie_id = catalogue.column(c.MOVIE_ID).to_numpy()
    counts, sums = data.stage_ratings(batches, staged.scratch(RATINGS), movie_id)
    if users is not None:
        pq.write_table(data.read_users(Path(users), intake), staged.scratch(USERS))
    staged.table(c.REJECTS_TABLE).mkdir()
    pq.write_table(intake.rejected(), staged.table(c.REJECTS_TABLE) / "rejects.parquet")
    return popularity(movie_id, counts, sums)


def _score(
    spark: SparkSession,
    staged: tables.Staged,
    titles: DataFrame,
    payload: scoring.Payload,
    request: scoring.TopNRequest,
    chosen: settings.Scoring,
    started: datetime,
    stage: console.Stages,
) -> dict[str, Any]:
    """Scores the staged users into the staged tables; returns what run.json says of it."""
    from pyspark.sql import functions as f

    from recmodel import histories, scoring, session

    with stage("gather histories", own_progress=True):
        ratings = spark.read.parquet(str(staged.scratch(RATINGS)))
        asked = spark.read.parquet(str(staged.scratch(USERS))) if staged.scratch(USERS).exists() else None
        by_user = histories.ratings_by_user(ratings, asked)
        user_count = by_user.count()
        partitions = max(spark.sparkContext.defaultParallelism, -(-user_count // chosen.users_per_task))
        users = histories.histories(ratings, asked, histories.partition_starts(by_user, user_count, partitions))

    broadcast = spark.sparkContext.broadcast(payload)
    stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())
    made_by = f.lit(payload.model_version).alias(c.MODEL_VERSION)

    with stage("score and write recommendations", own_progress=True):
        scored = scoring.recommend(users, broadcast, request, stats)
        rows = scoring.publishable(scored, titles, payload.model_version, started)
        rows.write.parquet(str(staged.table(c.RECOMMENDATIONS_TABLE)))

    with stage("write predicted ratings", own_progress=True):
        written = spark.read.parquet(str(staged.table(c.RECOMMENDATIONS_TABLE)))
        if chosen.predicted_ratings == "all":
            predicted = scoring.predict_all(users, broadcast, request, stats)
        else:
            by_model = (f.col(c.SOURCE) == c.SOURCE_MODEL) & f.col(c.PREDICTED_RATING).isNotNull()
            predicted = written.where(by_model).select(c.USER_ID, c.MOVIE_ID, c.PREDICTED_RATING)
        predicted.select("*", made_by).write.parquet(str(staged.table(c.PREDICTED_RATINGS_TABLE)))

    with stage("count what was written", own_progress=True):
        counts = written.groupBy(c.SOURCE).agg(f.count("*").alias("rows"), f.count_distinct(c.USER_ID).alias("users"))
        by_source = {row[c.SOURCE]: {"users": row["users"], "rows": row["rows"]} for row in counts.collect()}
        predicted_rows = spark.read.parquet(str(staged.table(c.PREDICTED_RATINGS_TABLE))).count()
        peak_mib = session.driver_peak_mib(spark)

    return {
        "users": user_count,
        "partitions": partitions,
        "recommendations": {"rows": sum(source["rows"] for source in by_source.values()), "by_source": by_source},
        "predicted_ratings": {"rows": predicted_rows},
        "model_loads": stats.value.model_loads,
        "slowest_model_load_seconds": round(stats.value.load_seconds, 2),
        "peak_mib": {**peak_mib, "largest_worker": stats.value.peak_bytes >> 20},
    }


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
    """The line of a Spark error that says what went wrong: the last of a Python worker's trace, or the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    in_worker = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if in_worker:
        for line in lines[in_worker[-1] + 1 :]:
            if not line.startswith("File ") and ": " in line and line.split(": ")[0].replace(".", "").isidentifier():
                return line[:300]
    return (lines or [type(error).__name__])[0][:300]


def _summary(output: Path, run_date: date, preview_users: int = 2, preview_rows: int = 3) -> None:
    run = tables.read_run(output, run_date)
    popular = run["recommendations"]["by_source"].get(c.SOURCE_POPULARITY, {"users": 0})
    facts = {
        "run date": run["run_date"],
        "model version": run["model_version"],
        "ranked by": run["rank_by"],
        "users": f"{run['users']:,} ({popular['users']:,} of them served from popularity)",
        "movies in the catalogue": f"{run['movies']:,}",
        "recommendations": f"{run['recommendations']['rows']:,} rows",
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
