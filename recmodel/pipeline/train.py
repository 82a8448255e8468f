"""Train: ratings become a new model version, measured on held-out ratings and promoted if it is good enough."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays, runs
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data import in_memory, movielens
from recmodel.data.feedback import Feedback
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected, ModelRejected
from recmodel.evaluation import gate as gates
from recmodel.evaluation import splits
from recmodel.models import presets, versions
from recmodel.models.architectures import Preset
from recmodel.pipeline import preflight, sources
from recmodel.progress import NOTICE, Stages, log
from recmodel.records import FeedbackKind, Measures
from recmodel.schemas import Ids
from recmodel.settings import Gate, Settings
from recmodel.storage import Location


@dataclass(frozen=True)
class Training:
    """A finished training run."""

    version: versions.ModelVersion
    validation: Validation  # of the input
    comparison: Comparison | None  # with the version that was current; None where there was none
    promoted: bool
    refusals: list[str]  # why the gate refuses the version; empty where it passed or was not asked

    def require_passed(self) -> None:
        """Raise ModelRejected if the version did not pass the gate."""
        if self.refusals:
            raise ModelRejected(
                f"{self.version.name} does not become the current version: {'; '.join(self.refusals)}; it stays on "
                f"disk, and --promote, or models promote {self.version.name}, makes it current anyway"
            )


@dataclass(frozen=True)
class Comparison:
    """A new model and the current version, on the same held-out ratings, to which neither was fitted."""

    current: str
    of_new: Measures | None = None  # None where the two cannot be compared
    of_current: Measures | None = None
    why_not: str = ""  # why they cannot be compared; empty where they can
    losses: tuple[str, ...] = ()  # what the current version does and the new one would not


@dataclass(frozen=True)
class DryRun:
    """What a training run would do."""

    ratings: int
    movies: int
    validation: Validation
    current: str | None  # the version that would be replaced
    feedback: FeedbackKind  # what the ratings are


def run(
    settings: Settings,
    preset: Preset,
    *,
    baselines_too: bool = False,
    promote: bool | None = None,
    stages: Stages | None = None,
) -> Training:
    """Read, fit, measure, write a version and, unless the gate refuses it, make it current.

    The gate compares with the current version; the first version passes it.

    Args:
        baselines_too: the gate compares with baselines as well.
        promote: True: make the version current without asking the gate; False: don't make it current.

    Raises:
        InputRejected: see `movielens`.
        ModelRejected: training diverged.
        UsageRejected: the preset is trained on ratings alone, and the input has none.
    """
    stages = stages or Stages()
    models, margins = settings.paths.models, settings.training.gate
    preflight.check(settings, models=models)

    with stages("read ratings and movies"):
        current = versions.open_current(models)
        folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
        preset, feedback, catalogue, ratings, validation, opted_out = _read(folder, settings, preset, current)
        ids, superseded = validation.ids, ratings.superseded
        size = movielens.ratings_size(folder)
        numbered_catalogue, labels = in_memory.number(ratings, catalogue)
        fingerprint = movielens.fingerprint(ratings.columns, catalogue, labels)

    with stages("start TensorFlow"):
        from recmodel.evaluation import metrics as measuring
        from recmodel.models import saved_model, training
        from recmodel.scoring.recommender import Recommender

    with stages(f"train preset {settings.training.preset}") as progress:
        user_ids, _ = runs(ratings.columns[c.USER_ID])
        parts = splits.by_pair(ratings.columns, settings.training.test_share, settings.training.seed, labels)
        movie_ids = numbered_catalogue.column(c.MOVIE_ID).to_numpy()
        split = splits.Split(*parts, movie_ids, rated=not feedback.is_implicit, labels=labels)
        del ratings
        fitted = _up_to(settings.training.max_ratings, split, preset, settings.training.seed)
        left_out = len(split.fitted[c.RATING]) - len(fitted[c.RATING])
        trained = training.train(
            fitted,
            user_ids,
            numbered_catalogue,
            preset,
            seed=settings.training.seed,
            rating_range=feedback.rating_range,
            progress=progress,
        )
        del fitted

    with tempfile.TemporaryDirectory() as scratch:
        with stages("export"):
            exported = Path(scratch, "saved_model")
            signatures = saved_model.save(trained.towers(), exported, ids, labels)
        with stages("measure on held-out ratings"):
            measures = measuring.held_out_metrics(Recommender(exported), preset.tasks, split)
            baselines = measuring.baseline_measures(split) if measures.test_rows else None
        comparison, refusals = None, None
        name = versions.current(models)
        if name:
            with stages("compare with the current version"):
                comparison = _compare(name, current, exported, preset, measures, split, feedback.kind)
        if promote is None:
            refusals = gates.reasons_to_refuse(measures, (baselines or {}) if baselines_too else {}, None, margins)
            refusals += _refusals(comparison, margins) if comparison else []
        elif not promote:
            refusals = ["it was trained with --no-promote"]
        metrics = measures.model_copy(
            update={
                **trained.report(),
                "superseded_rows": superseded,
                "opted_out_rows": opted_out,
                "left_out_rows": left_out,
                "baselines": baselines,
                "gate": refusals,
                "ratings_file": size.file,
                "ratings_bytes": None if validation.left_out else size.bytes,  # not of the rows that were read
            }
        )
        version = versions.write_version(
            models,
            exported,
            catalogue=catalogue,
            metrics=metrics,
            preset_name=settings.training.preset,
            preset=preset,
            training=settings.training.model_dump(),
            data_fingerprint=fingerprint,
            signatures=signatures,
            feedback=feedback.kind,
            newest_rating=validation.newest_time,
            ids=ids,
        )
    promoted = not refusals
    if promoted and promote is None and comparison is not None and comparison.of_new is None:
        log.warning("%s replaces %s without a comparison: %s", version.name, comparison.current, comparison.why_not)
    if promoted:
        versions.promote(models, version.name)
    return Training(version, validation, comparison, promoted, [] if promote is False else refusals or [])


def dry_run(settings: Settings, preset: Preset, stages: Stages | None = None) -> DryRun:
    """Read the input and check the folder of models, as `run` would; return what it would train on.

    Raises:
        InputRejected: as in `run`.
        UsageRejected: no version can be written, or the preset is not for such an input.
    """
    stages = stages or Stages()
    models = settings.paths.models
    preflight.check(settings, models=models)
    with stages("read ratings and movies"), tempfile.TemporaryDirectory() as scratch:
        folder = sources.input_dir(settings.paths.data, scratch, settings.input)
        found = _read(folder, settings, preset, versions.open_current(models))
    return DryRun(
        len(found.ratings) + found.ratings.superseded, found.catalogue.num_rows, found.validation,
        versions.current(models), found.feedback.kind,
    )  # fmt: skip


class _Input(NamedTuple):
    """What there is to train on."""

    preset: Preset  # for that kind of feedback
    feedback: Feedback
    catalogue: pa.Table
    ratings: in_memory.Ratings
    validation: Validation
    opted_out: int  # ratings that are left out


def _read(folder: Location, settings: Settings, preset: Preset, current: versions.ModelVersion | None) -> _Input:
    """Read the input of a training run.

    Raises:
        InputRejected, UsageRejected: see `run`.
    """
    feedback = feedbacks.decide(folder, settings.input)
    preset = presets.for_feedback(preset, settings.training.preset, feedback.kind)
    known, ids = current and current.catalogue(), _ids(folder, settings, current)
    catalogue, ratings, validation = in_memory.read(folder, settings.input, known, feedback, ids)
    ratings, opted_out = _without_opted_out(ratings, settings.rules.opt_out, validation)
    validation.log_files()
    return _Input(preset, feedback, catalogue, ratings, validation, opted_out)


def _without_opted_out(
    ratings: in_memory.Ratings, opt_out: str, validation: Validation
) -> tuple[in_memory.Ratings, int]:
    """Return the ratings without those of users who have opted out, and how many these are.

    Args:
        opt_out: the file of these users; empty: nobody has.

    Raises:
        InputRejected: the list of these users cannot be read, or no rating is left.
    """
    if not opt_out:
        return ratings, 0
    users = movielens.read_ids(Path(opt_out), c.USERS, validation, "rules.opt_out").column(c.USER_ID)
    left = ratings.without(users.combine_chunks())
    if not len(left) and len(ratings):
        raise InputRejected(f"all ratings are of users in {opt_out} (rules.opt_out); correct the list")
    return left, len(ratings) - len(left)


def _up_to(most: int, split: splits.Split, preset: Preset, seed: int) -> Arrays:
    """Return the ratings to fit to: all, or where these are more than `most` (0: no limit), those of some users."""
    ratings = len(split.fitted[c.RATING])
    if not most or ratings <= most:
        return split.fitted
    if preset.holds_users:
        log.log(NOTICE, "training.max_ratings does not apply: this model knows users by id, so it is fitted to all")
        return split.fitted
    fitted = splits.of_some_users(split.fitted, most, seed, split.labels)
    log.log(NOTICE, "the model is fitted to %s of %s ratings, those of some users (training.max_ratings)",
            f"{len(fitted[c.RATING]):,}", f"{ratings:,}")  # fmt: skip
    return fitted


def _ids(folder: Location, settings: Settings, current: versions.ModelVersion | None) -> Ids:
    """Return what the ids of the input are: as in the current version, or without one, as they look."""
    if current is None:
        return identifiers.decide(folder, settings.input)
    return identifiers.for_model(folder, settings.input, current.name, current.ids)


def _compare(
    name: str,
    current: versions.ModelVersion | None,
    exported: Path,
    preset: Preset,
    measures: Measures,
    split: splits.Split,
    feedback: FeedbackKind,
) -> Comparison:
    """Compare a new model with the current version.

    Args:
        name, current: the current version; None if it cannot be used.
        exported: the SavedModel of the new one.
        measures: those of the new one on the split.
    """
    if current is None:
        return Comparison(name, why_not="it cannot be used")
    change = gates.change_of_feedback(name, current.feedback, feedback)
    if change:
        return Comparison(name, why_not=change, losses=(change,))
    fair = _held_out_by_both(split, current)
    if not len(fair.held_out[c.RATING]):
        return Comparison(name, why_not="no ratings are held out by both, so there is nothing to compare by")
    if len(fair.held_out[c.RATING]) < len(split.held_out[c.RATING]):
        measures = _measures(exported, preset.tasks, fair)
    of_current = _measures(current.saved_model, current.tasks, fair)
    return Comparison(name, measures, of_current, losses=gates.lost_tasks(name, current.tasks, preset.tasks))


def _held_out_by_both(split: splits.Split, current: versions.ModelVersion) -> splits.Split:
    """Return the split with those held-out ratings alone that the current version, too, was not fitted to."""
    before = current.manifest.settings.get("training", {})
    if not {"test_share", "seed"} <= before.keys():
        return split
    _, held_out = splits.by_pair(split.held_out, before["test_share"], before["seed"], split.labels)
    return replace(split, held_out=held_out)


def _refusals(comparison: Comparison, margins: Gate) -> list[str]:
    """Return why the gate keeps the current version; nothing if the new one may replace it."""
    if comparison.of_new is None or comparison.of_current is None:
        return [*comparison.losses]
    current = comparison.current, comparison.of_current
    return [*gates.reasons_to_refuse(comparison.of_new, {}, current, margins), *comparison.losses]


def _measures(saved_model: Path, tasks: tuple[str, ...], split: splits.Split) -> Measures:
    """Return the measures of a model on the split."""
    from recmodel.evaluation.metrics import held_out_metrics
    from recmodel.scoring.recommender import Recommender

    return held_out_metrics(Recommender(saved_model), tasks, split)
