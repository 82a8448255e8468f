"""Sample users: a dozen users with what they rated and what they are recommended, for somebody to judge by eye.

Takes candidates with their histories and selects a varied dozen, the same for the same input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recmodel import schemas as c
from recmodel.records import IMPLICIT, RunRecord
from recmodel.schemas import Id
from recmodel.scoring import policies

MAX_USERS = 12
SHOWN = 8  # recommendations of each

# Why a list holds movies that the user is predicted to rate low, by the ranking policy.
_WHY = {
    "retrieval": "Lists are in the order of what users are likely to watch; stars do not count in it.",
    "blend": "Lists weigh both how likely users are to watch a movie and its stars, so one that is very likely to be "
    "watched is recommended with few stars too.",
    "rating": "Lists are in the order of the stars, so of what could be recommended nothing else had more.",
    "two-stage": "Lists are made of what users are most likely to watch, and only then put in the order of the stars.",
}
_WHY_POPULAR = "Who is served from popularity gets what others watch, whatever its stars."

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


@dataclass(frozen=True)
class FewStars:
    """What few stars are, and why somebody is recommended a movie of few."""

    middle: float  # of the rating scale; NaN where no ratings are predicted
    rank_by: str  # the ranking policy

    @classmethod
    def of(cls, run: RunRecord) -> FewStars:
        """Return what few stars are in a run."""
        scale = run.settings.get("input", {})
        known = run.feedback != IMPLICIT and {"rating_min", "rating_max"} <= scale.keys()
        middle = (scale["rating_min"] + scale["rating_max"]) / 2 if known else float("nan")
        return cls(middle, run.rank_by)

    def are(self, row: dict[str, Any], user: SampleUser) -> bool:
        """Return whether a recommendation has few stars: below the user's own mean or the middle of the scale.

        All are taken as the page shows them, with one decimal.
        """
        stars = row[c.PREDICTED_RATING]
        if stars is None or self.middle != self.middle:
            return False
        limit = max(self.middle, user.mean_rating if user.history else self.middle)
        return bool(round(stars, 1) < round(limit, 1))

    def sentence(self, users: list[SampleUser]) -> str:
        """Say how many of the users are shown a movie of few stars, and why; nothing if none is."""
        by_user = [[row for row in user.recommendations[:SHOWN] if self.are(row, user)] for user in users]
        sources = {row[c.SOURCE] for rows in by_user for row in rows}
        if not sources:
            return ""
        count = sum(map(bool, by_user))
        popular = {c.SOURCE_POPULARITY, c.SOURCE_TRENDING}
        of_model = _WHY.get(self.rank_by, f"Lists are in the order of {policies.named(self.rank_by).help}.")
        why = [of_model] * bool(sources - popular) + [_WHY_POPULAR] * bool(sources & popular)
        offered = f"{count} of these {len(users)} users {'is' if count == 1 else 'are'} offered movies (▾)"
        return f"{offered} of fewer stars than their own mean or the middle of the scale. {' '.join(why)}"


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
