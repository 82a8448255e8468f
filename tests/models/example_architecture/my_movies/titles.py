"""The class that a preset names. TensorFlow is imported in its functions, as quick commands read presets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from recmodel.models import architectures
from recmodel.models.architectures import Fittable


class TitleArchitecture:
    """Movies by the words of their titles and genres, so that one without ratings has a vector, too; users by id."""

    class Preset(architectures.Preset):
        """The fields of its presets, next to those that all have."""

        dimension: int = Field(ge=1)
        hidden: tuple[int, ...] = Field(min_length=1)
        batch_size: int = Field(ge=1)

    @staticmethod
    def prepare(
        fitted: dict[str, np.ndarray],
        user_ids: np.ndarray,
        catalogue: pa.Table,
        preset: Preset,
        *,
        seed: int,
        rating_range: tuple[float, float],
    ) -> Fittable:
        """Build the model to be fitted."""
        from my_movies.model import Batches, TitleModel

        model = TitleModel(user_ids, catalogue, preset, rating_range)
        model.compile(optimizer=model.optimizer_of(preset.learning_rate))
        return Fittable(model, Batches(fitted, preset.batch_size, seed), model.weights_as_arrays)

    @staticmethod
    def Towers(weights: Any) -> architectures.Towers:  # noqa: N802 - the name that the package asks for
        """Export vectors and an MLP, which the package has graphs for."""
        from recmodel.models.embedding.towers import Towers

        return Towers(weights)
