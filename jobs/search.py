"""Search for values of a preset's fields that are better on validation ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recmodel import settings
from recmodel.cli import completion, console, options, views
from recmodel.evaluation import splits
from recmodel.progress import Stages


@click.command(
    short_help="Search for better values of a preset's fields.",
    epilog="Example: recmodel search --data ml-latest-small --split last-five-out --trials 50",
    context_settings=options.CONTEXT,
)
@options.data
@options.presets
@click.option("--preset", metavar="NAME", shell_complete=completion.presets, help="Whose fields are varied.")
@click.option("--space", type=click.Path(path_type=Path),
              help="What to try; by default conf/search.yaml, or for rmse conf/search-ratings.yaml.")  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="How many to try now.")
@click.option("--split", type=click.Choice(splits.KINDS), default="last-out", show_default=True,
              help="As of evaluate; what it holds out for testing is not looked at.")  # fmt: skip
@click.option("--objective", default="ndcg@10", show_default=True, metavar="METRIC",
              help="ndcg@10, recall@10, recall@100, ndcg@100 or rmse.")  # fmt: skip
@click.option("--relevant", type=float, metavar="RATING", help="Only movies rated so high are to be recommended.")
@click.option(
    "--also-data",
    multiple=True,
    metavar="DIR",
    help="Other ratings, which count as much: the geometric mean of both is what is best. May be repeated.",
)
@click.option("--output", "folder", callback=options.path, help="Where trials are kept.")
def search(
    space: Path | None, trials: int, split: str, objective: str, relevant: float | None, also_data: tuple[str, ...],
    folder: str | None, **flags: Any,
) -> None:  # fmt: skip
    """Try values of a preset's fields and print the best ones found.

    The same command continues an earlier search. Parts for testing are left alone: with the split last-out, each
    user's newest rating is left out, and the one before it is what presets are measured by. Nothing is changed: put
    what you like into conf/presets.yaml, and measure it by `evaluate`.
    """
    chosen = settings.load_with(flags, "paths", "training")
    console.start_log(chosen.paths.logs, "search")
    from recmodel.pipeline import search as pipeline  # TensorFlow, which --help must not wait for

    if objective not in pipeline.OBJECTIVES:
        raise click.UsageError(f"--objective: {objective!r} is none of {', '.join(pipeline.OBJECTIVES)}")
    space = space or settings.conf_file("search-ratings.yaml" if objective == "rmse" else "search.yaml")
    others = tuple(map(settings.absolute_data, also_data))
    request = pipeline.Request(chosen.training.preset, space, trials, split, objective, relevant, others)
    target = Path(folder or chosen.paths.evaluation) / "search"
    found = pipeline.run(
        chosen, request, target, Stages(console.show_stage), lambda n, t: console.out.print(views.trial(n, t))
    )
    console.out.print(views.trials(found[:10], objective))
    console.out.print(f"{len(found)} trials are kept in {target}")


if __name__ == "__main__":
    console.run(search)
