"""Presets: the named models of conf/presets.yaml."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import ValidationError

from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.models import architectures
from recmodel.models.architectures import Preset
from recmodel.records import EXPLICIT, FeedbackKind


def load(name: str, **flags: Any) -> Preset:
    """Return the preset of that name, of the class of its architecture.

    Args:
        flags: fields to replace; None means that the flag was not given.

    Raises:
        UsageRejected: there is no preset of that name, its architecture is unknown, or a field is missing, unknown or
            out of its range; names it.
    """
    presets = _read()
    if name not in presets:
        raise UsageRejected(f"no preset is called {name!r}; conf/presets.yaml has {', '.join(presets)}")
    fields = presets[name] | {field: value for field, value in flags.items() if value is not None}
    architecture, available = fields.get("architecture"), architectures.names()
    if architecture not in available:
        raise UsageRejected(
            f"preset {name}, architecture: {architecture!r} does not exist; choose one of {', '.join(available)} in "
            "conf/presets.yaml"
        )
    try:
        return architectures.part(architecture, "preset").Preset(**fields)
    except ValidationError as error:
        raise UsageRejected(f"preset {name}, {settings.first_error(error)}; see conf/presets.yaml") from None


def names() -> list[str]:
    """Return the names of all presets."""
    return [*_read()]


def for_feedback(preset: Preset, name: str, feedback: FeedbackKind) -> Preset:
    """Return the preset as it is trained on such interactions: without the rating task where there are no ratings.

    Raises:
        UsageRejected: it has no other task; names the presets that have one.
    """
    if feedback == EXPLICIT:
        return preset
    if "retrieval" not in preset.tasks:
        others = [other for other in _read() if "retrieval" in load(other).tasks]
        raise UsageRejected(
            f"preset {name} is trained on ratings alone, and the input has none; choose one of {', '.join(others)}"
        )
    return preset.without_rating()


def _read() -> dict[str, Any]:
    file = settings.conf_file("presets.yaml")
    try:
        presets = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageRejected(f"{file} cannot be read ({' '.join(str(error).split())[:200]}); correct it") from None
    if not isinstance(presets, dict) or not all(isinstance(fields, dict) for fields in presets.values()):
        raise UsageRejected(f"{file} is not YAML with a section for each preset; correct it")
    return presets
