"""Search: values of a preset's fields that are better on validation ratings, tried one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recmodel import schemas as c
from recmodel.errors import UsageRejected
from recmodel.evaluation import baselines, ranking, splits
from recmodel.evaluation.metrics import rating_metrics
from recmodel.models import presets
from recmodel.models.architectures import Preset
from recmodel.pipeline import evaluate
from recmodel.progress import Progress, Stages
from recmodel.settings import Settings

OBJECTIVES = ("ndcg@10", "recall@10", "recall@100", "ndcg@100", "rmse")


@dataclass(frozen=True)
class Request:
    """What to search for."""

    preset: str
    space: Path  # YAML: a field of the preset, and its [lowest, highest] value or a list of three or more choices
    trials: int  # how many to try now
    split: str  # one of `splits.KINDS`; the ratings that this split would hold out are not looked at
    objective: str  # one of `OBJECTIVES`
    relevant_from: float | None = None  # see `splits.Split`
    also_data: tuple[str, ...] = ()  # other ratings by which presets are measured too, as `paths.data`


@dataclass(frozen=True)
class Trial:
    """A set of values, and how good the preset is with them: the geometric mean over all data."""

    values: dict[str, Any]
    measure: float
    is_preset: bool  # the values are those that the preset has


def run(
    settings: Settings, request: Request, folder: Path, stages: Stages, each: Callable[[int, Trial], None]
) -> list[Trial]:
    """Try sets of values; return all trials so far, the best first.

    What is held out for testing is held out here too, and of the rest the same split holds out the validation part:
    with `last-out`, that is each user's second newest rating. The first trial is the preset as it is. Trials are kept
    in `folder`, and the same command goes on where the last one ended.

    Args:
        each: is told the number of each trial, and its result.

    Raises:
        InputRejected: see `movielens`.
        UsageRejected: a value is not allowed, or the package optuna is missing.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage
    except ImportError:
        raise UsageRejected(
            "search needs the package optuna; install it with: pip install 'recmodel[search]'"
        ) from None
    file = settings.training.presets
    space = _space(request, file)
    preset = presets.load(request.preset, file)
    measures = []
    for data in (settings.paths.data, *request.also_data):
        with stages("read ratings and movies"):
            paths = settings.paths.model_copy(update={"data": data})
            found = evaluate.read(settings.model_copy(update={"paths": paths}))
        measures.append(_Measure(settings, request, found))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "trials.log"))),
        sampler=optuna.samplers.TPESampler(seed=settings.training.seed),
        study_name=" ".join(
            map(str, (request.preset, request.split, request.objective, request.relevant_from, *request.also_data))
        ),
        direction="minimize" if request.objective == "rmse" else "maximize",
        load_if_exists=True,
    )
    as_it_is = {name: getattr(preset, name) for name in space}
    if not study.trials:
        study.enqueue_trial(as_it_is)

    def objective(trial: optuna.Trial) -> float:
        values = {name: _suggest(trial, name, bounds) for name, bounds in space.items()}
        with stages(f"trial {trial.number}") as progress:
            tried = presets.load(request.preset, file, **values)
            value = float(np.prod([measure(tried, progress) for measure in measures]) ** (1 / len(measures)))
        each(trial.number, Trial(values, value, values == as_it_is))
        return value

    study.optimize(objective, n_trials=request.trials)
    done = [Trial(one.params, one.value, one.params == as_it_is) for one in study.trials if one.value is not None]
    return sorted(done, key=lambda trial: trial.measure, reverse=request.objective != "rmse")


class _Measure:
    """Measure presets on the validation part of a split."""

    def __init__(self, settings: Settings, request: Request, found: evaluate.Input) -> None:
        share, seed = settings.training.test_share, settings.training.seed
        options: dict[str, Any] = {
            "test_share": share, "seed": seed, "rated": not found.feedback.is_implicit, "labels": found.labels,
        }  # fmt: skip
        rest = splits.make(request.split, found.ratings, found.movie_ids, **options).fitted
        options["relevant_from"] = request.relevant_from
        self._split = splits.make(request.split, rest, found.movie_ids, **options)
        self._found, self._seed, self._objective = found, seed, request.objective

    def __call__(self, preset: Preset, progress: Progress) -> float:
        split, found = self._split, self._found
        model, _ = evaluate.train(found, split, preset, self._seed, progress)
        predictions = baselines.of_model(model, preset.tasks, split)
        if self._objective == "rmse":
            assert predictions.ratings is not None
            return rating_metrics(predictions.ratings, split.held_out[c.RATING])["rmse"]
        assert predictions.lists is not None
        return float(np.nanmean(ranking.per_user(predictions.lists, split)[self._objective]))


def _space(request: Request, file: str) -> dict[str, list[Any]]:
    """Read the fields to search; see `Request`.

    Raises:
        UsageRejected: the file cannot be read, or names no list for a field.
    """
    try:
        space = yaml.safe_load(request.space.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageRejected(f"{request.space} cannot be read: {error}") from None
    if not isinstance(space, dict) or not all(isinstance(of, list) and len(of) > 1 for of in space.values()):
        raise UsageRejected(
            f"{request.space} is not a search space; it takes a line per field, such as `recency_floor: [0.02, 0.5]`"
        )
    presets.load(request.preset, file, **{name: of[0] for name, of in space.items()})
    return space


def _suggest(trial: Any, name: str, of: list[Any]) -> Any:
    """Return the value of a field for a trial: between two numbers, on a logarithmic scale, or one of three or more."""
    if len(of) > 2:
        return trial.suggest_categorical(name, of)
    if all(isinstance(bound, int) for bound in of):
        return trial.suggest_int(name, *of, log=of[0] > 0)
    return trial.suggest_float(name, *of, log=of[0] > 0)
