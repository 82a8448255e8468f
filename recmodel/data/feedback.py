"""Feedback: whether users' interactions are ratings (explicit) or only say that there was something (implicit).

It is decided here alone, by the settings and the columns of the input, and passed on as `Feedback`. Implicit feedback
is read as ratings are, with a weight in the place of the rating. What there is none of is NaN: the ends of the rating
scale, and so every predicted rating.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from recmodel import schemas as c
from recmodel.data import columns, layouts, reading
from recmodel.data.limits import Input
from recmodel.errors import InputRejected
from recmodel.records import EXPLICIT, IMPLICIT, FeedbackKind
from recmodel.storage import Location


@dataclass(frozen=True)
class Feedback:
    """What the interactions of an input are, and how they are read."""

    kind: FeedbackKind
    rating_range: tuple[float, float]  # the ends of the rating scale, in stars; NaN if implicit
    liked_from: float  # the least rating, or weight, that can be praise; see `reasons.liked`
    is_weighted: bool = False  # whether implicit feedback has a column of weights; otherwise each weighs 1
    note: str = ""  # what was assumed; empty for ratings

    @property
    def four_stars(self) -> float:
        """What four of five stars are on the rating scale: who rates a movie so high likes it. NaN if implicit."""
        low, high = self.rating_range
        return low + 0.75 * (high - low)  # on a scale from 0.5 in steps of a half it is 3.875, so from 4 on

    @property
    def is_implicit(self) -> bool:
        """Whether there are no ratings."""
        return self.kind == IMPLICIT


def of_ratings(limits: Input) -> Feedback:
    """Return explicit feedback on the scale of the settings: from its middle on, a rating is praise."""
    low, high = limits.rating_min, limits.rating_max
    return Feedback(EXPLICIT, (low, high), liked_from=(low + high) / 2)


def decide(folder: Location, limits: Input) -> Feedback:
    """Decide what the interactions of a MovieLens directory are: ratings, if it has a column of them.

    Raises:
        InputRejected: the table of ratings is missing or cannot be read, lacks a column that the settings name, or has
            ratings although the settings name a column of weights.
    """
    if limits.rating == "none":
        return _implicit(limits, "ratings are not read, as input.rating is none")
    if not _has_ratings(folder, limits):
        return _implicit(limits, "no column of ratings")
    if limits.weight:
        raise InputRejected(
            f"{layouts.find(folder, 'ratings').location} has ratings, so the weights that input.weight names "
            f"({limits.weight}) would not be used; set input.rating to none to use them without the ratings, or leave "
            "input.weight empty"
        )
    return of_ratings(limits)


def for_model(folder: Location, limits: Input, model: str, trained_on: FeedbackKind) -> Feedback:
    """Decide how the interactions of a MovieLens directory are read for a model, which wants those it was trained on.

    A model of implicit feedback does without the ratings of an input that has some.

    Raises:
        InputRejected: see `decide`; or the model was trained on ratings, and the input has none.
    """
    if trained_on == IMPLICIT and limits.rating == "auto" and _has_ratings(folder, limits):
        return _implicit(limits, f"ratings are not read, as model {model} was trained without")
    feedback = decide(folder, limits)
    if feedback.kind != trained_on:
        raise InputRejected(
            f"{layouts.find(folder, 'ratings').location} is implicit feedback ({feedback.note.partition(':')[0]}), and "
            f"model {model} was trained on ratings, which tell it what a user likes; train a model on this input, or "
            + ("set input.rating to auto" if limits.rating == "none" else "name the column in input.columns.rating")
        )
    return feedback


def _has_ratings(folder: Location, limits: Input) -> bool:
    source = layouts.find(folder, "ratings")
    return columns.has(source.location, c.RATING, reading.column_names(source), limits.column_names)


def _implicit(limits: Input, why: str) -> Feedback:
    how = "" if limits.weight else ", all of one weight (input.weight names a column of them)"
    note = f"{why}: interactions are implicit feedback{how}"
    return Feedback(IMPLICIT, (nan, nan), liked_from=0.0, is_weighted=bool(limits.weight), note=note)
