"""Architectures: what a model architecture consists of. Each is a package `recmodel/models/<architecture>/` with

    preset.py   class Preset: the fields of its presets in conf/presets.yaml
    fit.py      prepare(…) -> Fittable: the model to fit, and its arrays afterwards
    towers.py   class Towers(weights): the graphs that `saved_model` exports
    extend.py   add_movies(trained, movies, directory, ids), if its towers can place movies
    served.py   open_model(saved_model) -> Signatures: those that scoring needs, if they are faster without TensorFlow

To add an architecture, add such a package and a preset that names it; or write a class with the same parts anywhere,
see `Architecture`, and a preset that names it as `module:Class`. This module needs no TensorFlow, and neither may
`preset.py`: quick commands read presets.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from recmodel import models
from recmodel.errors import ModelRejected
from recmodel.models import variables
from recmodel.scoring.signatures import InTensorFlow, Signatures

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from recmodel.arrays import Arrays
    from recmodel.models.tensors import SortedIds
    from recmodel.tf import tf


class Preset(BaseModel):
    """The fields that every preset has; see conf/presets.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    holds_users: ClassVar[bool] = True  # whether its models have a vector for each user they were trained with

    description: str
    architecture: str
    rating_weight: float = Field(ge=0)
    retrieval_weight: float = Field(ge=0)
    learning_rate: float = Field(gt=0)
    epochs: int = Field(ge=0)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that this preset is trained for: of 'retrieval' and 'rating'."""
        weights = {"retrieval": self.retrieval_weight, "rating": self.rating_weight}
        return tuple(task for task, weight in weights.items() if weight > 0)

    def without_rating(self) -> Preset:
        """Return the preset for implicit feedback, which has no ratings to be trained for."""
        return self.model_copy(update={"rating_weight": 0.0})


class Fittable(NamedTuple):
    """A model that is ready to be fitted."""

    model: tf.keras.Model  # compiled; reports `rating_loss` and `retrieval_loss`, means over the epoch
    batches: tf.keras.utils.Sequence
    weights: Callable[[], Any]  # returns the model's arrays as a dataclass, which `Towers` takes
    start_seconds: float = 0.0  # that it took to compute starting values


class Users(NamedTuple):
    """B users, as the user tower describes them."""

    retrieval: tf.Tensor  # [B, d] float32
    rating: tf.Tensor  # [B, k] float32: all that the rating task knows of a user
    known: tf.Tensor  # [B] bool
    seen_weight: tf.Tensor | None = None  # [S] float32: the weight of each seen movie in `retrieval`; None: by id
    # [S] float32, at least 0: the factor of the strengths of each seen movie's successors; None: there are none
    seen_boost: tf.Tensor | None = None


class Towers(Protocol):
    """The graphs of one architecture: a `tf.Module` of variables, from which `saved_model` makes the signatures.

    d and k are the widths of the retrieval and the rating vectors, M is the size of the catalogue.
    """

    movies: SortedIds  # the ids of the catalogue
    needs_history: bool  # whether users are known by what they have seen, and not by id
    movie_vectors: tf.Tensor  # [M, d] float32; their product with `Users.retrieval` is the retrieval score
    rating_width: int  # k
    rating_range: tuple[float, float]  # the ends of the rating scale, in stars; NaN for implicit feedback
    # There may be `blend_power: float` too, see `scoring.policies.blended`; and `another_day: dict[str, tf.Tensor]`,
    # `pause` and `trend`, see `models.history.another_day`.
    # Returns rows of the model for movies without ratings, from genres (string) and years (float32); None: it cannot.
    place: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]] | None

    @property
    def seen_vectors(self) -> tf.Tensor:
        """[M, d] float32: what each movie contributes to the user who has seen it; see `scoring.reasons`."""

    @property
    def successors(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Rows [M, K] int32 and strengths [M, K] float32 of movies whose scores having seen a movie raises, each by
        the strength times `Users.seen_boost`. None: a score is the product of the vectors alone.
        """

    def users(self, user_id: tf.Tensor, seen: tuple[tf.Tensor, ...]) -> Users:
        """Describe users.

        Args:
            user_id: [B] int64.
            seen: the histories, one after the other: movie ids [S] int64, ratings [S] float32 in stars and row splits
                [B + 1] int64; and, if they are not given oldest first, their ages [S] int32: how many of the user's
                ratings are newer. Empty for towers that need no history.
        """

    def rate_lists(self, rating_vector: tf.Tensor, movie: tf.Tensor) -> tf.Tensor:
        """[B, n] float32 stars: the rating of a list of movies ([B, n] rows of the catalogue) by each user ([B, k])."""

    def rate_catalogue(self, rating_vector: tf.Tensor) -> tf.Tensor:
        """[B, M] float32 stars: the rating of all movies by each user ([B, k])."""

    def linear_rating(self) -> dict[str, tf.Tensor]:
        """The vectors `rating` [M, k] and the offsets `rating_offset` [M] whose product with a user's rating vector
        orders movies as their ratings do; empty if there are none.
        """


