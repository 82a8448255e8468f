"""Train a model on MovieLens ratings and make it the current version."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from recmodel import files, settings, storage
from recmodel import schemas as c
from recmodel.cli import console, options
from recmodel.data import movielens as data
from recmodel.errors import ModelRejected, UsageRejected
from recmodel.models import versions

if TYPE_CHECKING:
    from recmodel.scoring import recommender


@click.command(
    epilog="Example: recmodel train --data ml-latest-small --preset joint --epochs 5",
    context_settings=options.CONTEXT,
)
@options.data
@options.models
@click.option("--preset", metavar="NAME", help="A preset of conf/presets.yaml: default, joint, rating, ….")
@click.option("--epochs", type=int, help="Passes over the training ratings, instead of the preset's.")
@click.option("--batch-size", type=int, help="Ratings a training step, instead of the preset's.")
@click.option("--learning-rate", type=float, help="Of the optimiser, instead of the preset's.")
@click.option("--seed", type=int, help="Same seed, same data, same model.")
@click.option("--test-share", type=float, help="Share of the ratings held out to measure the model; 0 for none.")
@click.option("--gate/--no-gate", default=False, help="Make it current only if it is good enough; see training.gate.")
@options.dry_run
def train(**flags: Any) -> None:
    """Train a model and make it the current version.

    With --gate, as in nightly, it has to be better than popularity and biases and no worse than the current version, on
    the same held-out ratings; else it stays on disk, and the exit code is 4.

    Reads DIR/ratings and DIR/movies (.csv or .parquet), fits the retrieval and the rating task, measures both on
    held-out ratings and writes a new version below --models: SavedModel, catalogue, metrics and manifest. Settings
    that are not given come from conf/settings.yaml.
    """
    chosen = settings.load(
        paths={key: flags[key] for key in ("data", "models")},
        training={key: flags[key] for key in ("preset", "seed", "test_share")},
    )
    preset_flags = {key: flags[key] for key in ("epochs", "batch_size", "learning_rate")}
    preset = settings.preset(chosen.training.preset, **preset_flags)
    console.start_log(chosen.paths.logs, "train", as_json=chosen.monitoring.json_logs)
    if flags["dry_run"]:
        _foresee(chosen)
        return
    run(chosen, preset, gate=flags["gate"])


def run(chosen: settings.Settings, preset: settings.Preset, *, gate: bool) -> versions.ModelVersion:
    """Reads, fits, measures, writes a version and makes it current; gives it.

    Args:
        gate: make it current only if it is good enough.

    Raises:
        InputRejected: see `data`.
        ModelRejected: training diverged, or the version does not pass the gate.
    """
    models = chosen.paths.models
    stage = console.Stages()

    with stage("read ratings and movies"):
        catalogue, ratings, intake = data.read(chosen.paths.data, chosen.paths.sample, chosen.input)
        fingerprint = data.fingerprint(ratings, catalogue)

    with stage("start TensorFlow"):
        from recmodel.evaluation import evaluation
        from recmodel.models import saved_model, training
        from recmodel.scoring import recommender

    with stage(f"train preset {chosen.training.preset}") as progress:
        everything = training.latest_ratings(ratings)
        superseded = ratings.num_rows - len(everything[c.RATING])
        user_ids = np.unique(everything[c.USER_ID])
        fitted, held_out = training.split_by_pair(everything, chosen.training.test_share, chosen.training.seed)
        del ratings, everything  # 28 bytes a rating, twice
        trained = training.train(
            fitted,
            user_ids,
            catalogue,
            preset,
            seed=chosen.training.seed,
            rating_range=(chosen.input.rating_min, chosen.input.rating_max),
            progress=progress,
        )

    with tempfile.TemporaryDirectory() as scratch:
        with stage("export"):
            exported = Path(scratch) / "saved_model"
            saved_model.save(trained.weights, exported)
        with stage("measure on held-out ratings"):
            split = evaluation.Split(fitted, held_out, catalogue.column(c.MOVIE_ID).to_numpy())
            model = recommender.Recommender(exported)
            metrics: dict[str, Any] = trained.report() | evaluation.held_out_metrics(model, preset.tasks, split)
            metrics["superseded_rows"] = superseded
            if metrics["test_rows"]:
                metrics[c.BASELINES] = evaluation.baselines(split)
        if gate:
            with stage("compare with baselines and the current version"):
                metrics["gate"] = evaluation.gate(metrics, split, _current(models), chosen.training.gate)
        version = versions.write_version(
            models,
            exported,
            catalogue=catalogue,
            metrics=metrics,
            preset_name=chosen.training.preset,
            preset=preset,
            training=chosen.training.model_dump(),
            data_fingerprint=fingerprint,
        )

    _summary(version, intake)
    if metrics.get("gate"):
        raise ModelRejected(f"{version.name} does not become the current version: {'; '.join(metrics['gate'])}")
    versions.promote(models, version.name)
    return version


def _foresee(chosen: settings.Settings) -> None:
    """Reads the input and looks at the folder of models, as `run` would; says what it would train on.

    Raises:
        InputRejected: as in `run`.
        UsageRejected: no version can be written.
    """
    models = chosen.paths.models
    if not storage.is_uri(models) and not files.is_writable(Path(models)):
        raise UsageRejected(f"{models} cannot be written; choose another --models")
    with console.Stages()("read ratings and movies"), tempfile.TemporaryDirectory() as aside:
        catalogue, ratings, intake = data.read(chosen.paths.data, aside, chosen.input)
    would = {
        "preset": chosen.training.preset,
        "ratings": f"{ratings.num_rows:,}, {chosen.training.test_share:.0%} of them held out",
        "movies": f"{catalogue.num_rows:,}",
        "rows rejected": f"{intake.rejected().num_rows:,}",
        "current version": versions.current(models) or "none",
        "would be written below": models,
    }
    console.out.print(console.facts(would))
    console.out.print(console.DRY)


def _current(models: str) -> tuple[str, recommender.Recommender, tuple[str, ...]] | None:
    """The current version to compare with; none if there is none, or none that can be used."""
    from recmodel.scoring import recommender

    try:
        version = versions.open_version(models)
    except ModelRejected:
        return None
    return version.name, recommender.Recommender(version.saved_model), version.tasks


def _summary(version: versions.ModelVersion, intake: data.Intake) -> None:
    metrics = version.metrics()
    facts = {
        "model version": version.name,
        **{f"rows of {file}": f"{rows:,}" for file, rows in intake.rows.items()},
        "rows rejected": f"{intake.rejected().num_rows:,}",
        "ratings superseded": f"{metrics['superseded_rows']:,}",
        "ratings fitted / held out": f"{metrics['train_rows']:,} / {metrics['test_rows']:,}",
        "examples a second": f"{metrics['examples_per_second']:,}",
    }
    if metrics.get("rmse"):
        facts["held-out RMSE"] = f"{metrics['rmse']:.4f} stars"
    for k, share in metrics.get("top_k_accuracy", {}).items():
        unseen = metrics[c.ACCURACY][k]
        facts[f"held-out top-{k} accuracy"] = f"{unseen:.4f} among unseen movies, {share:.4f} among all"
    console.out.print(console.facts(facts | {"written to": version.path}))


if __name__ == "__main__":
    console.run(train)
