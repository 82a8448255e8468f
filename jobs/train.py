"""Train a model on MovieLens ratings and make it the current version."""

from pathlib import Path
from typing import Any

import click

from recmodel import artifact, console, data, options, settings
from recmodel import columns as c


@click.command(
    epilog="Example: python jobs/train.py --data ml-latest-small --preset joint --epochs 5",
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
def train(**flags: Any) -> None:
    """Train a model and make it the current version.

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
    console.start_log(chosen.paths.logs, "train")
    stage = console.Stages()

    with stage("read ratings and movies"):
        intake = data.Intake(chosen.input)
        folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
        catalogue = data.read_catalogue(folder, intake)
        ratings = data.read_ratings(folder, catalogue, intake)

    with stage("start TensorFlow"):
        from recmodel import training

    with stage(f"train preset {chosen.training.preset}", own_progress=True):
        trained = training.train(
            ratings,
            catalogue.column(c.MOVIE_ID).to_numpy(),
            preset,
            test_share=chosen.training.test_share,
            seed=chosen.training.seed,
            rating_range=(chosen.input.rating_min, chosen.input.rating_max),
            progress=console.out.is_terminal,
        )

    with stage("export"):
        version = artifact.write_version(
            Path(chosen.paths.models),
            trained.model.weights_as_arrays(),
            catalogue=catalogue,
            metrics=trained.metrics,
            preset_name=chosen.training.preset,
            preset=preset,
            training=chosen.training.model_dump(),
            data_fingerprint=data.fingerprint(ratings, catalogue),
        )

    _summary(version, intake)


def _summary(version: artifact.ModelVersion, intake: data.Intake) -> None:
    metrics = version.metrics()
    facts = {
        "model version": version.name,
        **{f"rows of {file}": f"{rows:,}" for file, rows in intake.rows.items()},
        "rows rejected": f"{intake.rejected().num_rows:,}",
        "ratings fitted / held out": f"{metrics['train_rows']:,} / {metrics['test_rows']:,}",
        "examples a second": f"{metrics['examples_per_second']:,}",
    }
    if metrics["test_rows"]:
        facts["held-out RMSE"] = f"{metrics['rmse']:.4f} stars"
        facts |= {f"held-out top-{k} accuracy": f"{share:.4f}" for k, share in metrics["top_k_accuracy"].items()}
    console.out.print(console.facts(facts | {"written to": version.path}))


if __name__ == "__main__":
    console.run(train)
