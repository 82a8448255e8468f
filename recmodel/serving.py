"""Serving: a SavedModel, loaded, behind three methods with NumPy in and out.

Needs TensorFlow and nothing of training: this is what runs in Spark's workers and behind `show` and `predict`.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recmodel import columns as c


@dataclass(frozen=True)
class TopN:
    """Recommendations of B users: row b holds `count[b]` movies, best first, then padding (-1 and NaN)."""

    movie_id: np.ndarray  # [B, n] int64
    retrieval_score: np.ndarray  # [B, n] float32
    predicted_rating: np.ndarray  # [B, n] float32, stars
    count: np.ndarray  # [B] int32
    known_user: np.ndarray  # [B] bool


@dataclass(frozen=True)
class Pairs:
    """Scores of B pairs; NaN where the user or the movie is unknown."""

    retrieval_score: np.ndarray  # [B] float32
    predicted_rating: np.ndarray  # [B] float32, stars
    known_user: np.ndarray  # [B] bool
    known_movie: np.ndarray  # [B] bool


class Recommender:
    """A loaded model. Ids may be any integers; they are served as int64."""

    def __init__(self, directory: str | Path) -> None:
        from recmodel.quiet_tensorflow import tf  # seconds; not before a model is needed

        self._tf = tf
        self._loaded = tf.saved_model.load(str(directory))

    def predict(self, user_ids: object, movie_ids: object) -> Pairs:
        """Scores of the pairs (user_ids[i], movie_ids[i]).

        Raises:
            TypeError: ids that are not integers.
            ValueError: not as many users as movies.
        """
        users, movies = _int64(user_ids, "user_ids"), _int64(movie_ids, "movie_ids")
        if users.shape != movies.shape:
            raise ValueError(f"{len(users)} user ids and {len(movies)} movie ids do not make pairs")
        return Pairs(**self._call("predict", {c.USER_ID: users, c.MOVIE_ID: movies}))

    def recommend(
        self,
        user_ids: object,
        seen_movie_ids: list[np.ndarray],
        seen_ratings: list[np.ndarray],
        *,
        n: int = 10,
        rank_by: str = "retrieval",
        candidates: int = 200,
        include_seen: bool = False,
    ) -> TopN:
        """The exact top n of the catalogue for each user; see `export.ServingModel.recommend`.

        Args:
            seen_movie_ids, seen_ratings: for each user the movies they rated and how, in any order.

        Raises:
            TypeError: ids that are not integers.
            ValueError: an unknown `rank_by`, n or candidates below 1, or lists that do not fit the users.
        """
        users = _int64(user_ids, "user_ids")
        lengths = [len(movies) for movies in seen_movie_ids]
        if len(lengths) != len(users) or lengths != [len(ratings) for ratings in seen_ratings]:
            raise ValueError("each user needs one list of seen movies and one of as many ratings")
        if rank_by not in ("retrieval", "rating", "two-stage") or n < 1 or candidates < 1:
            raise ValueError(f"cannot rank the top {n} by {rank_by!r} from {candidates} candidates")
        if not len(users):  # TensorFlow cannot map over nobody
            nothing = np.empty((0, n), np.float32)
            return TopN(nothing.astype(np.int64), nothing, nothing, np.empty(0, np.int32), np.empty(0, bool))
        result = self._call(
            "recommend",
            {
                c.USER_ID: users,
                "seen_movie_id": _int64(_flat(seen_movie_ids, np.int64), "seen_movie_ids"),
                "seen_rating": _flat(seen_ratings, np.float32).astype(np.float32),
                "seen_row_splits": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
                "n": np.int32(n),
                "rank_by": rank_by,
                "candidates": np.int32(candidates),
                "include_seen": np.bool_(include_seen),
            },
        )
        return TopN(**result)

    def rate_catalogue(self, user_ids: object) -> tuple[np.ndarray, np.ndarray]:
        """[B, M] predicted ratings (float32, stars) of the whole catalogue, ascending movie id, and known_user [B]."""
        result = self._call("rate_catalogue", {c.USER_ID: _int64(user_ids, "user_ids")})
        return result[c.PREDICTED_RATING], result["known_user"]

    def movie_embedding(self, movie_ids: object) -> np.ndarray:
        """[B, d] float32; a row of NaN for a movie outside the catalogue."""
        return self._call("movie_embedding", {c.MOVIE_ID: _int64(movie_ids, "movie_ids")})["embedding"]

    def user_embedding(self, user_ids: object) -> np.ndarray:
        """[B, d] float32; a row of NaN for an unknown user."""
        return self._call("user_embedding", {c.USER_ID: _int64(user_ids, "user_ids")})["embedding"]

    def _call(self, signature: str, inputs: dict[str, object]) -> dict[str, np.ndarray]:
        function = self._loaded.signatures[signature]
        outputs = function(**{name: self._tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}


def pack(directory: Path) -> bytes:
    """A SavedModel as one archive, to be broadcast."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(directory))
    return buffer.getvalue()


def unpack(packed: bytes) -> Recommender:
    """The model that `pack` packed. Its files are gone again when this returns."""
    with tempfile.TemporaryDirectory(prefix="recmodel-") as scratch:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(scratch)  # never outside: zipfile drops absolute paths and ".."
        return Recommender(scratch)


def _int64(ids: object, name: str) -> np.ndarray:
    array = np.atleast_1d(np.asarray(ids))
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be integers, not {array.dtype}; look titles up in the catalogue first")
    return array.astype(np.int64)


def _flat(lists: list[np.ndarray], empty: type) -> np.ndarray:
    return np.concatenate(lists) if lists else np.empty(0, empty)
