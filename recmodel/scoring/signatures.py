"""Signatures: the questions that a SavedModel answers, by TensorFlow or, where its architecture can, by NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recmodel import schemas as c
from recmodel.models import architectures, variables

Arrays = dict[str, np.ndarray]


class Signatures(Protocol):
    """What a loaded model answers; see `models.saved_model.ServingModel`."""

    ids_are_text: Mapping[str, bool]  # by column
    needs_history: bool  # whether it knows users by what they have seen, and not by id
    rating_width: int  # of rating vectors

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Arrays:
        """Call a signature with those of the inputs that it takes."""


class InTensorFlow:
    """A loaded SavedModel, of any architecture."""

    def __init__(self, saved_model: Path) -> None:
        from recmodel.tf import tf  # takes seconds, so not before a model is needed

        self._tf = tf
        self._loaded = tf.saved_model.load(str(saved_model))
        signatures = self._loaded.signatures
        self._takes = {name: signatures[name].structured_input_signature[1] for name in signatures}
        pair = self._takes["predict"]
        self.ids_are_text: Mapping[str, bool] = {
            name: pair[name].dtype == tf.string for name in (c.USER_ID, c.MOVIE_ID)
        }
        self.needs_history = "seen_movie_id" in pair
        self.rating_width = self._takes["rate_lists"]["rating_vector"].shape[1]

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Arrays:
        """See `Signatures`."""
        taken = {argument: self._tf.constant(inputs[argument]) for argument in self._takes[name]}
        return {key: value.numpy() for key, value in self._loaded.signatures[name](**taken).items()}


class InNumPy:
    """The variables of a SavedModel, and what its architecture makes of them. Knows movies by their rows alone."""

    def __init__(self, served: Any) -> None:
        self.ids_are_text: Mapping[str, bool] = {c.USER_ID: False, c.MOVIE_ID: False}
        self._served = served
        self.needs_history, self.rating_width = served.needs_history, served.rating_width

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Arrays:
        """See `Signatures`."""
        takes = {
            "movie_vectors": (),
            "rate_lists": ("rating_vector", "row"),
            "user_vectors": _HISTORY,
            "rate_catalogue": _HISTORY,
        }
        return getattr(self._served, name)(**{argument: inputs[argument] for argument in takes[name]})


_HISTORY = ("seen_row", "seen_rating", "seen_row_splits")


def fastest(saved_model: Path, architecture: str) -> Signatures:
    """Open a SavedModel for scoring: in NumPy if its architecture can and its variables are noted."""
    arrays = variables.read(saved_model) if architectures.has_part(architecture, "served") else None
    if arrays is None or "_towers/_scalars" not in arrays:
        return InTensorFlow(saved_model)
    return InNumPy(architectures.part(architecture, "served").Served(arrays))
