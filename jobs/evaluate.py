"""Evaluate a preset compared with baselines: all are fitted and measured in this run, on the same split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recmodel import settings
from recmodel.cli import console, options, views
from recmodel.evaluation import splits
from recmodel.progress import Stages


@click.command(
    short_help="Print how good a preset is compared with baselines.",
    epilog="Example: recmodel evaluate --data ml-latest-small --split time --seeds 5",
    context_settings=options.CONTEXT,
)
@options.data
@click.option("--preset", "presets", metavar="NAME", multiple=True, help="May be repeated; default: the settings'.")
@click.option("--split", type=click.Choice(splits.KINDS), default="random", show_default=True,
              help="What is held out: a random part, the newest part, or each user's newest rating.")  # fmt: skip
@click.option("--test-share", type=float, help="Share held out, for the splits random and time.")
@click.option("--rows", type=int, help="Of the random split, use only the first ROWS rows.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Train this often; mean and spread are shown.")
@click.option("--seed", type=int, help="Of the random split; training takes 0, 1, 2, ….")
@click.option("--baselines/--no-baselines", default=True, help="Popularity, biases, EASE (up to 20,000 movies), ALS.")
@click.option("--cold-start", is_flag=True, help="Also measure users with 0, 1, 3 and 10 ratings, or interactions.")
@click.option("--output", "folder", callback=options.path, help="Where evaluation.json and .parquet are written.")
def evaluate(
    presets: tuple[str, ...], split: str, rows: int | None, seeds: int, baselines: bool, cold_start: bool,
    folder: str | None, **flags: Any,
) -> None:  # fmt: skip
    """Print how good a preset is compared with baselines, and write the same as JSON and Parquet.

    Ratings: RMSE, MAE and calibration error in stars. Lists (fitted movies left out, the whole catalogue ranked):
    recall, NDCG and precision at 10 and 100, coverage of the catalogue and novelty in bits.
    """
    chosen = settings.load_with(flags, "paths", "training")
    console.start_log(chosen.paths.logs, "evaluate")
    from recmodel.pipeline import evaluate as pipeline  # TensorFlow and Spark, which --help must not wait for

    request = pipeline.Request(
        presets or (chosen.training.preset,), split, rows=rows, seeds=seeds, baselines=baselines, cold_start=cold_start
    )
    target = Path(folder or chosen.paths.evaluation)
    found = pipeline.run(chosen, request, target, Stages(console.show_stage))
    sizes, cold, new = views.evaluated(found)
    console.out.print(views.metrics_by_method(found.metrics, f"\n{split} split: {sizes}"))
    if found.new_movies:
        console.out.print(new)
    for frame, title in (
        (found.cold_users, f"\n{cold}"),
        (found.cold_movies, "\nRMSE by how many ratings of the movie were fitted"),
    ):
        if frame is not None:
            console.out.print(views.frame_rows(frame, title))
    console.out.print(f"written to {target}")


if __name__ == "__main__":
    console.run(evaluate)
