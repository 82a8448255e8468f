"""Sample users: a dozen users with what they rated and what they are recommended, for somebody to judge by eye.

Takes candidates with their histories and selects a varied dozen, the same for the same input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recmodel import schemas as c
from recmodel.schemas import Id

MAX_USERS = 12

# Which candidates of a source to show, as positions (0 to 1) among them in ascending order of their number of ratings.
_POSITIONS: tuple[tuple[str, dict[str, tuple[float, ...]]], ...] = (
    (
        c.SOURCE_MODEL,
        {
            "few ratings": (0.0, 0.05, 0.1),
            "average number of ratings": (0.45, 0.5, 0.55),
            "many ratings": (0.9, 0.95, 1.0),
        },
    ),
    (c.SOURCE_POPULARITY, {"cold start": (0.0, 0.5, 1.0)}),
    (c.SOURCE_MODEL, {"": (0.25, 0.75, 0.35, 0.65)}),  # to fill up the dozen
)


@dataclass(frozen=True)
class SampleUser:
    """A user of the run."""

    user_id: Id
    kind: str  # why the user was selected; empty for those who fill up the dozen
    # Title, rating (of implicit feedback the weight), timestamp: newest first; empty where they are not available
    history: list[dict[str, Any]]
    recommendations: list[dict[str, Any]]  # rows of the table, by rank

    @property
    def mean_rating(self) -> float:
        """The mean of the user's ratings, in stars."""
        return sum(row[c.RATING] for row in self.history) / len(self.history)

    @property
    def rates_alike(self) -> bool:
        """Whether all of the user's ratings, or weights, are equal, so that none is the highest."""
        return len({row[c.RATING] for row in self.history}) == 1

    def highest_rated(self, n: int) -> list[dict[str, Any]]:
        """Return the user's n best ratings, of equal ratings the newest first."""
        return sorted(self.history, key=lambda row: -row[c.RATING])[:n]


def select(sources: dict[Id, str], histories: dict[Id, list[dict[str, Any]]]) -> dict[Id, str]:
    """Select at most a dozen candidates: with few, average and many ratings, and cold-start users.

    Args:
        sources: the source of each candidate's recommendations.
        histories: the candidates' ratings; empty where the ratings are not available.

    Returns:
        The kind of each selected user.
    """
    kinds: dict[Id, str] = {}
    for source, positions in _POSITIONS:
        users = [user for user in sources if sources[user] == source]
        users.sort(key=lambda user: (len(histories.get(user, ())), user))
        for kind, shares in positions.items():
            for share in shares:
                if users and len(kinds) < MAX_USERS:
                    kind_is_known = histories or source == c.SOURCE_POPULARITY
                    kinds.setdefault(users[round(share * (len(users) - 1))], kind if kind_is_known else "")
    return kinds
