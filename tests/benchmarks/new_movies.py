"""Measure how well movies without a single rating are placed, by whole movies that are held out of training.

    ./submit.sh benchmark new_movies --data ml-latest-small

A fifth of the movies, drawn at random, is new: the model is trained without their ratings and without them in its
catalogue, and then places them by genres and year, as `score` does. Each user's list ranks the new movies only, and
those that they have rated are relevant. The contenders know genres and years too: the popularity and the mean ratings
of the movies that share them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
from expand import read_real
from harness import Row, show

from recmodel import schemas as c
from recmodel import settings
from recmodel.arrays import Arrays, take
from recmodel.data import catalogue as lookup
from recmodel.evaluation.splits import Split
from recmodel.models import presets, saved_model, training
from recmodel.models.history.extend import add_movies
from recmodel.scoring.recommender import Recommender

_K = 10


@click.command(help=__doc__)
@click.option("--data", required=True, help="A MovieLens folder, or the word sample.")
@click.option("--share", default=0.2, show_default=True, help="Of the movies, how many are new.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", type=click.Path(path_type=Path))
def main(data: str, share: float, seed: int, as_json: Path | None) -> None:
    """Train without the new movies, place them, and print the table."""
    catalogue, ratings = read_real(data)
    is_new = np.random.default_rng(seed).random(catalogue.num_rows) < share
    split = _split(catalogue, ratings, is_new)
    with tempfile.TemporaryDirectory() as scratch:
        tonight = Path(scratch, "tonight")
        _train(catalogue.filter(pa.array(~is_new)), split, Path(scratch, "trained"))
        add_movies(Path(scratch, "trained"), catalogue.filter(pa.array(is_new)), tonight)
        ndcg, whole, rmse = _of_model(Recommender(tonight, is_new), Recommender(tonight), split, is_new)
    popular, by_genres, by_means, biased = _of_genres(catalogue, split, is_new)
    rows = [
        Row(f"NDCG@{_K} among the new movies", ndcg, "", ">= 1.2", "popularity of its genres", popular, ndcg / popular),
        Row(f"NDCG@{_K} among the new movies", ndcg, "", ">= 1.2", "the user's genres", by_genres, ndcg / by_genres),
        Row(f"NDCG@{_K} among the new movies", ndcg, "", ">= 1.2", "mean of its genres", by_means, ndcg / by_means),
        Row("RMSE of their ratings", rmse, "stars", "<= 1.0", "means of genres and of the user", biased, rmse / biased),
        Row(f"share of new movies in lists of {_K} of all movies", whole, ""),
    ]
    show(rows, f"{is_new.sum():,} movies without ratings, {len(split.held_out[c.RATING]):,} ratings held out", as_json)


def _split(catalogue: pa.Table, ratings: Arrays, is_new: np.ndarray) -> Split:
    ids = catalogue.column(c.MOVIE_ID).to_numpy()
    held_out = np.isin(ratings[c.MOVIE_ID], ids[is_new])
    return Split(take(ratings, np.flatnonzero(~held_out)), take(ratings, np.flatnonzero(held_out)), ids)


def _train(catalogue: pa.Table, split: Split, folder: Path) -> None:
    options = settings.load()
    trained = training.train(
        split.fitted,
        np.unique(split.fitted[c.USER_ID]),
        catalogue,
        presets.load("default"),
        seed=options.training.seed,
        rating_range=(options.input.rating_min, options.input.rating_max),
    )
    saved_model.save(trained.towers(), folder)


def _of_model(
    new_only: Recommender, whole: Recommender, split: Split, is_new: np.ndarray
) -> tuple[float, float, float]:
    """Return the NDCG, the share of new movies in lists of the whole catalogue, and the RMSE."""
    seen, stars = split.histories(split.users)
    lists = new_only.recommend(split.users, seen, stars, n=_K).movie_id
    shown = whole.recommend(split.users, seen, stars, n=_K).movie_id
    user = np.searchsorted(split.users, split.held_out[c.USER_ID])
    pairs = whole.predict(
        split.held_out[c.USER_ID], split.held_out[c.MOVIE_ID], [seen[i] for i in user], [stars[i] for i in user]
    )
    found = np.isin(shown, split.movie_ids[is_new]).mean()
    return _ndcg(lists, split), float(found), _rmse(pairs.predicted_rating, split)


def _of_genres(catalogue: pa.Table, split: Split, is_new: np.ndarray) -> tuple[float, float, float, float]:
    """Return the NDCG of popularity by genre, of the users' shares of genres and of means, and the RMSE of means."""
    _, has = lookup.genres(catalogue)
    genres = has / np.maximum(np.linalg.norm(has, axis=1, keepdims=True), 1)
    counts, sums = split.counts()
    new_ids = split.movie_ids[is_new]

    def mean_of_genres(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        of_genre = genres.T @ (values * weights) / np.maximum(genres.T @ weights, 1e-9)
        return genres @ of_genre / np.maximum(genres.sum(axis=1), 1e-9)

    known = (~is_new).astype(float)

    def best(scores: np.ndarray) -> np.ndarray:
        """The same list for everybody."""
        return np.tile(new_ids[np.argsort(-scores[is_new], kind="stable")[:_K]], (len(split.users), 1))

    popular = best(mean_of_genres(counts, known))
    seen, stars = split.histories(split.users)
    rows = [np.searchsorted(split.movie_ids, movies) for movies in seen]
    taste = np.array([genres[row].sum(axis=0) for row in rows])
    by_genres = new_ids[np.argsort(-(taste @ genres[is_new].T), axis=1, kind="stable")[:, :_K]]
    means = mean_of_genres(sums / np.maximum(counts, 1), counts)
    user_bias = np.array([np.sum(stars[i] - means[row]) / (len(row) + 5) for i, row in enumerate(rows)])
    user = np.searchsorted(split.users, split.held_out[c.USER_ID])
    movie = np.searchsorted(split.movie_ids, split.held_out[c.MOVIE_ID])
    popular_ndcg, genres_ndcg, means_ndcg = (_ndcg(shown, split) for shown in (popular, by_genres, best(means)))
    return popular_ndcg, genres_ndcg, means_ndcg, _rmse(means[movie] + user_bias[user], split)


def _ndcg(lists: np.ndarray, split: Split) -> float:
    """Return the mean NDCG over the users; every held-out movie is relevant."""
    gain = 1 / np.log2(np.arange(lists.shape[1]) + 2)
    cuts = np.searchsorted(np.sort(split.held_out[c.USER_ID]), split.users[1:])
    relevant = np.split(split.held_out[c.MOVIE_ID][np.argsort(split.held_out[c.USER_ID], kind="stable")], cuts)
    reached = [gain[np.isin(ranked, movies)].sum() for ranked, movies in zip(lists, relevant, strict=True)]
    ideal = [gain[: len(movies)].sum() for movies in relevant]
    return float(np.mean(np.divide(reached, ideal)))


def _rmse(predicted: np.ndarray, split: Split) -> float:
    error = predicted.astype(np.float64) - split.held_out[c.RATING]
    return float(np.sqrt(np.nanmean(error**2)))


if __name__ == "__main__":
    main()