class Architecture(Protocol):
    """An architecture of one's own: the class that a preset names as `architecture: module:Class`.

    It is imported where models are trained, and nowhere else: a version is scored from its SavedModel alone. Presets
    are read by quick commands too, so import TensorFlow inside the functions.
    """

    # The fields of its presets, derived from this module's `Preset`.
    Preset: type[Preset]

    @staticmethod
    def prepare(
        fitted: Arrays,
        user_ids: np.ndarray,
        catalogue: pa.Table,
        preset: Any,
        *,
        seed: int,
        rating_range: tuple[float, float],
    ) -> Fittable:
        """Build the model to be fitted.

        Args:
            fitted: the ratings to fit, one per user and movie, ascending by user: `user_id`, `movie_id`, `timestamp`,
                integers of 32 or 64 bits, and `rating` float32, which holds the weights of implicit feedback.
            user_ids: [U] integers, ascending: all users of the input.
            catalogue: `schemas.CATALOGUE` with int64 ids, ascending: `movie_id`, `title`, `genres` (`A|B`), ….
            preset: an instance of the class above.
            seed: TensorFlow's is set; for other random numbers.
            rating_range: the ends of the rating scale, in stars; NaN for implicit feedback.
        """

    @staticmethod
    def Towers(weights: Any) -> Towers:  # noqa: N802 - in the package it is a class
        """Build the graphs to be exported from what `Fittable.weights` returned. `place` must be None."""


def check(towers: Towers, architecture: str) -> None:
    """Refuse graphs that lack what scoring needs, or promise what one's own cannot do; see `Towers`.

    Raises:
        ModelRejected: names what is missing.
    """
    parts = {*Towers.__annotations__, *(name for name in vars(Towers) if not name.startswith("_"))}
    missing = sorted(name for name in parts if not hasattr(towers, name))
    if missing:
        raise ModelRejected(
            f"{architecture}: its towers lack {', '.join(missing)}, which scoring needs; see Towers in {__name__}"
        )
    if is_of_ones_own(architecture) and towers.place is not None:
        raise ModelRejected(f"{architecture}: place must be None, as only the package's own can place new movies")


def is_of_ones_own(architecture: str) -> bool:
    """Return whether an architecture is `module:Class`, and not one of the package."""
    return ":" in architecture


def names() -> list[str]:
    """Return the architectures that can be trained, in alphabetical order."""
    packages = [module.name for module in pkgutil.iter_modules(models.__path__) if module.ispkg]
    return sorted(name for name in packages if importlib.util.find_spec(f"{models.__name__}.{name}.fit"))


def open_for_scoring(architecture: str) -> Callable[[Path], Signatures]:
    """Return what opens a SavedModel of an architecture in a worker, which has neither settings nor presets."""
    if is_of_ones_own(architecture) or not importlib.util.find_spec(f"{models.__name__}.{architecture}.served"):
        return InTensorFlow
    return part(architecture, "served").open_model


def open_by_ids(architecture: str, *, movies_are_text: bool) -> Callable[[Path], Signatures]:
    """Return what opens a SavedModel for callers who name movies by id: without TensorFlow, unless ids are text."""
    return InTensorFlow if movies_are_text else open_for_scoring(architecture)


def is_scored_in_numpy(architecture: str, saved_model: Path) -> bool:
    """Return whether workers score a SavedModel without TensorFlow."""
    return open_for_scoring(architecture) is not InTensorFlow and variables.are_noted(saved_model)


def part(architecture: str, module: str) -> Any:
    """Import a module of an architecture, such as its `fit`; of one's own, the class that has all parts.

    Raises:
        ImportError: there is no such module or class, or the class lacks a part.
    """
    if not is_of_ones_own(architecture):
        return importlib.import_module(f"{models.__name__}.{architecture}.{module}")
    name, _, wanted = architecture.partition(":")
    try:
        found = getattr(importlib.import_module(name), wanted)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(
            f"{architecture} cannot be imported ({error}); install its package, or put its folder on PYTHONPATH"
        ) from None
    missing = [attribute for attribute in ("Preset", "prepare", "Towers") if not hasattr(found, attribute)]
    if missing:
        raise ImportError(f"{architecture} lacks {', '.join(missing)}; see Architecture in {__name__}")
    if not issubclass(found.Preset, Preset):
        raise ImportError(f"{architecture}.Preset is not derived from {__name__}.Preset")
    return found
