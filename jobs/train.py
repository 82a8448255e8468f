"""Train a model on MovieLens ratings and make it the current version, if it is no worse."""

from __future__ import annotations

from typing import Any

import click

from recmodel import settings
from recmodel.cli import completion, console, options, views
from recmodel.errors import ModelRejected
from recmodel.models import presets
from recmodel.pipeline import registry
from recmodel.pipeline import train as pipeline
from recmodel.progress import Stages


@click.command(
    short_help="Train a model, which replaces one that is no better.",
    epilog="Example: recmodel train --data ml-latest-small --preset joint --epochs 5",
    context_settings=options.CONTEXT,
)
@options.data
@options.models
@click.option("--preset", metavar="NAME", shell_complete=completion.presets,
              help="A preset of conf/presets.yaml: default, joint, rating, ….")  # fmt: skip
@options.presets
@click.option("--epochs", type=int, help="Passes over the training ratings, instead of the preset's.")
@click.option("--batch-size", type=int, help="Ratings per training step, instead of the preset's.")
@click.option("--learning-rate", type=float, help="Of the optimiser, instead of the preset's.")
@click.option("--seed", type=int, help="Same seed, same data, same model.")
@click.option(
    "--test-share", type=float, help="0: hold nothing out and measure nothing. Other shares are for evaluate."
)
@click.option("--promote/--no-promote", default=None,
              help="Make it current even if it is worse, or not even if it is better.")  # fmt: skip
@click.option("--gate/--no-gate", default=None,
              help="Compare with baselines too, as nightly does; --no-gate is the same as --promote.")  # fmt: skip
@options.as_of
@options.dry_run
def train(
    epochs: int | None, batch_size: int | None, learning_rate: float | None, promote: bool | None, gate: bool | None,
    dry_run: bool, **flags: Any,
) -> None:  # fmt: skip
    """Train a model and make it the current version, unless it is worse than the one that is.

    The two are compared by the newest rating of each user, to which neither was fitted; training.gate says how much
    worse is too much. A version that is refused stays on disk, and the exit code is 4: --promote, or models promote,
    makes it current anyway. With --gate, as in nightly, it must not be worse than popularity and biases either.

    Reads the ratings and movies of DIR, fits the retrieval and the rating task, measures both on held-out ratings, fits
    them again to all ratings (training.refit) and writes a new version below --models: SavedModel, catalogue, metrics
    and manifest. Settings that are not given come from conf/settings.yaml. With mlflow.tracking_uri, the version is
    logged to MLflow and registered there as well.
    """
    chosen = settings.load_with(flags, "paths", "input", "training")
    preset = presets.load(
        chosen.training.preset, chosen.training.presets,
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
    )  # fmt: skip
    console.start_log(chosen.paths.logs, "train", as_json=chosen.monitoring.json_logs)
    stages, models = Stages(console.show_stage), chosen.paths.models
    if dry_run:
        plan = pipeline.dry_run(chosen, preset, stages)
        view = views.training_dry_run(plan, chosen.training.preset, chosen.training.test_share, models)
        console.conclude(view, views.DRY_RUN)
        return
    asked = True if promote is None and gate is False else promote
    training = pipeline.run(chosen, preset, baselines_too=bool(gate), promote=asked, stages=stages)
    console.conclude(views.training_summary(training))
    registry.record(chosen, training.version.name, promoted=training.promoted)
    training.require_passed()


if __name__ == "__main__":
    console.run(train, unexpected=ModelRejected.exit_code)
