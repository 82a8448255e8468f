"""What is sent to the workers: the model with its catalogue, and what to recommend from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from recmodel.scoring import rules, topn
from recmodel.scoring.signatures import Signatures


@dataclass(frozen=True)
class Payload:
    """What a worker needs next to the model, broadcast once. Row i of the M movies is movie i of the SavedModel."""

    model_version: str
    model_digest: str  # of the packed SavedModel, which may know more movies than the version
    open_model: Callable[[Path], Signatures]  # opens the SavedModel
    tasks: tuple[str, ...]  # that the model was trained for
    movies: pa.Table  # [M] movie_id and title
    row: np.ndarray  # int32: for each movie of the run's catalogue its row here; -1 where the model lacks it
    popular: np.ndarray  # [M] rows, most rated first; see `popularity`
    popular_rating: np.ndarray  # [M] float32: the damped mean rating of each movie, in stars
    scored_at: datetime
    placed: np.ndarray | None = None  # [M] bool: what the model knows by genres and year only; None: nothing
    allowed: np.ndarray | None = None  # [M] bool: what may be recommended, by the model or as popular; None: everything
    opted_out: pa.Array | None = None  # users to whom nothing is recommended by the model; None: nobody
    valid_until: datetime | None = None  # of the table `lists`
    cap: rules.Cap | None = None  # on the movies of each genre in a list, and on new ones

    @cached_property
    def popularity_search(self) -> topn.Vectors:
        """The search for popular movies, with vectors of one dimension: the ranking is the same for all users."""
        falling = np.empty((len(self.popular), 1), np.float32)
        falling[self.popular, 0] = np.arange(len(self.popular), 0, -1)
        return topn.Vectors(falling, allowed=self.allowed)


@dataclass(frozen=True)
class TopNRequest:
    """What to recommend; see conf/settings.yaml."""

    n: int
    rank_by: str  # one of `policies.NAMES`
    candidates: int
    include_seen: bool
    min_history: int
    liked_from: float | None  # in stars, see `reasons.liked`; None: no reasons
    block_bytes: int  # memory of a worker for the users it scores at a time
    threads: int  # of TensorFlow in a worker
    is_ordered: bool = True  # whether the input says in what order ratings were given
    reserve: int = 0  # how many more movies follow the n in the table `lists`
