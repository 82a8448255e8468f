"""The fields of presets of the architecture `history`: towers that know users by the movies they rated."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from recmodel.models import architectures


class Preset(architectures.Preset):
    """See conf/presets.yaml."""

    holds_users: ClassVar[bool] = False

    architecture: Literal["history"]
    retrieval_dim: int = Field(ge=1)
    rating_dim: int = Field(ge=1)
    retrieval_ridge: float = Field(gt=0)
    retrieval_steepness: float = Field(gt=0)
    popularity_damping: float = Field(ge=0)
    liking: float = Field(ge=0)
    prior_weight: float = Field(gt=0)
    recency_floor: float = Field(gt=0, le=1)
    recency_ratings: float = Field(gt=0)
    rating_recency_floor: float = Field(gt=0, le=1)
    rating_recency_ratings: float = Field(gt=0)
    variety: float = Field(default=0.0, ge=0, le=1)
    pause: float = Field(default=0.0, ge=0)
    trend: float = Field(default=0.0, ge=0)
    blend_power: float = Field(ge=0)
    mood_ratings: float = Field(ge=0)
    mood_damping: float = Field(gt=0)
    successors: int = Field(ge=0)
    successor_weight: float = Field(ge=0)
    bias_ridge: float = Field(gt=0)
    trait_ridge: float = Field(gt=0)
    logit_scale: float = Field(gt=0)
    retrieval_step: float = Field(gt=0)
    trait_penalty: float = Field(ge=0)
    bias_penalty: float = Field(ge=0)
