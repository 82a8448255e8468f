"""Limits: what the input must be like; the section `input` of the settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from recmodel import dates


def _moment(value: Any) -> str:
    """Return a date or time as text, which YAML may have made a date of; raise ValueError if it is neither."""
    text = "" if value is None else str(value)
    if text:
        dates.last_second(text)
    return text


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
    ids: Literal["auto", "integer", "text"] = "auto"  # see `ids`
    rating: Literal["auto", "none"] = "auto"  # none: ratings are not read; see `feedback`
    weight: str = ""  # the column of the weights of interactions without ratings; empty: all of them count alike
    as_of: Annotated[str, BeforeValidator(_moment)] = ""  # ratings later than this are left out; see `dates`
    columns: Columns = Columns()
    ratings: str = ""  # an address of `addresses`, for a table that is not among the files of --data
    movies: str = ""
    links: str = ""

    @property
    def last_second(self) -> int | None:
        """The last second, since 1970, whose ratings are used; None: those of all times."""
        return dates.last_second(self.as_of) if self.as_of else None

    @property
    def column_names(self) -> dict[str, str]:
        """What each of our columns is called, that of the weights included; empty: see `columns`."""
        return {**self.columns.model_dump(), "weight": self.weight}
