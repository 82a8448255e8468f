"""Writing: the Spark part of a run, from the staged input to tables that are written and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as f
from pyspark.sql.pandas.types import from_arrow_schema

from recmodel import schemas as c
from recmodel import storage
from recmodel.data.statistics import FILE as STATISTICS_FILE
from recmodel.pipeline import business_rules, checks, staging
from recmodel.pipeline.resolve import ResolvedRun
from recmodel.pipeline.staging import Workload
from recmodel.progress import Progress, Stages
from recmodel.records import Figures, PredictedRatings
from recmodel.scoring import worker
from recmodel.scoring.request import Payload, TopNRequest
from recmodel.spark import histories, labels, resources, session
from recmodel.tables.base import StagedRun

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.accumulators import Accumulator
    from pyspark.sql import DataFrame, SparkSession


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
        ScoringFailed: see `checks.check`.
    """
    job = _Job.start(spark, resolved, workload, staged, model)
    with stages("score and write recommendations") as progress:
        resumed = job.write_recommendations(progress)
    with stages("write predicted ratings") as progress:
        pairs = job.write_predicted_ratings(progress)
    with stages("check what was written"):
        figures = job.check()
        is_implicit = resolved.feedback.is_implicit
        statistics = staging.interaction_statistics(staged, workload.counts.rows_in, add_up=is_implicit)
        predicted = _read_back(spark, staged, c.PREDICTED_RATINGS_TABLE, pairs).count()
        stats = job.stats.value
        peak_mib = session.driver_peak_mib(spark) | {"largest_worker": stats.peak_bytes >> 20}
    fields = {
        "partitions_resumed": resumed,
        "recommendations": figures,
        "predicted_ratings": PredictedRatings(rows=predicted),
        "model_loads": stats.model_loads,
        "slowest_model_load_seconds": round(stats.load_seconds, 2),
        "peak_mib": peak_mib,
    }
    return Outcome(fields, {STATISTICS_FILE: statistics.to_bytes()})


