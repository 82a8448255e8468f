"""Signatures: the questions that a SavedModel answers, computed by TensorFlow or in another way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from recmodel import schemas as c
from recmodel.arrays import Arrays


class Signatures(Protocol):
    """What a loaded model answers; see `models.saved_model.ServingModel`."""

    ids_are_text: Mapping[str, bool]  # by column
    needs_history: bool  # whether it knows users by what they have seen, and not by id
    needs_order: bool  # whether it matters in which order they have seen it
    rating_width: int  # of rating vectors
    gathers_vectors: bool  # whether, to describe users, it holds the vectors of all that they have seen at once

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
        self.gathers_vectors = self.needs_history
        self.needs_order = "seen_age" in self._takes["user_vectors"]
        self.rating_width = self._takes["rate_lists"]["rating_vector"].shape[1]

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Arrays:
        """See `Signatures`."""
        taken = {argument: self._tf.constant(inputs[argument]) for argument in self._takes[name]}
        return {key: value.numpy() for key, value in self._loaded.signatures[name](**taken).items()}
