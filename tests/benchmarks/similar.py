"""Measure the model's similar movies, by what users rated next, next to what is rated by the same users.

    ./submit.sh benchmark similar --data ml-latest-small

Each user's newest rating is held out, and all methods know the other ratings only. Somebody who looks at the movie that
the user rated before it sees the 20 movies that are similar to it: recall@20 is the share of users whose held-out movie
is among them. *Recommended after it* is what the model recommends to somebody who has rated that movie only. `--apart`
counts only users who came back: whose held-out rating came so long after the one before.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
from expand import read_real
from harness import Row, show
from scipy.sparse import csr_array

from recmodel import schemas as c
from recmodel import settings
from recmodel.arrays import Arrays, runs
from recmodel.data import histories
from recmodel.evaluation import intervals, splits
from recmodel.models import architectures, presets, saved_model, training
from recmodel.scoring import similar
from recmodel.scoring.recommender import Recommender

_K = 20
_PRESET = presets.load("default")


@click.command(help=__doc__)
@click.option("--data", required=True, help="A MovieLens folder, or the word sample.")
@click.option("--apart", default=60, show_default=True, help="Minutes between the two ratings, for the last rows.")
@click.option("--json", "as_json", type=click.Path(path_type=Path))
def main(data: str, apart: int, as_json: Path | None) -> None:
    """Train, find similar movies by each method, and print the table."""
    catalogue, ratings = read_real(data)
    movie_ids = catalogue.column(c.MOVIE_ID).to_numpy()
    fitted, held_out = splits.last_out(ratings)
    before, after, minutes = _pairs(fitted, held_out, movie_ids)
    with tempfile.TemporaryDirectory() as scratch:
        _train(catalogue, fitted, Path(scratch, "model"))
        of_model, recommended = _of_model(Path(scratch, "model"), before), _after(Path(scratch, "model"), before)
    lists = {
        "model": of_model,
        "co-occurrence": _of_co_occurrence(fitted, movie_ids, before),
        "popularity": _of_popularity(fitted, movie_ids, before),
        "recommended after it": recommended,
    }
    found = {name: (rows == after[:, np.newaxis]).any(axis=1) for name, rows in lists.items()}
    rows = []
    for what, users in (("", minutes >= 0), (f", {apart} minutes apart or more", minutes >= apart)):
        recall = {name: float(hits[users].mean()) for name, hits in found.items()}
        for rival in [*lists][1:]:
            difference = found["model"][users].astype(float) - found[rival][users]
            low, high = intervals.bootstrap(difference[:, np.newaxis], lambda means: means[:, 0])
            part = f"recall@{_K}{what}: {users.sum():,} users, less {rival} {low:+.3f} to {high:+.3f}"
            rows.append(_row(part, recall["model"], rival, recall[rival]))
    for name, of_method in lists.items():
        in_lists = len(np.unique(of_method[of_method >= 0]))
        rows.append(Row(f"movies in lists of {name}", in_lists, f"of {len(movie_ids):,}"))
    show(rows, f"{len(after):,} pairs of a movie and the next one", as_json)


def _row(part: str, ours: float, rival: str, theirs: float) -> Row:
    return Row(part, ours, "", ">= 1.0", rival, theirs, ours / theirs if theirs else None)


def _pairs(fitted: Arrays, held_out: Arrays, movie_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of each user's last fitted movie and of the held-out one, and the minutes between the two."""
    order = histories.oldest_first(fitted[c.TIMESTAMP], fitted[c.MOVIE_ID], fitted[c.USER_ID])
    user = fitted[c.USER_ID][order]
    last = order[np.searchsorted(user, held_out[c.USER_ID], side="right") - 1]
    before, after = (np.searchsorted(movie_ids, ids) for ids in (fitted[c.MOVIE_ID][last], held_out[c.MOVIE_ID]))
    return before, after, (held_out[c.TIMESTAMP] - fitted[c.TIMESTAMP][last]) / 60


def _train(catalogue: pa.Table, fitted: Arrays, folder: Path) -> None:
    options, preset = settings.load(), _PRESET
    trained = training.train(
        fitted,
        np.unique(fitted[c.USER_ID]),
        catalogue,
        preset,
        seed=options.training.seed,
        rating_range=(options.input.rating_min, options.input.rating_max),
    )
    saved_model.save(trained.towers(), folder)


def _of_model(folder: Path, of: np.ndarray) -> np.ndarray:
    """Return the rows of the movies that the table `similar_movies` would have, [B, 20]; -1 pads."""
    call = architectures.open_for_scoring(_PRESET.architecture)(folder)
    movies = call("movie_vectors", {})
    seen_vectors, vectors = np.array(movies["seen"]), np.array(movies["retrieval"])
    return similar.nearest(seen_vectors, vectors, of, np.ones(len(vectors), bool), _K).row


def _after(folder: Path, of: np.ndarray) -> np.ndarray:
    """Return the rows of what the model recommends to somebody who has rated that movie only, [B, 20]; -1 pads."""
    recommender, best = Recommender(folder), settings.load().input.rating_max
    histories = recommender.catalogue_ids[of][:, np.newaxis]
    lists = recommender.recommend(np.arange(len(of)), list(histories), [np.full(1, best)] * len(of), n=_K)
    return recommender.movie_rows(lists.movie_id.ravel()).reshape(lists.movie_id.shape)


def _of_co_occurrence(fitted: Arrays, movie_ids: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the movies with the highest cosine of who has rated them; -1 where nobody has rated both."""
    users, user = runs(np.sort(fitted[c.USER_ID]))
    movie = np.searchsorted(movie_ids, fitted[c.MOVIE_ID])[np.argsort(fitted[c.USER_ID], kind="stable")]
    rated = csr_array((np.ones(len(movie)), (user, movie)), (len(users), len(movie_ids)))
    both = (rated.T @ rated)[of].toarray()
    count = np.bincount(movie, minlength=len(movie_ids))
    return _best(both / np.sqrt(np.maximum(1, np.outer(count[of], count))), of)


def _of_popularity(fitted: Arrays, movie_ids: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the most rated movies."""
    count = np.bincount(np.searchsorted(movie_ids, fitted[c.MOVIE_ID]), minlength=len(movie_ids)).astype(float)
    return _best(np.tile(count, (len(of), 1)), of)


def _best(scores: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the rows of the 20 highest scores above 0, of equal ones the first, without the movie itself."""
    scores[np.arange(len(of)), of] = 0
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_K]
    return np.where(np.take_along_axis(scores, best, axis=1) > 0, best, -1)


if __name__ == "__main__":
    main()
