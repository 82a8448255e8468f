"""Train: ratings become a new model version, measured on held-out ratings and promoted if it is good enough."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from recmodel import schemas as c
from recmodel.arrays import Arrays, runs
from recmodel.data import feedback as feedbacks
from recmodel.data import ids as identifiers
from recmodel.data import in_memory, movielens
from recmodel.data.feedback import Feedback
from recmodel.data.ids import Labels
from recmodel.data.validation import Validation
from recmodel.errors import InputRejected, ModelRejected
from recmodel.evaluation import gate as gates
from recmodel.evaluation import held_out as held_out_ratings
from recmodel.evaluation import newest, splits
from recmodel.evaluation.baselines import open_model
from recmodel.evaluation.held_out import Measured
from recmodel.models import presets, versions
from recmodel.models.architectures import Preset
from recmodel.pipeline import preflight, sources
from recmodel.progress import NOTICE, Progress, Stages, log
from recmodel.records import NEWEST, Difference, FeedbackKind, HeldOut, Metrics
from recmodel.schemas import Ids
from recmodel.scoring import policies
from recmodel.settings import Gate, Settings
from recmodel.settings import Training as TrainingSettings
from recmodel.storage import Location

if TYPE_CHECKING:
    from recmodel.models.training import Trained

_REFIT_FROM = 0.001  # share of the ratings that is held out


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
    users: int = 0  # by whose ratings they are compared
    differences: list[Difference] | None = None  # None where the two cannot be compared
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
        ids, superseded, columns = validation.ids, ratings.superseded, ratings.columns
        size = movielens.ratings_size(folder)
        numbered_catalogue, labels = in_memory.number(ratings, catalogue)
        fingerprint = movielens.fingerprint(columns, catalogue, labels)
        rows, kind = _held_out(columns, labels, settings.training.test_share)
        del ratings

    with stages("start TensorFlow"):
        from recmodel.models import saved_model

    fit = _Fit(
        settings.training, preset, numbered_catalogue, labels, feedback.rating_range, runs(columns[c.USER_ID])[0]
    )
    with tempfile.TemporaryDirectory() as scratch:
        exported, refitted = Path(scratch, "measured_model"), None
        fitted, held_out = newest.take_out(columns, rows)
        with stages(f"train preset {settings.training.preset}") as progress:
            trained, left_out = fit(fitted, progress)
        with stages("export"):
            signatures = saved_model.save(trained.towers(), exported, ids, labels)
        metrics = Metrics(**trained.report(), test_rows=len(rows), left_out_rows=left_out)
        del trained
        movie_ids = numbered_catalogue.column(c.MOVIE_ID).to_numpy()
        split = splits.Split(fitted, held_out, movie_ids, rated=not feedback.is_implicit, labels=labels)
        bench = _Bench(split, kind, feedback, margins, validation.newest_time)
        del split
        judged = bench.judge(exported, preset, versions.current(models), current, stages)
        del bench  # and what it keeps of the ratings
        if settings.training.refit and _is_worth_a_refit(len(rows), len(fitted[c.RATING])):
            with stages(f"train preset {settings.training.preset} on all ratings") as progress:
                refitted = Path(scratch, "saved_model")
                trained, left_out = fit(newest.put_back(fitted, held_out, rows), progress)
            with stages("export"):
                saved_model.save(trained.towers(), refitted, ids, labels)
            metrics = metrics.model_copy(update={"refit": True, "refit_rows": trained.examples})
            del trained
        comparison, refusals = judged.comparison, None
        if promote is None:
            refusals = judged.refusals(baselines_too=baselines_too)
        elif not promote:
            refusals = ["it was trained with --no-promote"]
        version = versions.write_version(
            models,
            refitted or exported,
            measured_model=refitted and exported,
            held_out=kind,
            catalogue=catalogue,
            metrics=metrics.model_copy(
                update={
                    **judged.fields,
                    "superseded_rows": superseded,
                    "opted_out_rows": opted_out,
                    "gate": refusals,
                    "ratings_file": size.file,
                    "ratings_bytes": None if validation.left_out else size.bytes,  # not of the rows that were read
                }
            ),
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
    if promoted and promote is None and comparison is not None and comparison.differences is None:
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


def _is_worth_a_refit(held_out: int, fitted: int) -> bool:
    """Return whether so many held-out ratings would change a model that is fitted to so many others."""
    if not held_out or held_out >= _REFIT_FROM * (held_out + fitted):
        return bool(held_out)
    log.log(NOTICE, "the model is not fitted again to the %s held-out ratings, as they are less than a thousandth of "
            "all", f"{held_out:,}")  # fmt: skip
    return False


def _held_out(ratings: Arrays, labels: Labels, test_share: float) -> tuple[np.ndarray, HeldOut | None]:
    """Return the rows that are held out, and by what they were chosen; nothing if the share is 0."""
    if not test_share:
        return np.empty(0, np.int64), None
    rows, kind = newest.choose(ratings, labels)
    if kind.kind != NEWEST:
        log.log(NOTICE, "the ratings have no times, so the model takes no account of their order and is measured by "
                "some rating of each user, not the newest")  # fmt: skip
    return rows, kind


@dataclass(frozen=True)
class _Fit:
    """The recipe by which a model is fitted to ratings: once to be measured, and once to serve."""

    training: TrainingSettings
    preset: Preset
    catalogue: pa.Table  # with int64 ids
    labels: Labels
    rating_range: tuple[float, float]
    user_ids: np.ndarray

    def __call__(self, ratings: Arrays, progress: Progress) -> tuple[Trained, int]:
        """Return the model, and how many ratings `training.max_ratings` leaves out."""
        from recmodel.models import training

        fitted = self._up_to(self.training.max_ratings, ratings)
        left_out = len(ratings[c.RATING]) - len(fitted[c.RATING])
        trained = training.train(
            fitted,
            self.user_ids,
            self.catalogue,
            self.preset,
            seed=self.training.seed,
            rating_range=self.rating_range,
            progress=progress,
        )
        return trained, left_out

    def _up_to(self, most: int, ratings: Arrays) -> Arrays:
        """Return the ratings to fit to: all, or where these are more than `most` (0: no limit), those of some users."""
        rows = len(ratings[c.RATING])
        if not most or rows <= most:
            return ratings
        if self.preset.holds_users:
            log.log(NOTICE, "training.max_ratings does not apply: this model knows users by id, so it is fitted to all")
            return ratings
        fitted = splits.of_some_users(ratings, most, self.training.seed, self.labels)
        log.log(NOTICE, "the model is fitted to %s of %s ratings, those of some users (training.max_ratings)",
                f"{len(fitted[c.RATING]):,}", f"{rows:,}")  # fmt: skip
        return fitted


def _ids(folder: Location, settings: Settings, current: versions.ModelVersion | None) -> Ids:
    """Return what the ids of the input are: as in the current version, or without one, as they look."""
    if current is None:
        return identifiers.decide(folder, settings.input)
    return identifiers.for_model(folder, settings.input, current.name, current.ids)


@dataclass(frozen=True)
class _Judged:
    """What the gate knows of a new model."""

    fields: dict[str, Any]  # of metrics.json
    baselines: dict[str, list[Difference]]  # by name
    comparison: Comparison | None  # with the current version; None where there is none

    def refusals(self, *, baselines_too: bool) -> list[str]:
        """Return why the gate keeps the current version; nothing if the new one may replace it."""
        reasons = gates.reasons_to_refuse(self.baselines) if baselines_too else []
        if self.comparison is None:
            return reasons
        differences = self.comparison.differences or []
        return [*reasons, *gates.reasons_to_refuse({self.comparison.current: differences}), *self.comparison.losses]


@dataclass(frozen=True)
class _Bench:
    """What models are measured by, all in the same way."""

    split: splits.Split
    kind: HeldOut | None  # by what the held-out ratings were chosen; None: there are none
    feedback: Feedback
    margins: Gate
    newest: datetime | None  # the time of the newest rating of the input

    def judge(
        self,
        exported: Path,
        preset: Preset,
        name: str | None,
        current: versions.ModelVersion | None,
        stages: Stages,
    ) -> _Judged:
        """Measure a new model, and compare it with baselines and with the current version.

        Args:
            exported: its SavedModel.
            preset: that it was trained by.
            name, current: the current version; None if it cannot be used, or if there is no name, there is none.
        """
        fields, of_baselines, new, comparison = dict[str, Any](), dict[str, list[Difference]](), None, None
        with stages("measure on held-out ratings"):
            if self.kind is not None and len(self.split.users):
                new = self._of_model(exported, preset.architecture, preset.tasks, policies.automatic(preset.tasks))
                rivals = held_out_ratings.of_baselines(self.split, self.feedback.four_stars)
                of_baselines = {name: self._compare(new, rival, gates.NO_MARGIN) for name, rival in rivals.items()}
                fields = new.measures.model_dump(exclude_none=True) | {
                    "measured_users": len(self.split.users),
                    "held_out": self.kind.kind,
                    "baselines": {name: rival.measures for name, rival in rivals.items()},
                }
        if name:
            with stages("compare with the current version"):
                comparison = self._with_current(name, current, preset.tasks, new)
        compared = of_baselines | ({name: comparison.differences} if comparison and comparison.differences else {})
        return _Judged(fields | {"compared": compared or None}, of_baselines, comparison)

    def _with_current(
        self, name: str, current: versions.ModelVersion | None, tasks: tuple[str, ...], new: Measured | None
    ) -> Comparison:
        """Compare a new model with the current version; None if it cannot be used.

        Args:
            new: the new one, measured; None where nothing is held out.
        """
        if current is None:
            return Comparison(name, why_not="it cannot be used")
        change = gates.change_of_feedback(name, current.feedback, self.feedback.kind)
        if change:
            return Comparison(name, why_not=change, losses=(change,))
        losses, fair = gates.lost_tasks(name, current.tasks, tasks), np.zeros(0, bool)
        if new is not None and self.kind is not None:
            held_out, labels = self.split.held_out, self.split.labels
            fair = newest.unseen(held_out, self.kind, current.manifest, self.newest, labels)
        if new is None or not fair.any():
            why = "no ratings are held out by both, so there is nothing to compare by"
            return Comparison(name, why_not=why, losses=losses)
        of_both = replace(self, split=held_out_ratings.some(self.split, fair))
        rival = of_both._of_model(current.measured_model, current.architecture, current.tasks, current.rank_by)
        differences = self._compare(replace(new, outcomes=new.outcomes.of(fair)), rival, self.margins)
        return Comparison(name, int(fair.sum()), differences, losses=losses)

    def _of_model(self, saved_model: Path, architecture: str, tasks: tuple[str, ...], rank_by: str) -> Measured:
        """Measure a SavedModel."""
        model = open_model(saved_model, architecture, self.split)
        return held_out_ratings.of_version(model, tasks, rank_by, self.split, self.feedback.four_stars)

    def _compare(self, new: Measured, rival: Measured, margins: Gate) -> list[Difference]:
        low, high = self.feedback.rating_range
        return gates.compare(new.outcomes, rival.outcomes, margins, high - low)
