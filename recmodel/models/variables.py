"""Variables: the arrays of a SavedModel, without TensorFlow, which takes seconds and half a GiB to import.

TensorFlow stores variables one after the other in one file, as NumPy has them in memory. Where each begins is noted
next to them when the SavedModel is written. The arrays are mapped: processes on a machine that have the same file share
its memory.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recmodel.tf import tf

_NOTE = "assets.extra/variables.json"  # the folder that TensorFlow keeps for what others add
_DATA = "variables/variables.data-00000-of-00001"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def note(saved_model: Path, reader: tf.train.CheckpointReader) -> None:
    """Note where the numeric variables of a SavedModel are.

    Args:
        reader: of its variables.
    """
    places = {}
    with (saved_model / _DATA).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name in sorted(reader.get_variable_to_shape_map()):
            array = reader.get_tensor(name)
            if not name.endswith(_SUFFIX) or not isinstance(array, np.ndarray) or array.dtype == object:
                continue
            # Of variables with the same bytes the place of the first is as good.
            offset = data.find(array.tobytes())
            places[name.removesuffix(_SUFFIX)] = {"offset": offset, "dtype": array.dtype.str, "shape": array.shape}
    file_of_notes = saved_model / _NOTE
    file_of_notes.parent.mkdir(exist_ok=True)
    file_of_notes.write_text(json.dumps(places, indent=1))


def are_noted(saved_model: Path) -> bool:
    """Return whether it is noted where the variables are; versions before 0.3.2 lack that."""
    return (saved_model / _NOTE).exists()


def read(saved_model: Path) -> dict[str, np.ndarray]:
    """Return the numeric variables of a SavedModel by name, read-only."""
    places = json.loads((saved_model / _NOTE).read_text())
    data = np.memmap(saved_model / _DATA, mode="r")
    arrays = {}
    for name, place in places.items():
        array: np.ndarray = np.ndarray(place["shape"], place["dtype"], data, place["offset"])
        arrays[name] = np.require(array, requirements="A")  # what lies at an odd place is copied
    return arrays
