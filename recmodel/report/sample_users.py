"""People: a dozen users with what they liked and what they are offered, for somebody to judge by eye.

Takes candidates with their histories and their recommendations; gives a varied choice, the same for the same
input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recmodel import schemas as c

# Who is shown, by their place among the candidates in order of their number of ratings.
_PLACES = {
    "few ratings": (0.0, 0.05, 0.1),
    "an average number of ratings": (0.45, 0.5, 0.55),
    "many ratings": (0.9, 0.95, 1.0),
}
_COLD_PLACES = {"served from popularity": (0.0, 0.5, 1.0)}
_FILLING_PLACES = {"": (0.25, 0.75, 0.35, 0.65)}
A_DOZEN = 12


@dataclass(frozen=True)
class Person:
    """A user."""

    user_id: int
    kind: str  # why they were chosen; empty where only to make up the dozen
    history: list[dict[str, Any]]  # title, rating, timestamp: newest first; empty where the ratings are not known
    offered: list[dict[str, Any]]  # rows of the table recommendations, by rank

    @property
    def mean_rating(self) -> float:
        return sum(row[c.RATING] for row in self.history) / len(self.history)

    def liked(self, most: int) -> list[dict[str, Any]]:
        """What they rated highest, the newest of equals first."""
        return sorted(self.history, key=lambda row: -row[c.RATING])[:most]


def choose(sources: dict[int, str], histories: dict[int, list[dict[str, Any]]]) -> dict[int, str]:
    """At most a dozen of the candidates, with the reason: with few, average and many ratings, and without the model.

    Args:
        sources: the candidates, with the source of their recommendations.
    """
    chosen: dict[int, str] = {}
    for source, places in (
        (c.SOURCE_MODEL, _PLACES),
        (c.SOURCE_POPULARITY, _COLD_PLACES),
        (c.SOURCE_MODEL, _FILLING_PLACES),
    ):
        mine = [user for user in sources if sources[user] == source]
        mine.sort(key=lambda user: (len(histories.get(user, ())), user))
        for kind, shares in places.items():
            for share in shares:
                if mine and len(chosen) < A_DOZEN:
                    known = histories or source == c.SOURCE_POPULARITY
                    chosen.setdefault(mine[round(share * (len(mine) - 1))], kind if known else "")
    return chosen
