"""Evaluate a model version beside baselines, on the ratings that were held out when it was trained."""

from pathlib import Path

import click

from recmodel import artifact, console, data, options, settings
from recmodel import columns as c
from recmodel.errors import UsageRejected


@click.command(epilog="Example: python jobs/evaluate.py --data ml-latest-small", context_settings=options.CONTEXT)
@options.data
@options.models
@options.model_version
def evaluate(**flags: str | None) -> None:
    """Print a model version's quality beside baselines that are fitted in this run, on the same split.

    --data must be what the version was trained on: on other ratings its held-out part is unknown.
    """
    chosen = settings.load(paths={key: flags[key] for key in ("data", "models")})
    console.start_log(chosen.paths.logs, "evaluate")
    stage = console.Stages()

    with stage("read model and ratings"):
        version = artifact.open_version(Path(chosen.paths.models), flags["model_version"])
        intake = data.Intake(chosen.input)
        folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
        catalogue = data.read_catalogue(folder, intake)
        ratings = data.read_ratings(folder, catalogue, intake)
    trained_with = version.manifest["settings"]["training"]
    if data.fingerprint(ratings, catalogue) != version.manifest["data_fingerprint"]:
        raise UsageRejected(f"{folder} is not what {version.name} was trained on; give its --data, or train again")
    if not trained_with["test_share"]:
        raise UsageRejected(f"{version.name} was trained on all ratings; train with --test-share 0.2 to measure it")

    with stage("evaluate"):
        from recmodel import evaluation, serving, training

        fitted, held_out = training.split_at_random(
            training.latest_ratings(ratings), trained_with["test_share"], trained_with["seed"]
        )
        qualities = [
            evaluation.of_model(version.name, serving.Recommender(version.saved_model), version.tasks, held_out),
            evaluation.of_biases(fitted, held_out),
            evaluation.of_popularity(fitted, held_out),
        ]

    numbers = ["RMSE", "MAE", *(f"top-{k}" for k in training.TOP_K)]
    shown = console.table(f"{len(held_out[c.RATING]):,} held-out ratings", ["method"], numbers)
    for quality in qualities:
        top_k = quality.top_k_accuracy or dict.fromkeys(training.TOP_K)
        values = (quality.rmse, quality.mae, *top_k.values())
        shown.add_row(quality.name, *("–" if value is None else f"{value:.4f}" for value in values))
    console.out.print(shown)


if __name__ == "__main__":
    console.run(evaluate)
