"""Helpers for columns and ids, in NumPy and Arrow."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ABSENT = -1  # the place of what is not there
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


def rows_of(sorted_ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return int32, the row of each wanted id, all of which are there; where ids are dense, without a search.

    Args:
        sorted_ids: ascending, at least one.
    """
    first, last = int(sorted_ids[0]), int(sorted_ids[-1])
    if last - first > 64 * len(sorted_ids):
        return np.searchsorted(sorted_ids, wanted).astype(np.int32)
    row = np.zeros(last - first + 1, np.int32)
    row[sorted_ids - first] = np.arange(len(sorted_ids), dtype=np.int32)
    return row[wanted] if first == 0 else row[wanted - wanted.dtype.type(first)]


def runs(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ids, ascending, and the row (int32) of each id among them; quickly, where ids ascend."""
    if not (ids[1:] >= ids[:-1]).all():
        distinct, row = np.unique(ids, return_inverse=True)
        return distinct, row.astype(np.int32)
    first = np.append(np.ones(min(1, len(ids)), bool), ids[1:] != ids[:-1])
    return ids[first], np.cumsum(first, dtype=np.int32) - np.int32(1)


def summed(row: np.ndarray, size: int, values: np.ndarray | None = None) -> np.ndarray:
    """Return [size] float64: the sum of the values of each row, or their number.

    Slice by slice, as `np.bincount` copies rows and values to 8 bytes each.
    """
    total = np.zeros(size)
    for start in range(0, len(row), 1 << 22):
        some = slice(start, start + (1 << 22))
        total += np.bincount(row[some], None if values is None else values[some], size)
    return total


def take(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Select the same rows of all columns, by their numbers or by a mask."""
    return {name: values[rows] for name, values in arrays.items()}


def hashes(ids: np.ndarray) -> np.ndarray:
    """Return uint64 that depend on the ids alone: integers as they are, texts hashed."""
    if ids.dtype != object:
        return ids.astype(np.uint64)
    import pandas as pd  # takes half a second, which integers need not wait for

    return pd.util.hash_array(ids, categorize=False)


def mixed(values: np.ndarray) -> np.ndarray:
    """Return uint64, every bit of which depends on every bit of the value: the finaliser of SplitMix64.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014, as in Vigna's splitmix64.c
    (variant 13 of Stafford's).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def places(among: pa.Array, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return int64, the place of each id among others; `ABSENT` where it is not one of them."""
    return pc.index_in(ids, value_set=among).fill_null(ABSENT).to_numpy(zero_copy_only=False).astype(np.int64)


def thread_pool() -> ThreadPoolExecutor:
    """Return a thread per core: NumPy and SciPy compute in one, and let others run."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)))
