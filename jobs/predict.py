"""Predict how one user would rate some movies."""

import click
import numpy as np
from rich.markup import escape

import recmodel
from recmodel import settings
from recmodel.cli import console, options
from recmodel.data import movielens as data
from recmodel.errors import UsageRejected


@click.command(
    short_help="Predict how one user would rate some movies.",
    epilog='Example: recmodel predict 42 1196 "Heat (1995)"',
    context_settings=options.CONTEXT,
)
@click.argument("user_id", type=int)
@click.argument("movies", metavar="MOVIE...", nargs=-1, required=True)
@options.data
@options.models
@options.model_version
def predict(user_id: int, movies: tuple[str, ...], **flags: str | None) -> None:
    """Print the predicted rating and the retrieval score of USER_ID for each MOVIE: a movie id or an exact title.

    The user's history is taken from --data, where the model knows users by it: they need not have been there when it
    was trained.
    """
    chosen = settings.load(paths={key: flags[key] for key in ("data", "models")})
    model = recmodel.load(chosen.paths.models, flags["model_version"])
    movie_ids, version = model.movie_ids(movies), model.version
    users = np.full(len(movie_ids), user_id)
    if model.needs_history:
        intake = data.Intake(chosen.input)
        folder = data.data_dir(chosen.paths.data, chosen.paths.sample)
        seen, ratings = data.history_of(
            user_id, data.stream_ratings(folder, data.read_catalogue(folder, intake), intake)
        )
        pairs = model.predict(users, movie_ids, [seen] * len(users), [ratings] * len(users))
        remedy = f"{folder} has no rating by them of a movie it knows"
    else:
        pairs = model.predict(users, movie_ids)
        remedy = "train again with their ratings"
    if not pairs.known_user.all():
        raise UsageRejected(f"model {version.name} does not know user {user_id}; {remedy}")

    shown = console.table(f"User {user_id}, model {version.name}", ["title", "predicted rating"], ["score", "movie id"])
    answers = (model.titles(movie_ids), pairs.predicted_rating, pairs.retrieval_score, movie_ids)
    for title, rating, score, movie_id in zip(*answers, strict=True):
        shown.add_row(
            escape(title),
            console.stars(float(rating)) if "rating" in version.tasks else "–",
            f"{score:.4f}" if "retrieval" in version.tasks else "–",
            str(movie_id),
        )
    console.out.print(shown)


if __name__ == "__main__":
    console.run(predict)
