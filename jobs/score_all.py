"""Score every user against the whole catalogue with a broadcast SavedModel, and publish the top N."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq

from recmodel import artifact, console, data, options, settings, tables
from recmodel import columns as c
from recmodel.errors import RecmodelError, ScoringFailed, UsageRejected


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
        movie_id = catalogue.column(c.MOVIE_ID).to_numpy()

    with tables.staging(Path(chosen.paths.output), run_date) as staged:
        with stage("read and check the input"):
            intake = data.Intake(chosen.input)
            folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
            batches = data.stream_ratings(folder, data.read_catalogue(folder, intake), intake)
            counts, sums = data.stage_ratings(batches, staged.scratch("ratings.parquet"), movie_id)
            asked = data.read_users(Path(flags["users"]), intake) if flags["users"] else None
            if asked is not None:
                pq.write_table(asked, staged.scratch("users.parquet"))
            staged.table(c.REJECTS_TABLE).mkdir()
            pq.write_table(intake.rejected(), staged.table(c.REJECTS_TABLE) / "rejects.parquet")

        with stage("start Spark"):
            from pyspark.sql import functions as f

            from recmodel import histories, scoring, serving, session

            spark = session.start("recmodel score", staged.folder)

        try:
            with stage("gather histories", own_progress=True):
                ratings = spark.read.parquet(str(staged.scratch("ratings.parquet")))
                wanted = None if asked is None else spark.read.parquet(str(staged.scratch("users.parquet")))
                user_count = (ratings if wanted is None else wanted).select(c.USER_ID).distinct().count()
                partitions = max(spark.sparkContext.defaultParallelism, -(-user_count // chosen.scoring.users_per_task))
                users = histories.histories(ratings, wanted, partitions)

            with stage("broadcast the model"):
                popular, popular_rating = scoring.popularity(movie_id, counts, sums)
                payload = spark.sparkContext.broadcast(
                    scoring.Payload(
                        model_version=version.name,
                        saved_model=serving.pack(version.saved_model),
                        tasks=version.tasks,
                        movie_id=movie_id,
                        title=catalogue.column(c.TITLE).to_pandas().to_numpy(),
                        popular=popular,
                        popular_rating=popular_rating,
                    )
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
                stats = spark.sparkContext.accumulator(scoring.WorkerStats(), scoring.MergeWorkerStats())

            with stage("score and write recommendations", own_progress=True):
                made_by = f.lit(version.name).alias(c.MODEL_VERSION)
                scored_at = f.lit(started).cast("timestamp").alias(c.SCORED_AT)
                recommendations = str(staged.table(c.RECOMMENDATIONS_TABLE))
                scored = scoring.recommend(users, payload, request, stats).select("*", made_by, scored_at)
                scored.write.parquet(recommendations)

            with stage("write predicted ratings", own_progress=True):
                written = spark.read.parquet(recommendations)
                if chosen.scoring.predicted_ratings == "all":
                    predicted = scoring.predict_all(users, payload, request, stats)
                else:
                    by_model = (f.col(c.SOURCE) == c.SOURCE_MODEL) & f.col(c.PREDICTED_RATING).isNotNull()
                    predicted = written.where(by_model).select(c.USER_ID, c.MOVIE_ID, c.PREDICTED_RATING)
                predicted.select("*", made_by).write.parquet(str(staged.table(c.PREDICTED_RATINGS_TABLE)))

            with stage("count what was written", own_progress=True):
                by_source = {
                    row[c.SOURCE]: {"users": row["users"], "rows": row["rows"]}
                    for row in written.groupBy(c.SOURCE)
                    .agg(f.count("*").alias("rows"), f.count_distinct(c.USER_ID).alias("users"))
                    .collect()
                }
                peak_mib = session.driver_peak_mib(spark)
                predicted_rows = spark.read.parquet(str(staged.table(c.PREDICTED_RATINGS_TABLE))).count()
        except RecmodelError:
            raise
        except Exception as error:
            raise ScoringFailed(f"scoring failed: {_cause(error)} (the trace is in {log_file})") from error
        finally:
            spark.stop()

        with stage("publish"):
            rows = sum(source["rows"] for source in by_source.values())
            staged.publish(
                {
                    "run_id": str(uuid.uuid4()),
                    "run_date": run_date,
                    "model_version": version.name,
                    "started_at": started.isoformat(timespec="seconds"),
                    "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "settings": chosen.model_dump(),
                    "rank_by": rank_by,
                    "rows_in": intake.rows,
                    "rows_rejected": intake.rejected().num_rows,
                    "users": user_count,
                    "movies": len(movie_id),
                    "partitions": partitions,
                    "recommendations": {"rows": rows, "by_source": by_source},
                    "predicted_ratings": {"rows": predicted_rows},
                    "model_loads": stats.value.model_loads,
                    "peak_mib": {**peak_mib, "largest_worker": stats.value.peak_bytes >> 20},
                    "seconds": stage.seconds,
                }
            )

    _summary(Path(chosen.paths.output), run_date)


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
