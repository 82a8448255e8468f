"""Measure what users without a history are recommended: what is popular of late, next to what always was.

    ./submit.sh benchmark trending --data ml-latest-small

The ratings are cut into fifths by time. What comes before a fifth is known; the users of the fifth who have no rating
before it get the same list, and every movie that they rate in it is relevant. The share of all ratings after which a
rating counts 37 % was chosen by the second to fourth fifth; `--share` tries others.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from expand import read_real
from harness import Row, show

from recmodel import schemas as c
from recmodel.arrays import Arrays, rows_of, take
from recmodel.scoring import popularity

_K = 10


@click.command(help=__doc__)
@click.option("--data", required=True, help="A MovieLens folder, or the word sample.")
@click.option("--fifth", "fifths", type=click.IntRange(2, 5), multiple=True, default=[5], show_default=True)
@click.option(
    "--share", default=popularity.RECENT, show_default=True, help="Of all ratings, after which one counts 37 %."
)
@click.option("--json", "as_json", type=click.Path(path_type=Path))
def main(data: str, fifths: tuple[int, ...], share: float, as_json: Path | None) -> None:
    """Rank by both, and print the table."""
    catalogue, ratings = read_real(data)
    movie_ids, rows = catalogue.column(c.MOVIE_ID).to_numpy(), []
    by_time = take(ratings, np.argsort(ratings[c.TIMESTAMP], kind="stable"))
    for fifth in fifths:
        start, end = (len(by_time[c.RATING]) * n // 5 for n in (fifth - 1, fifth))
        before, after = take(by_time, np.arange(start)), take(by_time, np.arange(start, end))
        new = take(after, ~np.isin(after[c.USER_ID], before[c.USER_ID]))
        recent, always = (_ndcg(_ranking(before, movie_ids, by), new, movie_ids) for by in (share, None))
        users = len(np.unique(new[c.USER_ID]))
        what = f"NDCG@{_K} of {users:,} users without history, fifth {fifth}"
        rows.append(Row(what, recent, "", ">= 1.1", "popularity", always, recent / always))
    show(rows, f"{len(by_time[c.RATING]):,} ratings", as_json)


def _ranking(ratings: Arrays, movie_ids: np.ndarray, share: float | None) -> np.ndarray:
    """Return the rows of the catalogue, most popular first: of late, or if there is no share, ever."""
    movie, time, size = rows_of(movie_ids, ratings[c.MOVIE_ID]), ratings[c.TIMESTAMP], len(movie_ids)
    recent = None
    if share is not None:
        recent = popularity.trend(movie, time, popularity.weights(np.bincount(popularity.day(time)), share), size)
    return popularity.popularity(movie_ids, np.bincount(movie, minlength=size), np.zeros(size), recent)[0]


def _ndcg(order: np.ndarray, ratings: Arrays, movie_ids: np.ndarray) -> float:
    """Return the mean over the users of the ratings."""
    discount = 1 / np.log2(np.arange(2, _K + 2))
    found = []
    for user in np.unique(ratings[c.USER_ID]):
        relevant = rows_of(movie_ids, ratings[c.MOVIE_ID][ratings[c.USER_ID] == user])
        found.append((np.isin(order[:_K], relevant) * discount).sum() / discount[: len(relevant)].sum())
    return float(np.mean(found))


if __name__ == "__main__":
    main()