@dataclass(frozen=True)
class _Job:
    """A run while Spark works on it."""

    spark: SparkSession
    resolved: ResolvedRun
    workload: Workload
    staged: StagedRun
    ratings: DataFrame  # `schemas.RATINGS`, staged
    denied: DataFrame | None  # `schemas.PAIRS`
    payload: Payload
    broadcast: Broadcast[Payload]
    request: TopNRequest
    stats: Accumulator[worker.WorkerStats]

    @classmethod
    def start(
        cls, spark: SparkSession, resolved: ResolvedRun, workload: Workload, staged: StagedRun, model: bytes
    ) -> _Job:
        """Broadcast the model, once."""
        settings, movies, opted_out = resolved.settings, staging.movies(staged), staging.opted_out(staged)
        payload = Payload(
            model_version=resolved.version.name,
            saved_model=model,
            tasks=resolved.version.tasks,
            movie_id=resolved.catalogues.movie_numbers,
            popular=movies["popular"],
            popular_rating=movies["popular_rating"],
            allowed=None if movies["allowed"].all() else movies["allowed"],
            opted_out=None if opted_out is None else opted_out.to_numpy(zero_copy_only=False),
            cap=business_rules.cap(resolved.catalogues, settings.rules, settings.scoring.top_n),
        )
        request = TopNRequest(
            n=settings.scoring.top_n,
            rank_by=resolved.rank_by,
            candidates=settings.scoring.candidates,
            include_seen=settings.scoring.include_seen,
            min_history=settings.scoring.min_history,
            liked_from=resolved.feedback.liked_from,
            block_bytes=settings.scoring.block_mib << 20,
            threads=resources.threads(dict(spark.sparkContext.getConf().getAll())),
        )
        return cls(
            spark=spark,
            resolved=resolved,
            workload=workload,
            staged=staged,
            ratings=staging.read_ratings(spark, staged),
            denied=staging.denied_pairs(spark, staged, settings.rules),
            payload=payload,
            broadcast=spark.sparkContext.broadcast(payload),
            request=request,
            stats=spark.sparkContext.accumulator(worker.WorkerStats(), worker.MergeWorkerStats()),
        )

    def write_recommendations(self, progress: Progress) -> int:
        """Write the table `recommendations`; return how many of its partitions an interrupted run had finished."""
        finished = self.staged.finished_parts(c.RECOMMENDATIONS_TABLE)
        users = self._histories(finished, self.denied)
        scored = worker.recommend(users, self.broadcast, self.request, self.stats)
        catalogues = self.resolved.catalogues
        titles = catalogues.of_model.select([c.MOVIE_ID, c.TITLE]).append_column(c.PLACED, pa.array(catalogues.placed))
        titles = titles.append_column(c.NUMBER, pa.array(catalogues.movie_numbers))
        scored_at = datetime.fromisoformat(self.workload.plan.scored_at)
        rows = worker.publishable(scored, self.spark.createDataFrame(titles), self.payload.model_version, scored_at)
        carried_run, to_score = self.resolved.carried_run, self.workload.to_score
        if carried_run is not None and to_score is not None:
            carried = staging.carried_rows(self.spark, self.staged, carried_run, self.workload.by_user, to_score)
            rows = histories.in_parts(rows.unionByName(carried), self.workload.plan.starts, finished)
            rows = rows.sortWithinPartitions(c.USER_ID, c.RANK).select(*c.RECOMMENDATION.names)
        self._write_parts(rows, c.RECOMMENDATIONS_TABLE, finished, progress)
        return len(finished)

    def write_predicted_ratings(self, progress: Progress) -> DataFrame:
        """Write the table `predicted_ratings`: of the recommended pairs, or of all pairs; return its rows."""
        version = f.lit(self.payload.model_version).alias(c.MODEL_VERSION)
        if self.resolved.settings.scoring.predicted_ratings == "all":
            finished = self.staged.finished_parts(c.PREDICTED_RATINGS_TABLE)
            users = self._histories(finished)
            numbered = worker.predict_all(users, self.broadcast, self.request, self.stats)
            pairs = labels.with_movie_ids(numbered, self.resolved.catalogues.all).select("*", version)
            self._write_parts(pairs, c.PREDICTED_RATINGS_TABLE, finished, progress)
        else:
            by_model = (f.col(c.SOURCE) != c.SOURCE_POPULARITY) & f.col(c.PREDICTED_RATING).isNotNull()
            rows = self._recommendations().where(by_model)
            pairs = rows.select(c.USER_ID, c.MOVIE_ID, c.PREDICTED_RATING, version)
            pairs.write.mode("overwrite").parquet(storage.spark_path(self.staged.table(c.PREDICTED_RATINGS_TABLE)))
        return pairs

    def check(self) -> Figures:
        """Check the written recommendations; see `checks.check`."""
        settings, catalogues = self.resolved.settings, self.resolved.catalogues
        expected = checks.Expectations(
            top_n=self.request.n,
            movies=self.workload.counts.movies_allowed,
            include_seen=self.request.include_seen,
            tasks=self.payload.tasks,
            rating_range=self.resolved.feedback.rating_range,
            max_per_genre=settings.rules.max_per_genre,
            max_new=business_rules.most_new(settings.rules, self.request.n),
        )
        allowed = None
        if self.payload.allowed is not None or self.payload.cap is not None:
            mask = pa.array(staging.movies(self.staged)["allowed"])
            allowed = self.spark.createDataFrame(catalogues.of_model.select([c.MOVIE_ID, c.GENRES]).filter(mask))
        return checks.check(
            self._recommendations(),
            self.ratings,
            self.workload.by_user,
            expected,
            catalogues,
            allowed,
            self.denied,
            staging.opted_out(self.staged),
        )

    def _recommendations(self) -> DataFrame:
        """The written rows."""
        location = storage.spark_path(self.staged.table(c.RECOMMENDATIONS_TABLE))
        schema = c.with_ids(c.RECOMMENDATION, self.resolved.version.ids)
        return session.reader(self.spark).schema(from_arrow_schema(schema)).parquet(location)

    def _histories(self, finished: set[int], denied: DataFrame | None = None) -> DataFrame:
        counts = self.workload.counts
        return histories.histories(
            self.ratings,
            self.workload.to_score,
            self.workload.plan.starts,
            finished,
            denied,
            may_repeat=counts.ratings_superseded + counts.interactions_repeated > 0,
            add_up=self.resolved.feedback.is_implicit,
        )

    def _write_parts(self, rows: DataFrame, table: str, finished: set[int], progress: Progress) -> None:
        # Version 2 of Hadoop's committer puts each partition in place when it is finished, not when all are.
        writer = rows.write.mode("append").option("mapreduce.fileoutputcommitter.algorithm.version", "2")
        share_left = 1 - len(finished) / self.workload.plan.partitions  # partitions are of about equal size
        with worker.watched(self.stats, round(self.workload.users_scored * share_left), progress):
            writer.parquet(storage.spark_path(self.staged.table(table)))


def _read_back(spark: SparkSession, staged: StagedRun, table: str, rows: DataFrame) -> DataFrame:
    return session.reader(spark).schema(rows.schema).parquet(storage.spark_path(staged.table(table)))
