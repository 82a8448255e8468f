"""Presets: the named models of conf/presets.yaml, and one's own in addition.

One's own are those of RECMODEL_CONF's presets.yaml and of the file that `training.presets` names. Of several presets of
one name, one's own count before the package's, and the file's before all. `extends` names a preset whose fields a
preset has, too, except for those that it gives itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.models import architectures
from recmodel.models.architectures import Preset
from recmodel.records import EXPLICIT, FeedbackKind

_FILE = "presets.yaml"
_EXTENDS = "extends"


class _Layer(NamedTuple):
    """The presets of one file, by name."""

    file: Path
    presets: dict[str, dict[str, Any]]


def load(name: str, file: str = "", **flags: Any) -> Preset:
    """Return the preset of that name, of the class of its architecture.

    Args:
        file: of one's own presets, as `training.presets` has it; empty: none.
        flags: fields to replace; None means that the flag was not given.

    Raises:
        UsageRejected: there is no preset of that name, its architecture is unknown, or a field is missing, unknown or
            out of its range; names it. Or a file of presets cannot be read.
    """
    layers = _layers(file)
    fields = _fields(name, layers) | {field: value for field, value in flags.items() if value is not None}
    where = next(layer.file for layer in layers if name in layer.presets)
    architecture, available = str(fields.get("architecture")), architectures.names()
    if architecture not in available and not architectures.is_of_ones_own(architecture):
        raise UsageRejected(
            f"preset {name}, architecture: {architecture!r} does not exist; choose one of {', '.join(available)}, or "
            f"module:Class of your own, in {where}"
        )
    try:
        return architectures.part(architecture, "preset").Preset(**fields)
    except ImportError as error:
        raise UsageRejected(f"preset {name}, architecture: {error}; see {where}") from None
    except ValidationError as error:
        raise UsageRejected(f"preset {name}, {settings.first_error(error)}; see {where}") from None


def names(file: str = "") -> list[str]:
    """Return the names of all presets, the package's first; see `load`.

    Raises:
        UsageRejected: a file of presets cannot be read.
    """
    return list(dict.fromkeys(name for layer in reversed(_layers(file)) for name in layer.presets))


def for_feedback(preset: Preset, name: str, feedback: FeedbackKind) -> Preset:
    """Return the preset as it is trained on such interactions: without the rating task where there are no ratings.

    Raises:
        UsageRejected: it has no other task; names the presets that have one.
    """
    if feedback == EXPLICIT:
        return preset
    if "retrieval" not in preset.tasks:
        others = [other for other in names() if "retrieval" in load(other).tasks]
        raise UsageRejected(
            f"preset {name} is trained on ratings alone, and the input has none; choose one of {', '.join(others)}"
        )
    return preset.without_rating()


def _fields(name: str, layers: Sequence[_Layer], extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a preset, those of the ones that it extends included."""
    found = next((place for place, layer in enumerate(layers) if name in layer.presets), None)
    if found is None:
        known = ", ".join(dict.fromkeys(known for layer in reversed(layers) for known in layer.presets))
        by = f", which {extending[-1]} extends" if extending else ""
        raise UsageRejected(f"no preset is called {name!r}{by}; there are {known}")
    own = {**layers[found].presets[name]}
    base = own.pop(_EXTENDS, None)
    if base is None:
        return own
    if base in extending:
        raise UsageRejected(f"{layers[found].file}: presets extend each other ({' → '.join((*extending, name, base))})")
    # A preset may extend the one of its own name that comes before it.
    before = layers[found + 1 :] if base == name else layers
    return _fields(base, before, (*extending, name) if base != name else extending) | own


def _layers(file: str) -> list[_Layer]:
    """Return the presets of all files, those that count first."""
    own, shipped = settings.conf_dir() / _FILE, settings.shipped(_FILE)
    files = [*[Path(file)] * bool(file), *[own] * own.exists(), shipped]
    return [_read(path) for path in dict.fromkeys(path.resolve() for path in files)]


def _read(file: Path) -> _Layer:
    try:
        presets = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageRejected(f"{file} cannot be read ({' '.join(str(error).split())[:200]}); correct it") from None
    if presets is None:  # all of it is a comment
        return _Layer(file, {})
    if not isinstance(presets, dict) or not all(isinstance(fields, dict) for fields in presets.values()):
        raise UsageRejected(f"{file} is not YAML with a section for each preset; correct it")
    return _Layer(file, presets)
