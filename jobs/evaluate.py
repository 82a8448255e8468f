"""Evaluate a preset beside baselines: all are fitted and measured in this run, on the same split."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from recmodel import schemas as c
from recmodel import settings
from recmodel.cli import console, options
from recmodel.data import movielens as data


@click.command(
    short_help="Print how good a preset is beside baselines.",
    epilog="Example: recmodel evaluate --data ml-latest-small --split time --seeds 5",
    context_settings=options.CONTEXT,
)
@options.data
@click.option("--preset", "presets", metavar="NAME", multiple=True, help="May be repeated; default: the settings'.")
@click.option("--split", "kind", type=click.Choice(["random", "time", "last-out"]), default="random", show_default=True,
              help="What is held out: a random part, the newest part, or each user's newest rating.")  # fmt: skip
@click.option("--test-share", type=float, help="Share held out, for the splits random and time.")
@click.option("--rows", type=int, help="Of the random split, use only the first so many rows.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Train so often; mean and spread are shown.")
@click.option("--seed", type=int, help="Of the random split; training takes 0, 1, 2, ….")
@click.option("--baselines/--no-baselines", default=True, help="Popularity, biases, EASE (up to 20,000 movies), ALS.")
@click.option("--cold-start", is_flag=True, help="Also measure users with 0, 1, 3 and 10 ratings; see the README.")
@click.option("--output", "folder", callback=options.path, help="Where evaluation.json and .parquet are written.")
def evaluate(**flags: Any) -> None:
    """Print how good a preset is beside baselines, and write the same as JSON and Parquet.

    Ratings: RMSE, MAE and calibration error in stars. Lists (fitted movies left out, the whole catalogue ranked):
    recall, NDCG and precision at 10 and 100, coverage of the catalogue and novelty in bits.
    """
    chosen = settings.load(
        paths={"data": flags["data"]}, training={"test_share": flags["test_share"], "seed": flags["seed"]}
    )
    console.start_log(chosen.paths.logs, "evaluate")
    stage = console.Stages()
    folder = Path(flags["folder"] or chosen.paths.evaluation)

    with stage("read ratings and movies"):
        catalogue, ratings, _ = data.read(chosen.paths.data, chosen.paths.sample, chosen.input)

    with stage("start TensorFlow and Spark"):
        from recmodel.evaluation import evaluation
        from recmodel.models import training
        from recmodel.spark import session

        spark = session.start("recmodel evaluate")
    everything = training.latest_ratings(ratings)
    split = _split(flags["kind"], everything, catalogue, chosen.training, flags["rows"])

    results: list[dict[str, Any]] = []
    by_presets: list[evaluation.Answers] = []

    def measure(name: str, answers: evaluation.Answers, seed: int = 0, **more: float) -> None:
        row: dict[str, Any] = {"method": name, "seed": seed, **more}
        if answers.predicted is not None:
            row |= evaluation.rating_metrics(answers.predicted, split.held_out[c.RATING])
        if answers.lists is not None:
            row |= evaluation.list_metrics(spark, answers.lists, split)
        results.append(row)

    for name in flags["presets"] or (chosen.training.preset,):
        preset = settings.preset(name)
        for seed in range(flags["seeds"]):
            with stage(f"train and measure {name}, seed {seed}") as progress:
                model, trained = _train(split, everything, catalogue, preset, seed, chosen.input, progress)
                answers = evaluation.of_model(model, preset.tasks, split)
                by_presets.append(answers)
                measure(name, answers, seed, **{"train s": trained.seconds, "examples/s": trained.examples_per_second})
    if flags["baselines"]:
        with stage("fit and measure the baselines"):
            measure(c.POPULARITY, evaluation.of_popularity(split))
            measure(c.BIASES, evaluation.of_biases(split))
            measure("ALS (Spark)", evaluation.of_als(spark, split))
            if len(split.movie_ids) <= 20_000:
                measure("EASE", evaluation.of_ease(split))

    frame = pd.DataFrame(results)
    sizes = f"{len(split.fitted[c.RATING]):,} ratings fitted, {len(split.held_out[c.RATING]):,} held out"
    _print_metrics(frame, f"\n{flags['kind']} split: {sizes}")
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "evaluation.parquet", index=False)
    (folder / "evaluation.json").write_text(json.dumps(json.loads(frame.to_json(orient="records")), indent=2) + "\n")

    if flags["cold_start"]:
        preset = settings.preset((flags["presets"] or (chosen.training.preset,))[0])
        with stage("measure cold start"):
            users, movies = _cold_start(spark, split, by_presets[0], everything, catalogue, preset, chosen)
        _print_rows(users, "\nA fifth of the users unknown in training, by how many of their ratings are shown")
        _print_rows(movies, "\nRMSE by how many ratings of the movie were fitted")
        users.to_parquet(folder / "cold_users.parquet", index=False)
        movies.to_parquet(folder / "cold_movies.parquet", index=False)
    console.out.print(f"written to {folder}")
    spark.stop()


def _split(kind: str, everything: Any, catalogue: Any, chosen: settings.Training, limit: int | None) -> Any:
    from recmodel.evaluation import evaluation
    from recmodel.models import training

    if kind == "random":
        parts = training.split_at_random(everything, chosen.test_share, chosen.seed, limit)
    elif kind == "time":
        parts = evaluation.split_by_time(everything, chosen.test_share)
    else:
        parts = evaluation.split_last_out(everything)
    return evaluation.Split(*parts, catalogue.column(c.MOVIE_ID).to_numpy())


def _train(
    split: Any,
    everything: Any,
    catalogue: Any,
    preset: settings.Preset,
    seed: int,
    limits: settings.Input,
    progress: console.Progress | None = None,
) -> Any:
    """(Recommender, Trained): exported and loaded again, so that what is measured is what would be served."""
    from recmodel.models import saved_model, training
    from recmodel.scoring import recommender

    trained = training.train(
        split.fitted,
        np.unique(everything[c.USER_ID]),
        catalogue,
        preset,
        seed=seed,
        rating_range=(limits.rating_min, limits.rating_max),
        progress=progress,
    )
    with tempfile.TemporaryDirectory() as scratch:
        saved_model.save(trained.weights, Path(scratch) / "saved_model")
        return recommender.Recommender(Path(scratch) / "saved_model"), trained


def _cold_start(
    spark: Any,
    split: Any,
    by_model: Any,
    everything: Any,
    catalogue: Any,
    preset: settings.Preset,
    chosen: settings.Settings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(by ratings of the user, by ratings of the movie); `by_model` are the preset's answers to `split`."""
    from recmodel.evaluation import evaluation

    base, histories = evaluation.cold_users(everything, split.movie_ids, seed=chosen.training.seed)
    model, _ = _train(base, everything, catalogue, preset, 0, chosen.input)
    found = []
    for given, shown in histories.items():
        methods = {
            "model": evaluation.of_model(model, preset.tasks, shown),
            c.POPULARITY: evaluation.of_popularity(shown),
            c.BIASES: evaluation.of_biases(shown),
        }
        for name, answers in methods.items():
            row: dict[str, Any] = {"ratings given": given, "method": name}
            if answers.predicted is not None:
                row["rmse"] = evaluation.rating_metrics(answers.predicted, shown.held_out[c.RATING])["rmse"]
            if answers.lists is not None:
                lists = evaluation.list_metrics(spark, answers.lists, shown)
                row |= {metric: lists[metric] for metric in ("recall@10", "ndcg@10", "recall@100")}
            found.append(row)
    rated = {"model": by_model, c.BIASES: evaluation.of_biases(split)}
    by_movie = [
        {"method": name, **evaluation.rmse_by_movie_ratings(answers, split)}
        for name, answers in rated.items()
        if answers.predicted is not None
    ]
    return pd.DataFrame(found), pd.DataFrame(by_movie)


