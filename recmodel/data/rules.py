"""Rules: what the rows of a table of ratings must be like, other than readable."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data.values import NOT_LISTED

Marked = tuple[str, str, pa.BooleanArray]  # see `reading.Rule`


@dataclass(frozen=True)
class InCatalogue:
    """Refuses ratings of movies that the catalogue lacks."""

    movie_ids: pa.Array

    def __call__(self, batch: pa.RecordBatch) -> Marked:
        """Mark what is refused."""
        return c.MOVIE_ID, NOT_LISTED, pc.invert(pc.is_in(batch.column(c.MOVIE_ID), value_set=self.movie_ids))


@dataclass(frozen=True)
class InThePast:
    """Refuses ratings of a later second than that."""

    last_second: int

    def __call__(self, batch: pa.RecordBatch) -> Marked:
        """Mark what is refused."""
        late = pc.greater(batch.column(c.TIMESTAMP), self.last_second)
        return c.TIMESTAMP, "lies in the future, as seconds since 1970", late


@dataclass
class OnScale:
    """Refuses ratings outside the scale, and remembers the range of all."""

    low: float
    high: float
    observed: list[float] = field(default_factory=list)  # the lowest and the highest; empty: there are no numbers

    @property
    def reason(self) -> str:
        """Why a rating is refused."""
        return f"is outside the rating scale {self.low:g} to {self.high:g}"

    def __call__(self, batch: pa.RecordBatch) -> Marked:
        """Mark what is refused."""
        rating = batch.column(c.RATING)
        on_scale = pc.and_(pc.greater_equal(rating, self.low), pc.less_equal(rating, self.high))  # false for NaN
        extremes = pc.min_max(rating if on_scale.true_count == len(rating) else rating.filter(pc.is_finite(rating)))
        if extremes["min"].is_valid:
            self.observed = widened(self.observed, [extremes["min"].as_py(), extremes["max"].as_py()])
        return c.RATING, self.reason, pc.invert(on_scale)


def widened(observed: list[float], others: list[float]) -> list[float]:
    """Return the range that holds both ranges, each of which may be empty."""
    both = [*observed, *others]
    return [min(both), max(both)] if both else []


def is_weight(batch: pa.RecordBatch) -> Marked:
    """Refuse weights that are none."""
    weight = batch.column(c.WEIGHT)
    is_weight = pc.and_(pc.greater(weight, 0), pc.is_finite(weight))  # false for NaN
    return c.WEIGHT, "is not a weight, which is a finite number above 0", pc.invert(is_weight)


def as_ratings(interactions: pa.RecordBatch) -> pa.RecordBatch:
    """Put the weights of interactions, or 1, where ratings have their values (`schemas.RATINGS`)."""
    columns = dict(zip(interactions.schema.names, interactions.columns, strict=True))
    ones = pa.repeat(pa.scalar(1, pa.float32()), interactions.num_rows)
    columns.setdefault(c.RATING, columns.get(c.WEIGHT, ones))
    return pa.RecordBatch.from_arrays([columns[name] for name in c.RATINGS.names], names=c.RATINGS.names)
