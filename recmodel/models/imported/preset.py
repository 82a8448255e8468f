"""What a manifest says of an imported model, in the place of a preset."""

from __future__ import annotations

from typing import Literal

from recmodel.models import architectures


class Preset(architectures.Preset):
    """How a model that was trained elsewhere was taken over; no preset of conf/presets.yaml."""

    architecture: Literal["imported"] = "imported"
    learning_rate: float = 0.0  # it is not trained here
    epochs: int = 0
    form: str  # see `original.Original`
    movies_by: Literal["title", "id"]  # how the original knows movies
