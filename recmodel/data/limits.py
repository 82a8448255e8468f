"""Limits: what the input must be like; the section `input` of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Columns(BaseModel):
    """What the columns are called in the input; empty: MovieLens' name, ours or a common one (see `columns`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: str = ""
    movie_id: str = ""
    rating: str = ""
    timestamp: str = ""
    title: str = ""
    genres: str = ""
    imdb_id: str = ""
    tmdb_id: str = ""


class Input(BaseModel):
    """What the input must be like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rating_min: float
    rating_max: float
    max_rejected_share: float = Field(ge=0, le=1)
    columns: Columns = Columns()
    ratings: str = ""  # an address of `addresses`, for a table that is not among the files of --data
    movies: str = ""
    links: str = ""

    @property
    def liked_from(self) -> float:
        """The middle of the scale, in stars: no rating below it is praise; see `reasons.liked`."""
        return (self.rating_min + self.rating_max) / 2
