"""Score: everybody's histories and a model version become a published run.

`run` reads like the night itself: check the model, stage the input, score, check what was written, publish.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from filelock import FileLock, Timeout

from recmodel import dates, storage
from recmodel import schemas as c
from recmodel.data.validation import Validation
from recmodel.errors import RecmodelError, ScoringFailed
from recmodel.formatting import redacted, redacted_values
from recmodel.models import architectures
from recmodel.pipeline import back_fill, partial, preflight, side_tables, sources, staging
from recmodel.pipeline.resolve import ResolvedRun, resolve_run, run_key
from recmodel.progress import NOTICE, Stages, log, where_the_trace_is
from recmodel.records import EarlierRun, RunRecord
from recmodel.settings import Checks, Settings
from recmodel.spark import resources
from recmodel.tables.base import Output, StagedRun
from recmodel.tables.linked import LinkedOutput
from recmodel.tables.output import open_output

if TYPE_CHECKING:
    from recmodel.pipeline.counting import Plan, Workload
    from recmodel.pipeline.writing import Outcome


_DRY_RUN = ".dry-run-"  # how the folders of dry runs begin


@dataclass(frozen=True)
class DryRun:
    """What a run would do."""

    run: ResolvedRun
    counts: staging.InputCounts
    plan: Plan
    replaces: bool  # an earlier run of its date
    resumes: bool  # an interrupted run


def run(
    settings: Settings,
    run_date: date,
    *,
    model_version: str | None = None,
    users_file: Path | None = None,
    allow_future: bool = False,
    read_until: str | None = None,
    stages: Stages | None = None,
) -> RunRecord:
    """Check the model and the input, score, check what was written, publish it, and return its run.json.

    Args:
        model_version: None: the current one.
        users_file: who is scored, in a partial run; None: all who have rated.
        allow_future: whether the run date may lie after tomorrow.
        read_until: see `ResolvedRun`.

    Raises:
        RecmodelError: of the kind that names which of these steps failed.
    """
    dates.refuse_future([run_date], allow=allow_future)
    stages = stages or Stages()
    output = open_output(settings.paths.output, partial=users_file is not None)
    preflight.check(settings, spark=True, output=output.location)
    with output.locked():
        folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
        validation = Validation(settings.input)
        resolved = resolve_run(
            settings, output, run_date, model_version, users_file, folder, validation, stages, read_until
        )
        version = resolved.version
        log.info("model %s, trained at %s, ranked by %s", version.name, version.manifest.created_at, resolved.rank_by)

        model = _packed_model(resolved, stages)
        from recmodel.pipeline import counting, writing
        from recmodel.scoring import parts
        from recmodel.spark import session

        needs = _needs(resolved, len(model))
        with session.starting("recmodel score", ship_package=True, needs=needs, wake=parts.wake) as starting:
            with stages("read and check the input"):
                kept_in = output.kept_input(back_fill.key(resolved, folder))
                staged = output.stage(run_date, run_key(resolved, folder), kept_in)
                with _room_freed(staged, kept_in):
                    staging.stage_input(resolved, folder, validation, staged, starting, kept_in)
            with stages("start Spark"):
                spark = starting.result()
        with ExitStack() as failing:
            failing.callback(session.stop, spark)
            try:
                with _room_freed(staged, kept_in):
                    workload = counting.divide(spark, resolved, staged, stages)
                    _check_space(resolved, workload, output)
                    outcome = writing.write_and_check(spark, resolved, workload, staged, model, stages)
            except RecmodelError:
                staged.discard()
                raise
            except Exception as error:  # finished partitions stay staged: the same command continues from there
                raise ScoringFailed(f"scoring failed: {session.cause(error)}{where_the_trace_is()}") from error
            failing.pop_all()

        with session.stopping(spark), stages("publish"):
            record = _record(resolved, run_date, workload, outcome, stages.seconds)
            if record.all_users:
                _compare_with_last(record, output, settings.checks, staged)
            else:
                kept = _keep_other_lists(output, staged)
                record = record.model_copy(update={"users_kept": kept})
            models = side_tables.models(settings.paths.models, version.name, resolved.rank_by)
            side_tables.write(staged, c.MODELS_TABLE, models)
            before = output.run_dates()
            staged.publish(record, settings.retention.run_dates, outcome.attachments)
        log.info("published run %s of %s in %s", record.run_id, run_date, output.location)
        for day in sorted({*before} - {*output.run_dates()}):
            log.log(NOTICE, "removed the run of %s, as retention.run_dates says", day)
    return output.read_run(run_date)


def dry_run(
    settings: Settings,
    run_date: date,
    *,
    model_version: str | None = None,
    users_file: Path | None = None,
    allow_future: bool = False,
    stages: Stages | None = None,
) -> DryRun:
    """Do all that `run` does before it scores, in a place that is gone afterwards; return what it would do then.

    Raises:
        RecmodelError: what `run` would raise.
    """
    dates.refuse_future([run_date], allow=allow_future)
    stages = stages or Stages()
    output = open_output(settings.paths.output, partial=users_file is not None)
    preflight.check(settings, spark=True, output=output.location)
    output.check_ready()
    # Next to a local output, so that the executors see the staged files too.
    parent = None if storage.is_uri(output.location) else storage.nearest_folder(Path(output.location))
    with _scratch_of_dry_run(parent) as scratch:
        folder, validation = sources.input_dir(settings.paths.data, scratch, settings.input), Validation(settings.input)
        resolved = resolve_run(settings, output, run_date, model_version, users_file, folder, validation, stages)
        with stages("read and check the input"):
            key = run_key(resolved, folder)
            staged = LinkedOutput(Path(scratch, "output")).stage(run_date, key)
            staging.stage_input(resolved, folder, validation, staged)
        with stages("start Spark"):
            from recmodel.pipeline import counting
            from recmodel.spark import session

            spark = session.start(
                "recmodel score --dry-run", needs=_needs(resolved, resolved.version.saved_model_bytes)
            )
        try:
            workload = counting.divide(spark, resolved, staged, stages)
            _check_space(resolved, workload, output)
        finally:
            session.stop(spark)
    return DryRun(
        run=resolved,
        counts=workload.counts,
        plan=workload.plan,
        replaces=run_date in output.run_dates(),
        resumes=output.resumable(run_date, key),
    )


@contextmanager
def _scratch_of_dry_run(parent: Path | None) -> Iterator[str]:
    """Make a folder that is gone afterwards, and remove those of dry runs that were killed.

    The lock on a folder's file ends with its process, so a folder whose lock is free is nobody's.
    """
    for left in parent.glob(f"{_DRY_RUN}*") if parent else ():
        with suppress(Timeout, OSError), FileLock(left / "lock", blocking=False):
            shutil.rmtree(left)
            log.info("removed %s, which a dry run had left", left)
    with tempfile.TemporaryDirectory(prefix=_DRY_RUN, dir=parent) as scratch, FileLock(Path(scratch, "lock")):
        yield scratch


def _needs(resolved: ResolvedRun, model_bytes: int) -> resources.Needs:
    movies, block_mib = resolved.catalogues.of_model.num_rows, resolved.settings.scoring.block_mib
    in_numpy = architectures.is_scored_in_numpy(resolved.version.architecture, resolved.version.saved_model)
    return resources.needs(model_bytes, movies, block_mib << 20, in_numpy=in_numpy)


def _check_space(resolved: ResolvedRun, workload: Workload, output: Output) -> None:
    """Raise UsageRejected if the disks have no room for what the run will write."""
    scoring, movies = resolved.settings.scoring, resolved.catalogues.of_model.num_rows
    tables, temporary = preflight.bytes_of_run(
        users=workload.plan.users,
        top_n=scoring.top_n,
        reserve=scoring.reserve,
        rated=movies if scoring.predicted_ratings == "all" else scoring.top_n,
        movies=movies,
        model_bytes=resolved.version.saved_model_bytes,
        ids=resolved.version.ids,
    )
    preflight.check_space({output.location: tables, tempfile.gettempdir(): temporary})


@contextmanager
def _room_freed(staged: StagedRun, kept_in: str | None) -> Iterator[None]:
    """Where a disk is full, remove what was staged, which others need the room for; say so.

    Args:
        kept_in: the input that the run shares with other dates; None: none.

    Raises:
        ScoringFailed: a disk is full.
    """
    try:
        yield
    except Exception as error:
        if not storage.is_full_disk(error):
            raise
        folders = preflight.room([staged.output, tempfile.gettempdir()])
        staged.discard()
        if kept_in is not None:
            storage.remove(kept_in)
        raise ScoringFailed(
            f"no space left on device ({folders}); what the run had staged was removed; make room and run it again"
        ) from error


def _packed_model(resolved: ResolvedRun, stages: Stages) -> bytes:
    """Pack the SavedModel of the version, to which tonight's new movies are added if it can place any."""
    from recmodel.scoring import recommender

    placed = resolved.catalogues.of_model.filter(pa.array(resolved.catalogues.placed))
    if not placed.num_rows:
        return recommender.pack(resolved.version.saved_model)
    with stages("place new movies"), tempfile.TemporaryDirectory() as scratch:
        extend = architectures.part(resolved.version.architecture, "extend")
        extend.add_movies(resolved.version.saved_model, placed, Path(scratch), resolved.version.ids)
        return recommender.pack(Path(scratch))