def _print_metrics(frame: pd.DataFrame, title: str) -> None:
    """A column a method: the mean over seeds, with ± the standard deviation where there are several."""
    grouped = frame.drop(columns="seed").groupby("method", sort=False)
    mean, spread, runs = grouped.mean(), grouped.std(ddof=0), grouped.size()
    shown = console.table(title, ["metric"], list(mean.index))
    for metric in mean.columns:
        cells = []
        for method in mean.index:
            value, digits = mean.loc[method, metric], 0 if metric == "examples/s" else 4
            plus = f" ±{spread.loc[method, metric]:,.{digits}f}" if runs[method] > 1 else ""
            cells.append("–" if pd.isna(value) else f"{value:,.{digits}f}{plus}")
        shown.add_row(metric, *cells)
    console.out.print(shown)


def _print_rows(frame: pd.DataFrame, title: str) -> None:
    """The frame as it is: text and counts to the left, numbers to the right."""
    names = [name for name in ("ratings given", "method") if name in frame]
    numbers = [str(name) for name in frame if name not in names]
    shown = console.table(title, names, numbers)
    for row in frame.to_dict("records"):
        cells = ["–" if pd.isna(row[number]) else f"{row[number]:.4f}" for number in numbers]
        shown.add_row(*(str(row[name]) for name in names), *cells)
    console.out.print(shown)


if __name__ == "__main__":
    console.run(evaluate)
