"""The fields of presets of the architecture `embedding`: towers of id embeddings and a rating MLP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recmodel.models import architectures


class Preset(architectures.Preset):
    """See conf/presets.yaml."""

    architecture: Literal["embedding"]
    embedding_dim: int = Field(ge=1)
    rating_layers: tuple[int, ...] = Field(min_length=1)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
