"""NumPy helpers for columns and sorted ids."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]  # the columns of a table, by name, all of one length


def locate(sorted_ids: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the row of each wanted id by binary search.

    Args:
        sorted_ids: ascending, at least one.

    Returns:
        The row of each wanted id (any row where it is absent), and a mask that is True where it is present.
    """
    row = np.searchsorted(sorted_ids, wanted).clip(max=len(sorted_ids) - 1)
    return row, sorted_ids[row] == wanted


def take(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Select the same rows of all columns, by their numbers or by a mask."""
    return {name: values[rows] for name, values in arrays.items()}


def hashes(ids: np.ndarray) -> np.ndarray:
    """Return uint64 that depend on the ids alone: integers as they are, texts hashed."""
    if ids.dtype != object:
        return ids.astype(np.uint64)
    import pandas as pd  # takes half a second, which integers need not wait for

    return pd.util.hash_array(ids, categorize=False)
