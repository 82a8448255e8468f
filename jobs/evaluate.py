"""Evaluate a preset compared with baselines: all are fitted and measured in this run, on the same split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recmodel import settings
from recmodel.cli import completion, console, options, views
from recmodel.evaluation import splits
from recmodel.progress import Stages
from recmodel.scoring import policies as ranking


@click.command(
    short_help="Print how good a preset is compared with baselines.",
    epilog="Example: recmodel evaluate --data ml-latest-small --split time --seeds 5",
    context_settings=options.CONTEXT,
)
@options.data
@options.presets
@click.option("--preset", "preset_names", metavar="NAME", multiple=True, shell_complete=completion.presets,
              help="May be repeated; default: the settings'.")  # fmt: skip
@click.option("--rank-by", type=click.Choice(ranking.NAMES), multiple=True, default=("retrieval",),
              show_default=True, help="Whose lists are measured. May be repeated.")  # fmt: skip
@click.option("--split", type=click.Choice(splits.KINDS), default="last-out", show_default=True,
              help="What is held out: each user's newest rating, or their newest five, the newest part, a random part, "
                   "or a part of the ratings of users who are not fitted.")  # fmt: skip
@click.option(
    "--relevant", "relevant_from", type=float, metavar="RATING", help="Only movies rated so high are to be recommended."
)
@click.option("--test-share", type=float, help="Share held out; of the split users, of them and of their ratings.")
@click.option("--rows", type=int, help="Of the random split, use only the first ROWS rows.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Train this often; mean and spread are shown.")
@click.option("--splits", type=click.IntRange(min=1), default=1, show_default=True,
              help="Measure on so many: random ones, or ever older ones; mean and spread are shown.")  # fmt: skip
@click.option("--vary", metavar="FIELD=V,…", callback=options.varied, multiple=True,
              help="Also with these values of a field of the preset. May be repeated.")  # fmt: skip
@click.option("--seed", type=int, help="Of the random split; training takes 0, 1, 2, ….")
@click.option("--baselines/--no-baselines", default=True, help="Popularity, biases, EASE (up to 20,000 movies), ALS.")
@click.option("--peers", is_flag=True, help="Also iALS and a Bayesian factorisation machine, where installed.")
@click.option("--lists", type=click.Path(path_type=Path), multiple=True,
              help="Also lists made elsewhere: Parquet with user_id, rank, movie_id. May be repeated.")  # fmt: skip
@click.option("--write-split", "split_folder", type=click.Path(path_type=Path), help="Write the split, for these.")
@click.option("--cold-start", is_flag=True, help="Also measure users with 0, 1, 3 and 10 ratings, or interactions.")
@click.option(
    "--output", "folder", callback=options.path, help="Where evaluation.html, .json and .parquet are written."
)
def evaluate(folder: str | None, **flags: Any) -> None:
    """Print how good a preset is compared with baselines, and write the same as JSON and Parquet.

    Ratings: RMSE, MAE and calibration error in stars. Lists (known movies left out, the whole catalogue ranked):
    recall, NDCG and precision at 10 to 100 (capped recall is of at most so many, as papers have it), MRR; of the first
    10 coverage of the catalogue, Gini, novelty in bits, and how much more popular they are than what users rated.
    """
    chosen = settings.load_with(flags, "paths", "training")
    console.start_log(chosen.paths.logs, "evaluate")
    from recmodel.pipeline import evaluate as pipeline  # TensorFlow and Spark, which --help must not wait for
    from recmodel.report import evaluation as page

    flags["preset_names"] = flags["preset_names"] or (chosen.training.preset,)
    request = pipeline.Request(**{name: flags[name] for name in pipeline.Request.__dataclass_fields__})
    target = Path(folder or chosen.paths.evaluation)
    found = pipeline.run(chosen, request, target, Stages(console.show_stage))
    sizes, cold, notes = views.evaluated(found)
    console.out.print(*views.metrics_by_method(found.metrics, f"\n{request.split} split: {sizes}"), sep="\n")
    console.out.print(views.differences(found.intervals))
    console.out.print(*notes, sep="\n")
    for frame, title in (
        (found.cold_users, f"\n{cold}"),
        (found.cold_movies, "\nRMSE by how many ratings of the movie were fitted"),
    ):
        if frame is not None:
            console.out.print(views.frame_rows(frame, title))
    title, about = f"{found.metrics['method'][0]} compared, {request.split} split", ". ".join([sizes, *notes]) + "."
    html = page.render(title, about, found.metrics, found.intervals, found.segments)
    (target / "evaluation.html").write_text(html, encoding="utf-8")
    console.out.print(f"written to {target}; evaluation.html is for people")


if __name__ == "__main__":
    console.run(evaluate)