def _record(
    resolved: ResolvedRun, run_date: date, workload: Workload, outcome: Outcome, seconds: dict[str, float]
) -> RunRecord:
    carried_run = resolved.carried_run
    return RunRecord(
        run_id=str(uuid.uuid4()),
        run_date=run_date,
        model_version=resolved.version.name,
        model_address=resolved.named.address,
        model_address_failure=redacted(resolved.named.failure),
        finished_at=datetime.now(timezone.utc),
        settings=redacted_values(resolved.settings.model_dump(exclude={"monitoring": {"hook", "on_failure"}})),
        rank_by=resolved.rank_by,
        feedback=resolved.feedback.kind,
        all_users=resolved.users_file is None,
        conditions=resolved.conditions,
        as_of=_as_of(resolved.settings),
        movies=resolved.catalogues.of_model.num_rows,
        movies_tonight=resolved.catalogues.tonight.num_rows,
        movies_new=resolved.catalogues.new,
        movies_placed=int(resolved.catalogues.placed.sum()),
        movies_delisted=resolved.catalogues.delisted,
        users=workload.plan.users,
        users_scored=workload.plan.users_scored,
        carried_from=EarlierRun(run_id=carried_run.run_id, run_date=carried_run.run_date) if carried_run else None,
        partitions=workload.plan.partitions,
        seconds=seconds,
        **workload.counts.model_dump(),
        **outcome.fields,
    )


def _keep_other_lists(output: Output, staged: StagedRun) -> int:
    try:
        return partial.keep_other_lists(output, staged, staging.asked_users(staged))
    except OSError as error:
        raise ScoringFailed(f"the run could not be published ({error}); the last one still stands") from error


def _as_of(settings: Settings) -> datetime | None:
    second = settings.input.last_second
    return None if second is None else datetime.fromtimestamp(second, timezone.utc)


def _compare_with_last(record: RunRecord, output: Output, limits: Checks, staged: StagedRun) -> None:
    """Compare the run with the last one, of its date or before, that was made in the same way.

    Raises:
        ScoringFailed: see `checks.compare`; then nothing stays staged.
    """
    from recmodel.pipeline import checks

    for day in reversed(output.run_dates()):
        if day <= record.run_date and record.is_comparable_with(last := output.read_run(day)):
            if day == record.run_date and last.as_of != record.as_of:
                continue  # the run that this one replaces had other ratings
            try:
                checks.compare(record.recommendations, last.recommendations, limits)
            except RecmodelError:
                staged.discard()
                raise
            return
