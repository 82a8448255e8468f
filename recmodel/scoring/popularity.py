"""Popularity: what to recommend to a user without a history, from the counts, sums and times of ratings alone."""

from __future__ import annotations

import numpy as np

# After this share of all ratings, the weight of a rating has fallen to 37 %. What is recent is told by ratings, and not
# by days, so that a quiet season does not make a few ratings decide. Chosen on validation data; see
# tests/benchmarks/README.md.
RECENT = 0.2
_ROWS = 1 << 23  # ratings whose days are in memory at a time
_UNIT = 1 << 20  # the weight of the newest rating: whole numbers add up to the same in any order


def day(time: np.ndarray) -> np.ndarray:
    """Return the days since 1970 of times in seconds; 0 for earlier ones."""
    return np.maximum(time, 0) // 86_400


def weights(per_day: np.ndarray, share: float = RECENT) -> np.ndarray:
    """Return [D] float64 whole numbers: how much a rating of each day counts in what is popular of late.

    A rating that r newer ones have followed, of R in all, counts exp(-r / (share R)); those of a day count their mean.

    Args:
        per_day: [D] number of ratings.
        share: of all ratings, after which one counts 37 %.
    """
    falls = share * per_day.sum()
    newer = per_day[::-1].cumsum()[::-1] - per_day
    mean = falls * np.exp(-newer / falls) * -np.expm1(-per_day / falls) / np.maximum(per_day, 1)
    return np.rint(_UNIT * mean)


def trend(movie: np.ndarray, time: np.ndarray, of_day: np.ndarray, movies: int) -> np.ndarray:
    """Return [M] float64: the added weights of each movie's ratings.

    Args:
        movie, time: [R] rows of the catalogue and seconds, of ratings.
        of_day: see `weights`.
        movies: M.
    """
    return np.bincount(movie, of_day[day(time)], movies)


def of_late(movie: np.ndarray, time: np.ndarray, movies: int, share: float = RECENT) -> np.ndarray:
    """Return [M] float64: the `trend` of ratings by the `weights` of their own days, see both."""
    parts = [slice(first, first + _ROWS) for first in range(0, len(movie), _ROWS)]
    per_day = np.zeros(day(time.max()) + 1, np.int64)
    for rows in parts:
        per_day += np.bincount(day(time[rows]), minlength=len(per_day))
    of_day, added = weights(per_day, share), np.zeros(movies)
    for rows in parts:
        added += trend(movie[rows], time[rows], of_day, movies)
    return added


def lift(counts: np.ndarray, recent: np.ndarray, damping: float = 5.0) -> np.ndarray:
    """Return [M] float64: how many times as popular each movie is of late as ever, by its share of ratings.

    Args:
        counts: [M] number of ratings of each movie; at least one has some.
        recent: [M] see `trend`.
        damping: how many imaginary ratings are added to those of late and to all; a movie without ratings has 1.
    """
    return (recent * (counts.sum() / recent.sum()) + damping) / (counts + damping)


def popularity(
    movie_id: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
    recent: np.ndarray | None = None,
    damping: float = 5.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank movies by their number of ratings, and rate them by their damped mean.

    Args:
        movie_id: [M] ascending.
        counts: [M] number of ratings of each movie.
        sums: [M] sum of the ratings of each movie, in stars.
        recent: [M] see `trend`, by which to rank first; None: times are not known.
        damping: how many imaginary ratings at the overall mean are added to those of each movie.

    Returns:
        [M] rows of the catalogue, most popular first (ties by ascending movie id), and [M] float32 damped mean ratings
        in stars (NaN if there are no ratings at all).
    """
    overall = sums.sum() / counts.sum() if counts.sum() else np.nan
    order = np.lexsort((movie_id, -counts) if recent is None else (movie_id, -counts, -recent))
    return order, ((sums + damping * overall) / (counts + damping)).astype(np.float32)
