"""Building blocks of exported graphs, for all architectures."""

from __future__ import annotations

import numpy as np

from recmodel.errors import ModelRejected
from recmodel.tf import tf


class SortedIds(tf.Module):
    """Ids as an ascending array. Binary search needs no hash table, which would need an initialiser and an asset."""

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__()
        if len(ids) == 0 or (np.diff(ids) <= 0).any():
            raise ModelRejected("the ids of a model must ascend strictly; this one has none, or one of them twice")
        self.ids = frozen(ids.astype(np.int64))

    def rows(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the row of each id (int32; any row where it is absent) and whether it is present."""
        last = tf.shape(self.ids)[0] - 1
        row = tf.minimum(tf.searchsorted(self.ids, ids), last)
        return row, tf.equal(tf.gather(self.ids, row), ids)


class TextIds(tf.Module):
    """The ids behind numbers, in ascending order of their UTF-8 bytes, and the number of each.

    TensorFlow cannot search sorted text. It searches hashes of the ids, which are sorted, and compares what it finds
    with the id itself: no more than a binary search and, as in `SortedIds`, no hash table.
    """

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__()
        texts = tf.constant(ids, tf.string)
        encoded = texts.numpy()
        if len(encoded) == 0 or (encoded[1:] <= encoded[:-1]).any():
            raise ModelRejected("the ids of a model must ascend strictly; this one has none, or one of them twice")
        self.ids = tf.Variable(texts, trainable=False)
        self._key = 0  # of the hash: the first by which all ids differ
        while len(np.unique(hashed := self._hash(texts).numpy())) < len(encoded):
            self._key += 1
        order = np.argsort(hashed)
        self._hashes, self._order = frozen(hashed[order]), frozen(order)

    def numbers(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the number of each id (int64), -1 where it is none of them."""
        last = tf.shape(self._hashes)[0] - 1
        number = tf.gather(self._order, tf.minimum(tf.searchsorted(self._hashes, self._hash(ids)), last))
        return tf.where(tf.equal(tf.gather(self.ids, number), ids), number, tf.constant(-1, tf.int64))

    def _hash(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.strings.to_hash_bucket_strong(ids, np.iinfo(np.int64).max, [self._key, 0])


def frozen(array: np.ndarray) -> tf.Variable:
    """Return the array as a variable, which is stored next to the graph: a graph itself has 2 GiB at most.

    Raises:
        ModelRejected: a number is not finite.
    """
    if not np.isfinite(array).all():
        raise ModelRejected("the model has a weight that is not a finite number; train it again")
    return tf.Variable(array, trainable=False)


def strength(weight: tf.Tensor) -> tf.Tensor:
    """Return how strong interactions without ratings are, from their weights (both float32): log2(1 + weight).

    A weight of 1 has strength 1; the more there is, the less one more counts (Hu, Koren and Volinsky, "Collaborative
    Filtering for Implicit Feedback Datasets", 2008). Strengths are at most 5, as wide as the scale of stars: 31 plays
    or more are alike.
    """
    return tf.minimum(tf.math.log1p(weight) / np.float32(np.log(2)), 5.0)


def padded(array: np.ndarray, rows: int = 0, to_multiple_of: int = 1) -> np.ndarray:
    """Append `rows` rows of zeros, and then as many as make the length a multiple."""
    rows += -(len(array) + rows) % to_multiple_of
    return np.pad(array, [(0, rows), (0, 0)])


def user_of_each(row_splits: tf.Tensor) -> tf.Tensor:
    """Return [S] int32: the user (0-based) that each seen movie belongs to."""
    lengths = row_splits[1:] - row_splits[:-1]
    return tf.repeat(tf.range(tf.shape(lengths)[0]), lengths)


def where(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Replace values by NaN where they are not valid. `valid` may lack the last dimensions of `values`."""
    valid = tf.reshape(valid, tf.concat([tf.shape(valid), tf.ones([tf.rank(values) - tf.rank(valid)], tf.int32)], 0))
    return tf.where(valid, values, tf.constant(np.nan, values.dtype))
