"""Train: ratings become a new model version, measured on held-out ratings and promoted if it is good enough."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recmodel import schemas as c
from recmodel.data import duplicates, movielens
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data.validation import Validation
from recmodel.errors import ModelRejected
from recmodel.evaluation import gate as gates
from recmodel.evaluation import splits
from recmodel.models import presets, versions
from recmodel.models.architectures import Preset
from recmodel.pipeline import preflight, sources
from recmodel.progress import Stages, log
from recmodel.records import FeedbackKind, Measures
from recmodel.schemas import Ids
from recmodel.settings import Settings


@dataclass(frozen=True)
class Training:
    """A finished training run."""

    version: versions.ModelVersion
    validation: Validation  # of the input
    refusals: list[str]  # why the version does not become the current one; empty where it did

    def require_promoted(self) -> None:
        """Raise ModelRejected if the version did not pass the gate."""
        if self.refusals:
            reasons = "; ".join(self.refusals)
            raise ModelRejected(f"{self.version.name} does not become the current version: {reasons}")


@dataclass(frozen=True)
class DryRun:
    """What a training run would do."""

    ratings: int
    movies: int
    validation: Validation
    current: str | None  # the version that would be replaced
    feedback: FeedbackKind  # what the ratings are


def run(settings: Settings, preset: Preset, *, gate: bool, stages: Stages | None = None) -> Training:
    """Read, fit, measure, write a version and, unless the gate refuses it, make it current.

    Args:
        gate: compare with baselines and the current version before promoting.

    Raises:
        InputRejected: see `movielens`.
        ModelRejected: training diverged.
        UsageRejected: the preset is trained on ratings alone, and the input has none.
    """
    stages = stages or Stages()
    models = settings.paths.models
    preflight.check(settings, models=models)

    with stages("read ratings and movies"):
        folder = sources.input_dir(settings.paths.data, settings.paths.sample, settings.input)
        feedback = feedbacks.decide(folder, settings.input)
        preset = presets.for_feedback(preset, settings.training.preset, feedback.kind)
        current = versions.open_current(models)
        ids, known = _ids(folder, settings, current), current and current.catalogue()
        catalogue, table, validation = movielens.read(folder, settings.input, known, feedback, ids)
        validation.log_files()
        size = movielens.ratings_size(folder)
        numbered, numbered_catalogue, labels = identifiers.number(table, catalogue)
        fingerprint = movielens.fingerprint(numbered, catalogue, labels)

    with stages("start TensorFlow"):
        from recmodel.evaluation import metrics as measuring
        from recmodel.models import saved_model, training
        from recmodel.scoring.recommender import Recommender

    with stages(f"train preset {settings.training.preset}") as progress:
        ratings = duplicates.combined(numbered, add_up=feedback.is_implicit)
        superseded = table.num_rows - len(ratings[c.RATING])
        user_ids = np.unique(ratings[c.USER_ID])
        parts = splits.by_pair(ratings, settings.training.test_share, settings.training.seed, labels)
        movie_ids = numbered_catalogue.column(c.MOVIE_ID).to_numpy()
        split = splits.Split(*parts, movie_ids, rated=not feedback.is_implicit, labels=labels)
        del table, numbered, ratings  # 28 bytes per rating, twice
        trained = training.train(
            split.fitted,
            user_ids,
            numbered_catalogue,
            preset,
            seed=settings.training.seed,
            rating_range=feedback.rating_range,
            progress=progress,
        )

    with tempfile.TemporaryDirectory() as scratch:
        with stages("export"):
            exported = Path(scratch, "saved_model")
            signatures = saved_model.save(trained.towers(), exported, ids, labels)
        with stages("measure on held-out ratings"):
            measures = measuring.held_out_metrics(Recommender(exported), preset.tasks, split)
            baselines = measuring.baseline_measures(split) if measures.test_rows else None
        change = current and gates.change_of_feedback(current.name, current.feedback, feedback.kind)
        refusals = None
        if gate:
            with stages("compare with baselines and the current version"):
                rival = None if current is None or change else (current.name, _measures(current, split))
                refusals = gates.reasons_to_refuse(measures, baselines or {}, rival, settings.training.gate)
                refusals += [change] if change else []
        elif change:
            log.warning("%s", change)
        metrics = measures.model_copy(
            update={
                **trained.report(),
                "superseded_rows": superseded,
                "baselines": baselines,
                "gate": refusals,
                "ratings_file": size.file,
                "ratings_bytes": size.bytes,
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
            ids=ids,
        )
    if not refusals:
        versions.promote(models, version.name)
    return Training(version, validation, refusals or [])


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
        feedback = feedbacks.decide(folder, settings.input)
        presets.for_feedback(preset, settings.training.preset, feedback.kind)
        current = versions.open_current(models)
        ids, known = _ids(folder, settings, current), current and current.catalogue()
        catalogue, ratings, validation = movielens.read(folder, settings.input, known, feedback, ids)
        validation.log_files()
    return DryRun(ratings.num_rows, catalogue.num_rows, validation, versions.current(models), feedback.kind)


def _ids(folder: Path, settings: Settings, current: versions.ModelVersion | None) -> Ids:
    """Return what the ids of the input are: as in the current version, or without one, as they look."""
    if current is None:
        return identifiers.decide(folder, settings.input)
    return identifiers.for_model(folder, settings.input, current.name, current.ids)


def _measures(version: versions.ModelVersion, split: splits.Split) -> Measures:
    """Return the measures of a version on the split."""
    from recmodel.evaluation.metrics import held_out_metrics
    from recmodel.scoring.recommender import Recommender

    return held_out_metrics(Recommender(version.saved_model), version.tasks, split)
