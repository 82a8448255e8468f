"""Writing: the Spark part of a run, from the staged input to tables that are written and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from recmodel import dates, storage
from recmodel import schemas as c
from recmodel.arrays import places
from recmodel.data import staged as staged_ratings
from recmodel.data.statistics import FILE as STATISTICS_FILE
from recmodel.models import architectures
from recmodel.pipeline import business_rules, checks, hits, side_tables, staging
from recmodel.pipeline.counting import Workload
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.progress import Stages
from recmodel.records import Figures, PredictedRatings, SimilarMovies
from recmodel.scoring import parts, worker
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.scoring.run import Run
from recmodel.spark import resources, session, tasks
from recmodel.tables.base import StagedRun
from recmodel.tables.output import open_output

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Outcome:
    """What run.json reports of the writing, by its fields; and small files to publish next to it."""

    fields: Mapping[str, Any]
    attachments: Mapping[str, bytes]


def write_and_check(
    spark: SparkSession, resolved: ResolvedRun, workload: Workload, staged: StagedRun, model: bytes, stages: Stages
) -> Outcome:
    """Score the staged users, write both tables of predictions, and check them.

    Args:
        model: the SavedModel, packed.

    Raises:
        ScoringFailed: see `checks.figures`.
    """
    context = spark.sparkContext
    run = staging.run_of(staged, resolved.carried_run)
    payload, request = _payload(resolved, workload, staged, run, model), _request(resolved, workload, spark)
    stats = context.accumulator(worker.WorkerStats(), worker.MergeWorkerStats())
    job = worker.Job(
        all_pairs=resolved.settings.scoring.predicted_ratings == "all",
        model=context.broadcast(model),
        payload=context.broadcast(payload),
        request=request,
        stats=stats,
    )
    with stages("score and write recommendations") as progress:
        finished = staged.finished_parts()  # of an interrupted run
        left = [part for part in workload.plan.parts if part.number not in finished]
        users = round(workload.plan.users_scored * len(left) / workload.plan.partitions)  # parts are of about one size
        with worker.watched(stats, users, progress):
            tasks.each(spark, partial(parts.score, run=run, job=job), left)
    with stages("check what was written"):
        figures = _check(spark, resolved, workload, staged, run, request)
        statistics = staging.interaction_statistics(staged, workload.counts.rows_in)
        predicted = storage.dataset(staged.table(c.PREDICTED_RATINGS_TABLE)).count_rows()
        peak_mib = session.driver_peak_mib(spark) | {"largest_worker": stats.value.peak_bytes >> 20}
    similar, of_run_before = SimilarMovies(), None
    if resolved.users_file is None:
        with stages("find similar movies"):
            similar = side_tables.write_similar_movies(resolved, staged, model, staging.movies(staged)["allowed"])
        with stages("hold the run before against new ratings"):
            rows, of_run_before = hits.measure(
                open_output(staged.output),
                staged.run_date,
                run.input.at(staged_ratings.RATINGS),
                run.input.catalogue(),
                None if resolved.feedback.is_implicit else resolved.feedback.four_stars,
            )
            side_tables.write(staged, c.HITS_TABLE, rows)
    else:
        for table in (c.SIMILAR_TABLE, c.HITS_TABLE):
            side_tables.write(staged, table, c.with_ids(c.TABLES[table], run.ids).empty_table())
    fields = {
        "similar_movies": similar,
        "hits": of_run_before,
        "partitions_resumed": len(finished),
        "recommendations": figures,
        "predicted_ratings": PredictedRatings(rows=predicted),
        "model_loads": stats.value.model_loads,
        "slowest_model_load_seconds": round(stats.value.load_seconds, 2),
        "peak_mib": peak_mib,
    }
    return Outcome(fields, {STATISTICS_FILE: statistics.to_bytes()})


def _payload(resolved: ResolvedRun, workload: Workload, staged: StagedRun, run: Run, model: bytes) -> Payload:
    catalogues, settings, movies = resolved.catalogues, resolved.settings, staging.movies(staged)
    of_model = catalogues.of_model.column(c.MOVIE_ID).combine_chunks()
    return Payload(
        model_version=resolved.version.name,
        model_digest=hashlib.sha256(model).hexdigest(),
        open_model=architectures.open_for_scoring(resolved.version.architecture),
        tasks=resolved.version.tasks,
        movies=catalogues.of_model.select([c.MOVIE_ID, c.TITLE]).combine_chunks(),
        row=places(of_model, catalogues.all.column(c.MOVIE_ID)),
        popular=movies["popular"],
        popular_rating=movies["popular_rating"],
        scored_at=datetime.fromisoformat(workload.plan.scored_at),
        placed=catalogues.placed if catalogues.placed.any() else None,
        allowed=None if movies["allowed"].all() else movies["allowed"],
        opted_out=run.input.opted_out(),
        valid_until=dates.end_of(staged.run_date + timedelta(settings.scoring.valid_days)),
        cap=business_rules.cap(catalogues, settings.rules, settings.scoring.top_n),
    )


def _request(resolved: ResolvedRun, workload: Workload, spark: SparkSession) -> TopNRequest:
    scoring = resolved.settings.scoring
    return TopNRequest(
        n=scoring.top_n,
        reserve=scoring.reserve,
        rank_by=resolved.rank_by,
        candidates=scoring.candidates,
        include_seen=scoring.include_seen,
        min_history=scoring.min_history,
        is_ordered=workload.counts.newest_rating is not None,
        liked_from=resolved.feedback.liked_from,
        block_bytes=scoring.block_mib << 20,
        threads=resources.threads(dict(spark.sparkContext.getConf().getAll())),
    )


def _check(
    spark: SparkSession, resolved: ResolvedRun, workload: Workload, staged: StagedRun, run: Run, request: TopNRequest
) -> Figures:
    """Check the written recommendations; see `checks`."""
    rules = resolved.settings.rules
    expected = checks.expectations(
        resolved.catalogues,
        staging.movies(staged)["allowed"],
        top_n=request.n,
        include_seen=request.include_seen,
        tasks=resolved.version.tasks,
        rating_range=resolved.feedback.rating_range,
        max_per_genre=rules.max_per_genre,
        max_new=business_rules.most_new(rules, request.n),
    )
    check = partial(parts.check, run=run, expected=spark.sparkContext.broadcast(expected))
    return checks.figures(tasks.each(spark, check, workload.plan.parts))
