"""Another day: what differs in lists for another day than that of a user's newest ratings.

Within a sitting, the next movie follows from the last ones. Who comes back on another day does not go on where they
stopped: all that they have watched says more then, what followed their last movies says nothing, and what is watched of
late says much. The job makes its lists at night, so they are for another day.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recmodel.scoring import popularity

# After this share of all ratings, the weight of a rating in what is popular of late has fallen to 37 %. Who has rated
# before knows what was popular in the years before: a smaller share than for new users (`popularity.RECENT`) is better.
LATE = 0.05


class AnotherDay(NamedTuple):
    """What a model knows of lists for another day."""

    pause: float  # so many ratings the time in between counts as: by these the ages of ratings rise
    trend: np.ndarray  # [M] float32, the factor of each movie's retrieval scores

    def with_movies(self, place: np.ndarray, movies: int) -> AnotherDay:
        """Return the same for a larger catalogue, in which old row i has the place `place[i]`; new movies have 1.

        All ratings of a new movie will be of late, but as popular as those that are now it would fill the lists.
        """
        trend = np.ones(movies, np.float32)
        trend[place] = self.trend
        return self._replace(trend=trend)


def trend(movie: np.ndarray, time: np.ndarray, counts: np.ndarray, exponent: float) -> np.ndarray:
    """Return [M] float32: how many times as popular each movie is of late as it was ever, to the power `exponent`.

    Args:
        movie, time: [R] rows of the catalogue and seconds, of ratings.
        counts: [M] number of ratings of each movie.
        exponent: 0: the factors are 1.
    """
    recent = popularity.of_late(movie, time, len(counts), LATE)
    return (popularity.lift(counts, recent) ** exponent).astype(np.float32)
