"""Serving: a SavedModel, loaded, behind three methods with NumPy in and out.

Needs TensorFlow and nothing of training: this is what runs in Spark's workers and behind `show` and `predict`.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


Lists = Sequence[np.ndarray]  # one array a user


class Recommender:
    """A loaded model. Ids may be any integers; they are served as int64.

    Where a method takes what users have seen, `seen_movie_ids` and `seen_ratings` hold one array a user, of the movies
    they rated (each once, in any order) and their ratings in stars. A model that knows users by id alone may be asked
    without, except for recommendations.
    """

    def __init__(self, directory: str | Path) -> None:
        from recmodel.quiet_tensorflow import tf  # seconds; not before a model is needed

        self._tf = tf
        self._loaded = tf.saved_model.load(str(directory))
        signatures = self._loaded.signatures
        self._takes = {name: signatures[name].structured_input_signature[1] for name in signatures}

    @property
    def needs_history(self) -> bool:
        """Whether it knows users by what they have seen, and not by id."""
        return "seen_movie_id" in self._takes["predict"]

    def predict(
        self,
        user_ids: object,
        movie_ids: object,
        seen_movie_ids: Lists | None = None,
        seen_ratings: Lists | None = None,
    ) -> Pairs:
        """Scores of the pairs (user_ids[i], movie_ids[i]); with histories, one for each pair.

        Raises:
            TypeError: ids that are not integers.
            ValueError: not as many users as movies, or a history is needed and missing.
        """
        users, movies = _int64(user_ids, "user_ids"), _int64(movie_ids, "movie_ids")
        if users.shape != movies.shape:
            raise ValueError(f"{len(users)} user ids and {len(movies)} movie ids do not make pairs")
        inputs = {c.USER_ID: users, c.MOVIE_ID: movies}
        return Pairs(**self._call("predict", inputs, seen_movie_ids, seen_ratings))

    def recommend(
        self,
        user_ids: object,
        seen_movie_ids: Lists,
        seen_ratings: Lists,
        *,
        n: int = 10,
        rank_by: str = "retrieval",
        candidates: int = 200,
        include_seen: bool = False,
    ) -> TopN:
        """The exact top n of the catalogue for each user; see `export.ServingModel._recommend`.

        Raises:
            TypeError: ids that are not integers.
            ValueError: an unknown `rank_by`, n or candidates below 1, or lists that do not fit the users.
        """
        users = _int64(user_ids, "user_ids")
        if rank_by not in ("retrieval", "rating", "two-stage") or n < 1 or candidates < 1:
            raise ValueError(f"cannot rank the top {n} by {rank_by!r} from {candidates} candidates")
        if not len(users):  # TensorFlow cannot map over nobody
            nothing = np.empty((0, n), np.float32)
            return TopN(nothing.astype(np.int64), nothing, nothing, np.empty(0, np.int32), np.empty(0, bool))
        how = {
            "n": np.int32(n),
            "rank_by": rank_by,
            "candidates": np.int32(candidates),
            "include_seen": np.bool_(include_seen),
        }
        return TopN(**self._call("recommend", {c.USER_ID: users, **how}, seen_movie_ids, seen_ratings))

    def rate_catalogue(
        self, user_ids: object, seen_movie_ids: Lists | None = None, seen_ratings: Lists | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """[B, M] predicted ratings (float32, stars) of the whole catalogue, ascending movie id, and known_user [B]."""
        inputs = {c.USER_ID: _int64(user_ids, "user_ids")}
        result = self._call("rate_catalogue", inputs, seen_movie_ids, seen_ratings)
        return result[c.PREDICTED_RATING], result["known_user"]

    def movie_embedding(self, movie_ids: object) -> np.ndarray:
        """[B, d] float32; a row of NaN for a movie outside the catalogue."""
        return self._call("movie_embedding", {c.MOVIE_ID: _int64(movie_ids, "movie_ids")})["embedding"]

    def user_embedding(
        self, user_ids: object, seen_movie_ids: Lists | None = None, seen_ratings: Lists | None = None
    ) -> np.ndarray:
        """[B, d] float32; a row of NaN for an unknown user."""
        inputs = {c.USER_ID: _int64(user_ids, "user_ids")}
        return self._call("user_embedding", inputs, seen_movie_ids, seen_ratings)["embedding"]

    def _call(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        seen_movie_ids: Lists | None = None,
        seen_ratings: Lists | None = None,
    ) -> dict[str, np.ndarray]:
        if "seen_movie_id" in self._takes[signature]:
            inputs = {**inputs, **_flat_lists(seen_movie_ids, seen_ratings, len(inputs[c.USER_ID]))}
        outputs = self._loaded.signatures[signature](
            **{name: self._tf.constant(value) for name, value in inputs.items()}
        )
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


def _flat_lists(movie_ids: Lists | None, ratings: Lists | None, users: int) -> dict[str, np.ndarray]:
    if movie_ids is None or ratings is None:
        raise ValueError("this model knows users by their history; give seen_movie_ids and seen_ratings")
    lengths = [len(ids) for ids in movie_ids]
    if len(lengths) != users or lengths != [len(values) for values in ratings]:
        raise ValueError("each user needs one list of seen movies and one of as many ratings")
    return {
        "seen_movie_id": _int64(np.concatenate([np.empty(0, np.int64), *movie_ids]), "seen_movie_ids"),
        "seen_rating": np.concatenate([np.empty(0, np.float32), *ratings]).astype(np.float32),
        "seen_row_splits": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    }
