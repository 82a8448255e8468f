"""Replay nights of the past as of their dates, and hold them against the ratings that came after them."""

from __future__ import annotations

from pathlib import Path

import click

from recmodel import dates, formatting, settings, storage
from recmodel.cli import completion, console, options, views
from recmodel.errors import UsageRejected
from recmodel.progress import Stages
from recmodel.scoring import policies as ranking

_TRAININGS = 20  # in one process: each leaves some 50 MiB behind


@click.command(
    short_help="Replay nights of the past, and show what came of them.",
    epilog="Example: recmodel backtest 2017-01..2018-09 --data ml-latest-small --every month --preset default "
    '--preset any-order --train-every "3 months"',
    context_settings=options.CONTEXT,
)
@click.argument("range_of_dates", metavar="FROM..TO")
@options.data
@options.presets
@click.option("--every", default="month", show_default=True, metavar="SPAN",
              help='From night to night: day, week, month, quarter, year, or several, such as "10 days".')  # fmt: skip
@click.option("--horizon", metavar="SPAN", help="How long ratings are held against a night; default: to the next one.")
@click.option(
    "--preset",
    "preset_names",
    metavar="NAME",
    multiple=True,
    shell_complete=completion.presets,
    help="May be repeated; default: the settings'.",
)
@click.option("--rank-by", type=click.Choice(ranking.NAMES), multiple=True,
              help="Whose lists are made. May be repeated; default: the settings'.")  # fmt: skip
@click.option("--train-every", metavar="SPAN", help="Default: when it is due, by the settings of nightly.")
@click.option(
    "--output", "folder", callback=options.path, help="Where backtest.html, .json and .parquet are written, and nights "
    "kept.",
)  # fmt: skip
def backtest(
    range_of_dates: str, data: str | None, presets: str | None, every: str, horizon: str | None,
    preset_names: tuple[str, ...], rank_by: tuple[str, ...], train_every: str | None, folder: str | None,
) -> None:  # fmt: skip
    """Replay the nights from FROM to TO (dates, or months such as 2017-01..2018-09) on ratings with times.

    On each night a model is trained if that is due, with the ratings up to then, and makes lists for those who rated
    something new until the next night: what of it was in their lists? Next to it stand the lists of what was popular,
    and of what was trending, that day. The same command goes on where it was interrupted.
    """
    first, last = dates.parse_range(range_of_dates, "FROM..TO")
    chosen = settings.load(paths={"data": data}, training={"presets": presets})
    target = folder or chosen.paths.backtest
    if storage.is_uri(target):
        raise UsageRejected(f"--output is {target}; a backtest is written to a local folder, so give a path")
    console.start_log(chosen.paths.logs, "backtest")
    from recmodel.pipeline import backtest as pipeline  # TensorFlow, which --help must not wait for
    from recmodel.report import backtest as page

    names = preset_names or (chosen.training.preset,)
    request = pipeline.Request(
        first,
        last,
        dates.parse_every(every, "--every"),
        tuple(dict.fromkeys(names)),
        rank_by,
        dates.parse_every(horizon, "--horizon") if horizon else None,
        dates.parse_every(train_every, "--train-every") if train_every else None,
    )
    with console.when_interrupted(lambda: "the nights that are done are kept; the same command goes on after them"):
        found = pipeline.run(chosen, request, Path(target), Stages(console.show_stage), trainings=_TRAININGS)
        if found is None:
            console.start_again()
            return
    title = f"Nights replayed, {formatting.day(first)} to {formatting.day(last)}"
    about = f"{storage.name(chosen.paths.data)}, a night every {every}; {views.trainings(found.trainings)}."
    html = page.render(title, about, found.nights, found.methods, found.notes)
    Path(target, "backtest.html").write_text(html, encoding="utf-8")
    for view in views.replayed_nights(found), *views.replayed_methods(found):
        console.out.print(view)
    console.out.print("", *found.notes, sep="\n")
    console.out.print(f"written to {target}; backtest.html is for people")


if __name__ == "__main__":
    console.run(backtest)
