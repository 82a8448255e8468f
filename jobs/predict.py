"""Predict how one user would rate some movies."""

from __future__ import annotations

from typing import Any

import click

from recmodel import settings
from recmodel.cli import console, options, views


@click.command(
    short_help="Predict how one user would rate some movies.",
    epilog='Example: recmodel predict 42 1196 "Heat (1995)"',
    context_settings=options.CONTEXT,
)
@click.argument("user_id")
@click.argument("movies", metavar="MOVIE...", nargs=-1, required=True)
@options.data
@options.models
@options.model_version
def predict(user_id: str, movies: tuple[str, ...], model_version: str | None, **flags: Any) -> None:
    """Print the predicted rating and the retrieval score of USER_ID for each MOVIE: a movie id or an exact title.

    The user's history is taken from --data, where the model knows users by it: they need not have been there when it
    was trained.
    """
    from recmodel.pipeline import predict as pipeline

    chosen = settings.load_with(flags, "paths")
    version, predictions = pipeline.predict(chosen, user_id, movies, model_version)
    console.out.print(views.predictions(f"User {user_id}, model {version.name}", predictions, version.feedback))


if __name__ == "__main__":
    console.run(predict)
